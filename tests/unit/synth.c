/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Synthesised weights behave as those of a trained model would in a benchmark:
 * tokens spread evenly over the experts, and activations keep their size.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "engine/session.h"
#include "model/synth.h"
#include "tests/tap.h"

#define N_TOK     8000
#define N_TEXT    200 /* tokens of one text */
#define N_LAYERS  4
#define N_EXPERTS 8
#define N_VOCAB   32768

static const char shape[] =
    "{\"model_type\": \"jamba\", \"hidden_size\": 256, \"vocab_size\": 32768,"
    " \"intermediate_size\": 64, \"num_hidden_layers\": 4,"
    " \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    " \"attn_layer_period\": 4, \"attn_layer_offset\": 2,"
    " \"num_experts\": 8, \"num_experts_per_tok\": 2}";

/* What the observer has seen. */
struct seen {
    unsigned chosen[N_LAYERS][N_EXPERTS];
    double squares[N_LAYERS + 1];
    double logit_squares;
    uint8_t is_best[N_VOCAB];
    size_t n_best; /* different tokens with the best score */
};

static double sum_squares(const float *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)values[i] * values[i];
    return sum;
}

static size_t find_largest(const float *values, size_t n, size_t except)
{
    size_t best = except == 0;

    for (size_t i = best; i < n; i++)
        if (i != except && values[i] > values[best])
            best = i;
    return best;
}

static void count_choices(unsigned chosen[N_EXPERTS], const float *scores)
{
    size_t first = find_largest(scores, N_EXPERTS, SIZE_MAX);

    chosen[first]++;
    chosen[find_largest(scores, N_EXPERTS, first)]++;
}

static void count_best(struct seen *seen, const float *logits)
{
    size_t best = find_largest(logits, N_VOCAB, SIZE_MAX);

    seen->n_best += !seen->is_best[best];
    seen->is_best[best] = 1;
}

static int see(void *ctx, enum weir_view view, uint32_t layer,
               const float *values, size_t n_tok, size_t width,
               struct weir_err *err)
{
    struct seen *seen = ctx;

    (void)err;
    if (view == WEIR_VIEW_HIDDEN)
        seen->squares[layer] += sum_squares(values, n_tok * width) / width;
    if (view == WEIR_VIEW_LOGITS)
        seen->logit_squares += sum_squares(values, n_tok * width) / width;
    for (size_t t = 0; t < n_tok; t++) {
        if (view == WEIR_VIEW_ROUTER)
            count_choices(seen->chosen[layer], values + t * width);
        if (view == WEIR_VIEW_LOGITS)
            count_best(seen, values + t * width);
    }
    return 0;
}

/* One text of ids that follow no pattern; all views of the first text. */
static int observe_text(weir_model *model, size_t text, struct seen *seen,
                        struct weir_err *err)
{
    struct weir_observer observer = {.see = see, .ctx = seen};
    struct weir_session_options options = {.n_ctx = N_TEXT, .kv = WEIR_KV_F32};
    weir_session *session;
    int32_t ids[N_TEXT];
    uint64_t x = text + 1;
    int rc = weir_session_new(model, &options, &session, err);

    for (size_t i = 0; i < N_TEXT; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)(x >> 49); /* below N_VOCAB */
    }
    observer.views = 1u << WEIR_VIEW_ROUTER | 1u << WEIR_VIEW_HIDDEN;
    if (text == 0)
        observer.views |= 1u << WEIR_VIEW_LOGITS;
    if (!rc)
        rc = weir_session_eval_all(session, ids, N_TEXT, NULL, &observer, err);
    weir_session_free(session);
    return rc;
}

static int observe(const char *path, struct seen *seen, struct weir_err *err)
{
    struct weir_model_options options = {0};
    weir_model *model;
    int rc = weir_model_open(path, &options, &model, err);

    for (size_t i = 0; i < N_TOK / N_TEXT && !rc; i++)
        rc = observe_text(model, i, seen, err);
    weir_model_close(model);
    return rc;
}

static void check_routing(const struct seen *seen)
{
    double even = 2.0 * N_TOK / N_EXPERTS, share, least, most;

    for (size_t l = 1; l < N_LAYERS; l += 2) {
        least = most = seen->chosen[l][0] / even;
        for (size_t e = 1; e < N_EXPERTS; e++) {
            share = seen->chosen[l][e] / even;
            least = fmin(least, share);
            most = fmax(most, share);
        }
        tap_ok(least > 0.9 && most < 1.1,
               "layer %zu: experts are chosen %.3f to %.3f times as often as "
               "evenly",
               l, least, most);
    }
}

static void check_activations(const struct seen *seen)
{
    double rms;

    for (size_t l = 0; l <= N_LAYERS; l++) {
        rms = sqrt(seen->squares[l] / N_TOK);
        tap_ok(rms > 0.5 && rms < 2, "before layer %zu: rms %.3f", l, rms);
    }
    rms = sqrt(seen->logit_squares / N_TEXT);
    tap_ok(rms > 0.5 && rms < 2, "logits: rms %.3f", rms);
    tap_ok(seen->n_best > N_TEXT * 9 / 10,
           "the best tokens after %d others are %zu different ones", N_TEXT,
           seen->n_best);
}

int main(void)
{
    struct weir_synth synth = {.quant = {1, 1},
                               .tile_ceiling = WEIR_TILE_BYTES};
    static struct seen seen;
    char folder[] = "synth.XXXXXX", config[64], model[64];
    struct weir_err err;
    FILE *out;
    int rc;

    if (!mkdtemp(folder))
        return 1;
    snprintf(config, sizeof(config), "%s/config.json", folder);
    snprintf(model, sizeof(model), "%s/model.weir", folder);
    out = fopen(config, "w");
    if (!out || fputs(shape, out) < 0 || fclose(out))
        return 1;
    rc = weir_synth_write(&synth, config, model, &err);
    tap_ok(!rc, "synth%s%s", rc ? ": " : "", rc ? err.message : "");
    if (!rc)
        rc = observe(model, &seen, &err);
    tap_ok(!rc, "the model runs%s%s", rc ? ": " : "", rc ? err.message : "");
    check_routing(&seen);
    check_activations(&seen);
    unlink(model);
    unlink(config);
    rmdir(folder);
    return tap_done();
}
