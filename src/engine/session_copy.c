/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/session_parts.h"

/* Whether it is from where the session is that the text can be gone on with */
static int goes_on_here(const weir_session *session, size_t n_common,
                        size_t n_ids)
{
    return !session->state.spoiled && n_common == session->state.n_tok &&
           (n_common < n_ids || session->scored);
}

size_t weir_session_held(const weir_session *session, const int32_t *ids,
                         size_t n_ids, size_t *n_common)
{
    size_t n = weir_common_ids(session->ids, session->state.n_tok, ids, n_ids);
    const struct weir_kept *kept;

    if (n_common)
        *n_common = n;
    if (goes_on_here(session, n, n_ids))
        return n;
    kept = weir_snapshots_find(&session->snapshots, n, n_ids);
    return kept ? kept->n_tok : 0;
}

static void copy_kv(weir_session *to, const weir_session *from, size_t n_tok)
{
    size_t each =
        weir_state_kv_bytes(&to->model->jamba->config, to->state.kv_dtype);

    for (uint32_t i = 0; i < to->state.n_layers; i++) {
        const struct weir_state_layer *source = &from->state.layers[i];

        if (!source->k)
            continue;
        memcpy(to->state.layers[i].k, source->k, n_tok * each);
        memcpy(to->state.layers[i].v, source->v, n_tok * each);
    }
}

/* Where the copy ends: the state, and the scores if there are any */
static void copy_end(weir_session *to, const weir_session *from, size_t n_tok)
{
    const struct weir_snapshots *snapshots = &from->snapshots;
    const struct weir_kept *kept = weir_snapshots_at(snapshots, n_tok);
    int is_here = !from->state.spoiled && n_tok == from->state.n_tok;
    const float *mamba =
        is_here ? from->state.mamba : weir_snapshots_get(snapshots, kept).mamba;

    memcpy(to->state.mamba, mamba, to->state.n_mamba * sizeof(float));
    to->state.n_tok = n_tok;
    to->scored = to->scores && (is_here ? from->scored : kept->scored);
    if (to->scored)
        memcpy(to->scores,
               is_here ? from->scores : weir_snapshots_scores(snapshots, kept),
               snapshots->n_vocab * sizeof(float));
}

static void copy_place(weir_session *to, const weir_session *from,
                       struct weir_kept *place)
{
    const struct weir_kept *source =
        weir_snapshots_at(&from->snapshots, place->n_tok);
    size_t n_vocab = to->snapshots.n_vocab;
    struct weir_snapshot snapshot = weir_snapshots_get(&to->snapshots, place);
    int is_end = place->n_tok == to->state.n_tok;

    memcpy(snapshot.mamba,
           is_end ? to->state.mamba
                  : weir_snapshots_get(&from->snapshots, source).mamba,
           to->state.n_mamba * sizeof(float));
    place->scored = is_end ? to->scored != 0 : source->scored;
    if (place->scored)
        memcpy(weir_snapshots_scores(&to->snapshots, place),
               is_end ? to->scores
                      : weir_snapshots_scores(&from->snapshots, source),
               n_vocab * sizeof(float));
}

/* Those for which there is room; the end is one too. */
static void copy_places(weir_session *to, const weir_session *from)
{
    const struct weir_snapshots *snapshots = &from->snapshots;
    size_t n_tok = to->state.n_tok;

    for (size_t i = 0; i < snapshots->n_kept; i++)
        if (snapshots->kept[i].n_tok < n_tok)
            weir_snapshots_add(&to->snapshots, snapshots->kept[i].n_tok,
                               snapshots->kept[i].turn);
    weir_snapshots_add(&to->snapshots, n_tok, 1);
    weir_snapshots_take(&to->snapshots);
    for (size_t i = 0; i < to->snapshots.n_kept; i++)
        copy_place(to, from, &to->snapshots.kept[i]);
}

size_t weir_session_copy(weir_session *to, const weir_session *from,
                         const int32_t *ids, size_t n_ids, float *logits)
{
    size_t n = weir_session_held(from, ids, n_ids, NULL);

    weir_session_rewind(to, NULL, 0, NULL);
    if (n == 0 || n > to->state.n_ctx)
        return 0;
    memcpy(to->ids, from->ids, n * sizeof(*to->ids));
    copy_kv(to, from, n);
    copy_end(to, from, n);
    copy_places(to, from);
    if (logits && n == n_ids)
        memcpy(logits, to->scores, to->snapshots.n_vocab * sizeof(*logits));
    return n;
}
