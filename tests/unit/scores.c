/* SPDX-License-Identifier: Apache-2.0 */
/* Log-probabilities: their values, which are the best, and how they are JSON.
 */
#include "text/scores.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "serve/logprobs.h"
#include "tests/tap.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define N_VOCAB       1000

static float logits[N_VOCAB];

static void draw_logits(unsigned seed, unsigned n_values)
{
    for (size_t i = 0; i < N_VOCAB; i++) {
        seed = seed * 1664525u + 1013904223u;
        logits[i] = (float)(seed % n_values) * 40 / (float)n_values - 20;
    }
}

/* log softmax, with a sum in long double */
static double logprob_of(size_t id)
{
    long double sum = 0;

    for (size_t i = 0; i < N_VOCAB; i++)
        sum += expl((long double)logits[i] - logits[id]);
    return -(double)logl(sum);
}

static int is_near(float got, double wanted)
{
    return fabs(got - wanted) <= 1e-6 * (1 + fabs(wanted));
}

/* The best by a whole sort: higher scores first, of equals lower ids */
static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    if (logits[x] != logits[y])
        return logits[x] > logits[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

static void check(unsigned seed, unsigned n_values, size_t n_scores)
{
    static int32_t order[N_VOCAB];
    struct weir_score scores[WEIR_MAX_SCORES];
    int32_t id = (int32_t)(seed * 37 % N_VOCAB);
    int good;

    draw_logits(seed, n_values);
    for (int32_t i = 0; i < N_VOCAB; i++)
        order[i] = i;
    qsort(order, N_VOCAB, sizeof(*order), compare);
    weir_scores_take(logits, N_VOCAB, id, scores, n_scores);
    good = scores[0].id == id &&
           is_near(scores[0].logprob, logprob_of((size_t)id));
    for (size_t i = 1; i < n_scores; i++)
        good &= scores[i].id == order[i - 1] &&
                is_near(scores[i].logprob, logprob_of((size_t)order[i - 1]));
    tap_ok(good, "%zu of a vocabulary with %u values, seed %u", n_scores,
           n_values, seed);
}

static void test_edges(void)
{
    static const float few[] = {1, -INFINITY, 3};
    static const float large[] = {80000, 80000};
    struct weir_score scores[6];

    weir_scores_take(few, 3, 1, scores, 6);
    tap_ok(scores[0].logprob == -INFINITY && scores[1].id == 2 &&
               scores[2].id == 0 && scores[3].id == 1 &&
               scores[3].logprob == -INFINITY && scores[4].id == -1 &&
               scores[5].id == -1,
           "minus infinity, and fewer tokens than were asked for");
    weir_scores_take(large, 2, 1, scores, 2);
    tap_ok(is_near(scores[0].logprob, -log(2)) && scores[1].id == 0,
           "nothing overflows");
}

/* ---- JSON ---- */

/* Byte tokens 4 to 259, and words; 1 is special. */
static struct weir_tokenizer *make_tokenizer(void)
{
    static char json[32768];
    struct weir_tokenizer *tokenizer = NULL;
    struct weir_err err = {0};
    int n = snprintf(json, sizeof(json),
                     "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\","
                     "\"special\":true}],\"decoder\":{\"type\":\"Sequence\","
                     "\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":"
                     "\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \","
                     "\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\","
                     "\"byte_fallback\":true,\"merges\":[],\"vocab\":{"
                     "\"<unk>\":0,\"<s>\":1,\" x\":3,");

    for (int i = 0; i < 256; i++)
        n += snprintf(json + n, sizeof(json) - (size_t)n, "\"<0x%02X>\":%d,", i,
                      4 + i);
    n += snprintf(json + n, sizeof(json) - (size_t)n, "\"x\":260}}}");
    if (weir_tokenizer_parse(json, (size_t)n, "test", &tokenizer, &err))
        tap_diag("%s", err.message);
    return tokenizer;
}

static void is_json(json_t *json, const char *wanted, const char *what)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(5));

    tap_ok(text && !strcmp(text, wanted), "%s", what);
    if (text && strcmp(text, wanted))
        tap_diag("%s", text);
    free(text);
    json_decref(json);
}

static void test_json(void)
{
    static const struct weir_score scores[] = {
        {3, -0.5f}, {3, -0.5f}, {260, -1}, {4 + 0xc3, -INFINITY},
        {1, -2},    {-1, 0},    {4, -3},   {4, -3},
        {5, -4},
    };
    static const struct weir_token_place places[] = {
        {.id = 3, .to = 1, .front = {1, 1, 0}},
        {.id = 4 + 0xc3, .from = 1, .to = 4, .n_before = 1},
        {.id = 4, .from = 4, .to = 5, .n_before = 2},
    };
    const struct weir_scored scored = {scores, places, 3, 3};
    struct weir_tokenizer *tokenizer = make_tokenizer();

    if (!tokenizer) {
        tap_ok(0, "a tokenizer");
        return;
    }
    is_json(weir_logprobs_chat(tokenizer, &scored),
            "{\"content\":["
            "{\"token\":\"x\",\"logprob\":-0.5,\"bytes\":[120],"
            "\"top_logprobs\":["
            "{\"token\":\"x\",\"logprob\":-0.5,\"bytes\":[120]},"
            "{\"token\":\"x\",\"logprob\":-1.0,\"bytes\":[120]}]},"
            "{\"token\":\"\\\\xc3\",\"logprob\":-9999.0,\"bytes\":[195],"
            "\"top_logprobs\":["
            "{\"token\":\"<s>\",\"logprob\":-2.0,\"bytes\":null}]},"
            "{\"token\":\"\\\\x00\",\"logprob\":-3.0,\"bytes\":[0],"
            "\"top_logprobs\":["
            "{\"token\":\"\\\\x00\",\"logprob\":-3.0,\"bytes\":[0]},"
            "{\"token\":\"\\u0001\",\"logprob\":-4.0,\"bytes\":[1]}]}],"
            "\"refusal\":null}",
            "a chat: the front is stripped, bytes, a special token, a NUL");
    is_json(weir_logprobs_text(tokenizer, &scored),
            "{\"tokens\":[\"x\",\"bytes:\\\\xc3\",\"bytes:\\\\x00\"],"
            "\"token_logprobs\":[-0.5,-9999.0,-3.0],\"top_logprobs\":["
            "{\"x\":-0.5},{\"<s>\":-2.0,\"bytes:\\\\xc3\":-9999.0},"
            "{\"bytes:\\\\x00\":-3.0,\"\\u0001\":-4.0}],"
            "\"text_offset\":[0,1,2]}",
            "a text: of two with a name the first one stays");
    weir_tokenizer_free(tokenizer);
}

/* ---- what belongs to a part of a text ---- */

static void test_within(void)
{
    static const struct weir_token_place places[] = {
        {.from = 0, .to = 0}, {.from = 0, .to = 2}, {.from = 2, .to = 2},
        {.from = 2, .to = 5}, {.from = 5, .to = 5}, {.from = 5, .to = 6}};
    static const size_t wanted[] = {1, 2, 3, 4, 4, 5, 6, 6};
    const struct weir_scored scored = {NULL, places, LENGTH(places), 1};
    int good = 1;

    for (size_t n = 0; n < LENGTH(wanted); n++)
        good &= weir_scored_within(&scored, n) == wanted[n];
    tap_ok(good, "a token belongs to the part that its first byte is in");
}

int main(void)
{
    for (unsigned seed = 1; seed < 5; seed++) {
        check(seed, 1u << 20, WEIR_MAX_SCORES);
        check(seed, 7, WEIR_MAX_SCORES);
        check(seed, 1u << 20, 2);
        check(seed, 1u << 20, 1);
    }
    test_edges();
    test_json();
    test_within();
    return tap_done();
}
