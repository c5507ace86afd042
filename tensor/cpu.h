/* What this machine can do. */
#ifndef TENSOR_CPU_H
#define TENSOR_CPU_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/status.h"

struct cpu {
    char name[64];                     /* "AMD EPYC 9R14", or the architecture where the system does not say */
    bool avx2_fma;                     /* AVX2 and FMA, enabled by the operating system */
    bool avx512;                       /* AVX-512 F, DQ, BW and VL, likewise */
    bool avx_vnni, avx512_vnni;        /* dot products of bytes in 256 bits (VEX), in 512 bits */
    int physical_cores, logical_cores; /* that this process may run on */
    size_t memory, memory_available;   /* bytes; available: free or droppable right now */
};

struct cpu cpu_detect(void);

/* Which form of the kernels is used: the best that this CPU has, or what the environment variable STORYDIFF_CPU names
 * ("portable", "avx2", "avx-vnni", "avx512", "openblas") if the CPU can run it. openblas: OpenBLAS in the multiply,
 * portable forms elsewhere. Decided once; the same for all threads. */
enum cpu_family { CPU_PORTABLE, CPU_AVX2, CPU_AVX512, CPU_OPENBLAS };
enum cpu_family cpu_family(void);

/* Fails if STORYDIFF_CPU names no form, or one that this CPU cannot run: then cpu_family has chosen another. */
status cpu_check_wanted(struct error *e);

/* Which form of the 8-bit product goes with that family. STORYDIFF_CPU=avx2 means a CPU that has AVX2 and no more;
 * "avx-vnni" is the family AVX2 with AVX-VNNI, which is also what a CPU gets by itself that has
 * AVX-VNNI and no AVX-512. */
enum cpu_bytes { CPU_BYTES_PORTABLE, CPU_BYTES_AVX2, CPU_BYTES_AVX_VNNI, CPU_BYTES_AVX512_VNNI };
enum cpu_bytes cpu_bytes(void);

#endif
