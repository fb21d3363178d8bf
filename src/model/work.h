/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a forward pass works in: activations of the tokens of one
 * chunk, what each worker needs for itself, and what waits of the tokens of a
 * span while others pass a layer.  What is in it between two steps of a pass
 * means nothing after.
 */
#ifndef WEIR_MODEL_WORK_H
#define WEIR_MODEL_WORK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "model/config.h"
#include "offload/file.h"

/*
 * Most tokens that go through a layer at once: with 16 experts and two of them
 * for each token, about 64 for an expert, enough that arithmetic takes longer
 * than reading its weights from memory.
 */
#define WEIR_CHUNK_TOK 512

/* From how many tokens on a pass is a prompt. */
#define WEIR_PROMPT_TOK 32

/* Most tokens whose logits are computed at once: they are wide. */
#define WEIR_HEAD_TOK 16

/*
 * Tokens of a span, where no budget says less or more: with so many, reading a
 * model's weights once takes little of the time that it takes to use them.
 */
#define WEIR_SPAN_TOK      8192
#define WEIR_MOST_SPAN_TOK (1u << 20)

/* Spans of attention, of all heads of a token, that wait to be joined. */
#define WEIR_PART_SLOTS (2 * WEIR_CHUNK_TOK)

struct weir_worker {
    void *tile;     /* a decoded tile, aligned to 64 */
    float *partial; /* [WEIR_MAX_PARTIALS][ld_partial] */
    void *gemm;     /* scratch of products of many tokens */
    size_t item;    /* of the earliest item that failed */
    int rc;         /* 0: none did */
    struct weir_err err;
};

/* Neighbours in a chunk that belong to one sequence */
struct weir_run {
    struct weir_state *state;
    size_t n_past;     /* tokens of the sequence before them */
    size_t row, n_tok; /* of the chunk */
    const int32_t *ids;
    float *logits; /* where the last one's go, or NULL */
    float *mamba;  /* where the state behind the last one goes, or NULL */
};

struct weir_work {
    /*
     * Of a span, [span_tok][...]: of a layer's experts which they are [n_top],
     * how probable [n_top], and whether the token is part of a prompt.  Of
     * those of its tokens that are in memory, [block_tok][...]: the residual
     * stream [n_hidden], the sum of a layer's experts [n_hidden], both aligned
     * for a scratch file, and all choices in the order of experts
     */
    float *hidden, *sum, *prob;
    uint32_t *expert, *order;
    uint8_t *prompts;
    size_t span_tok, block_tok;
    void *span_pages;
    size_t span_bytes;

    /* what passes between the parts of a layer, [tok][n_hidden] */
    float *normed, *out;

    struct weir_run *runs; /* [WEIR_CHUNK_TOK], of the chunk */
    int prompt;            /* its tokens are part of one */

    /* Mamba: [tok][2 n_inner], [tok][n_inner] twice, [tok][rank + 2 n_state] */
    float *xz, *u, *dt, *p;

    /* attention: [tok][n_heads * head_dim] twice, [tok][n_kv * head_dim] */
    float *q, *heads, *k, *v;
    float *parts; /* [WEIR_PART_SLOTS][n_heads][weir_part_size()] */

    /*
     * feed-forward: [ff_tok][n_inter] twice, then, of tokens grouped by
     * expert, [ff_tok][n_hidden] twice, and whose they are [ff_tok] and how
     * much they count [ff_tok]
     */
    float *gate, *up, *expert_in, *expert_out, *weight;
    uint32_t *token;
    size_t ff_tok;
    struct weir_mlp_job *jobs;     /* [n_jobs] */
    struct weir_product *products; /* two for each of them */
    size_t n_jobs;

    float *router; /* MoE: [tok][n_experts] */
    size_t *first; /* [n_experts + 1]: where an expert begins in `order` */

    float *logits; /* [WEIR_HEAD_TOK][n_vocab] */

    float *floats; /* what all of these point into */
    size_t float_bytes;
    uint8_t *packed; /* activations of the products of a round */
    size_t packed_bytes;
    struct weir_worker *workers;
    size_t n_workers;
    size_t ld_partial; /* floats of one partial sum */
    void *worker_pages;
    size_t worker_bytes;
};

/* What the sizes follow from, beside the config */
struct weir_work_sizes {
    unsigned n_workers;
    size_t max_tile_rows;    /* of the model's matrices */
    size_t tile_bytes;       /* scratch that a tile wants */
    size_t gemm_bytes;       /* scratch of a worker's products of many tokens */
    size_t packed_tok_bytes; /* of a packed token, at most */
};

/* Takes what products with a matrix of the file want into `sizes`. */
void weir_work_count_tensor(struct weir_work_sizes *sizes,
                            const struct weir_kernels *kernels,
                            const struct weir_tensor *tensor);

/* Release with weir_work_fini(), also after an error. */
int weir_work_init(struct weir_work *work, const struct weir_config *config,
                   const struct weir_work_sizes *sizes, struct weir_err *err);
void weir_work_fini(struct weir_work *work);

/* The bytes that weir_work_init() takes for the same. */
uint64_t weir_work_bytes(const struct weir_config *config,
                         const struct weir_work_sizes *sizes);

/*
 * Makes room for spans of n_tok > 0 tokens, of which n_block are in memory at a
 * time, once more if need be; between two passes.  It is touched when there are
 * so many tokens.
 */
int weir_work_take_span(struct weir_work *work,
                        const struct weir_config *config, size_t n_tok,
                        size_t n_block, struct weir_err *err);

/* 0, or the error of the earliest item that a worker failed in */
int weir_work_failure(const struct weir_work *work, struct weir_err *err);

/* The bytes of each token of it, whether it is in memory or not, and more then
 */
uint64_t weir_work_span_bytes(const struct weir_config *config);
uint64_t weir_work_block_bytes(const struct weir_config *config);

#endif
