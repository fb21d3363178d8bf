/* SPDX-License-Identifier: Apache-2.0 */
#include "model/work.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "model/layers.h"
#include "model/linear.h"

#define ALIGN 64

/* Rows of the feed-forward: a chunk's, each with the usual two experts */
#define FF_TOK (2 * WEIR_CHUNK_TOK)

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* A buffer of work: where its pointer is, and its floats a token */
struct part {
    float **at;
    size_t width;
    size_t n_tok;
};

/* Where the parts lie from `base` on, unless it is NULL; the bytes of all. */
static size_t place_floats(float *base, const struct part *parts,
                           size_t n_parts)
{
    size_t at = 0;

    for (size_t i = 0; i < n_parts; i++) {
        if (base)
            *parts[i].at = base + at / sizeof(float);
        at += round_up(parts[i].width * parts[i].n_tok * sizeof(float));
    }
    return at;
}

/* The same for all activations of `work`, whose ff_tok is set */
static size_t place_activations(struct weir_work *work,
                                const struct weir_config *c, float *base)
{
    const size_t n = WEIR_CHUNK_TOK, inner = c->n_inner;
    const size_t q = (size_t)c->n_heads * c->head_dim;
    const size_t kv = (size_t)c->n_kv_heads * c->head_dim;
    const size_t ff = work->ff_tok;
    float *expert = NULL, *slot = NULL;
    const struct part parts[] = {
        {&work->hidden, c->n_hidden, n},
        {&work->normed, c->n_hidden, n},
        {&work->out, c->n_hidden, n},
        {&work->xz, 2 * inner, n},
        {&work->u, inner, n},
        {&work->dt, inner, n},
        {&work->p, c->dt_rank + 2 * (size_t)c->n_state, n},
        {&work->q, q, n},
        {&work->heads, q, n},
        {&work->k, kv, n},
        {&work->v, kv, n},
        {&work->parts, c->n_heads * weir_part_size(c->head_dim),
         WEIR_PART_SLOTS},
        {&work->gate, c->n_inter, ff},
        {&work->up, c->n_inter, ff},
        {&work->expert_in, c->n_hidden, ff},
        {&work->expert_out, c->n_hidden, ff},
        {&work->router, c->n_experts, n},
        {&work->prob, c->n_top, n},
        {&expert, c->n_top, n},
        {&slot, c->n_top, n},
        {&work->logits, c->n_vocab, WEIR_HEAD_TOK},
    };
    size_t n_bytes =
        place_floats(base, parts, sizeof(parts) / sizeof(parts[0]));

    work->expert = (uint32_t *)expert;
    work->slot = (uint32_t *)slot;
    return n_bytes;
}

static int take_activations(struct weir_work *work,
                            const struct weir_config *config,
                            struct weir_err *err)
{
    size_t n_bytes = place_activations(work, config, NULL);

    work->floats = aligned_alloc(ALIGN, n_bytes);
    if (!work->floats)
        return weir_err_nomem(err, n_bytes, "activations");
    memset(work->floats, 0, n_bytes);
    place_activations(work, config, work->floats);
    return 0;
}

static int take_lists(struct weir_work *work, uint32_t n_experts,
                      struct weir_err *err)
{
    work->jobs = calloc(n_experts, sizeof(*work->jobs));
    work->products = calloc(2 * (size_t)n_experts, sizeof(*work->products));
    if (work->jobs && work->products)
        return 0;
    return weir_err_nomem(err, n_experts * sizeof(*work->jobs), "experts");
}

static size_t partial_bytes_of(size_t max_tile_rows)
{
    return round_up(WEIR_MAX_PARTIALS * WEIR_CHUNK_TOK * max_tile_rows *
                    sizeof(float));
}

static int take_workers(struct weir_work *work, size_t n_workers,
                        size_t max_tile_rows, size_t tile_bytes,
                        struct weir_err *err)
{
    size_t partial_bytes = partial_bytes_of(max_tile_rows);
    size_t each = round_up(tile_bytes) + partial_bytes;
    uint8_t *at;

    work->ld_partial = WEIR_CHUNK_TOK * max_tile_rows;
    work->workers = calloc(n_workers, sizeof(*work->workers));
    work->worker_bytes = aligned_alloc(ALIGN, n_workers * each);
    if (!work->workers || !work->worker_bytes)
        return weir_err_nomem(err, n_workers * each, "the workers' scratch");
    work->n_workers = n_workers;
    at = work->worker_bytes;
    for (size_t i = 0; i < n_workers; i++, at += each) {
        work->workers[i].partial = (float *)at;
        work->workers[i].tile = at + partial_bytes;
    }
    return 0;
}

static size_t ff_tok_of(const struct weir_config *config)
{
    return FF_TOK > config->n_top ? FF_TOK : config->n_top;
}

uint64_t weir_work_bytes(const struct weir_config *config, size_t n_workers,
                         size_t max_tile_rows, size_t tile_bytes)
{
    struct weir_work work = {.ff_tok = ff_tok_of(config)};
    uint64_t each = round_up(tile_bytes) + partial_bytes_of(max_tile_rows);

    return place_activations(&work, config, NULL) +
           config->n_experts *
               (sizeof(*work.jobs) + 2 * sizeof(*work.products)) +
           n_workers * (sizeof(*work.workers) + each);
}

int weir_work_init(struct weir_work *work, const struct weir_config *config,
                   size_t n_workers, size_t max_tile_rows, size_t tile_bytes,
                   struct weir_err *err)
{
    int rc;

    memset(work, 0, sizeof(*work));
    work->ff_tok = ff_tok_of(config);
    rc = take_activations(work, config, err);
    if (!rc)
        rc = take_lists(work, config->n_experts, err);
    if (!rc)
        rc = take_workers(work, n_workers, max_tile_rows, tile_bytes, err);
    return rc;
}

void weir_work_fini(struct weir_work *work)
{
    free(work->floats);
    free(work->jobs);
    free(work->products);
    free(work->workers);
    free(work->worker_bytes);
    memset(work, 0, sizeof(*work));
}
