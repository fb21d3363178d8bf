/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tokens may come next in a text with a grammar.  The texts of all tokens
 * form a tree in which those that begin alike share their beginning; it and the
 * grammar are walked together, so that a byte that may not come rules out all
 * tokens below it at once.
 */
#ifndef WEIR_TEXT_GRAMMAR_MASK_H
#define WEIR_TEXT_GRAMMAR_MASK_H

#include "text/grammar_walk.h"
#include "text/sampler.h"
#include "text/tokenizer.h"

struct weir_token_tree;

/* Bytes of a tree and of a mask's own memory, at most; per token */
#define WEIR_TOKEN_TREE_BYTES 96
#define WEIR_MASK_EOS         16 /* ids that end a text, at most */
#define WEIR_MASKS            32 /* kept, of one bit for each token */

/*
 * The tree of a tokenizer, which must outlive it; constant, may be shared by
 * threads.  Special tokens, those without a text, and those of more than 255
 * bytes are not in it.  WEIR_ENOTSUP when texts of tokens are not simply put
 * together.
 */
int weir_token_tree_new(const struct weir_tokenizer *tokenizer,
                        struct weir_token_tree **tree, struct weir_err *err);
void weir_token_tree_free(struct weir_token_tree *tree);

struct weir_mask {
    const struct weir_token_tree *tree;
    struct weir_grammar *grammar; /* of which it is a user */
    struct weir_walk walk;
    size_t n_vocab, n_words, n_stride; /* words of a mask, and to the next */
    int32_t eos[WEIR_MASK_EOS]; /* they may come where the text may end */
    uint32_t n_eos;
    int32_t tags[2];   /* special tokens that are a text here, or -1 */
    uint64_t *bits;    /* [WEIR_MASKS][n_stride] */
    uint32_t *states;  /* [WEIR_MASKS] whose masks these are */
    uint64_t *n_asked; /* [WEIR_MASKS] when it was asked for last */
    uint64_t n_asks;
};

/*
 * For logits of n_vocab tokens.  Takes all memory that it needs.  The tree must
 * outlive it.
 */
int weir_mask_init(struct weir_mask *mask, const struct weir_token_tree *tree,
                   struct weir_grammar *grammar, const int32_t *eos,
                   uint32_t n_eos, size_t n_vocab, struct weir_err *err);
void weir_mask_fini(struct weir_mask *mask);

/*
 * Bit id % 64 of word id / 64 is set when the token may come; it stays so until
 * the next call.  Where there is none no token of the vocabulary goes on.
 */
const uint64_t *weir_mask_next(struct weir_mask *mask);

#define WEIR_MASK_NO_TOKEN (-2) /* none of the vocabulary goes on */

/*
 * weir_sampler_next() among the tokens that may come, or all where `mask` is
 * NULL.
 */
int32_t weir_mask_choose(struct weir_mask *mask, struct weir_sampler *sampler,
                         const float *logits);

/* The token came; 0, and nothing happened, when it may not. */
int weir_mask_take(struct weir_mask *mask, int32_t id);

/* Whether a token is a special one whose text is part of the answer */
int weir_mask_shows(const struct weir_mask *mask, int32_t id);

/* Whether the text may end; whether it is at its end */
int weir_mask_may_end(const struct weir_mask *mask);
int weir_mask_must_end(const struct weir_mask *mask);

#endif
