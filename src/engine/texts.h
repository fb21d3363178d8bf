/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prompts that were read, kept for those that begin alike: what a session holds
 * behind a prompt is copied, under a ceiling of bytes, and what was not asked
 * for longest goes first: to a folder, if there is one, else nowhere.
 *
 * A prompt is the same whether its beginning was kept or not: only what was
 * computed as a prompt is kept (not answers, whose tokens were computed one by
 * one), so that prompts of fewer than WEIR_PROMPT_TOK tokens are not.  One
 * thread at a time.
 */
#ifndef WEIR_ENGINE_TEXTS_H
#define WEIR_ENGINE_TEXTS_H

#include "engine/session.h"
#include "engine/text_files.h"

struct weir_texts;

struct weir_texts_stats {
    uint64_t most_bytes; /* 0: nothing is kept */
    uint64_t n_bytes;    /* of what is */
    size_t n_texts;
    uint64_t n_hits, n_misses; /* prompts of which a part was kept, or none */
    uint64_t n_tok;            /* that need not be computed, all in all */
    uint64_t n_evicted;        /* for want of room */
    struct weir_text_files_stats files;
};

struct weir_texts_options {
    enum weir_kv kv;
    uint64_t n_bytes;    /* most, > 0; of the model's budget, nobody's yet */
    const char *folder;  /* for those without room in memory, or NULL */
    uint64_t file_bytes; /* most there */
};

/*
 * Errors beside memory are those of the folder (text_files.h).  *texts is
 * allocated; release with weir_texts_free(), which saves what only memory has.
 */
int weir_texts_new(weir_model *model, const struct weir_texts_options *options,
                   struct weir_texts **texts, struct weir_err *err);
void weir_texts_free(struct weir_texts *texts);

/* The snapshot_bytes of a session of n_ctx tokens that is to be kept */
uint64_t weir_texts_snapshots(const weir_model *model, size_t n_ctx);

/*
 * What is kept of a prompt goes to a session without tokens.  Returns how many
 * tokens; all of them: `logits` has the scores.  *n_common of them also stand
 * in a prompt that is kept, but without a place to go on from.
 */
size_t weir_texts_take(struct weir_texts *texts, weir_session *session,
                       const int32_t *ids, size_t n_ids, float *logits,
                       size_t *n_common);

/* How many that would be */
size_t weir_texts_held(const struct weir_texts *texts, const int32_t *ids,
                       size_t n_ids);

/* Whether memory could keep a prompt of so many tokens, were there no other */
int weir_texts_could_keep(const struct weir_texts *texts, size_t n_tok);

/*
 * Keeps a prompt, which is all that the session holds, with its scores.  A
 * beginning of it that is kept goes, if the new one can stand for it.  Where
 * memory is short nothing happens.
 */
void weir_texts_keep(struct weir_texts *texts, const weir_session *session);

const struct weir_texts_stats *weir_texts_get_stats(struct weir_texts *texts);

#endif
