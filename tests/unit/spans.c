/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over a text of several spans of positions: neither threads nor the
 * cut into calls shows in a bit, as long as all calls are prompts; at the
 * reference's level, where prompts are nothing special, no cut does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/session.h"
#include "tests/golden_model.h"
#include "tests/tap.h"

#define N_VOCAB 512
#define N_TOK   1100 /* four spans and a bit, more than wait at once */

static char path[] = "spans.XXXXXX";
static int32_t ids[N_TOK];

/* Scores after all ids, `by` at a time; nothing if there are none */
static void run(unsigned n_threads, size_t by, float *logits)
{
    struct weir_model_options threads = {.n_threads = n_threads};
    struct weir_session_options options = {.n_ctx = N_TOK, .kv = WEIR_KV_BF16};
    weir_model *model = NULL;
    weir_session *session = NULL;
    struct weir_err err;
    int rc = weir_model_open(path, &threads, &model, &err);

    memset(logits, 0, N_VOCAB * sizeof(*logits));
    if (!rc)
        rc = weir_session_new(model, &options, &session, &err);
    for (size_t i = 0; i < N_TOK && !rc; i += by)
        rc = weir_session_eval(session, ids + i,
                               N_TOK - i < by ? N_TOK - i : by, logits, &err);
    if (rc)
        tap_diag("%s", err.message);
    weir_session_free(session);
    weir_model_close(model);
}

int main(void)
{
    static const size_t calls[] = {N_TOK, 100, 61, 1};
    static float logits[N_VOCAB], other[N_VOCAB], zeros[N_VOCAB];
    struct weir_import import = {.tile_ceiling = 65536};

    for (size_t i = 0; i < N_TOK; i++)
        ids[i] = (int32_t)(i * 149 % N_VOCAB);
    if (!golden_model(&import, path))
        return tap_done();
    for (const char *level = ""; level; level = *level ? NULL : "ref") {
        size_t n_calls = *level ? 4 : 2;

        setenv("WEIR_CPU", level, 1);
        run(1, N_TOK, logits);
        tap_ok(memcmp(logits, zeros, sizeof(logits)), "scores of %d tokens",
               N_TOK);
        for (unsigned i = 0; i < 2 * n_calls; i++) {
            run(1 + i % 2 * 2, calls[i / 2], other);
            tap_ok(!memcmp(logits, other, sizeof(logits)),
                   "%s%u threads, %zu tokens a call: the same bits", level,
                   1 + i % 2 * 2, calls[i / 2]);
        }
    }
    unlink(path);
    return tap_done();
}
