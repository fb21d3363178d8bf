/* SPDX-License-Identifier: Apache-2.0 */
#include "text/scores.h"

#include <math.h>
#include <string.h>

double weir_log_sum_exp(const float *logits, size_t n)
{
    double sum = 0;
    float best = logits[0];

    for (size_t i = 1; i < n; i++)
        best = logits[i] > best ? logits[i] : best;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - best);
    return log(sum) + best;
}

/* Puts it among the n best, of which the last one drops out. */
static void insert(struct weir_score *best, size_t n, struct weir_score score)
{
    size_t i = n - 1;

    while (i && (best[i - 1].id < 0 || score.logprob > best[i - 1].logprob))
        i--;
    memmove(best + i + 1, best + i, (n - 1 - i) * sizeof(*best));
    best[i] = score;
}

/* The n best logits */
static void find_best(const float *logits, size_t n_vocab,
                      struct weir_score *best, size_t n)
{
    const struct weir_score *last = &best[n - 1];

    for (size_t k = 0; k < n; k++)
        best[k] = (struct weir_score){-1, 0};
    for (size_t i = 0; i < n_vocab; i++)
        if (last->id < 0 || logits[i] > last->logprob)
            insert(best, n, (struct weir_score){(int32_t)i, logits[i]});
}

void weir_scores_take(const float *logits, size_t n_vocab, int32_t id,
                      struct weir_score *scores, size_t n_scores)
{
    double sum = weir_log_sum_exp(logits, n_vocab);

    scores[0] = (struct weir_score){id, logits[id]};
    if (n_scores > 1)
        find_best(logits, n_vocab, scores + 1, n_scores - 1);
    for (size_t i = 0; i < n_scores; i++)
        scores[i].logprob = (float)(scores[i].logprob - sum);
}
