/* SPDX-License-Identifier: Apache-2.0 */
/* Which experts a token goes to; Lieber and others 2024 (Jamba), section 2. */
#include "kernels/cpu/ref.h"

#define MAX_EXPERTS 1024

static void softmax(const float *logits, size_t n, float *p)
{
    float largest = logits[weir_ref_argmax(logits, n)], sum = 0.0f;

    for (size_t e = 0; e < n; e++) {
        p[e] = expf(logits[e] - largest);
        sum += p[e];
    }
    for (size_t e = 0; e < n; e++)
        p[e] /= sum;
}

/* How many experts come before `e` when the most probable come first */
static size_t rank_of(const float *p, size_t n, size_t e)
{
    size_t rank = 0;

    for (size_t other = 0; other < n; other++)
        rank += p[other] > p[e] || (p[other] == p[e] && other < e);
    return rank;
}

/* Among NaN every expert ranks first: the bound on n keeps to k of them. */
void weir_ref_route(const float *logits, size_t ld_logits, size_t n_tok,
                    size_t n_experts, size_t k, uint32_t *expert, float *prob)
{
    float p[MAX_EXPERTS];

    for (size_t t = 0; t < n_tok; t++, logits += ld_logits) {
        softmax(logits, n_experts, p);
        for (size_t e = 0, n = 0; n < k && e < n_experts; e++) {
            if (rank_of(p, n_experts, e) >= k)
                continue;
            expert[t * k + n] = (uint32_t)e;
            prob[t * k + n] = p[e];
            n++;
        }
    }
}
