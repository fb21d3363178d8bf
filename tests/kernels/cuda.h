/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of a GPU are held against the reference, in device memory
 * between guards, one family a file.
 */
#ifndef WEIR_TESTS_KERNELS_CUDA_H
#define WEIR_TESTS_KERNELS_CUDA_H

#include "kernels/device.h"
#include "tests/kernels/check.h"
#include "tests/tap.h"

extern const struct weir_device_table *gpu;
extern struct weir_device *card;

/*
 * Device memory between guards: n_bytes that hold what `data` does, or are all
 * ones (no number) when it is NULL.  Exits when there is none.
 */
void *on_card(const void *data, size_t n_bytes);
float *floats_on_card(const float *x, size_t n);

/* What is there now, allocated; waits for all operations */
void *from_card(const void *data, size_t n_bytes);

/*
 * 1 if no guard was touched and no operation failed; releases what on_card()
 * and hold() gave.
 */
int card_is_clean(void);

/* Memory of the host until card_is_clean() */
void *hold(size_t n_bytes);
float *random_floats(size_t n);

/* A matrix of random weights on both sides; gaps are no numbers */
struct both {
    struct weir_matrix card, host;
};

void random_matrix(struct both *w, enum weir_dtype dtype, uint32_t rows,
                   uint32_t cols, uint32_t row_parts, uint32_t col_blocks,
                   uint32_t tile_rows);

/* y [n_tok][ld_y] = W x with scale and tree, by the reference */
void ref_product(const struct weir_matrix *w, const float *x, size_t ld_x,
                 size_t n_tok, const float *bias, float *y, size_t ld_y);

/* Median time of a call in seconds, from a graph of several */
double card_time(void (*run)(void *ctx, unsigned i), void *ctx, unsigned n);

void check_products(void);
void check_many(void);
void check_experts(void);
void check_left(void);
void check_sequence(void);
void check_attention(void);
void check_rows(void);
void check_choose(void);
void bench(void);

#endif
