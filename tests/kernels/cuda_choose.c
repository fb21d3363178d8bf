/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/cuda.h"
#include "tests/kernels/draws.h"

#define TOGETHER 50

/* How many of N_DRAWS differ among n tokens each; more: not all were told */
static unsigned n_different(size_t n)
{
    float *x = hold(TOGETHER * n * sizeof(*x));
    struct weir_device_draw draws[TOGETHER];
    int32_t want[TOGETHER], *ids, *got;
    unsigned different = 0;

    for (unsigned from = 0; from < N_DRAWS; from += TOGETHER) {
        for (unsigned i = 0; i < TOGETHER; i++)
            if (!draws_make(x + i * n, n, from + i, &draws[i], &want[i]))
                return N_DRAWS + 1;
        ids = on_card(NULL, sizeof(want));
        gpu->choose(card, floats_on_card(x, TOGETHER * n), n, TOGETHER, n,
                    on_card(draws, sizeof(draws)), ids);
        got = from_card(ids, sizeof(want));
        for (unsigned i = 0; i < TOGETHER; i++)
            different += got[i] != want[i];
    }
    return different;
}

void check_choose(void)
{
    static const size_t sizes[] = {1, 2, 100, 1024, 5000};
    unsigned n;

    for (unsigned i = 0; i < 5; i++) {
        n = n_different(sizes[i]);
        tap_ok(n <= 2, "choosing among %zu: %u of %d are not the sampler's",
               sizes[i], n, N_DRAWS);
        tap_ok(card_is_clean(), "and nothing else is written");
    }
}
