/* SPDX-License-Identifier: Apache-2.0 */
/* Where another rounding made a router choose other experts. */
#ifndef WEIR_TESTS_GOLDEN_FLIPS_H
#define WEIR_TESTS_GOLDEN_FLIPS_H

#include "offload/safetensors.h"

struct flips {
    size_t n;     /* tokens and layers with other experts */
    size_t first; /* token of the first, or their number if there is none */
    double gap;   /* of the golden logits between the last expert chosen and the
                     first that was not, at the first; 0 if there is none */
};

/*
 * Compares the k experts with the largest logits in router.N of both, [n_tok]
 * [experts], for all N that `golden` has.  -1 when they do not match.
 */
int find_flips(const struct weir_checkpoint *out,
               const struct weir_checkpoint *golden, size_t n_tok, size_t k,
               struct flips *flips);

#endif
