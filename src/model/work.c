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

static int take_floats(struct weir_work *work, const struct part *parts,
                       size_t n_parts, struct weir_err *err)
{
    size_t n_bytes = 0, at = 0;

    for (size_t i = 0; i < n_parts; i++)
        n_bytes += round_up(parts[i].width * parts[i].n_tok * sizeof(float));
    work->floats = aligned_alloc(ALIGN, n_bytes);
    if (!work->floats)
        return weir_err_nomem(err, n_bytes, "activations");
    memset(work->floats, 0, n_bytes);
    for (size_t i = 0; i < n_parts; i++) {
        *parts[i].at = work->floats + at / sizeof(float);
        at += round_up(parts[i].width * parts[i].n_tok * sizeof(float));
    }
    return 0;
}

static int take_activations(struct weir_work *work, const struct weir_config *c,
                            struct weir_err *err)
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
    int rc = take_floats(work, parts, sizeof(parts) / sizeof(parts[0]), err);

    work->expert = (uint32_t *)expert;
    work->slot = (uint32_t *)slot;
    return rc;
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

static int take_workers(struct weir_work *work, size_t n_workers,
                        size_t max_tile_rows, size_t tile_bytes,
                        struct weir_err *err)
{
    size_t each, partial_bytes;
    uint8_t *at;

    work->ld_partial = WEIR_CHUNK_TOK * max_tile_rows;
    partial_bytes =
        round_up(WEIR_MAX_PARTIALS * work->ld_partial * sizeof(float));
    each = round_up(tile_bytes) + partial_bytes;
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

int weir_work_init(struct weir_work *work, const struct weir_config *config,
                   size_t n_workers, size_t max_tile_rows, size_t tile_bytes,
                   struct weir_err *err)
{
    int rc;

    memset(work, 0, sizeof(*work));
    work->ff_tok = FF_TOK > config->n_top ? FF_TOK : config->n_top;
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
