/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One token timeline on a model: what weir.h promises, and the views into a
 * forward pass that tools and tests need.
 */
#ifndef WEIR_ENGINE_SESSION_H
#define WEIR_ENGINE_SESSION_H

#include "model/jamba.h"
#include "text/sampling.h"
#include "text/tokenizer.h"

struct weir_model {
    struct weir_jamba *jamba;
    struct weir_tokenizer *tokenizer; /* NULL: packed without one */
    struct weir_sampling sampling;    /* as generation_config.json has it */
    int may_leave_device; /* the CPU will do where a device has no room */
};

/*
 * Errors of a device without which a CPU could do: what it cannot, or has no
 * memory for
 */
static inline int weir_is_of_device(int rc)
{
    return rc == WEIR_ENOTSUP || rc == WEIR_ELIMIT || rc == WEIR_ENOMEM;
}

/*
 * The table of the devices that are meant, NULL for the CPU.  WEIR_ENOTSUP when
 * there is no module for them.
 */
int weir_model_find_device(enum weir_device_choice choice,
                           const struct weir_device_table **table,
                           struct weir_err *err);

/* weir_model_open() with what its options do not say */
int weir_model_open_with(const char *path,
                         const struct weir_jamba_options *options,
                         weir_model **model, struct weir_err *err);

/*
 * A generation_config.json: how texts end and how tokens are chosen, beyond
 * what config.json says.  WEIR_EFORMAT, naming the key, for a bad value.
 */
int weir_generation_parse(const char *json, size_t n_bytes, const char *what,
                          struct weir_config *config,
                          struct weir_sampling *sampling, struct weir_err *err);

/*
 * The snapshot_bytes that serve a conversation of up to n_ctx tokens: a place
 * for each WEIR_SNAPSHOT_TOK, 16 for turns, and of a budget at most a 16th.
 */
uint64_t weir_session_usual_snapshots(const weir_model *model, size_t n_ctx);

/*
 * From behind how many tokens of the text `ids` the session can go on with it,
 * as weir_session_rewind() would; *n_common (may be NULL) of them are alike.
 */
size_t weir_session_held(const weir_session *session, const int32_t *ids,
                         size_t n_ids, size_t *n_common);

/*
 * The same in another session: `to` then holds that many tokens of the text,
 * with the bits that they have in `from`, in place of what it held, and places
 * to go back to as far as it has room for them; where it ends is one.  0: there
 * is nothing to copy, or no room for it.  Both are of one model and type of KV
 * cache, have room for places, and are not on a device.  `logits` as in
 * weir_session_rewind().
 */
size_t weir_session_copy(weir_session *to, const weir_session *from,
                         const int32_t *ids, size_t n_ids, float *logits);

/* What a session takes of the budget; UINT64_MAX: more than can be counted */
uint64_t weir_session_bytes(const weir_model *model,
                            const struct weir_session_options *options);

/*
 * How many tokens the session in a file has, which was saved with this model:
 * what its header says.  Errors as those of weir_session_load().
 */
int weir_session_file_tokens(const weir_model *model, const char *path,
                             size_t *n_tok, struct weir_err *err);

/*
 * Under a budget the first session says how much all of them get, and how many
 * decode in step.  So this takes as much as n > 0 of them want, and other_bytes
 * beside, and gives back what is for sessions.
 */
int weir_session_reserve(weir_model *model,
                         const struct weir_session_options *options, size_t n,
                         uint64_t other_bytes, struct weir_err *err);

/*
 * How the token is chosen that follows those of an evaluation, and where its id
 * goes, -1 if the scores are not finite; of sessions on a device
 */
struct weir_next {
    const struct weir_device_draw *draw; /* NULL: it is not */
    int32_t *id;
};

/*
 * weir_session_eval_many() with an observer (may be NULL) of the pass, and the
 * next tokens [n] (or NULL)
 */
int weir_session_observe_many(const struct weir_eval *evals,
                              const struct weir_next *next, size_t n,
                              const struct weir_observer *observer,
                              struct weir_err *err);

/*
 * weir_session_eval() with the scores of every token: `logits` is
 * [n_ids][n_vocab].  `observer` (may be NULL) sees the pass from inside.
 */
int weir_session_eval_all(weir_session *session, const int32_t *ids,
                          size_t n_ids, float *logits,
                          const struct weir_observer *observer,
                          struct weir_err *err);

#endif
