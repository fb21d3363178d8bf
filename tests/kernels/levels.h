/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every level of kernels that this build has and this machine runs is held
 * against the reference, one family of operations a file, in buffers that end
 * at a page which cannot be touched.
 */
#ifndef WEIR_TESTS_KERNELS_LEVELS_H
#define WEIR_TESTS_KERNELS_LEVELS_H

#include "kernels/levels.h"
#include "tests/kernels/check.h"
#include "tests/tap.h"

/* A level, and what it is held against. */
struct levels {
    enum weir_level level;
    const char *name;
    struct weir_kernels fast, ref;
};

/*
 * `n_bytes` of memory that end where a page begins that cannot be read nor
 * written; another such page lies before them.  Exits when there is none.
 * Released by guard_free_all().
 */
void *guard_alloc(size_t n_bytes);
void guard_free_all(void);

/* The same, filled with numbers from fill(). */
float *guard_floats(size_t n);

/* A copy that ends at such a page too */
float *guard_copy(const float *x, size_t n);

/*
 * A tile of w->rows and w->cols of w->dtype in guarded memory: bits of any kind
 * but infinities and no numbers; what pads a row is those.
 */
void random_tile(struct weir_tile *w);

/* What a family does: results as TAP, or with --bench a table of speeds. */
void check_exp(const struct levels *levels);
void check_matmul(const struct levels *levels);
void check_gemm(const struct levels *levels);
void bench_gemm(const struct levels *levels);
void check_probe(const struct levels *levels);
void bench_matmul(const struct levels *levels);
void check_rows(const struct levels *levels);
void bench_rows(const struct levels *levels);
void check_attention(const struct levels *levels);
void bench_attention(const struct levels *levels);
void check_scan(const struct levels *levels);
void bench_scan(const struct levels *levels);
void check_conv(const struct levels *levels);
void bench_conv(const struct levels *levels);

/*
 * The time of one call of run(ctx, kernels) in seconds: the median of several,
 * each of about 20 ms.
 */
double bench_time(void (*run)(void *ctx, const struct weir_kernels *kernels),
                  void *ctx, const struct weir_kernels *kernels);

/* One line: what, the level's time and the reference's, and bytes/time. */
void bench_print(const char *what, double fast_s, double ref_s, double n_bytes);

#endif
