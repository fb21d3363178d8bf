/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/tiny_session.h"

#include <string.h>

#include "base/le.h"
#include "engine/session_file.h"
#include "offload/checksum.h"

static struct weir_file file = {.path = (char *)"tiny.weir",
                                .index_xxh3 = 0x0123456789abcdef};
static struct weir_jamba jamba = {
    .file = &file,
    .config = {.n_layers = 3,
               .n_hidden = 4,
               .n_heads = 2,
               .n_kv_heads = 1,
               .head_dim = 2,
               .n_inner = 3,
               .d_conv = 2,
               .n_state = 2,
               .n_vocab = 5,
               .attn_period = 3,
               .attn_offset = 1},
    .budget = {.mapped = 1},
};
static weir_model model = {.jamba = &jamba};

weir_session *tiny_session_new(void)
{
    size_t n_mamba = weir_state_mamba_floats(&jamba.config);
    struct weir_session_options options = {
        .n_ctx = TINY_CTX,
        .snapshot_bytes =
            3 * weir_snapshot_bytes(n_mamba, jamba.config.n_vocab)};
    weir_session *session;

    return weir_session_new(&model, &options, &session, NULL) ? NULL : session;
}

static void fill(float *values, size_t n, unsigned from)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(from + i) / 8;
}

void tiny_session_fill(weir_session *session, size_t n_tok)
{
    struct weir_snapshots *snapshots = &session->snapshots;
    struct weir_state *state = &session->state;
    size_t n_kv = n_tok * weir_state_kv_bytes(&jamba.config, state->kv_dtype);

    for (size_t i = 0; i < n_tok; i++)
        session->ids[i] = (int32_t)(i % jamba.config.n_vocab);
    memset(state->layers[1].k, 0x3a, n_kv);
    memset(state->layers[1].v, 0x3b, n_kv);
    fill(state->mamba, state->n_mamba, 100);
    fill(session->scores, snapshots->n_vocab, 200);
    weir_snapshots_add(snapshots, 2, 1);
    weir_snapshots_add(snapshots, n_tok, 1);
    weir_snapshots_take(snapshots);
    for (size_t i = 0; i < snapshots->n_kept; i++) {
        struct weir_kept *kept = &snapshots->kept[i];

        fill(weir_snapshots_get(snapshots, kept).mamba, state->n_mamba, 300);
        fill(weir_snapshots_scores(snapshots, kept), snapshots->n_vocab, 400);
        kept->scored = 1;
    }
    state->n_tok = n_tok;
    session->scored = 1;
}

void tiny_session_mend(uint8_t *image, size_t n_bytes)
{
    uint8_t *record = image + WEIR_SESSION_HEADER_BYTES;
    uint64_t n, at;

    if (n_bytes < WEIR_SESSION_HEADER_BYTES)
        return;
    n = weir_le32(image + 12);
    at = WEIR_SESSION_HEADER_BYTES + n * WEIR_SESSION_RECORD_BYTES;
    if (at > n_bytes)
        return;
    for (uint64_t i = 0; i < n; i++, record += WEIR_SESSION_RECORD_BYTES) {
        uint64_t size = weir_le64(record + 16);

        if (size > n_bytes - at)
            break;
        weir_le64_put(record + 24, weir_checksum(image + at, size));
        at += size;
    }
    weir_le64_put(image + 56, n_bytes);
    weir_le64_put(image + 72, 0);
    at = WEIR_SESSION_HEADER_BYTES + n * WEIR_SESSION_RECORD_BYTES;
    weir_le64_put(image + 72, weir_checksum(image, at));
}
