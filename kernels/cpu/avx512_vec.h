/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors of 16 floats, under the names that the bodies of kernels use which
 * are written once for several levels (attention.h, conv.h, rows.h, scan.h).
 * Arithmetic is written with operators.
 */
#ifndef WEIR_KERNELS_CPU_AVX512_VEC_H
#define WEIR_KERNELS_CPU_AVX512_VEC_H

#include <immintrin.h>

#include "base/dtype.h"
#include "kernels/cpu/avx512_exp.h"

#define LANES  16
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16") /* a loop over registers */

typedef __m512 vec;

/* How many of n elements the vector from element i on holds */
INLINE size_t lanes_of(size_t n, size_t i)
{
    return n - i < LANES ? n - i : LANES;
}

INLINE __mmask16 first_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

/* n <= LANES values, with zeros behind them; fastest for a constant LANES */
INLINE vec vec_load(const float *x, size_t n)
{
    return n == LANES ? _mm512_loadu_ps(x)
                      : _mm512_maskz_loadu_ps(first_lanes(n), x);
}

/* The same of values i to i + n - 1 of `dtype` */
INLINE vec vec_widen(enum weir_dtype dtype, const void *x, size_t i, size_t n)
{
    __mmask16 mask = n == LANES ? 0xffff : first_lanes(n);
    __m256i half;

    if (dtype == WEIR_F32)
        return vec_load((const float *)x + i, n);
    if (dtype == WEIR_I8)
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(
            _mm_maskz_loadu_epi8(mask, (const int8_t *)x + i)));
    half = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)x + i);
    if (dtype == WEIR_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* 2 LANES values of bf16: those at even places, and those at odd ones */
INLINE void vec_widen_two(const uint16_t *x, vec two[2])
{
    __m512i both = _mm512_loadu_si512(x);

    two[0] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    two[1] = _mm512_castsi512_ps(
        _mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000u)));
}

/* Two vectors in the order that vec_widen_two() has */
INLINE void vec_weave(const vec in[2], vec out[2])
{
    __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22,
                                     24, 26, 28, 30);

    out[0] = _mm512_permutex2var_ps(in[0], even, in[1]);
    out[1] = _mm512_permutex2var_ps(
        in[0], _mm512_add_epi32(even, _mm512_set1_epi32(1)), in[1]);
}

/* And back */
INLINE void vec_unweave(const vec in[2], vec out[2])
{
    __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                    22, 7, 23);

    out[0] = _mm512_permutex2var_ps(in[0], low, in[1]);
    out[1] = _mm512_permutex2var_ps(
        in[0], _mm512_add_epi32(low, _mm512_set1_epi32(8)), in[1]);
}

INLINE void vec_store(float *y, vec v, size_t n)
{
    if (n == LANES)
        _mm512_storeu_ps(y, v);
    else
        _mm512_mask_storeu_ps(y, first_lanes(n), v);
}

/* v, with zeros from lane n on */
INLINE vec vec_cut(vec v, size_t n)
{
    return n == LANES ? v : _mm512_maskz_mov_ps(first_lanes(n), v);
}

/* 0, ld, 2 ld and so on */
INLINE __m512i strides(size_t ld)
{
    return _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        _mm512_set1_epi32((int)ld));
}

/* Lane i < n: x[i * ld], zeros in the others; 16 ld in an int */
INLINE vec vec_gather(const float *x, size_t ld, size_t n)
{
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), first_lanes(n),
                                    strides(ld), x, 4);
}

/* y[i * ld] = lane i, for i < n */
INLINE void vec_scatter(float *y, size_t ld, vec v, size_t n)
{
    _mm512_mask_i32scatter_ps(y, first_lanes(n), strides(ld), v, 4);
}

INLINE vec vec_all(float x)
{
    return _mm512_set1_ps(x);
}

/* v, in a register: a compiler would load it again for every use */
INLINE vec vec_hold(vec v)
{
    __asm__("" : "+v"(v));
    return v;
}

INLINE float vec_first(vec v)
{
    return _mm512_cvtss_f32(v);
}

/* a * b + c, rounded once */
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* The larger of each lane; that of b where a is no number */
INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE vec vec_exp(vec v)
{
    return avx512_exp(v);
}

INLINE vec vec_exp2(vec v)
{
    return avx512_exp2(v);
}

INLINE vec vec_softplus(vec v)
{
    return avx512_softplus(v);
}

INLINE vec vec_silu(vec v)
{
    return avx512_silu(v);
}

/* Bit i: lane i of both is equal */
INLINE unsigned vec_equal(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/* Halves added: 8, 4, 2, 1 */
INLINE float vec_sum(vec v)
{
    __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half),
                                _mm256_extractf128_ps(half, 1));

    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

/* Lanes added 2, 1, 8, 4 apart */
INLINE float vec_sum_alone(vec v)
{
    v += _mm512_permute_ps(v, 0x4e);
    v += _mm512_permute_ps(v, 0xb1);
    v += _mm512_shuffle_f32x4(v, v, 0x4e);
    v += _mm512_shuffle_f32x4(v, v, 0xb1);
    return _mm512_cvtss_f32(v);
}

INLINE float vec_largest(vec v)
{
    return _mm512_reduce_max_ps(v);
}

/* In each quarter: a0 + a2, b0 + b2, a1 + a3, b1 + b3 */
INLINE vec add_twos(vec a, vec b)
{
    return _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
}

/* In each quarter: the sums of a's halves, then of b's */
INLINE vec add_halves(vec a, vec b)
{
    __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);

    return _mm512_castpd_ps(_mm512_unpacklo_pd(x, y)) +
           _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
}

/* Lane i: vec_sum_alone() of v[i] */
INLINE vec vec_sum_each(const vec v[LANES])
{
    vec four[4], low, high;

    UNROLL
    for (unsigned i = 0; i < 4; i++)
        four[i] = add_halves(add_twos(v[4 * i], v[4 * i + 1]),
                             add_twos(v[4 * i + 2], v[4 * i + 3]));
    low = _mm512_shuffle_f32x4(four[0], four[1], 0x44) +
          _mm512_shuffle_f32x4(four[0], four[1], 0xee);
    high = _mm512_shuffle_f32x4(four[2], four[3], 0x44) +
           _mm512_shuffle_f32x4(four[2], four[3], 0xee);
    return _mm512_shuffle_f32x4(low, high, 0x88) +
           _mm512_shuffle_f32x4(low, high, 0xdd);
}

#endif
