/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx512_exp.h"
#include "tests/kernels/exps.h"

#define OVER(name)                                                             \
    static void name##_over(const float *x, float *y, size_t n)                \
    {                                                                          \
        for (size_t i = 0; i < n; i += 16)                                     \
            _mm512_storeu_ps(y + i, avx512_##name(_mm512_loadu_ps(x + i)));    \
    }
OVER(exp2)
OVER(exp)
OVER(silu)
OVER(softplus)

static void bare(size_t n)
{
    __m512 x = _mm512_set1_ps(-0.3f);

    for (; n >= 16; n -= 16) {
        __m512 y = avx512_exp2(x);

        __asm__ volatile("" : "+v"(x) : "v"(y)); /* neither known nor unused */
    }
}

const struct exps exps_avx512 = {
    .exp2 = exp2_over,
    .exp = exp_over,
    .silu = silu_over,
    .softplus = softplus_over,
    .bare = bare,
};
