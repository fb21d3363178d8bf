/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON of OpenAI's completions and chats: a request that strangers wrote
 * becomes values within their ranges, an answer becomes an object.
 *
 * Of a request's keys each is either understood, or allowed only with the value
 * that changes nothing (best_of, echo, suffix, and in a batch n and stream), or
 * known to change nothing (user, and in a batch model and stream_options);
 * another is refused by its name.  null is the same as leaving the key away.
 * Beyond OpenAI's keys there are those that other servers add: top_k, min_p,
 * repetition_penalty, ignore_eos and return_token_ids.
 */
#ifndef WEIR_SERVE_OPENAI_H
#define WEIR_SERVE_OPENAI_H

#include "base/json.h"
#include "engine/scored.h"
#include "text/grammar.h"
#include "text/sampling.h"
#include "text/stop.h"

/* What is wrong with a request, as OpenAI's error objects say it */
struct weir_fault {
    struct weir_err err;
    char param[64];   /* the key at fault; "": none */
    const char *code; /* "unknown_parameter" and so on; NULL: none */
};

/* Fills `fault` and returns `rc`.  `param` and `code` may be NULL. */
int weir_fault_set(struct weir_fault *fault, int rc, const char *param,
                   const char *code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* "invalid_request_error", or "server_error" when nobody asked wrongly */
const char *weir_fault_type(const struct weir_fault *fault);

/* {"error":{"message","type","param","code"}}; NULL: no memory. */
json_t *weir_openai_error(const struct weir_fault *fault);

#define WEIR_MAX_CHOICES 16

enum weir_tool_choice {
    WEIR_TOOLS_AUTO,
    WEIR_TOOLS_NONE,
    WEIR_TOOLS_REQUIRED,
};

struct weir_completion {
    int is_chat;      /* messages are wanted, not a prompt */
    json_t *messages; /* of a chat, whose contents are strings; a reference */
    const json_t *documents; /* of a chat, in the body; NULL: none */
    const json_t *tools;     /* the same */
    enum weir_tool_choice tool_choice;
    const char *tool_name; /* of the one that is required; NULL: any */
    int one_call;
    const json_t *schema; /* of the answer to a chat, in the body, or NULL */
    int wants_object;     /* it is any object of JSON */
    /* Once it is settled, or NULL; one user */
    struct weir_grammar *grammar;
    const struct weir_tool_style *style; /* of calls; NULL: none come */
    const char *text; /* the prompt, in the body; NULL: it is ids */
    size_t n_text;
    int32_t *ids; /* [n_ids], >= 0, allocated; NULL: it is text */
    size_t n_ids;
    size_t max_tokens; /* > 0; 0: not said */
    size_t n;          /* choices, 1 to WEIR_MAX_CHOICES */
    int is_served;     /* not of a batch: n and streams are understood */
    const char *model; /* whom it is for, in the body; NULL: whoever is here */
    int stream, include_usage;
    struct weir_sampling sampling;
    struct weir_stop stop;
    int ignore_eos;
    int return_token_ids;
    int logprobs;  /* wanted of each token of the answer, */
    size_t n_best; /* and of the most probable ones in its place */
};

/*
 * Reads the body of a request over the defaults in `completion`, which stay as
 * they are unless the body has them; a stop or logit_bias takes the place of
 * all of its kind.  is_chat and is_served say what may be in it.  The text
 * belongs to `body`.  WEIR_EARG or WEIR_ENOMEM, with the fault.  Release with
 * weir_completion_fini(), also after an error.
 */
int weir_openai_read_completion(const json_t *body,
                                struct weir_completion *completion,
                                struct weir_fault *fault);
void weir_completion_fini(struct weir_completion *completion);

/* ---- answers ---- */

/*
 * Functions that make JSON take over the JSON that they are given, and return
 * NULL when there is no memory, or there was none for that.
 */

struct weir_choice {
    size_t index;
    const char *text; /* UTF-8 */
    size_t n_bytes;
    const int32_t *ids; /* [n_ids]; shown when shows_ids */
    size_t n_ids;
    int shows_ids;
    const char *finish_reason; /* "stop" and so on; NULL: it goes on */
    json_t *tool_calls;        /* of a chat; taken over; NULL: none */
    /* Tokens of the text, with their scores; NULL: none are shown */
    const struct weir_scored *scored;
    const struct weir_tokenizer *tokenizer;
};

/* Of a chat, whose text is null for NULL; of a part of one that is streamed,
 * where `role` is what the first part of a choice has beside its text, and a
 * text of NULL is none. */
json_t *weir_openai_message(const struct weir_choice *choice);
json_t *weir_openai_delta(const struct weir_choice *choice, const char *role);

/* Of a text completion, or of a part of it that is streamed */
json_t *weir_openai_text(const struct weir_choice *choice);
json_t *weir_openai_usage(size_t n_prompt, size_t n_cached, size_t n_tokens);

struct weir_openai_head {
    const char *object; /* "text_completion" and so on */
    const char *id;     /* "cmpl-..." and so on */
    int64_t created;    /* seconds since 1970 */
    const char *model;  /* its name */
};

/* A part of a stream has the usage only where it was asked for. */
json_t *weir_openai_part(const struct weir_openai_head *head, json_t *choices);
json_t *weir_openai_answer(const struct weir_openai_head *head, json_t *choices,
                           json_t *usage);

json_t *weir_openai_add(json_t *array, json_t *value);
json_t *weir_openai_ids(const int32_t *ids, size_t n);

#endif
