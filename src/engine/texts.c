/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/texts.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "engine/session_parts.h"

#define TURN_PLACES 6 /* that a session has for the ends of turns */

struct text {
    weir_session *session; /* with room for its tokens, and no more */
    uint64_t n_bytes;
    TAILQ_ENTRY(text) entry;
};

TAILQ_HEAD(text_list, text);

struct weir_texts {
    weir_model *model;
    enum weir_kv kv;
    struct text_list texts; /* the one that was asked for last stands first */
    struct weir_text_files *files; /* or NULL */
    struct weir_texts_stats stats;
};

int weir_texts_new(weir_model *model, const struct weir_texts_options *options,
                   struct weir_texts **out, struct weir_err *err)
{
    struct weir_texts *texts = calloc(1, sizeof(*texts));
    int rc = 0;

    *out = NULL;
    if (!texts)
        return weir_err_nomem(err, sizeof(*texts), "prompts that are kept");
    texts->model = model;
    texts->kv = options->kv;
    texts->stats.most_bytes = options->n_bytes;
    TAILQ_INIT(&texts->texts);
    if (options->folder)
        rc = weir_text_files_new(model, options->kv, options->folder,
                                 options->file_bytes, &texts->files, err);
    if (rc)
        free(texts);
    else
        *out = texts;
    return rc;
}

static void drop(struct weir_texts *texts, struct text *text)
{
    TAILQ_REMOVE(&texts->texts, text, entry);
    texts->stats.n_bytes -= text->n_bytes;
    texts->stats.n_texts--;
    weir_session_free(text->session);
    free(text);
}

/* Takes it out of memory. */
static void move_out(struct weir_texts *texts, struct text *text)
{
    if (texts->files)
        weir_text_files_save(texts->files, text->session, text->n_bytes);
    drop(texts, text);
}

void weir_texts_free(struct weir_texts *texts)
{
    if (!texts)
        return;
    while (!TAILQ_EMPTY(&texts->texts))
        move_out(texts, TAILQ_LAST(&texts->texts, text_list));
    weir_text_files_free(texts->files);
    free(texts);
}

const struct weir_texts_stats *weir_texts_get_stats(struct weir_texts *texts)
{
    if (texts->files)
        texts->stats.files = *weir_text_files_get_stats(texts->files);
    return &texts->stats;
}

static uint64_t place_bytes(const weir_model *model)
{
    return weir_snapshot_bytes(weir_state_mamba_floats(&model->jamba->config),
                               weir_model_n_vocab(model));
}

static size_t usual_places(size_t n_ctx)
{
    return n_ctx / WEIR_SNAPSHOT_TOK + TURN_PLACES;
}

uint64_t weir_texts_snapshots(const weir_model *model, size_t n_ctx)
{
    return usual_places(n_ctx) * place_bytes(model);
}

/* ---- texts in memory ---- */

static int make_room(struct weir_texts *texts, uint64_t n_bytes)
{
    if (n_bytes > texts->stats.most_bytes)
        return 0;
    while (texts->stats.n_bytes > texts->stats.most_bytes - n_bytes) {
        move_out(texts, TAILQ_LAST(&texts->texts, text_list));
        texts->stats.n_evicted++;
    }
    return 1;
}

/* A session of n_tok tokens with n_places */
static struct weir_session_options options_for(const struct weir_texts *texts,
                                               size_t n_tok, size_t n_places)
{
    return (struct weir_session_options){
        .n_ctx = n_tok,
        .kv = texts->kv,
        .snapshot_bytes = n_places * place_bytes(texts->model)};
}

/* Whether memory could keep that, were there nothing else */
static int could_keep(const struct weir_texts *texts, size_t n_tok,
                      size_t n_places)
{
    const struct weir_session_options options =
        options_for(texts, n_tok, n_places);

    return weir_session_bytes(texts->model, &options) <=
           texts->stats.most_bytes;
}

/* An empty one of n_tok tokens and n_places, in no list; NULL: no room */
static struct text *make_text(struct weir_texts *texts, size_t n_tok,
                              size_t n_places)
{
    const struct weir_session_options options =
        options_for(texts, n_tok, n_places);
    uint64_t n_bytes = weir_session_bytes(texts->model, &options);
    struct text *text =
        make_room(texts, n_bytes) ? calloc(1, sizeof(*text)) : NULL;

    if (text &&
        weir_session_new(texts->model, &options, &text->session, NULL)) {
        free(text);
        return NULL;
    }
    if (text)
        text->n_bytes = n_bytes;
    return text;
}

static void insert(struct weir_texts *texts, struct text *text)
{
    texts->stats.n_bytes += text->n_bytes;
    texts->stats.n_texts++;
    TAILQ_INSERT_HEAD(&texts->texts, text, entry);
}

/* Whether all that the text is for can be had of the session, too */
static int stands_for(const weir_session *session, const weir_session *text)
{
    size_t n = text->state.n_tok;

    return weir_session_held(session, text->ids, n, NULL) == n;
}

static void drop_beginnings(struct weir_texts *texts,
                            const weir_session *session)
{
    struct text *text = TAILQ_FIRST(&texts->texts), *next;

    for (; text; text = next) {
        next = TAILQ_NEXT(text, entry);
        if (stands_for(session, text->session))
            drop(texts, text);
    }
}

/* ---- taking ---- */

static struct text *find(const struct weir_texts *texts, const int32_t *ids,
                         size_t n_ids, size_t *n_tok, size_t *n_common)
{
    struct text *text, *best = NULL;
    size_t n, n_alike;

    *n_tok = *n_common = 0;
    TAILQ_FOREACH(text, &texts->texts, entry)
    {
        n = weir_session_held(text->session, ids, n_ids, &n_alike);
        *n_common = n_alike > *n_common ? n_alike : *n_common;
        if (n > *n_tok) {
            *n_tok = n;
            best = text;
        }
    }
    return best;
}

/* A file goes to memory, where that has room for it. */
static void fetch(struct weir_texts *texts, struct weir_text_file *file)
{
    struct text *text;

    weir_text_files_hold(texts->files, file);
    text = make_text(texts, weir_text_file_tokens(file),
                     weir_text_file_places(file) + 1);
    weir_text_files_hold(texts->files, NULL);
    if (!text)
        return;
    if (weir_text_files_load(texts->files, file, text->session, NULL)) {
        weir_session_free(text->session);
        free(text);
        return;
    }
    drop_beginnings(texts, text->session);
    insert(texts, text);
}

/* The same where files are looked through, too */
static struct text *find_anywhere(struct weir_texts *texts, const int32_t *ids,
                                  size_t n_ids, size_t *n_tok, size_t *n_common)
{
    struct text *text = find(texts, ids, n_ids, n_tok, n_common);
    struct weir_text_file *file;
    size_t n, n_alike;

    if (!texts->files)
        return text;
    file = weir_text_files_find(texts->files, ids, n_ids, &n, &n_alike);
    *n_common = n_alike > *n_common ? n_alike : *n_common;
    if (!file || n <= *n_tok)
        return text;
    fetch(texts, file);
    return find(texts, ids, n_ids, n_tok, &n_alike);
}

size_t weir_texts_take(struct weir_texts *texts, weir_session *session,
                       const int32_t *ids, size_t n_ids, float *logits,
                       size_t *n_common)
{
    struct text *best;
    size_t n;

    *n_common = 0;
    if (n_ids < WEIR_PROMPT_TOK)
        return 0;
    best = find_anywhere(texts, ids, n_ids, &n, n_common);
    if (best)
        n = weir_session_copy(session, best->session, ids, n_ids, logits);
    texts->stats.n_hits += n > 0;
    texts->stats.n_misses += n == 0;
    texts->stats.n_tok += n;
    if (best) {
        TAILQ_REMOVE(&texts->texts, best, entry);
        TAILQ_INSERT_HEAD(&texts->texts, best, entry);
    }
    return n;
}

size_t weir_texts_held(const struct weir_texts *texts, const int32_t *ids,
                       size_t n_ids)
{
    size_t n, n_file = 0, n_common;

    if (n_ids < WEIR_PROMPT_TOK)
        return 0;
    find(texts, ids, n_ids, &n, &n_common);
    if (texts->files)
        weir_text_files_find(texts->files, ids, n_ids, &n_file, &n_common);
    return n > n_file ? n : n_file;
}

/* ---- keeping ---- */

int weir_texts_could_keep(const struct weir_texts *texts, size_t n_tok)
{
    return could_keep(texts, n_tok, usual_places(n_tok));
}

static int is_kept(const struct weir_texts *texts, const weir_session *session)
{
    const struct text *text;
    size_t n = session->state.n_tok;

    TAILQ_FOREACH(text, &texts->texts, entry)
    if (weir_session_held(text->session, session->ids, n, NULL) == n)
        return 1;
    return 0;
}

void weir_texts_keep(struct weir_texts *texts, const weir_session *session)
{
    size_t n = session->state.n_tok;
    size_t n_places = session->snapshots.n_kept + 1;
    struct text *text;

    if (n < WEIR_PROMPT_TOK || is_kept(texts, session) ||
        !could_keep(texts, n, n_places))
        return;
    drop_beginnings(texts, session);
    text = make_text(texts, n, n_places);
    if (!text)
        return;
    weir_session_copy(text->session, session, session->ids, n, NULL);
    insert(texts, text);
}
