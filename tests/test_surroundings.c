/* A run that goes on must find everything as it was: what its prompts became, the noise schedule, the weights, the
 * font, the kernels. What was changed meanwhile is named, and nothing is drawn; put back, the run ends as if nothing
 * had happened. */
#include "tensor/file.h"
#include "tensor/safetensors.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/program.h"

#define MODEL " --model $F/m "
#define WORDS BOB "--height 64 --width 64 --sampling_steps 400 --comic_type four --font $F/font.ttf -t 1" MODEL

static const struct change {
    const char *what, *commands, *environment, *says;
} changes[] = {
    {"two words of a vocabulary",
     "sed -i -e 's/\"park<.w>\"/\"PARK\"/' -e 's/\"man<.w>\"/\"park<\\/w>\"/' -e 's/\"PARK\"/\"man<\\/w>\"/' "
     "$F/m/tokenizer/vocab.json",
     NULL, "vocabulary or a text encoder was changed"},
    {"weights of a text encoder, whose file says nothing",
     "f=$F/m/text_encoder_2/model.safetensors; touch -r $f $F/time; printf '\\074\\074\\074\\074' | "
     "dd of=$f bs=1 seek=$(($(stat -Lc %s $f) - 12)) conv=notrunc 2>/dev/null; touch -r $F/time $f",
     NULL, "text encoder was changed"},
    {"a weight of the UNet", NULL, NULL,
     "another files_in_use"}, /* the first of a tensor, which no fingerprint sees */
    {"beta_end", "sed -i 's/\"beta_end\": 0.012/\"beta_end\": 0.013/' $F/m/scheduler/scheduler_config.json", NULL,
     "another scheduler/scheduler_config.json"},
    {"prediction_type", "sed -i 's/\"epsilon\"/\"v_prediction\"/' $F/m/scheduler/scheduler_config.json", NULL,
     "another scheduler/scheduler_config.json"},
    {"the scale of the latents",
     "sed -i 's/\"scaling_factor\": [0-9.]*/\"scaling_factor\": 0.5/' $F/m/vae/config.json", NULL,
     "another vae/config.json"},
    {"the activation of a text encoder",
     "sed -i 's/\"hidden_act\": \"[a-z_]*\"/\"hidden_act\": \"quick_gelu\"/' "
     "$F/m/text_encoder_2/config.json",
     NULL, "another text_encoder_2/config.json"},
    {"the font", "cp /usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf $F/font.ttf", NULL,
     "another font_checksum"},
    {"the kernels", "true", "portable", "another kernels"},
};

static void change_a_weight(const struct folder *f)
{
    struct file_path path = folder_path(f, "m/unet/diffusion_pytorch_model.safetensors");
    struct safetensors opened;
    size_t size, at = 0;
    char *bytes = read_bytes(path.text, &size);
    assert_int_equal(safetensors_open(path.text, &opened, NULL), OK);
    const struct tensor *t = safetensors_find(&opened, "mid_block.resnets.0.conv1.weight");
    assert_true(t != NULL && tensor_count(t) > 1000);
    while (memcmp(bytes + at, t->data, 1000) != 0)
        at++;
    safetensors_close(&opened);
    bytes[at] ^= 1;
    write_bytes(path.text, bytes, size);
    free(bytes);
}

static void put_everything(const struct folder *f)
{
    prepare(f, "rm -rf $F/m && cp -rL --preserve=timestamps tests/models/default $F/m && chmod -R u+w $F/m && "
               "cp -p /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf $F/font.ttf");
}

static void what_was_changed_meanwhile_is_named(void **state)
{
    struct folder *f = *state;
    const char *before = getenv("STORYDIFF_CPU");
    put_everything(f);
    assert_done(f, WORDS "--output_dir $F/whole");
    pid_t child = program_start(f, WORDS "--output_dir $F/o");
    while (!has(f, "o/unfinished.safetensors"))
        usleep(1000);
    usleep(100000);
    kill(child, SIGINT);
    struct outcome o = program_wait(f, child);
    assert_int_equal(o.status, 130);
    outcome_free(&o);
    struct listing left = listing_of(f, "o");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        put_everything(f);
        if (changes[i].commands != NULL)
            prepare(f, changes[i].commands);
        else
            change_a_weight(f);
        if (changes[i].environment != NULL)
            setenv("STORYDIFF_CPU", changes[i].environment, 1);
        o = run(f, WORDS "--output_dir $F/o --resume");
        if (before == NULL)
            unsetenv("STORYDIFF_CPU");
        else
            setenv("STORYDIFF_CPU", before, 1);
        if (o.status != 2 || strstr(o.err, changes[i].says) == NULL)
            fail_msg("%s: exit status %d\n%s", changes[i].what, o.status, o.err);
        outcome_free(&o);
        struct listing now = listing_of(f, "o");
        assert_same_folder(&now, &left);
    }
    put_everything(f);
    assert_done(f, WORDS "--output_dir $F/o --resume");
    assert_same_pictures(f, "o", "whole");
}

/* Where the model lies is no part of a picture: moved as it is, it goes on. */
static void a_model_may_move(void **state)
{
    struct folder *f = *state;
    put_everything(f);
    assert_done(f, WORDS "--output_dir $F/whole");
    pid_t child = program_start(f, WORDS "--output_dir $F/o");
    while (!has(f, "o/unfinished.safetensors"))
        usleep(1000);
    kill(child, SIGKILL);
    struct outcome o = program_wait(f, child);
    outcome_free(&o);
    prepare(f, "mkdir $F/other && cp -r $F/m $F/other/m && rm -r $F/m");
    assert_done(f, BOB
                "--height 64 --width 64 --sampling_steps 400 --comic_type four --font $F/font.ttf --model $F/other/m "
                "--output_dir $F/o --resume");
    assert_same_pictures(f, "o", "whole");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_changed_meanwhile_is_named),
        TEST(a_model_may_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
