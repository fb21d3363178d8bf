/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exponential and what is made of it, 16 at a time, over all of f32.
 * Every lane depends on its own operand only.  Largest errors in units in the
 * last place, subnormal results included:
 *
 *   avx512_exp2      2^x            1.1
 *   avx512_exp       e^x            1.1
 *   avx512_softplus  log(1 + e^x)   3    and x itself above 20
 *   avx512_silu      x / (1 + e^-x) 3    and zero where e^-x overflows
 *
 * Overflow gives infinity, underflow subnormals and then zero; a NaN stays one,
 * and the silu of minus infinity is one, as its quotient is.
 *
 * 2^x = 2^n * 2^f with n = x rounded and |f| <= 1/2; 2^f is a polynomial that
 * is 1 at 0 exactly, so that powers near 1, of which a scan multiplies
 * thousands, are not all off to one side.
 */
#ifndef WEIR_KERNELS_CPU_AVX512_EXP_H
#define WEIR_KERNELS_CPU_AVX512_EXP_H

#include <immintrin.h>

#define AVX512_INLINE static inline __attribute__((always_inline))
#define LOG2_E        0x1.715476p+0f
#define LOG2_E_REST   0x1.4ae0c0p-26f /* what LOG2_E leaves off */

/* 2^f * 2^n for |f| <= 1/2 (minimax, 2^-27.5) and any n, infinities too */
AVX512_INLINE __m512 avx512_exp2_of(__m512 f, __m512 n)
{
    __m512 p = _mm512_set1_ps(0x1.4bcda2p-13f);

    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.5fbfb0p-10f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.3b21c6p-7f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c6ada6p-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebfbe6p-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e432p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

AVX512_INLINE __m512 avx512_round(__m512 x)
{
    return _mm512_roundscale_ps(x,
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* An infinity less itself is no number, which scaling by it mends. */
AVX512_INLINE __m512 avx512_exp2(__m512 x)
{
    __m512 n = avx512_round(x);

    return avx512_exp2_of(_mm512_sub_ps(x, n), n);
}

AVX512_INLINE __m512 avx512_exp(__m512 x)
{
    const __m512 log2_e = _mm512_set1_ps(LOG2_E);
    __m512 n = avx512_round(_mm512_mul_ps(x, log2_e));
    __m512 f = _mm512_fmadd_ps(x, _mm512_set1_ps(LOG2_E_REST),
                               _mm512_fmsub_ps(x, log2_e, n));

    /* where n is huge or no number, any f of the first binade will do */
    return avx512_exp2_of(_mm512_range_ps(f, _mm512_set1_ps(1.0f), 2), n);
}

/* x / (1 + e^-x) */
AVX512_INLINE __m512 avx512_silu(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e = avx512_exp(_mm512_sub_ps(_mm512_setzero_ps(), x));

    return _mm512_div_ps(x, _mm512_add_ps(one, e));
}

/*
 * log(1 + e) of e in [0, e^20]: 1 + e = 2^k (1 + f) with f in [-1/4, 1/2),
 * where f is rounded once and is e itself when e is small; then
 * log(1 + f) = 2 artanh(q / 2) with q = f / (1 + f / 2), odd in q.
 */
AVX512_INLINE __m512 avx512_log1p(__m512 e)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512i bits = _mm512_castps_si512(_mm512_add_ps(one, e));
    __m512i k = _mm512_srai_epi32(
        _mm512_sub_epi32(bits, _mm512_castps_si512(_mm512_set1_ps(0.75f))), 23);
    __m512 scale = _mm512_castsi512_ps(
        _mm512_sub_epi32(_mm512_castps_si512(one), _mm512_slli_epi32(k, 23)));
    __m512 f = _mm512_fmadd_ps(e, scale, _mm512_sub_ps(scale, one));
    __m512 q = _mm512_div_ps(f, _mm512_fmadd_ps(f, _mm512_set1_ps(0.5f), one));
    __m512 z = _mm512_mul_ps(q, q), p = _mm512_set1_ps(0x1.36eeb6p-9f);

    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(0x1.992a9ap-7f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(0x1.5555b4p-4f));
    q = _mm512_fmadd_ps(_mm512_mul_ps(p, z), q, q);
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(k),
                           _mm512_set1_ps(0x1.62e430p-1f), q);
}

/* x above 20, else log(1 + e^x) */
AVX512_INLINE __m512 avx512_softplus(__m512 x)
{
    __mmask16 large = _mm512_cmp_ps_mask(x, _mm512_set1_ps(20.0f), _CMP_GT_OQ);

    return _mm512_mask_mov_ps(avx512_log1p(avx512_exp(x)), large, x);
}

#endif
