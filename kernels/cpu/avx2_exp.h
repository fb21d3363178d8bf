/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exponential and what is made of it, 8 at a time: avx512_exp.h in the
 * instructions of this level, with the same method, bounds and ends.
 */
#ifndef WEIR_KERNELS_CPU_AVX2_EXP_H
#define WEIR_KERNELS_CPU_AVX2_EXP_H

#include <immintrin.h>

#define AVX2_INLINE static inline __attribute__((always_inline))
#define LOG2_E      0x1.715476p+0f
#define LOG2_E_REST 0x1.4ae0c0p-26f /* what LOG2_E leaves off */

/*
 * 2^f * 2^n for |f| <= 1/2 and n in [-152, 130].  2^n has no exponent of its
 * own at either end, so half of it goes into the exponent of 2^f and the
 * product with the other half rounds, once.
 */
AVX2_INLINE __m256 avx2_exp2_of(__m256 f, __m256 n)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i other = _mm256_sub_epi32(whole, half);
    __m256 p = _mm256_set1_ps(0x1.4bcda2p-13f);

    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.5fbfb0p-10f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.3b21c6p-7f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.c6ada6p-5f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.ebfbe6p-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.62e432p-1f));
    p = _mm256_fmadd_ps(p, f, one);
    p = _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(half, 23)));
    return _mm256_mul_ps(
        p, _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(one),
                                                _mm256_slli_epi32(other, 23))));
}

AVX2_INLINE __m256 avx2_round(__m256 x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x in [low, high]; a NaN, as the second operand of both, stays one. */
AVX2_INLINE __m256 avx2_clamp(__m256 x, float low, float high)
{
    return _mm256_min_ps(_mm256_set1_ps(high),
                         _mm256_max_ps(_mm256_set1_ps(low), x));
}

AVX2_INLINE __m256 avx2_exp2(__m256 x)
{
    __m256 n;

    x = avx2_clamp(x, -151.0f, 129.0f);
    n = avx2_round(x);
    return avx2_exp2_of(_mm256_sub_ps(x, n), n);
}

AVX2_INLINE __m256 avx2_exp(__m256 x)
{
    const __m256 log2_e = _mm256_set1_ps(LOG2_E);
    __m256 n;

    x = avx2_clamp(x, -104.5f, 89.5f);
    n = avx2_round(_mm256_mul_ps(x, log2_e));
    return avx2_exp2_of(_mm256_fmadd_ps(x, _mm256_set1_ps(LOG2_E_REST),
                                        _mm256_fmsub_ps(x, log2_e, n)),
                        n);
}

/* x / (1 + e^-x) */
AVX2_INLINE __m256 avx2_silu(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e = avx2_exp(_mm256_sub_ps(_mm256_setzero_ps(), x));

    return _mm256_div_ps(x, _mm256_add_ps(one, e));
}

/* log(1 + e) of e in [0, e^20], as avx512_log1p has it */
AVX2_INLINE __m256 avx2_log1p(__m256 e)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256i bits = _mm256_castps_si256(_mm256_add_ps(one, e));
    __m256i k = _mm256_srai_epi32(
        _mm256_sub_epi32(bits, _mm256_castps_si256(_mm256_set1_ps(0.75f))), 23);
    __m256 scale = _mm256_castsi256_ps(
        _mm256_sub_epi32(_mm256_castps_si256(one), _mm256_slli_epi32(k, 23)));
    __m256 f = _mm256_fmadd_ps(e, scale, _mm256_sub_ps(scale, one));
    __m256 q = _mm256_div_ps(f, _mm256_fmadd_ps(f, _mm256_set1_ps(0.5f), one));
    __m256 z = _mm256_mul_ps(q, q), p = _mm256_set1_ps(0x1.36eeb6p-9f);

    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.992a9ap-7f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.5555b4p-4f));
    q = _mm256_fmadd_ps(_mm256_mul_ps(p, z), q, q);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(k),
                           _mm256_set1_ps(0x1.62e430p-1f), q);
}

/* x above 20, else log(1 + e^x) */
AVX2_INLINE __m256 avx2_softplus(__m256 x)
{
    __m256 large = _mm256_cmp_ps(x, _mm256_set1_ps(20.0f), _CMP_GT_OQ);

    return _mm256_blendv_ps(avx2_log1p(avx2_exp(x)), x, large);
}

#endif
