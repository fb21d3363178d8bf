/* SPDX-License-Identifier: Apache-2.0 */
/*
 * y = W x for few tokens at a time, with f32 activations.
 *
 * For one token the limit is the memory that the weights come from, and a core
 * reaches it only when it walks a row of weights as one stream, with the lines
 * asked for a page ahead.  Up to four tokens share what was widened of a row;
 * for more the row is taken again, from the first cache.
 *
 * The sum of a row is kept in 64 lanes: element c goes to lane c mod 64, c
 * ascending, in one rounding each (FMA); the four vectors are added as
 * (0+1)+(2+3), then halves (8, 4, 2, 1).  It does not depend on the number of
 * tokens.
 */
#include <immintrin.h>

#include "kernels/cpu/tables.h"

#define AHEAD    4096 /* bytes that the prefetch runs ahead */
#define LANES    16
#define STEP     64 /* weights of one step */
#define GROUP    4  /* tokens that share a widened weight */
#define INLINE   static inline __attribute__((always_inline))
#define N_VECTOR (STEP / LANES)

/* Weights c to c + 15 of a row, those outside `mask` as zeros */
INLINE __m512 widen(enum weir_dtype dtype, const uint8_t *row, size_t c,
                    __mmask16 mask)
{
    switch (dtype) {
    case WEIR_F32:
        return _mm512_maskz_loadu_ps(mask, (const float *)row + c);
    case WEIR_BF16:
        return _mm512_castsi512_ps(
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(
                                  mask, (const uint16_t *)row + c)),
                              16));
    case WEIR_F16:
        return _mm512_cvtph_ps(
            _mm256_maskz_loadu_epi16(mask, (const uint16_t *)row + c));
    default:
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(
            _mm_maskz_loadu_epi8(mask, (const int8_t *)row + c)));
    }
}

INLINE float sum_lanes(__m512 v)
{
    __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half),
                                _mm256_extractf128_ps(half, 1));

    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

/* One row times `n` tokens, n a constant up to GROUP */
INLINE void dot(enum weir_dtype dtype, const uint8_t *row, size_t cols,
                const float *x, size_t ld_x, unsigned n, float *y, size_t ld_y)
{
    const size_t bytes = dtype == WEIR_F32 ? 4 : dtype == WEIR_I8 ? 1 : 2;
    __m512 sum[GROUP][N_VECTOR];
    size_t c = 0, left;

    for (unsigned t = 0; t < n; t++)
        for (unsigned v = 0; v < N_VECTOR; v++)
            sum[t][v] = _mm512_setzero_ps();
    for (; c + STEP <= cols; c += STEP) {
        for (unsigned line = 0; line < bytes; line++)
            _mm_prefetch((const char *)row + c * bytes + line * 64 + AHEAD,
                         _MM_HINT_T0);
        for (unsigned v = 0; v < N_VECTOR; v++) {
            size_t at = c + v * LANES;
            __m512 w = widen(dtype, row, at, 0xffff);

            for (unsigned t = 0; t < n; t++)
                sum[t][v] = _mm512_fmadd_ps(
                    w, _mm512_loadu_ps(x + t * ld_x + at), sum[t][v]);
        }
    }
    for (unsigned v = 0; c < cols; v++, c += LANES) {
        left = cols - c;
        __mmask16 mask = left < LANES ? (__mmask16)((1u << left) - 1) : 0xffff;
        __m512 w = widen(dtype, row, c, mask);

        for (unsigned t = 0; t < n; t++)
            sum[t][v] = _mm512_fmadd_ps(
                w, _mm512_maskz_loadu_ps(mask, x + t * ld_x + c), sum[t][v]);
    }
    for (unsigned t = 0; t < n; t++)
        y[t * ld_y] =
            sum_lanes(_mm512_add_ps(_mm512_add_ps(sum[t][0], sum[t][1]),
                                    _mm512_add_ps(sum[t][2], sum[t][3])));
}

INLINE void matmul_of(enum weir_dtype dtype, const struct weir_tile *w,
                      const float *x, size_t ld_x, size_t n_tok, float *y,
                      size_t ld_y)
{
    const uint8_t *row = w->data;
    size_t t;

    for (size_t r = 0; r < w->rows; r++, row += w->row_bytes, y++) {
        for (t = 0; t + GROUP <= n_tok; t += GROUP)
            dot(dtype, row, w->cols, x + t * ld_x, ld_x, GROUP, y + t * ld_y,
                ld_y);
        for (; t < n_tok; t++)
            dot(dtype, row, w->cols, x + t * ld_x, ld_x, 1, y + t * ld_y, ld_y);
    }
}

static void matmul(const struct weir_tile *w, const float *x, size_t ld_x,
                   size_t n_tok, float *y, size_t ld_y)
{
    switch (w->dtype) {
    case WEIR_F32:
        matmul_of(WEIR_F32, w, x, ld_x, n_tok, y, ld_y);
        break;
    case WEIR_BF16:
        matmul_of(WEIR_BF16, w, x, ld_x, n_tok, y, ld_y);
        break;
    case WEIR_F16:
        matmul_of(WEIR_F16, w, x, ld_x, n_tok, y, ld_y);
        break;
    default:
        matmul_of(WEIR_I8, w, x, ld_x, n_tok, y, ld_y);
        break;
    }
}

const struct weir_kernels weir_avx512_matmul = {.matmul = matmul};
