/* From a config and a file of weights to a UNet: which blocks there are, and the tensor behind each member. */
#include "sdxl/unet/unet.h"

#include <stdlib.h>

struct assembly {
    struct unet *u;
    struct binder *b;
    struct transformer_block *next; /* free transformer blocks */
};

static void assemble_transformer(struct assembly *a, struct unet_block *block, int index, int level,
                                 int first_up_layer)
{
    const struct unet_config *c = &a->u->config;
    char name[MODULE_NAME];
    int depth = c->transformer_layers[level];
    transformer_bind(&block->attentions[index], a->b, module_name(name, "%s.attentions.%d", block->name, index),
                     c->block_out_channels[level], c->heads[level], c->cross_attention_dim, c->norm_num_groups,
                     c->use_linear_projection, a->next, depth, first_up_layer);
    for (int i = 0; i < depth; i++) {
        a->next[i].text_at = a->u->text_width;
        a->u->text_width += 2 * c->block_out_channels[level];
    }
    a->next += depth;
    a->u->transformer_block_count += depth;
}

static void assemble_resnet(struct assembly *a, struct unet_block *block, int index, int64_t in, int64_t out)
{
    const struct unet_config *c = &a->u->config;
    char name[MODULE_NAME];
    resnet_bind(&block->resnets[index], a->b, module_name(name, "%s.resnets.%d", block->name, index), in, out,
                unet_time_width(c), c->norm_num_groups, c->norm_eps);
}

static void assemble_down(struct assembly *a, int level)
{
    const struct unet_config *c = &a->u->config;
    struct unet_block *block = &a->u->down_blocks[level];
    int64_t out = c->block_out_channels[level],
            in = level > 0 ? c->block_out_channels[level - 1] : c->block_out_channels[0];
    char name[MODULE_NAME];
    module_name(block->name, "down_blocks.%d", level);
    block->layers = c->layers_per_block;
    for (int i = 0; i < block->layers; i++) {
        assemble_resnet(a, block, i, i == 0 ? in : out, out);
        if (c->down_attention[level])
            assemble_transformer(a, block, i, level, -1);
    }
    if (level < c->levels - 1) {
        module_name(block->sampler_name, "%s.downsamplers.0", block->name);
        conv_bind(&block->sampler, a->b, module_name(name, "%s.conv", block->sampler_name), out, out);
    }
}

static void assemble_mid(struct assembly *a)
{
    const struct unet_config *c = &a->u->config;
    struct unet_block *block = &a->u->mid_block;
    int64_t width = c->block_out_channels[c->levels - 1];
    module_name(block->name, "mid_block");
    block->layers = 2;
    assemble_resnet(a, block, 0, width, width);
    assemble_transformer(a, block, 0, c->levels - 1, -1);
    assemble_resnet(a, block, 1, width, width);
}

/* The skip that resnet i of a level consumes: the down path's outputs from last to first. The last one of a level was
 * made by the level above it (its downsampler, or conv_in). */
static int64_t skip_channels(const struct unet_config *c, int level, int index)
{
    bool last = index == c->layers_per_block;
    return c->block_out_channels[last && level > 0 ? level - 1 : level];
}

static void assemble_up(struct assembly *a, int order)
{
    const struct unet_config *c = &a->u->config;
    struct unet_block *block = &a->u->up_blocks[order];
    int level = c->levels - 1 - order;
    int64_t out = c->block_out_channels[level], in = order > 0 ? c->block_out_channels[level + 1] : out;
    char name[MODULE_NAME];
    module_name(block->name, "up_blocks.%d", order);
    block->layers = c->layers_per_block + 1;
    for (int i = 0; i < block->layers; i++) {
        assemble_resnet(a, block, i, (i == 0 ? in : out) + skip_channels(c, level, i), out);
        if (c->up_attention[order]) {
            assemble_transformer(a, block, i, level, a->u->up_layers);
            a->u->up_layers += c->transformer_layers[level];
        }
    }
    if (level > 0) {
        module_name(block->sampler_name, "%s.upsamplers.0", block->name);
        conv_bind(&block->sampler, a->b, module_name(name, "%s.conv", block->sampler_name), out, out);
    }
}

static const struct binding cond_proj_rows[] = {
    {"weight", offsetof(struct linear, weight), "oi", NULL, false},
};

static void assemble(struct assembly *a)
{
    struct unet *u = a->u;
    const struct unet_config *c = &u->config;
    int64_t first = c->block_out_channels[0], emb = unet_time_width(c);
    conv_bind(&u->conv_in, a->b, "conv_in", c->in_channels, first);
    linear_bind(&u->time_embedding[0], a->b, "time_embedding.linear_1", first, emb);
    linear_bind(&u->time_embedding[1], a->b, "time_embedding.linear_2", emb, emb);
    if (c->time_cond_proj_dim > 0)
        bind_rows(a->b, "time_embedding.cond_proj", cond_proj_rows, 1, &u->cond_proj,
                  (int64_t[DIMS]){['o'] = first, ['i'] = c->time_cond_proj_dim});
    if (c->text_time) {
        linear_bind(&u->add_embedding[0], a->b, "add_embedding.linear_1", c->projection_class_embeddings_input_dim,
                    emb);
        linear_bind(&u->add_embedding[1], a->b, "add_embedding.linear_2", emb, emb);
    }
    for (int level = 0; level < c->levels; level++)
        assemble_down(a, level);
    assemble_mid(a);
    for (int order = 0; order < c->levels; order++)
        assemble_up(a, order);
    norm_bind(&u->conv_norm_out, a->b, "conv_norm_out", first);
    conv_bind(&u->conv_out, a->b, "conv_out", first, c->out_channels);
}

static size_t count_transformer_blocks(const struct unet_config *c)
{
    size_t count = (size_t)c->transformer_layers[c->levels - 1];
    for (int i = 0; i < c->levels; i++) {
        if (c->down_attention[i])
            count += (size_t)(c->transformer_layers[i] * c->layers_per_block);
        if (c->up_attention[i])
            count += (size_t)(c->transformer_layers[c->levels - 1 - i] * (c->layers_per_block + 1));
    }
    return count;
}

status unet_bind(struct unet *u, struct weights *weights, const struct unet_config *config, struct error *e)
{
    *u = (struct unet){.config = *config, .weights = *weights};
    *weights = (struct weights){0};
    u->transformer_blocks = calloc(count_transformer_blocks(config), sizeof *u->transformer_blocks);
    status s = u->transformer_blocks ? OK : fail(e, ERR_MEMORY, "%s: out of memory", u->weights.file->path);
    if (s == OK) {
        struct binder b = {.weights = &u->weights};
        assemble(&(struct assembly){u, &b, u->transformer_blocks});
        s = bind_finish(&b, e);
    }
    if (s != OK)
        unet_close(u);
    return s;
}

status unet_open(struct unet *u, const char *weights_path, const struct unet_config *config, struct error *e)
{
    struct weights weights;
    *u = (struct unet){0};
    TRY(weights_open(weights_path, &weights, e));
    return unet_bind(u, &weights, config, e);
}

status unet_list(const struct unet_config *config, const struct tensor_visitor *visitor, struct error *e)
{
    struct unet *u = calloc(1, sizeof *u); /* binding also writes names and sizes: into one that is thrown away */
    struct transformer_block *blocks = calloc(count_transformer_blocks(config), sizeof *blocks);
    status s = u && blocks ? OK : fail(e, ERR_MEMORY, "the list of a UNet's tensors: out of memory");
    if (s == OK) {
        u->config = *config;
        assemble(&(struct assembly){u, &(struct binder){.visitor = visitor}, blocks});
    }
    free(blocks);
    free(u);
    return s;
}

void unet_close(struct unet *u)
{
    weights_close(&u->weights);
    free(u->transformer_blocks);
    *u = (struct unet){0};
}
