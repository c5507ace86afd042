/* 3x3 convolution as a multiply (implicit GEMM: Chetlur et al. 2014, section 3).
 *
 *   out[n, y, x, :] = sum over taps (i, j) of  W[:, :, i, j] . in[n, y s + i - top, x s + j - left, :]  + bias
 *
 * A row of the input matrix is the 3x3 neighbourhood of one output pixel, k = (block of channels, tap, channel): runs
 * of contiguous floats. The packer reads them from where they are, and zeros where the window leaves the image.
 * Stride, the VAE's one-sided padding, nearest upsampling and a second input are all other addresses for the same
 * runs. */
#ifndef NN_CONV_H
#define NN_CONV_H

#include "nn/features.h"
#include "tensor/gemm.h"

struct conv {
    struct tensor weight; /* [N, C, 3, 3] */
    struct tensor bias;   /* [N] */
};

enum conv_kind {
    CONV_SAME,            /* stride 1, one zero all round:      h x w -> h x w */
    CONV_DOWN,            /* stride 2, one zero all round:      h x w -> ceil(h/2) x ceil(w/2)     (the UNet) */
    CONV_DOWN_ASYMMETRIC, /* stride 2, zeros right and bottom:  h x w -> floor(h/2) x floor(w/2)   (the VAE's encoder)
                           */
    CONV_UP,              /* nearest upsampling to the size of `out`, then CONV_SAME */
};

/* For an image that is not in memory as a whole (n = 1): `out` holds rows out_first .. of a result out_height high,
 * `in` rows in_first .. of an input in_height high, at least those that the windows of `out` reach. out_first and,
 * but for the image's last rows, the number of rows are multiples of CONV_BAND, which a tile of Winograd's never
 * crosses: values do not depend on how an image is cut (OpenBLAS excepted). */
enum { CONV_BAND = 4 };
struct conv_band {
    int64_t in_first, in_height, out_first, out_height;
};

struct conv_options {
    const struct features *concat; /* a second input, its channels after those of the first; same n, h, w */
    const float *per_sample;       /* [n, N]: added to every pixel of a sample (the time embedding) */
    const float *residual;         /* [n, h, w, N] of the output; may be out.x */
    const struct conv_band *band;  /* NULL: the whole image */
};

/* The input coordinate under tap 0, 1 or 2 of output coordinate `at`, or -1 outside of the image. */
int64_t conv_source(enum conv_kind kind, int64_t at, int64_t tap, int64_t in_size, int64_t out_size);

/* Output height (or width) for an input height, for all kinds but CONV_UP, whose size the caller chooses. */
int64_t conv_out_size(enum conv_kind kind, int64_t size);

/* options.band, or the band that is the whole image. */
struct conv_band conv_band_of(struct features out, struct features in, struct conv_options options);

/* `out` has its final shape: n of the input, conv_out_size of h and w, c = N. Those for which winograd_wins are
 * computed by Winograd's algorithm (winograd.h); those for which conv_int8_wins, of whole images and with
 * PRECISION_INT8, in 8-bit integers (conv_int8.h). */
void conv3x3(const struct context *ctx, struct features out, struct features in, const struct conv *layer,
             enum conv_kind kind, struct conv_options options);

#endif
