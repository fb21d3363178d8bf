/* SPDX-License-Identifier: Apache-2.0 */
/* The results of weir bench --kernels; weir-bench(1) has them. */
#ifndef WEIR_TOOLS_BENCH_KERNELS_PRINT_H
#define WEIR_TOOLS_BENCH_KERNELS_PRINT_H

#include "kernels/kernels.h"
#include "tools/bench_print.h"

#define MAX_CONTENDERS 12

/* What products need of activations, and what a kernel keeps of them */
enum precision {
    PRECISION_COARSE, /* bf16 */
    PRECISION_FINE,   /* 16 bits */
    PRECISION_F32,
};

/* A kernel that could do a product */
struct contender {
    const char *name;
    const struct weir_gemm *gemm; /* NULL: matmul */
    enum precision precision;
    const char *missing; /* why it cannot run here; NULL: it can */
    int steady; /* a row and a token have the same bits in all places */
};

/* Products of one kind by each of the contenders */
struct kernels_cell {
    const char *cpu_level;
    unsigned threads;
    enum weir_dtype dtype; /* of weights */
    const char *matrix;
    size_t tile_rows, tile_cols, tile_bytes, n_tok;
    int first;    /* of its table */
    int few;      /* tokens, as in decoding: memory bounds it, not arithmetic */
    double bound; /* bytes or operations in a second */
    const struct contender *contenders;
    unsigned n_contenders;
    double rate[MAX_CONTENDERS];     /* tiles in a second */
    unsigned serves[MAX_CONTENDERS]; /* bit p: products that need precision p */
};

/* Goes to standard output at once; the end closes what was begun. */
int kernels_print_cell(struct bench_print *print,
                       const struct kernels_cell *cell, struct weir_err *err);
void kernels_print_end(const struct bench_print *print);

#endif
