/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx2_exp.h"
#include "tests/kernels/exps.h"

#define OVER(name)                                                             \
    static void name##_over(const float *x, float *y, size_t n)                \
    {                                                                          \
        for (size_t i = 0; i < n; i += 8)                                      \
            _mm256_storeu_ps(y + i, avx2_##name(_mm256_loadu_ps(x + i)));      \
    }
OVER(exp2)
OVER(exp)
OVER(silu)
OVER(softplus)

static void bare(size_t n)
{
    __m256 x = _mm256_set1_ps(-0.3f);

    for (; n >= 8; n -= 8) {
        __m256 y = avx2_exp2(x);

        __asm__ volatile("" : "+x"(x) : "x"(y)); /* neither known nor unused */
    }
}

const struct exps exps_avx2 = {
    .exp2 = exp2_over,
    .exp = exp_over,
    .silu = silu_over,
    .softplus = softplus_over,
    .bare = bare,
};
