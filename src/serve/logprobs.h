/* SPDX-License-Identifier: Apache-2.0 */
/* The scores of an answer's tokens, as OpenAI's API writes log-probabilities */
#ifndef WEIR_SERVE_LOGPROBS_H
#define WEIR_SERVE_LOGPROBS_H

#include <jansson.h>

#include "engine/scored.h"

/* Memory for each score while it is JSON and text of that */
#define WEIR_LOGPROB_BYTES 1536

/*
 * Of a chat: {"content":[{"token","logprob","bytes","top_logprobs"}, ...],
 * "refusal":null}.  A token that is not whole characters, or has a NUL, is
 * written as \xf0 and so on; a special one that the text does not show has a
 * name, but no bytes. NULL: no memory.
 */
json_t *weir_logprobs_chat(const struct weir_tokenizer *tokenizer,
                           const struct weir_scored *tokens);

/*
 * Of a text: {"tokens","token_logprobs","top_logprobs","text_offset"}, where
 * such a token is bytes:\xf0 and so on.  An offset is
 * in characters of the answer's text.  NULL: no memory.
 */
json_t *weir_logprobs_text(const struct weir_tokenizer *tokenizer,
                           const struct weir_scored *tokens);

#endif
