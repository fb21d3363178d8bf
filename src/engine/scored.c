/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/scored.h"

#include <string.h>

static int is_within(const struct weir_token_place *place, size_t n_bytes)
{
    return place->from < n_bytes || place->to <= n_bytes;
}

size_t weir_scored_within(const struct weir_scored *tokens, size_t n_bytes)
{
    size_t n = 0;

    while (n < tokens->n && is_within(&tokens->places[n], n_bytes))
        n++;
    return n;
}

void weir_scored_init(struct weir_scored_list *list, size_t n_scores,
                      size_t most)
{
    *list = (struct weir_scored_list){
        .n_scores = n_scores,
        .scores.ceiling = most * n_scores * sizeof(struct weir_score),
        .places.ceiling = most * sizeof(struct weir_token_place)};
}

void weir_scored_fini(struct weir_scored_list *list)
{
    weir_buf_fini(&list->scores);
    weir_buf_fini(&list->places);
}

int weir_scored_add(struct weir_scored_list *list,
                    const struct weir_scored *tokens, size_t from,
                    struct weir_err *err)
{
    size_t n = tokens->n - from;
    int rc;

    if (n == 0)
        return 0;
    rc = weir_buf_add(&list->scores, tokens->scores + from * tokens->n_scores,
                      n * tokens->n_scores * sizeof(*tokens->scores), err);
    return rc ? rc
              : weir_buf_add(&list->places, tokens->places + from,
                             n * sizeof(*tokens->places), err);
}

static struct weir_token_place *places_of(const struct weir_scored_list *list)
{
    return (struct weir_token_place *)(void *)list->places.data;
}

struct weir_scored weir_scored_view(const struct weir_scored_list *list)
{
    return (struct weir_scored){
        .scores = (const struct weir_score *)(const void *)list->scores.data,
        .places = places_of(list),
        .n = list->places.n_bytes / sizeof(struct weir_token_place),
        .n_scores = list->n_scores,
    };
}

static void drop_bytes(struct weir_buf *buf, size_t n_bytes)
{
    if (!n_bytes)
        return;
    buf->n_bytes -= n_bytes;
    memmove(buf->data, buf->data + n_bytes, buf->n_bytes);
}

void weir_scored_drop(struct weir_scored_list *list, size_t n)
{
    drop_bytes(&list->scores, n * list->n_scores * sizeof(struct weir_score));
    drop_bytes(&list->places, n * sizeof(struct weir_token_place));
}

/* ---- while an answer is being written ---- */

void weir_scoring_choose(struct weir_scoring *scoring, const float *logits,
                         size_t n_vocab, int32_t id)
{
    if (scoring->tokens.n_scores && id >= 0)
        weir_scores_take(logits, n_vocab, id, scoring->next,
                         scoring->tokens.n_scores);
}

int weir_scoring_add(struct weir_scoring *scoring,
                     const struct weir_detokenizer *detokenizer,
                     struct weir_err *err)
{
    const struct weir_token_place place = {
        .id = scoring->next[0].id,
        .front = weir_detokenizer_front(detokenizer),
    };
    const struct weir_scored token = {scoring->next, &place, 1,
                                      scoring->tokens.n_scores};

    return weir_scored_add(&scoring->tokens, &token, 0, err);
}

void weir_scoring_settle(struct weir_scoring *scoring,
                         const struct weir_detokenizer *detokenizer,
                         size_t n_out)
{
    scoring->n_settled = weir_token_settle(
        detokenizer, places_of(&scoring->tokens), scoring->n_settled,
        weir_scored_view(&scoring->tokens).n, scoring->n_out, n_out);
    scoring->n_out += n_out;
}

static int continues(char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* One that begins within a character belongs to that. */
static void count_before(struct weir_scoring *scoring,
                         struct weir_token_place *place, const char *text,
                         size_t n_bytes)
{
    for (; scoring->n_char_bytes < place->from; scoring->n_char_bytes++)
        scoring->n_chars += !continues(text[scoring->n_char_bytes]);
    place->n_before = (uint32_t)scoring->n_chars;
    place->n_before -= place->from < n_bytes && continues(text[place->from]);
}

struct weir_scored weir_scoring_tell(struct weir_scoring *scoring,
                                     const char *text, size_t n_bytes)
{
    struct weir_token_place *places = places_of(&scoring->tokens);
    struct weir_scored tokens = weir_scored_view(&scoring->tokens);

    while (scoring->n_told < scoring->n_settled &&
           is_within(&places[scoring->n_told], n_bytes))
        count_before(scoring, &places[scoring->n_told++], text, n_bytes);
    tokens.n = scoring->n_told;
    return tokens;
}
