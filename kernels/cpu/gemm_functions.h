/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gemm.h and gemm_slices.h make of their packed_bytes_of(), pack_of() and
 * multiply_of().
 */
#ifndef WEIR_KERNELS_CPU_GEMM_FUNCTIONS_H
#define WEIR_KERNELS_CPU_GEMM_FUNCTIONS_H

/* The functions of a table, whose names begin with `name` */
#define GEMM_FUNCTIONS(name, terms)                                            \
    static size_t name##_packed_bytes(size_t n_tok, size_t cols)               \
    {                                                                          \
        return packed_bytes_of(terms, n_tok, cols);                            \
    }                                                                          \
    static void name##_pack(const float *x, size_t ld_x, size_t n_tok,         \
                            size_t cols, void *packed)                         \
    {                                                                          \
        pack_of(terms, x, ld_x, n_tok, cols, packed);                          \
    }                                                                          \
    static void name##_multiply(const struct weir_tile *w, const void *packed, \
                                size_t n_tok, float *c, size_t ld_c,           \
                                void *scratch)                                 \
    {                                                                          \
        multiply_of(terms, w, packed, n_tok, c, ld_c, scratch);                \
    }

#endif
