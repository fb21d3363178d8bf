/* SPDX-License-Identifier: Apache-2.0 */
/*
 * y = W x for few tokens at a time, as avx512_matmul.c has it, in vectors of 8:
 * element c of a row goes to lane c mod 32, and up to two tokens share what was
 * widened of a row.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/tables.h"

#define AHEAD    4096
#define LANES    8
#define STEP     32
#define GROUP    2
#define INLINE   static inline __attribute__((always_inline))
#define N_VECTOR (STEP / LANES)

/* Weights c to c + 7 of a row */
INLINE __m256 widen(enum weir_dtype dtype, const uint8_t *row, size_t c)
{
    switch (dtype) {
    case WEIR_F32:
        return _mm256_loadu_ps((const float *)row + c);
    case WEIR_BF16:
        return _mm256_castsi256_ps(_mm256_slli_epi32(
            _mm256_cvtepu16_epi32(
                _mm_loadu_si128((const __m128i *)((const uint16_t *)row + c))),
            16));
    case WEIR_F16:
        return _mm256_cvtph_ps(
            _mm_loadu_si128((const __m128i *)((const uint16_t *)row + c)));
    default:
        return _mm256_cvtepi32_ps(
            _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(row + c))));
    }
}

INLINE float sum_lanes(__m256 v)
{
    __m128 half =
        _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* The last few weights and activations of a row, with zeros behind them */
INLINE void last_of(enum weir_dtype dtype, const uint8_t *row, const float *x,
                    size_t c, size_t n, __m256 *w, __m256 *values)
{
    const size_t bytes = dtype == WEIR_F32 ? 4 : dtype == WEIR_I8 ? 1 : 2;
    uint8_t weights[LANES * 4] = {0};
    float rest[LANES] = {0};

    memcpy(weights, row + c * bytes, n * bytes);
    memcpy(rest, x + c, n * sizeof(*x));
    *w = widen(dtype, weights, 0);
    *values = _mm256_loadu_ps(rest);
}

/* One row times `n` tokens, n a constant up to GROUP */
INLINE void dot(enum weir_dtype dtype, const uint8_t *row, size_t cols,
                const float *x, size_t ld_x, unsigned n, float *y, size_t ld_y)
{
    const size_t bytes = dtype == WEIR_F32 ? 4 : dtype == WEIR_I8 ? 1 : 2;
    __m256 sum[GROUP][N_VECTOR], w, values;
    size_t c = 0, from;

    for (unsigned t = 0; t < n; t++)
        for (unsigned v = 0; v < N_VECTOR; v++)
            sum[t][v] = _mm256_setzero_ps();
    for (; c + STEP <= cols; c += STEP) {
        for (unsigned at = 0; at < STEP * bytes; at += 64)
            _mm_prefetch((const char *)row + c * bytes + at + AHEAD,
                         _MM_HINT_T0);
        for (unsigned v = 0; v < N_VECTOR; v++) {
            size_t at = c + v * LANES;

            w = widen(dtype, row, at);
            for (unsigned t = 0; t < n; t++)
                sum[t][v] = _mm256_fmadd_ps(
                    w, _mm256_loadu_ps(x + t * ld_x + at), sum[t][v]);
        }
    }
    from = c;
    for (unsigned t = 0; t < n; t++) {
        c = from;
        for (unsigned v = 0; c < cols; v++, c += LANES) {
            if (cols - c < LANES) {
                last_of(dtype, row, x + t * ld_x, c, cols - c, &w, &values);
            } else {
                w = widen(dtype, row, c);
                values = _mm256_loadu_ps(x + t * ld_x + c);
            }
            sum[t][v] = _mm256_fmadd_ps(w, values, sum[t][v]);
        }
        y[t * ld_y] =
            sum_lanes(_mm256_add_ps(_mm256_add_ps(sum[t][0], sum[t][1]),
                                    _mm256_add_ps(sum[t][2], sum[t][3])));
    }
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

const struct weir_kernels weir_avx2_matmul = {.matmul = matmul};
