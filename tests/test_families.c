/* One story with the bundled model, drawn with each form of the kernels that this CPU has: through the same code as a
 * person's run, from the prompts to the pixels. Whatever multiplies, the comic is the same. */
#include <sys/mman.h>

#include "storydiff/comic/comic.h"
#include "storydiff/comic/render.h"

#include "tests/check.h"

enum { PANELS = 4, STEPS = 6, MOST_LATENTS = 1 << 16, MOST_BYTES = 1 << 20, FAMILIES = 4 };

/* What a child draws, in memory that it shares with the test. */
struct drawn {
    char error[1024]; /* empty: none */
    int64_t latents, bytes;
    float latent[MOST_LATENTS];
    unsigned char pixel[MOST_BYTES];
};

static struct settings a_story(void)
{
    static const char *const lines[PANELS] = {"[Rosa] waving on the street", "[Rosa] reading in the park",
                                              "[Rosa] running on the beach", "[NC] the city at night"};
    struct settings s = settings_default();
    s.model = "storydiff/models/world";
    s.general_prompt = "[Rosa] a girl wearing a yellow top and a blue skirt";
    s.prompt_count = PANELS;
    memcpy(s.prompts, lines, sizeof lines);
    s.sampler = "ddim"; /* a gentle one: how far rounding grows depends on the sampler */
    s.sampling_steps = STEPS;
    s.seed = 4;
    s.id_length = 2;
    s.comic_type = PAGE_NONE;
    s.threads = 2;
    return s;
}

static status keep_pixels(struct drawn *d, const struct context *ctx, const struct model *model,
                          const struct lockstep *l, struct error *e)
{
    struct image images[PANELS] = {{0}};
    status s = render_latents(ctx, model, (struct features){l->latents, PANELS, l->h, l->w, l->c}, NULL, images, e);
    for (int i = 0; i < PANELS && s == OK; i++) {
        int64_t size = (int64_t)images[i].width * images[i].height * 3;
        if (d->bytes + size > MOST_BYTES)
            s = (fail)(e, ERR_ARGUMENT, "the pictures are larger than this test has room for");
        else
            memcpy(d->pixel + d->bytes, images[i].rgb, (size_t)size);
        d->bytes += size;
    }
    for (int i = 0; i < PANELS; i++)
        image_free(&images[i]);
    return s;
}

static status draw(struct drawn *d, struct error *e)
{
    struct settings settings = a_story();
    struct context ctx = {.threads = 2};
    struct model model = {0};
    struct comic comic = {0};
    struct comic_request request = {0};
    struct lockstep l = {0};
    status s = gemm_ready(e);
    if (s == OK)
        s = comic_plan(&comic, &model, &settings, e);
    if (s == OK)
        s = comic_encode(&comic, &ctx, &request, e);
    if (s == OK)
        s = lockstep_open(&l, &request.lockstep, ctx.threads, NULL, e);
    while (s == OK && l.step < comic.sampler.steps)
        lockstep_step(&l, &ctx, NULL);
    d->latents = s == OK ? lockstep_latents_size(&l) : 0;
    if (d->latents > MOST_LATENTS)
        s = (fail)(e, ERR_ARGUMENT, "the latents are more than this test has room for");
    if (s == OK) {
        memcpy(d->latent, l.latents, (size_t)d->latents * sizeof(float));
        s = keep_pixels(d, &ctx, &model, &l, e);
    }
    lockstep_close(&l);
    comic_request_free(&request);
    comic_free(&comic);
    model_close(&model);
    return s;
}

/* The form of the kernels is decided once per process: each family draws in one of its own. */
static void draw_in(const char *family, struct drawn *d)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct error e = {0};
        setenv("STORYDIFF_CPU", family, 1);
        if (draw(d, &e) != OK)
            snprintf(d->error, sizeof d->error, "%s", e.message);
        _exit(0);
    }
    int ended = 0;
    assert_true(child > 0 && waitpid(child, &ended, 0) == child && ended == 0);
    if (d->error[0] != '\0')
        fail_msg("%s: %s", family, d->error);
}

/* Rounding grows from step to step, and a few steps of this model make little of it; what is compared are drawings,
 * not layers. */
static void every_family_draws_the_same_story(void **state)
{
    (void)state;
    struct cpu cpu = cpu_detect();
    const char *const families[FAMILIES] = {"portable", "openblas", cpu.avx2_fma ? "avx2" : NULL,
                                            cpu.avx512 ? "avx512" : NULL};
    struct drawn *drawn =
        mmap(NULL, FAMILIES * sizeof *drawn, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(drawn != MAP_FAILED);
    double *wanted = room(MOST_LATENTS, sizeof *wanted);
    for (int f = 0; f < FAMILIES; f++) {
        if (families[f] == NULL)
            continue;
        draw_in(families[f], &drawn[f]);
        assert_int_equal(drawn[f].latents, drawn[0].latents);
        assert_int_equal(drawn[f].bytes, drawn[0].bytes);
        for (int64_t i = 0; i < drawn[0].latents; i++)
            wanted[i] = drawn[0].latent[i];
        check_close(families[f], drawn[f].latent, wanted, drawn[0].latents, 2e-5);
        for (int64_t i = 0; i < drawn[0].bytes; i++)
            if (abs(drawn[f].pixel[i] - drawn[0].pixel[i]) > 1)
                fail_msg("%s: byte %lld of the pictures is %d, in the portable form %d", families[f], (long long)i,
                         drawn[f].pixel[i], drawn[0].pixel[i]);
    }
    assert_true(drawn[0].latents >= PANELS * 16 * 16 && drawn[0].bytes >= PANELS * 64 * 64 * 3);
    free(wanted);
    munmap(drawn, FAMILIES * sizeof *drawn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_family_draws_the_same_story)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
