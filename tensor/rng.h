/* Random numbers with the reference's meaning: the same seed gives the same picture.
 *
 * Both generators are the Mersenne Twister MT19937 (Matsumoto & Nishimura 1998). torch's CPU generator seeds it with
 * the low 32 bits of the seed; Python's `random` seeds it from the array of the seed's 32-bit digits. States are
 * plain data: copy them, save them, restore them. */
#ifndef TENSOR_RNG_H
#define TENSOR_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct mt19937 {
    uint32_t state[624];
    uint32_t index; /* next word to hand out, at most 624: refill first */
};

void mt19937_seed(struct mt19937 *mt, uint32_t seed);                             /* init_genrand */
void mt19937_seed_array(struct mt19937 *mt, const uint32_t *key, int64_t length); /* init_by_array, length >= 1 */
uint32_t mt19937_next(struct mt19937 *mt);                                        /* 32 random bits, tempered */

/* torch.Generator('cpu').manual_seed(seed), in float32, which is all that drawing takes. */
struct torch_rng {
    struct mt19937 mt;
    double next_normal; /* the sine left over by an odd small randn */
    bool has_next_normal;
};
void torch_seed(struct torch_rng *g, uint64_t seed);
void torch_rand(struct torch_rng *g, float *out, int64_t n);      /* torch.rand(n): [0, 1), low 24 bits / 2^24 */

/* torch.randn(n): fewer than 16 values by Box-Muller in double, 16 or more by blocks of 16 (see rng.c). The count
 * decides, not the shape: n is the number of elements of the whole tensor. Within 1e-6 of torch. */
void torch_randn(struct torch_rng *g, float *out, int64_t n);

/* random.seed(seed), random.random() for an integer seed (of any sign, as Python: its absolute value). */
struct python_rng {
    struct mt19937 mt;
};
void python_seed(struct python_rng *g, int64_t seed);
double python_random(struct python_rng *g); /* [0, 1) with 53 bits */

#endif
