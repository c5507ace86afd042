/* scheduler_config.json: which noise a model was trained with, and how its authors sample it.
 *
 * diffusers writes one such file per model. Its "_class_name" names a sampler, yet people run the same model with
 * others, so the file is kept as it is (`struct scheduler_config`) and read for a class only when a sampler is made
 * (`struct scheduler_settings`).
 * The surprise: an absent key means the default of the class that reads it, and the defaults differ. Euler places its
 * steps by "linspace", DDIM by "leading"; DDIM clips, LCM does not.
 *
 * Source: the constructors of diffusers 0.25's schedulers. */
#ifndef SDXL_SCHEDULER_CONFIG_H
#define SDXL_SCHEDULER_CONFIG_H

#include <stdbool.h>

#include "tensor/json.h"
#include "tensor/status.h"

enum scheduler_class {
    SCHEDULER_DDIM,
    SCHEDULER_EULER,
    SCHEDULER_EULER_ANCESTRAL,
    SCHEDULER_DPM_MULTISTEP,
    SCHEDULER_LCM,
    SCHEDULER_PNDM,
    SCHEDULER_CLASSES /* their number */
};

enum beta_schedule { BETA_LINEAR, BETA_SCALED_LINEAR, BETA_SQUAREDCOS_CAP_V2 };
enum prediction_type { PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE };
enum timestep_spacing { SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING };
enum algorithm_type { ALGORITHM_DPMSOLVER_PP, ALGORITHM_SDE_DPMSOLVER_PP };
enum solver_type { SOLVER_MIDPOINT, SOLVER_HEUN };
enum final_sigmas_type { FINAL_SIGMA_ZERO, FINAL_SIGMA_MIN };

/* The file. Owned; freed by scheduler_config_free. */
struct scheduler_config {
    char *source; /* its path, for messages */
    const struct json *json;
};

/* Reads the file. Only its JSON is judged here: what its values mean, and whether they are supported, depends on the
 * sampler they are for. Python's -Infinity, which diffusers writes for DPM-Solver's lambda_min_clipped and which is
 * not JSON, is taken for null. */
status scheduler_config_read(const char *path, struct scheduler_config *config, struct error *e);

/* The same from a text that is not a file of its own; `source` is what messages call it. */
status scheduler_config_parse(const char *source, const char *text, size_t length, struct scheduler_config *config,
                              struct error *e);


void scheduler_config_free(struct scheduler_config *config); /* fine on a zeroed struct, and twice */

/* The class the file names. Fails, and lists what there is, if it names another. */
status scheduler_config_class(const struct scheduler_config *config, enum scheduler_class *class, struct error *e);

/* The file as one class reads it: its value, or the class's default where a key is absent or null. Keys are named as
 * in the file; those that the class does not have are ignored, as in diffusers, and their fields here are zero. */
struct scheduler_settings {
    int num_train_timesteps; /* 2 .. 100000 */
    double beta_start, beta_end;
    enum beta_schedule beta_schedule;
    const struct json *trained_betas; /* NULL, or an array that replaces the three above; the config's */
    bool rescale_betas_zero_snr;      /* DDIM, LCM */
    enum prediction_type prediction_type;
    enum timestep_spacing timestep_spacing;
    int steps_offset;
    bool set_alpha_to_one; /* DDIM, PNDM */
    bool clip_sample;      /* DDIM, LCM: the predicted x0 is clamped to +- clip_sample_range */
    double clip_sample_range;
    bool use_karras_sigmas;                   /* Euler, DPM-Solver */
    enum final_sigmas_type final_sigmas_type; /* the same; a later version's key, absent means what 0.25 does */
    enum algorithm_type algorithm_type;       /* from here on DPM-Solver */
    enum solver_type solver_type;
    int solver_order; /* 1 or 2 */
    bool lower_order_final, euler_at_final;
    double lambda_min_clipped;
    int original_inference_steps; /* LCM: the number of steps it was distilled from */
    double timestep_scaling;      /* LCM */
    bool skip_prk_steps;          /* PNDM; absent means true */
};

/* Fails, naming the file, the key and what is possible, on a value of the wrong kind or out of range, and on features
 * that are not implemented and would change the picture (dynamic thresholding, learned variance, ...). trained_betas
 * must be one number per training step; the numbers themselves are judged by schedule_alphas_cumprod. */
status scheduler_settings_for(const struct scheduler_config *config, enum scheduler_class class,
                              struct scheduler_settings *settings, struct error *e);

#endif
