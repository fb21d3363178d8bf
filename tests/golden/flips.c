/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/golden/flips.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/golden/compare.h"

#define MAX_LAYERS 64

/* How many of n values are larger than x[i], or equal and before it */
static size_t rank_of(const float *x, size_t n, size_t i)
{
    size_t rank = 0;

    for (size_t j = 0; j < n; j++)
        rank += x[j] > x[i] || (x[j] == x[i] && j < i);
    return rank;
}

static int differ(const float *a, const float *b, size_t n, size_t k)
{
    for (size_t i = 0; i < n; i++)
        if ((rank_of(a, n, i) < k) != (rank_of(b, n, i) < k))
            return 1;
    return 0;
}

static double gap_of(const float *x, size_t n, size_t k)
{
    double last = 0, next = 0;

    for (size_t i = 0; i < n; i++) {
        if (rank_of(x, n, i) == k - 1)
            last = x[i];
        if (rank_of(x, n, i) == k)
            next = x[i];
    }
    return last - next;
}

/* Layers come in ascending order: of a token's flips the first one counts. */
static void compare_layer(const float *out, const float *golden, size_t n_tok,
                          size_t n, size_t k, struct flips *flips)
{
    for (size_t t = 0; t < n_tok; t++) {
        if (k >= n || !differ(out + t * n, golden + t * n, n, k))
            continue;
        flips->n++;
        if (t < flips->first) {
            flips->first = t;
            flips->gap = gap_of(golden + t * n, n, k);
        }
    }
}

int find_flips(const struct weir_checkpoint *out,
               const struct weir_checkpoint *golden, size_t n_tok, size_t k,
               struct flips *flips)
{
    int rc = 0;

    *flips = (struct flips){.first = n_tok};
    for (int i = 0; i < MAX_LAYERS && !rc; i++) {
        char name[32];
        size_t n_out, n_golden;
        float *a, *b;

        snprintf(name, sizeof(name), "router.%d", i);
        if (weir_checkpoint_find(golden, name) < 0)
            continue;
        a = values_of(out, name, &n_out);
        b = values_of(golden, name, &n_golden);
        if (!a || !b || n_out != n_golden || n_out % n_tok)
            rc = -1;
        else
            compare_layer(a, b, n_tok, n_out / n_tok, k, flips);
        free(a);
        free(b);
    }
    return rc;
}
