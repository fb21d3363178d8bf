/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session so small that its file can be damaged everywhere.  It holds what
 * was written into it, as its model has no weights and cannot evaluate.
 */
#ifndef WEIR_TESTS_FUZZ_TINY_SESSION_H
#define WEIR_TESTS_FUZZ_TINY_SESSION_H

#include "engine/session_parts.h"

#define TINY_CTX 24

/* Of the one model; NULL: no memory.  The session has room for 3 snapshots. */
weir_session *tiny_session_new(void);

/* Fills it with n_tok > 2 tokens and two places to go back to. */
void tiny_session_fill(weir_session *session, size_t n_tok);

/* Puts the checksums that `image`, a session's file, should have. */
void tiny_session_mend(uint8_t *image, size_t n_bytes);

#endif
