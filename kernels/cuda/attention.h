/* SPDX-License-Identifier: Apache-2.0 */
/* Where K and V lie, for the kernels of attention. */
#ifndef WEIR_KERNELS_CUDA_ATTENTION_H
#define WEIR_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/parts.h"

/* Element 0 of head `kv` at the first position of page `page` of a run */
DEVICE size_t page_at(const struct weir_device_attention *p,
                      const struct weir_device_run *run, uint32_t page,
                      uint32_t kv)
{
    size_t width = (size_t)p->n_kv * p->head_dim;
    uint32_t number = p->pages[run->slot * p->ld_pages + page];

    return (size_t)number * WEIR_DEVICE_PAGE * width + kv * p->head_dim;
}

DEVICE float widen_kv(uint32_t dtype, const void *pool, size_t at)
{
    return dtype == WEIR_BF16 ? bf16_bits(((const uint16_t *)pool)[at])
                              : ((const float *)pool)[at];
}

/* For prompts and heads of 64 or 128: attention_prompt.cu */
void weir_cuda_attend_prompt(struct weir_device *device,
                             const struct weir_device_attention *attention);

#endif
