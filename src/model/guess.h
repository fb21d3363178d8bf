/* SPDX-License-Identifier: Apache-2.0 */
/* Which experts the next mixture of experts will probably want. */
#ifndef WEIR_MODEL_GUESS_H
#define WEIR_MODEL_GUESS_H

#include "model/jamba.h"

/* Most tokens for which guesses are made: many want most experts anyway. */
#define WEIR_GUESS_TOK 4

/*
 * Before layer `layer`, with n_tok tokens in work.hidden: starts to read
 * experts of the next layer that has some, this one included, if that pays.
 * Uses work.normed and what the router uses; nothing that is computed depends
 * on it.
 */
void weir_guess_experts(struct weir_jamba *jamba, uint32_t layer, size_t n_tok);

#endif
