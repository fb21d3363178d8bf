/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of 8 floats, as avx512_vec.h has those of 16. */
#ifndef WEIR_KERNELS_CPU_AVX2_VEC_H
#define WEIR_KERNELS_CPU_AVX2_VEC_H

#include <immintrin.h>
#include <string.h>

#include "base/dtype.h"
#include "kernels/cpu/avx2_exp.h"

#define LANES  8
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16") /* a loop over registers */

typedef __m256 vec;

/* How many of n elements the vector from element i on holds */
INLINE size_t lanes_of(size_t n, size_t i)
{
    return n - i < LANES ? n - i : LANES;
}

INLINE __m256i first_lanes(size_t n)
{
    static const int32_t ones[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_loadu_si256((const __m256i *)(ones + LANES - n));
}

/* n <= LANES values, with zeros behind them; fastest for a constant LANES */
INLINE vec vec_load(const float *x, size_t n)
{
    return n == LANES ? _mm256_loadu_ps(x)
                      : _mm256_maskload_ps(x, first_lanes(n));
}

/* The same of values i to i + n - 1 of `dtype` */
INLINE vec vec_widen(enum weir_dtype dtype, const void *x, size_t i, size_t n)
{
    const size_t bytes = dtype == WEIR_I8 ? 1 : dtype == WEIR_F32 ? 4 : 2;
    const void *at = (const uint8_t *)x + i * bytes;
    uint16_t some[LANES] = {0};
    __m128i narrow;

    if (dtype == WEIR_F32)
        return vec_load((const float *)x + i, n);
    if (n != LANES) {
        memcpy(some, at, n * bytes);
        at = some;
    }
    if (dtype == WEIR_I8)
        return _mm256_cvtepi32_ps(
            _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at)));
    narrow = _mm_loadu_si128((const __m128i *)at);
    if (dtype == WEIR_F16)
        return _mm256_cvtph_ps(narrow);
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16));
}

/* 2 LANES values of bf16: those at even places, and those at odd ones */
INLINE void vec_widen_two(const uint16_t *x, vec two[2])
{
    __m256i both = _mm256_loadu_si256((const __m256i *)x);

    two[0] = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
    two[1] = _mm256_castsi256_ps(
        _mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000u)));
}

/* Two vectors in the order that vec_widen_two() has */
INLINE void vec_weave(const vec in[2], vec out[2])
{
    __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(in[0], in[1], 0x88));
    __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(in[0], in[1], 0xdd));

    out[0] = _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8));
    out[1] = _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8));
}

/* And back */
INLINE void vec_unweave(const vec in[2], vec out[2])
{
    vec low = _mm256_unpacklo_ps(in[0], in[1]);
    vec high = _mm256_unpackhi_ps(in[0], in[1]);

    out[0] = _mm256_permute2f128_ps(low, high, 0x20);
    out[1] = _mm256_permute2f128_ps(low, high, 0x31);
}

INLINE void vec_store(float *y, vec v, size_t n)
{
    if (n == LANES)
        _mm256_storeu_ps(y, v);
    else
        _mm256_maskstore_ps(y, first_lanes(n), v);
}

/* v, with zeros from lane n on */
INLINE vec vec_cut(vec v, size_t n)
{
    return n == LANES ? v
                      : _mm256_and_ps(v, _mm256_castsi256_ps(first_lanes(n)));
}

/* Lane i < n: x[i * ld], zeros in the others; 8 ld in an int */
INLINE vec vec_gather(const float *x, size_t ld, size_t n)
{
    __m256i i = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                                   _mm256_set1_epi32((int)ld));

    return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x, i,
                                    _mm256_castsi256_ps(first_lanes(n)), 4);
}

/* y[i * ld] = lane i, for i < n */
INLINE void vec_scatter(float *y, size_t ld, vec v, size_t n)
{
    float lane[LANES];

    _mm256_storeu_ps(lane, v);
    for (size_t i = 0; i < n; i++)
        y[i * ld] = lane[i];
}

INLINE vec vec_all(float x)
{
    return _mm256_set1_ps(x);
}

/* v, in a register: a compiler would load it again for every use */
INLINE vec vec_hold(vec v)
{
    __asm__("" : "+x"(v));
    return v;
}

INLINE float vec_first(vec v)
{
    return _mm256_cvtss_f32(v);
}

/* a * b + c, rounded once */
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* The larger of each lane; that of b where a is no number */
INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE vec vec_exp(vec v)
{
    return avx2_exp(v);
}

INLINE vec vec_exp2(vec v)
{
    return avx2_exp2(v);
}

INLINE vec vec_softplus(vec v)
{
    return avx2_softplus(v);
}

INLINE vec vec_silu(vec v)
{
    return avx2_silu(v);
}

/* Bit i: lane i of both is equal */
INLINE unsigned vec_equal(vec a, vec b)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

/* Halves added: 4, 2, 1 */
INLINE float vec_sum(vec v)
{
    __m128 half =
        _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* Lanes added 1, 2, 4 apart */
INLINE float vec_sum_alone(vec v)
{
    __m128 half;

    v += _mm256_movehdup_ps(v);
    v += _mm256_permute_ps(v, 0x4e);
    half = _mm_add_ss(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    return _mm_cvtss_f32(half);
}

INLINE float vec_largest(vec v)
{
    __m128 half =
        _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

/* Lane i: vec_sum_alone() of v[i] */
INLINE vec vec_sum_each(const vec v[LANES])
{
    vec low =
        _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    vec high =
        _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));

    return _mm256_permute2f128_ps(low, high, 0x20) +
           _mm256_permute2f128_ps(low, high, 0x31);
}

#endif
