/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of a span that wait between two layers, while others of it are in
 * memory: in a scratch file, if the user named a place for one.
 */
#ifndef WEIR_MODEL_WAIT_H
#define WEIR_MODEL_WAIT_H

#include "model/jamba.h"

/* What moves between memory and file, or'ed */
#define WEIR_WAIT_HIDDEN 1u /* the residual stream */
#define WEIR_WAIT_SUM    2u /* the sum of a layer's experts */

/*
 * Makes room for spans of n_tok tokens, all of them in memory if they are no
 * more than n_block, and else in a scratch file, which is opened.
 */
int weir_wait_take(struct weir_jamba *jamba, size_t n_tok, size_t n_block,
                   struct weir_err *err);

/* Moves what the span's tokens `row` to row + n_tok - 1 have in work. */
int weir_wait_load(struct weir_jamba *jamba, unsigned what, size_t row,
                   size_t n_tok, struct weir_err *err);
int weir_wait_store(struct weir_jamba *jamba, unsigned what, size_t row,
                    size_t n_tok, struct weir_err *err);

/* Experts that all blocks meet before the next ones; all in one block */
uint32_t weir_wait_experts(const struct weir_jamba *jamba, size_t n_tok);

/* What a pass of n_tok tokens will move; zeros when they fit in memory */
void weir_wait_count(const struct weir_jamba *jamba, size_t n_tok,
                     struct weir_scratch_stats *bytes);

/* How plan.h wants to know of it */
void weir_wait_describe(const struct weir_config *config,
                        struct weir_scratch_use *use);

#endif
