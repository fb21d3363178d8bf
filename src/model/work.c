/* SPDX-License-Identifier: Apache-2.0 */
#include "model/work.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model/layers.h"
#include "model/linear.h"
#include "offload/scratch.h"
#include "offload/tiling.h"

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

/*
 * Zeros that are there once they are touched, near who touches them first, and
 * in huge pages where the system has them: packed activations and sums are read
 * again and again.
 */
static void *take_pages(size_t n_bytes)
{
    void *pages = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED)
        return NULL;
    madvise(pages, n_bytes, MADV_HUGEPAGE);
    return pages;
}

static void drop_pages(void *pages, size_t n_bytes)
{
    if (pages)
        munmap(pages, n_bytes);
}

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
    float *token = NULL;
    const struct part parts[] = {
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
        {&work->weight, 1, ff},
        {&token, 1, ff},
        {&work->logits, c->n_vocab, WEIR_HEAD_TOK},
    };
    size_t n_bytes =
        place_floats(base, parts, sizeof(parts) / sizeof(parts[0]));

    work->token = (uint32_t *)token;
    return n_bytes;
}

static int take_activations(struct weir_work *work,
                            const struct weir_config *config,
                            struct weir_err *err)
{
    size_t n_bytes = place_activations(work, config, NULL);

    work->floats = take_pages(n_bytes);
    if (!work->floats)
        return weir_err_nomem(err, n_bytes, "activations");
    work->float_bytes = n_bytes;
    place_activations(work, config, work->floats);
    return 0;
}

/* An expert or two are cut at the end of the room, one at its beginning. */
static size_t n_jobs_of(const struct weir_config *config)
{
    return config->n_experts + 3u;
}

static size_t list_bytes_of(const struct weir_config *config)
{
    struct weir_work *work;

    return n_jobs_of(config) *
               (sizeof(*work->jobs) + 2 * sizeof(*work->products)) +
           (config->n_experts + 1u) * sizeof(*work->first) +
           WEIR_CHUNK_TOK * sizeof(*work->runs);
}

static int take_lists(struct weir_work *work, const struct weir_config *config,
                      struct weir_err *err)
{
    work->n_jobs = n_jobs_of(config);
    work->jobs = calloc(work->n_jobs, sizeof(*work->jobs));
    work->products = calloc(2 * work->n_jobs, sizeof(*work->products));
    work->first = calloc(config->n_experts + 1u, sizeof(*work->first));
    work->runs = calloc(WEIR_CHUNK_TOK, sizeof(*work->runs));
    if (work->jobs && work->products && work->first && work->runs)
        return 0;
    return weir_err_nomem(err, list_bytes_of(config), "experts");
}

/* With rows up to whole tiles of AMX */
static size_t ld_partial_of(size_t max_tile_rows)
{
    return WEIR_CHUNK_TOK * round_up(max_tile_rows);
}

static size_t partial_bytes_of(size_t max_tile_rows)
{
    return WEIR_MAX_PARTIALS * ld_partial_of(max_tile_rows) * sizeof(float);
}

static size_t worker_bytes_of(const struct weir_work_sizes *sizes)
{
    return round_up(sizes->tile_bytes) + round_up(sizes->gemm_bytes) +
           partial_bytes_of(sizes->max_tile_rows);
}

static int take_workers(struct weir_work *work,
                        const struct weir_work_sizes *sizes,
                        struct weir_err *err)
{
    size_t partial = partial_bytes_of(sizes->max_tile_rows);
    size_t tile = round_up(sizes->tile_bytes), each = worker_bytes_of(sizes);
    uint8_t *at;

    work->ld_partial = ld_partial_of(sizes->max_tile_rows);
    work->worker_bytes = sizes->n_workers * each;
    work->workers = calloc(sizes->n_workers, sizeof(*work->workers));
    work->worker_pages = take_pages(work->worker_bytes);
    if (!work->workers || !work->worker_pages)
        return weir_err_nomem(err, work->worker_bytes, "the workers' scratch");
    work->n_workers = sizes->n_workers;
    at = work->worker_pages;
    for (size_t i = 0; i < work->n_workers; i++, at += each) {
        work->workers[i].partial = (float *)at;
        work->workers[i].tile = at + partial;
        work->workers[i].gemm = at + partial + tile;
    }
    return 0;
}

void weir_work_count_tensor(struct weir_work_sizes *sizes,
                            const struct weir_kernels *kernels,
                            const struct weir_tensor *tensor)
{
    size_t cols = weir_tiling_block_cols(tensor), n_bytes;

    if (tensor->n_dims != 2 || tensor->rows != tensor->shape[0])
        return; /* a vector, or what lies as one: A_log */
    for (int fine = 0; fine < 2; fine++) {
        const struct weir_gemm *gemm =
            weir_gemm_for(kernels, tensor->dtype, fine);

        if (!gemm)
            continue;
        n_bytes = gemm->scratch_bytes(cols);
        if (n_bytes > sizes->gemm_bytes)
            sizes->gemm_bytes = n_bytes;
        n_bytes = tensor->col_blocks *
                  gemm->packed_bytes(WEIR_GEMM_GROUP, cols) / WEIR_GEMM_GROUP;
        if (n_bytes > sizes->packed_tok_bytes)
            sizes->packed_tok_bytes = n_bytes;
    }
}

/* Every job may have a group of tokens that is not full. */
static size_t packed_bytes_of(const struct weir_config *config,
                              const struct weir_work_sizes *sizes)
{
    size_t n_tok = FF_TOK + n_jobs_of(config) * WEIR_GEMM_GROUP;

    return round_up(n_tok * sizes->packed_tok_bytes);
}

static int take_packed(struct weir_work *work, size_t n_bytes,
                       struct weir_err *err)
{
    work->packed_bytes = n_bytes;
    if (!work->packed_bytes)
        return 0;
    work->packed = take_pages(work->packed_bytes);
    return work->packed
               ? 0
               : weir_err_nomem(err, work->packed_bytes, "packed activations");
}

uint64_t weir_work_bytes(const struct weir_config *config,
                         const struct weir_work_sizes *sizes)
{
    struct weir_work work = {.ff_tok = FF_TOK};

    return place_activations(&work, config, NULL) +
           packed_bytes_of(config, sizes) + list_bytes_of(config) +
           sizes->n_workers *
               (sizeof(*work.workers) + (uint64_t)worker_bytes_of(sizes));
}

int weir_work_init(struct weir_work *work, const struct weir_config *config,
                   const struct weir_work_sizes *sizes, struct weir_err *err)
{
    int rc;

    memset(work, 0, sizeof(*work));
    work->ff_tok = FF_TOK;
    rc = take_activations(work, config, err);
    if (!rc)
        rc = take_lists(work, config, err);
    if (!rc)
        rc = take_workers(work, sizes, err);
    if (!rc)
        rc = take_packed(work, packed_bytes_of(config, sizes), err);
    return rc;
}

/* Rows of a block that move between memory and a scratch file, whole pages */
static size_t moving_rows(const struct weir_config *c, size_t n)
{
    size_t n_bytes = n * c->n_hidden * sizeof(float);

    return weir_scratch_up(n_bytes) / sizeof(float);
}

/* As place_activations(), of a span */
static size_t place_span(struct weir_work *work, const struct weir_config *c,
                         size_t n, size_t n_block, float *base)
{
    float *expert = NULL, *order = NULL, *prompts = NULL;
    const struct part parts[] = {
        {&work->hidden, moving_rows(c, n_block), 1},
        {&work->sum, moving_rows(c, n_block), 1},
        {&work->prob, c->n_top, n},
        {&expert, c->n_top, n},
        {&order, c->n_top, n_block},
        {&prompts, 1, (n + 3) / 4},
    };
    size_t n_bytes =
        place_floats(base, parts, sizeof(parts) / sizeof(parts[0]));

    work->expert = (uint32_t *)expert;
    work->order = (uint32_t *)order;
    work->prompts = (uint8_t *)prompts;
    return n_bytes;
}

uint64_t weir_work_span_bytes(const struct weir_config *config)
{
    return 2ull * config->n_top * sizeof(float) + 1;
}

uint64_t weir_work_block_bytes(const struct weir_config *config)
{
    return (2ull * config->n_hidden + config->n_top) * sizeof(float);
}

int weir_work_take_span(struct weir_work *work,
                        const struct weir_config *config, size_t n_tok,
                        size_t n_block, struct weir_err *err)
{
    drop_pages(work->span_pages, work->span_bytes);
    work->span_tok = work->block_tok = 0;
    work->span_bytes = place_span(work, config, n_tok, n_block, NULL);
    work->span_pages = take_pages(work->span_bytes);
    if (!work->span_pages)
        return weir_err_nomem(err, work->span_bytes, "tokens that wait");
    place_span(work, config, n_tok, n_block, work->span_pages);
    work->span_tok = n_tok;
    work->block_tok = n_block;
    return 0;
}

void weir_work_fini(struct weir_work *work)
{
    drop_pages(work->span_pages, work->span_bytes);
    drop_pages(work->floats, work->float_bytes);
    drop_pages(work->packed, work->packed_bytes);
    drop_pages(work->worker_pages, work->worker_bytes);
    free(work->jobs);
    free(work->products);
    free(work->first);
    free(work->runs);
    free(work->workers);
    memset(work, 0, sizeof(*work));
}

int weir_work_failure(const struct weir_work *work, struct weir_err *err)
{
    const struct weir_worker *first = NULL;

    for (size_t i = 0; i < work->n_workers; i++) {
        const struct weir_worker *worker = &work->workers[i];

        if (worker->rc && (!first || worker->item < first->item))
            first = worker;
    }
    if (!first)
        return 0;
    if (err)
        *err = first->err;
    return first->rc;
}
