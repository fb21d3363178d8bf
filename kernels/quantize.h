/* SPDX-License-Identifier: Apache-2.0 */
/* ExpertsInt8 of one weight row (Jamba-1.5, arXiv:2408.12570, section 3.1). */
#ifndef WEIR_KERNELS_QUANTIZE_H
#define WEIR_KERNELS_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

/*
 * q[i] = row[i] / scale rounded to nearest, ties to even, in [-127, 127], with
 * scale = (largest |row[i]|) / 127, all in f32.  Returns the scale: 1 for a row
 * of zeros, NaN (and q untouched) when the row holds a NaN or an infinity.
 */
float weir_quantize_row(const float *row, size_t n, int8_t *q);

#endif
