/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum of tiles: XXH3-64, unseeded. */
#ifndef WEIR_OFFLOAD_CHECKSUM_H
#define WEIR_OFFLOAD_CHECKSUM_H

#include <xxhash.h>

#ifdef HAVE_XXH_X86DISPATCH
/* Twice as fast from the second cache: it looks for AVX2 at run time, which
 * the function of the plain name does not. */
#include <xxh_x86dispatch.h>
#endif

static inline uint64_t weir_checksum(const void *data, size_t n_bytes)
{
    return XXH3_64bits(data, n_bytes);
}

#endif
