/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a forward pass works in, taken once when a model is opened:
 * activations of the tokens of one chunk, and what each worker needs for
 * itself.  What is in it between two steps of a pass means nothing after.
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
#define WEIR_HEAD_TOK 8

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

struct weir_work {
    /* the residual stream and what passes between layers, [tok][n_hidden] */
    float *hidden, *normed, *out;

    /* Mamba: [tok][2 n_inner], [tok][n_inner] twice, [tok][rank + 2 n_state] */
    float *xz, *u, *dt, *p;

    /* attention: [tok][n_heads * head_dim] twice, [tok][n_kv * head_dim] */
    float *q, *heads, *k, *v;
    float *parts; /* [WEIR_PART_SLOTS][n_heads][weir_part_size()] */

    /*
     * feed-forward: [ff_tok][n_inter] twice, then, of tokens grouped by
     * expert, [ff_tok][n_hidden] twice; ff_tok >= WEIR_CHUNK_TOK and n_top
     */
    float *gate, *up, *expert_in, *expert_out;
    size_t ff_tok;
    struct weir_mlp_job *jobs;     /* [n_experts], or one */
    struct weir_product *products; /* two for each of them */

    /* MoE: [tok][n_experts], then [tok][n_top] three times */
    float *router, *prob;
    uint32_t *expert;
    uint32_t *slot;  /* its row in expert_in and expert_out */
    uint32_t *token; /* [ff_tok]: the token of each of these rows */

    float *logits; /* [WEIR_HEAD_TOK][n_vocab] */

    float *floats; /* what all of these point into */
    size_t float_bytes;
    uint8_t *packed; /* activations of the products of a round */
    size_t packed_bytes;
    int prompt; /* the pass is one */
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

#endif
