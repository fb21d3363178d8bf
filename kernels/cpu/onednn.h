/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oneDNN's products as BLAS has them, which need no objects that would have to
 * be kept.  That of bf16 is exported and in no header.  Both take as many
 * threads as OpenMP gives the calling one, which is a setting of that thread
 * alone; it is put back, for it may be the caller's own.
 */
#ifndef WEIR_KERNELS_CPU_ONEDNN_H
#define WEIR_KERNELS_CPU_ONEDNN_H

#include <oneapi/dnnl/dnnl.h>

/* As the OpenMP specification has them; omp.h comes with the compiler. */
int omp_get_max_threads(void);
void omp_set_num_threads(int n);

dnnl_status_t dnnl_gemm_bf16bf16f32(char transa, char transb, dnnl_dim_t m,
                                    dnnl_dim_t n, dnnl_dim_t k, float alpha,
                                    const uint16_t *a, dnnl_dim_t lda,
                                    const uint16_t *b, dnnl_dim_t ldb,
                                    float beta, float *c, dnnl_dim_t ldc);

#endif
