/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries that this build has products of many tokens from. */
#ifndef WEIR_KERNELS_CPU_PROVIDERS_H
#define WEIR_KERNELS_CPU_PROVIDERS_H

#include "kernels/levels.h"

#if defined(WEIR_HAVE_OPENBLAS) && defined(WEIR_HAVE_AVX2)
extern const struct weir_provider weir_openblas;
#define WEIR_PROVIDERS_OPENBLAS &weir_openblas,
#else
#define WEIR_PROVIDERS_OPENBLAS
#endif

#if defined(WEIR_HAVE_ONEDNN) && defined(WEIR_HAVE_AVX2)
extern const struct weir_provider weir_onednn_f32;
#define WEIR_PROVIDERS_ONEDNN_F32 &weir_onednn_f32,
#else
#define WEIR_PROVIDERS_ONEDNN_F32
#endif

#if defined(WEIR_HAVE_ONEDNN) && defined(WEIR_HAVE_AVX512_BF16)
extern const struct weir_provider weir_onednn, weir_onednn_fine;
#define WEIR_PROVIDERS_ONEDNN &weir_onednn, &weir_onednn_fine,
#else
#define WEIR_PROVIDERS_ONEDNN
#endif

#endif
