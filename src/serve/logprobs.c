/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/logprobs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "serve/openai.h"

/* Most bytes of a token, and of the name of one that is escaped */
#define TOKEN_BYTES ((size_t)128 << 10)

/* In place of minus infinity, which JSON does not have */
#define LEAST_LOGPROB -9999.0

/* A token as it is written */
struct shown {
    struct weir_buf bytes, name;
    int has_bytes; /* else it is special, and not in the text */
};

static void fini(struct shown *shown)
{
    weir_buf_fini(&shown->bytes);
    weir_buf_fini(&shown->name);
}

/* A name in which no byte is lost */
static int escape(struct shown *shown, const char *before)
{
    int rc = weir_buf_add(&shown->name, before, strlen(before), NULL);
    char byte[8];

    for (size_t i = 0; i < shown->bytes.n_bytes && !rc; i++) {
        snprintf(byte, sizeof(byte), "\\x%02x",
                 (unsigned char)shown->bytes.data[i]);
        rc = weir_buf_add(&shown->name, byte, strlen(byte), NULL);
    }
    return rc;
}

/* A special token is text only where the text shows it. */
static int read_bytes(struct shown *shown,
                      const struct weir_tokenizer *tokenizer,
                      const struct weir_token_place *place, int32_t id)
{
    const struct weir_token_front bare = {0};
    int is_in_text = id == place->id && place->to > place->from;
    int rc =
        weir_token_text(tokenizer, id, place->front, 0, &shown->bytes, NULL);

    shown->has_bytes = 1;
    if (rc || shown->bytes.n_bytes || !weir_token_is_special(tokenizer, id))
        return rc;
    shown->has_bytes = is_in_text;
    return weir_token_text(tokenizer, id, is_in_text ? place->front : bare, 1,
                           &shown->bytes, NULL);
}

static int read_token(struct shown *shown,
                      const struct weir_tokenizer *tokenizer,
                      const struct weir_token_place *place, int32_t id,
                      const char *before)
{
    const struct weir_buf *bytes = &shown->bytes;
    int rc;

    shown->bytes = shown->name = (struct weir_buf)WEIR_BUF(TOKEN_BYTES);
    rc = read_bytes(shown, tokenizer, place, id);
    if (rc || bytes->n_bytes == 0)
        return rc;
    if (weir_utf8_valid(bytes->data, bytes->n_bytes) < bytes->n_bytes ||
        memchr(bytes->data, '\0', bytes->n_bytes))
        return escape(shown, before);
    return weir_buf_add(&shown->name, bytes->data, bytes->n_bytes, NULL);
}

static json_t *name_json(const struct shown *shown)
{
    const struct weir_buf *name = &shown->name;

    return json_stringn(name->data ? name->data : "", name->n_bytes);
}

static json_t *bytes_json(const struct shown *shown)
{
    json_t *array = shown->has_bytes ? json_array() : json_null();

    if (!shown->has_bytes)
        return array;
    for (size_t i = 0; i < shown->bytes.n_bytes && array; i++)
        array = weir_openai_add(
            array, json_integer((unsigned char)shown->bytes.data[i]));
    return array;
}

static json_t *logprob_json(const struct weir_score *score)
{
    return json_real(isfinite(score->logprob) ? (double)score->logprob
                                              : LEAST_LOGPROB);
}

/* ---- chats ---- */

static json_t *score_json(const struct weir_tokenizer *tokenizer,
                          const struct weir_token_place *place,
                          const struct weir_score *score)
{
    struct shown shown;
    json_t *object = NULL;

    if (!read_token(&shown, tokenizer, place, score->id, ""))
        object =
            json_pack("{s:o, s:o, s:o}", "token", name_json(&shown), "logprob",
                      logprob_json(score), "bytes", bytes_json(&shown));
    fini(&shown);
    return object;
}

static json_t *best_json(const struct weir_tokenizer *tokenizer,
                         const struct weir_token_place *place,
                         const struct weir_score *best, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n && best[i].id >= 0 && array; i++)
        array = weir_openai_add(array, score_json(tokenizer, place, &best[i]));
    return array;
}

json_t *weir_logprobs_chat(const struct weir_tokenizer *tokenizer,
                           const struct weir_scored *tokens)
{
    json_t *content = json_array();
    size_t n = tokens->n_scores;

    for (size_t i = 0; i < tokens->n && content; i++) {
        const struct weir_token_place *place = &tokens->places[i];
        const struct weir_score *scores = tokens->scores + i * n;
        json_t *token = score_json(tokenizer, place, scores);

        if (json_object_set_new(
                token, "top_logprobs",
                best_json(tokenizer, place, scores + 1, n - 1))) {
            json_decref(token);
            token = NULL;
        }
        content = weir_openai_add(content, token);
    }
    return json_pack("{s:o, s:n}", "content", content, "refusal");
}

/* ---- texts ---- */

/* Of tokens with the same name the first one stays. */
static int add_named(json_t *object, const struct weir_tokenizer *tokenizer,
                     const struct weir_token_place *place,
                     const struct weir_score *score)
{
    struct shown shown;
    const char *name;
    int bad = read_token(&shown, tokenizer, place, score->id, "bytes:");

    name = shown.name.data ? shown.name.data : "";
    if (!bad && !json_object_get(object, name))
        bad = json_object_set_new(object, name, logprob_json(score));
    fini(&shown);
    return bad;
}

/* The best ones, and the token itself */
static json_t *named_json(const struct weir_tokenizer *tokenizer,
                          const struct weir_token_place *place,
                          const struct weir_score *scores, size_t n)
{
    json_t *object = json_object();
    int bad = !object;

    for (size_t i = 1; i < n && scores[i].id >= 0 && !bad; i++)
        bad = add_named(object, tokenizer, place, &scores[i]);
    if (!bad)
        bad = add_named(object, tokenizer, place, scores);
    if (!bad)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *token_json(const struct weir_tokenizer *tokenizer,
                          const struct weir_token_place *place)
{
    struct shown shown;
    json_t *name = NULL;

    if (!read_token(&shown, tokenizer, place, place->id, "bytes:"))
        name = name_json(&shown);
    fini(&shown);
    return name;
}

json_t *weir_logprobs_text(const struct weir_tokenizer *tokenizer,
                           const struct weir_scored *tokens)
{
    json_t *names = json_array(), *logprobs = json_array();
    json_t *best = json_array(), *offsets = json_array();
    size_t n = tokens->n_scores;

    for (size_t i = 0; i < tokens->n; i++) {
        const struct weir_token_place *place = &tokens->places[i];
        const struct weir_score *scores = tokens->scores + i * n;

        names = weir_openai_add(names, token_json(tokenizer, place));
        logprobs = weir_openai_add(logprobs, logprob_json(scores));
        best = weir_openai_add(best, named_json(tokenizer, place, scores, n));
        offsets = weir_openai_add(offsets, json_integer(place->n_before));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", names, "token_logprobs",
                     logprobs, "top_logprobs", best, "text_offset", offsets);
}
