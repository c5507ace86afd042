/* A comic thought through: what a person leaves open is decided as comic.h and the reference have it. */
#include "storydiff/comic/comic.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/mutation.h"

static void change(const char *path, const char *key, const char *value)
{
    size_t length;
    char *before = read_bytes(path, &length), *after = with_value(before, key, value);
    write_bytes(path, after, strlen(after));
    free(before);
    free(after);
}

/* The tiny model, as if it had been made for latents of one size, and with a sampler that is nobody's default; its VAE
 * enlarges latents eight times. */
static const char *model_made_for(int latent)
{
    char command[1024], size[16];
    const char *folder = in_folder("model");
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r tests/models/default '%s'", folder, folder);
    assert_int_equal(system(command), 0);
    snprintf(size, sizeof size, "%d", latent);
    change(in_folder("model/unet/config.json"), "sample_size", size);
    change(in_folder("model/scheduler/scheduler_config.json"), "_class_name", "\"EulerDiscreteScheduler\"");
    return in_folder("model");
}

static struct settings settings_for(const char *model)
{
    struct settings s = settings_default();
    s.general_prompt = "bob";
    s.prompts[s.prompt_count++] = "runs";
    s.comic_type = PAGE_NONE;
    s.model = model;
    return s;
}

static void plan(struct comic *c, struct model *model, const struct settings *settings)
{
    struct error e = {0};
    if (comic_plan(c, model, settings, &e) != OK)
        fail_msg("%s", e.message);
}

/* SDXL was made for 1024 px: then the reference's 768 and its DDIM. What was made for less draws what it was made for,
 * with its own sampler. */
static void panels_are_as_large_as_the_model_was_made_for_or_768(void **state)
{
    (void)state;
    static const struct {
        int latent, size;
        bool ddim;
    } cases[] = {{24, 192, false}, {96, 768, false}, {120, 960, false}, {128, 768, true}, {192, 768, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings settings = settings_for(model_made_for(cases[i].latent));
        struct model model;
        struct comic c;
        plan(&c, &model, &settings);
        assert_int_equal(c.settings.height, cases[i].size);
        assert_int_equal(c.settings.width, cases[i].size);
        assert_int_equal(strcmp(sampler_name(&c.sampler), "ddim") == 0, cases[i].ddim);
        comic_free(&c);
        model_close(&model);
    }
}

static void given_sizes_are_kept(void **state)
{
    (void)state;
    struct settings settings = settings_for(model_made_for(128));
    struct model model;
    struct comic c;
    settings.height = 64;
    plan(&c, &model, &settings);
    assert_int_equal(c.settings.height, 64);
    assert_int_equal(c.settings.width, 768);
    comic_free(&c);
    model_close(&model);
}

/* pipe.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2) in StoryDiffusion's demo, and in the recorded stories. */
static void freeu_is_that_of_the_references_demo(void **state)
{
    (void)state;
    struct settings settings = settings_for("tests/models/default");
    struct context ctx = {.threads = 1};
    for (int on = 0; on < 2; on++) {
        struct model model;
        struct comic c;
        struct comic_request request;
        struct error e = {0};
        settings.freeu = on;
        plan(&c, &model, &settings);
        if (comic_encode(&c, &ctx, &request, &e) != OK)
            fail_msg("%s", e.message);
        const struct freeu *f = request.lockstep.freeu;
        assert_true((f != NULL) == on);
        assert_true(!on || (f->s1 == 0.6f && f->s2 == 0.4f && f->b1 == 1.1f && f->b2 == 1.2f));
        comic_request_free(&request);
        comic_free(&c);
        model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(panels_are_as_large_as_the_model_was_made_for_or_768),
        TEST(given_sizes_are_kept),
        TEST(freeu_is_that_of_the_references_demo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
