/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of an answer with their scores (text/scores.h) and where each stands
 * in the text (text/token_text.h).  A token belongs to a part of the text when
 * its own first byte is in it; one without text, when the part reaches it.
 */
#ifndef WEIR_ENGINE_SCORED_H
#define WEIR_ENGINE_SCORED_H

#include "base/buf.h"
#include "text/scores.h"
#include "text/token_text.h"

struct weir_scored {
    const struct weir_score *scores;       /* [n][n_scores] */
    const struct weir_token_place *places; /* [n] */
    size_t n, n_scores;
};

/* How many of the tokens belong to the first n_bytes of the text */
size_t weir_scored_within(const struct weir_scored *tokens, size_t n_bytes);

/* A list of them that grows; all zero: an empty one that has room for none */
struct weir_scored_list {
    size_t n_scores;
    struct weir_buf scores, places;
};

/* For at most `most` tokens with n_scores each */
void weir_scored_init(struct weir_scored_list *list, size_t n_scores,
                      size_t most);
void weir_scored_fini(struct weir_scored_list *list);

/* Appends those from number `from` on. */
int weir_scored_add(struct weir_scored_list *list,
                    const struct weir_scored *tokens, size_t from,
                    struct weir_err *err);
struct weir_scored weir_scored_view(const struct weir_scored_list *list);

/* Removes the first n. */
void weir_scored_drop(struct weir_scored_list *list, size_t n);

/* ---- while an answer is being written ---- */

struct weir_scoring {
    struct weir_score next[WEIR_MAX_SCORES]; /* of the token to come */
    struct weir_scored_list tokens; /* n_scores 0: nobody asked for them */
    size_t n_settled;               /* of them, whose text has come out */
    size_t n_out;                   /* bytes that have, all in all */
    size_t n_told; /* tokens of the text that is known to be the answer */
    size_t n_char_bytes, n_chars; /* bytes of it that were looked at */
};

/* The next token is `id`, by the logits [n_vocab].  Does not allocate. */
void weir_scoring_choose(struct weir_scoring *scoring, const float *logits,
                         size_t n_vocab, int32_t id);

/* The token that was chosen is the answer's; the detokenizer gets it next. */
int weir_scoring_add(struct weir_scoring *scoring,
                     const struct weir_detokenizer *detokenizer,
                     struct weir_err *err);

/* The detokenizer gave n_out bytes for it, or when it was finished. */
void weir_scoring_settle(struct weir_scoring *scoring,
                         const struct weir_detokenizer *detokenizer,
                         size_t n_out);

/* Those of the answer's text so far; it lasts until the next token. */
struct weir_scored weir_scoring_tell(struct weir_scoring *scoring,
                                     const char *text, size_t n_bytes);

#endif
