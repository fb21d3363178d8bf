/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this build has for each level of the CPU.  A level serves some
 * operations; the others come from the next lower one that has them, in the end
 * from the reference.
 */
#ifndef WEIR_KERNELS_LEVELS_H
#define WEIR_KERNELS_LEVELS_H

#include "base/cpu.h"
#include "kernels/kernels.h"

/* 1 when this build has kernels of that level. */
int weir_level_compiled(enum weir_level level);

/* The operations as `level` has them. */
void weir_kernels_at(enum weir_level level, struct weir_kernels *kernels);

/*
 * The name of operation number `i`, as in struct weir_kernels, and the level
 * that serves it at `level`; NULL when there is none of that number.
 */
const char *weir_kernels_operation(enum weir_level level, unsigned i,
                                   enum weir_level *server);

/* Names of what does each class of products; NULL: ours */
struct weir_gemm_names {
    const char *of[WEIR_N_GEMM_CLASSES];
};

/* What weir_kernels_at() chooses from. */
extern const struct weir_gemm_names weir_gemm_table[WEIR_N_LEVELS];

/* kernels->chosen: what is named, where this build and machine have it. */
void weir_gemm_choose(const struct weir_gemm_names *names,
                      enum weir_level level, struct weir_kernels *kernels);

/*
 * Products of many tokens by a library beside ours, compiled for `level`.  It
 * keeps the contract of struct weir_gemm but for one thing: with some versions
 * of a library, on some CPUs, a sum depends on the place of its row or token
 * among those of a call.  Then it is not steady, and not to be used.
 */
struct weir_provider {
    const struct weir_gemm *gemm;
    enum weir_level level;
    /* Why it is of no use here, in two or three words; NULL when it is. */
    const char *(*missing)(void);
};

/* Number `i` of this build; NULL when there are no more. */
const struct weir_provider *weir_provider(unsigned i);

/* Why it is of no use at `level`, on this machine; NULL when it is. */
const char *weir_provider_missing(const struct weir_provider *provider,
                                  enum weir_level level);

#endif
