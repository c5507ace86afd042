/* A checkpoint in one file: the parts of a model under the names of the original layout (original_names.h).
 *
 * The file is mapped and stays as it is: each part's weights are views. What a folder would say in its config.json
 * files comes from, in this order,
 *
 *   a folder that is named (`config`)        its config.json files, whatever weights it has
 *   the file's metadata                      "unet/config.json" and so on, as storydiff-convert writes them
 *   shapes and family                        infer.h */
#ifndef SDXL_SINGLE_FILE_H
#define SDXL_SINGLE_FILE_H

#include "sdxl/checkpoint/recognise.h"
#include "sdxl/checkpoint/weights.h"

/* The texts that describe a model, as the files of a folder. */
enum description {
    DESCRIBES_MODEL,
    DESCRIBES_UNET,
    DESCRIBES_VAE,
    DESCRIBES_TEXT_ENCODER,
    DESCRIBES_TEXT_ENCODER_2,
    DESCRIBES_SCHEDULER,
    DESCRIPTIONS
};
extern const char *const description_files[DESCRIPTIONS]; /* "model_index.json", "unet/config.json", .. */

struct single_file {
    struct tensor_file file;
    enum checkpoint_kind kind; /* CHECKPOINT_SDXL, _SD15, or a VAE */
    struct text descriptions[DESCRIPTIONS]; /* data NULL: the file has no such part */
    bool *used;                /* [file.count] */
    struct original_names names[PART_TEXT_ENCODER_2 + 1]; /* by part */
};

/* Opens a file, in any format of tensor_file.h. config: a folder, or NULL. A file that is something else than a whole
 * model, its UNet alone or a VAE is refused by what it is. The caller closes it; after a failure there is nothing to
 * close. */
status single_file_open(const char *path, const char *config, struct single_file *f, struct error *e);
void single_file_close(struct single_file *f); /* fine on a zeroed struct, and twice */

/* Whether the part is in the file. */
bool single_file_has(const struct single_file *f, enum checkpoint_part part);

/* The weights of a part that the file has; they are closed before the file. */
status single_file_weights(struct single_file *f, enum checkpoint_part part, struct weights *w, struct error *e);

/* The configs of the parts it has, read and checked. */
status single_file_unet(const struct single_file *f, struct unet_config *config, struct error *e);
status single_file_vae(const struct single_file *f, struct vae_config *config, struct error *e);
status single_file_clip(const struct single_file *f, enum checkpoint_part part, struct clip_config *config,
                        struct error *e);

#endif
