/* Samplers from the text of a scheduler_config.json. Included after cmocka.h: what cannot be made fails the test. */
#ifndef TESTS_MADE_SAMPLER_H
#define TESTS_MADE_SAMPLER_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sdxl/sampling/sampler.h"

/* The training noise of Stable Diffusion, 1.5 and XL. */
#define SD "\"beta_schedule\": \"scaled_linear\", \"beta_start\": 0.00085, \"beta_end\": 0.012"

static inline status read_config(const char *text, struct scheduler_config *config, struct error *e)
{
    char path[] = "/tmp/scheduler_config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    status result = scheduler_config_read(path, config, e);
    unlink(path);
    return result;
}

/* Arguments as sampler_init's; the caller frees the sampler. */
static inline struct sampler make(const char *text, const char *name, int steps, double eta)
{
    struct error e = {0};
    struct scheduler_config config;
    struct sampler s = {0};
    if (read_config(text, &config, &e) != OK || sampler_init(&s, &config, name, steps, eta, &e) != OK)
        fail_msg("%s: %s", text, e.message);
    scheduler_config_free(&config);
    return s;
}

#endif
