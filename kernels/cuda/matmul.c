/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernels a product, and the experts of a layer, are made of. */
#include "kernels/cuda/few.h"
#include "kernels/cuda/gemm.h"

#define ROUND_TOK 32   /* of few tokens, in one launch */
#define SHORT_ROW 1024 /* columns whose norm is found where it is used */

static uint64_t align(uint64_t n)
{
    return (n + 255) / 256 * 256;
}

/* Sums of parts, of all tiles together, for n_rows tokens or choices */
static uint64_t few_bytes(uint64_t n_parts, uint64_t n_rows)
{
    return align(n_parts * n_rows * FEW_ROWS * sizeof(float));
}

static uint64_t n_groups_of(uint64_t n_tok)
{
    return (n_tok + FEW_TOK - 1) / FEW_TOK;
}

/* Of n_choices, in groups of at most FEW_TOK of one expert, at most */
static uint32_t n_choice_groups(uint32_t n_choices, uint32_t n_experts)
{
    uint32_t most = n_choices < n_experts ? n_choices : n_experts;

    most += n_choices / FEW_TOK;
    return most < n_choices ? most : n_choices;
}

uint64_t weir_cuda_matmul_bytes(const struct weir_device_limits *limits)
{
    uint64_t n_tok = limits->n_tok < ROUND_TOK ? limits->n_tok : ROUND_TOK;
    uint64_t few = few_bytes(few_most_parts(limits->rows), n_tok) +
                   weir_cuda_few_split_bytes(limits->cols, n_groups_of(n_tok));
    uint64_t cols = limits->cols + 8 * GEMM_STEP;
    uint64_t many = align((limits->n_tok + 7) * cols * 2 * sizeof(uint16_t));

    return few > many ? few : many;
}

/* The squares of a result of few tokens are left, if it is one of whole tiles.
 */
static int leaves_squares(const struct weir_device *device, uint32_t n_tok,
                          uint32_t rows)
{
    return n_tok <= WEIR_DEVICE_FEW && rows % SQUARES_ROWS == 0 &&
           rows <= device->limits.cols;
}

/* What norms of a product's activations are found by: one of them, or none; and
 * where squares of its result go, if they are left */
struct norms {
    const float *factor, *squared;
    float *squares;
};

static void few_round(struct weir_device *device,
                      const struct weir_device_matmul *matmul,
                      struct norms norms, uint32_t from, uint32_t n_tok)
{
    uint64_t n_bytes;
    struct few few = {
        .kind = FEW_DENSE,
        .out = matmul->out,
        .n_tok = n_tok,
        .n_rows = n_tok,
        .n_mat = matmul->n_mat,
        .n_groups = (uint32_t)n_groups_of(n_tok),
        .x = matmul->x + from * matmul->ld_x,
        .ld_x = matmul->ld_x,
        .norm = matmul->norm,
        .factor = norms.factor ? norms.factor + from : NULL,
        .squared = norms.squared ? norms.squared +
                                       from * CUDA_SQUARES(matmul->to[0].w.cols)
                                 : NULL,
        .eps = matmul->eps,
        .partial = (float *)device->scratch,
        .counter = device->counters,
    };

    if (norms.squares)
        few.squares = norms.squares + from * CUDA_SQUARES(matmul->to[0].w.rows);
    for (uint32_t m = 0; m < matmul->n_mat; m++) {
        few.to[m].w = matmul->to[m].w;
        few.to[m].bias = matmul->to[m].bias;
        few.to[m].y = matmul->to[m].y + from * matmul->to[m].ld_y;
        few.to[m].ld_y = matmul->to[m].ld_y;
    }
    n_bytes = few_bytes(few_n_parts(&few.to[0].w, few_tile_rows(few.out),
                                    weir_cuda_few_tiles(&few)),
                        n_tok);
    few.split = device->scratch + n_bytes;
    n_bytes += weir_cuda_few_split_bytes(few.to[0].w.cols, few.n_groups);
    if (weir_cuda_has_scratch(device, n_bytes, "a product"))
        weir_cuda_few(device, &few);
}

static void many(struct weir_device *device,
                 const struct weir_device_matmul *matmul, const float *factor)
{
    const struct gemm_shape shape =
        gemm_shape_of(&matmul->to[0].w, matmul->terms, matmul->n_tok);
    const struct gemm_pack pack = {
        .shape = shape,
        .n = matmul->n_tok,
        .x = matmul->x,
        .ld_x = matmul->ld_x,
        .norm = matmul->norm,
        .factor = factor,
        .eps = matmul->eps,
        .packed = (uint16_t *)device->scratch,
    };
    struct gemm gemm = {
        .shape = shape,
        .out = matmul->out,
        .n_tok = matmul->n_tok,
        .x = (uint16_t *)device->scratch,
    };
    uint32_t n = matmul->out == WEIR_OUT_GATED ? 2 : 1;

    if (!weir_cuda_has_scratch(device, gemm_packed_bytes(&shape),
                               "a product of many tokens"))
        return;
    weir_cuda_pack(device, &pack);
    for (uint32_t m = 0; m < matmul->n_mat; m += n) {
        for (uint32_t i = 0; i < n; i++) {
            gemm.to[i].w = matmul->to[m + i].w;
            gemm.to[i].bias = matmul->to[m + i].bias;
            gemm.to[i].y = matmul->to[m + i].y;
            gemm.to[i].ld_y = matmul->to[m + i].ld_y;
        }
        weir_cuda_gemm(device, &gemm);
    }
}

static int is_left(const struct cuda_left *left,
                   const struct weir_device_matmul *matmul)
{
    return matmul->to[0].w.cols > SHORT_ROW && left->x == matmul->x &&
           left->ld_x == matmul->ld_x && left->n_tok == matmul->n_tok &&
           left->n == matmul->to[0].w.cols;
}

/* In rounds */
static void few(struct weir_device *device,
                const struct weir_device_matmul *matmul, struct norms norms)
{
    uint32_t left = matmul->n_tok, rows = matmul->to[0].w.rows;

    if (matmul->out == WEIR_OUT_ADD && matmul->n_mat == 1 && !norms.squared &&
        leaves_squares(device, left, rows))
        norms.squares = device->squares;
    for (; left > ROUND_TOK; left -= ROUND_TOK)
        few_round(device, matmul, norms, matmul->n_tok - left, ROUND_TOK);
    few_round(device, matmul, norms, matmul->n_tok - left, left);
    if (norms.squares)
        device->left = (struct cuda_left){matmul->to[0].y, matmul->to[0].ld_y,
                                          matmul->n_tok, rows};
}

void weir_cuda_matmul(struct weir_device *device,
                      const struct weir_device_matmul *matmul)
{
    uint32_t dtype = matmul->to[0].w.dtype, n_tok = matmul->n_tok;
    int is_plain = dtype != WEIR_I8 && dtype != WEIR_BF16;
    int is_few = n_tok <= FEW_TOK || matmul->terms == WEIR_DEVICE_EXACT;
    const struct cuda_left left = device->left;
    struct norms norms = {NULL, NULL, NULL};

    if (!n_tok)
        return;
    if (n_tok > device->limits.n_tok) {
        weir_cuda_fail(device, WEIR_ELIMIT, "more tokens than were expected");
        return;
    }
    if (matmul->norm && !is_plain && is_few && is_left(&left, matmul)) {
        norms.squared = device->squares;
    } else if (matmul->norm && matmul->to[0].w.cols > SHORT_ROW) {
        norms.factor = device->factors;
        weir_cuda_norm_factor(device, matmul->x, matmul->ld_x, n_tok,
                              matmul->to[0].w.cols, matmul->eps,
                              device->factors);
    }
    if (is_plain)
        weir_cuda_plain(device, matmul, norms.factor);
    else if (is_few)
        few(device, matmul, norms);
    else
        many(device, matmul, norms.factor);
}

/* What lies in the scratch of a layer's experts, in bytes from its start */
struct experts_scratch {
    uint64_t act, sums, other, end;
};

static struct experts_scratch few_scratch(uint64_t n_choices, uint64_t inter,
                                          uint64_t hidden, uint64_t n_parts)
{
    struct experts_scratch at = {0, 0, 0, 0};

    at.sums = align(n_choices * inter * sizeof(float));
    at.other = at.sums + align(n_choices * hidden * sizeof(float));
    at.end = at.other + few_bytes(n_parts, n_choices);
    return at;
}

/* act and x: bytes of packed rows */
static struct experts_scratch many_scratch(uint64_t n_choices, uint64_t act,
                                           uint64_t x, uint64_t hidden)
{
    struct experts_scratch at = {0, 0, 0, 0};

    at.sums = align(act);
    at.other = at.sums + align(n_choices * hidden * sizeof(float));
    at.end = at.other + align(x);
    return at;
}

uint64_t weir_cuda_experts_bytes(const struct weir_device_limits *limits)
{
    uint32_t few =
        limits->n_tok < WEIR_DEVICE_FEW ? limits->n_tok : WEIR_DEVICE_FEW;
    uint64_t inter = limits->inter, hidden = limits->hidden;
    uint64_t pad = 8 * GEMM_STEP, n_few, n_many, n_choices, rows, row_bytes;

    if (!limits->n_experts)
        return 0;
    n_few = few_scratch((uint64_t)few * limits->n_top, inter, hidden,
                        few_most_parts(inter > hidden ? inter : hidden))
                .end;
    n_choices = (uint64_t)limits->n_tok * limits->n_top;
    rows = gemm_choice_rows(n_choices, limits->n_experts) + 7;
    row_bytes = 2 * sizeof(uint16_t);
    n_many = many_scratch(n_choices, rows * row_bytes * (inter + pad),
                          rows * row_bytes * (hidden + pad), hidden)
                 .end;
    return n_few > n_many ? n_few : n_many;
}

static void few_experts(struct weir_device *device,
                        const struct weir_device_experts *experts)
{
    uint32_t n_choices = experts->n_tok * experts->n_top;
    uint32_t inter = experts->gate.rows, hidden = experts->down.rows;
    struct few few = {
        .kind = FEW_GATES,
        .out = WEIR_OUT_GATED,
        .n_tok = experts->n_tok,
        .n_rows = n_choices,
        .n_mat = 2,
        .n_groups = n_choice_groups(n_choices, experts->n_experts),
        .x = experts->x,
        .ld_x = experts->ld_x,
        .norm = experts->norm,
        .factor = experts->factor,
        .counter = device->counters,
        .n_top = experts->n_top,
        .expert = experts->expert,
        .routing = experts->routing,
        .from_expert = experts->from,
        .to_expert = experts->to,
        .sum = experts->y,
        .ld_sum = experts->ld_y,
        .in_order = experts->in_order,
    };
    uint64_t gates = few_n_parts(&experts->gate, FEW_ROWS / 2,
                                 weir_cuda_parts(inter, FEW_ROWS / 2));
    uint64_t downs = few_n_parts(&experts->down, FEW_ROWS,
                                 weir_cuda_parts(hidden, FEW_ROWS));
    struct experts_scratch at =
        few_scratch(n_choices, inter, hidden, gates > downs ? gates : downs);
    float *act = (float *)(device->scratch + at.act);

    if (!weir_cuda_has_scratch(device, at.end, "a layer's experts"))
        return;
    few.partial = (float *)(device->scratch + at.other);
    few.to[0].w = few.to[1].w = experts->gate;
    few.to[0].y = act;
    few.to[0].ld_y = inter;
    weir_cuda_few(device, &few);
    /* the kernel behind it must be this one: multiply_item() relies on that */
    few.kind = FEW_DOWNS;
    few.out = WEIR_OUT_STORE;
    few.n_mat = 1;
    few.x = act;
    few.ld_x = inter;
    few.norm = few.factor = NULL;
    few.to[0].w = experts->down;
    few.to[0].y = (float *)(device->scratch + at.sums);
    few.to[0].ld_y = hidden;
    if (leaves_squares(device, experts->n_tok, hidden))
        few.squares = device->squares;
    weir_cuda_few(device, &few);
    if (few.squares)
        device->left = (struct cuda_left){experts->y, experts->ld_y,
                                          experts->n_tok, hidden};
}

static void many_experts(struct weir_device *device,
                         const struct weir_device_experts *experts)
{
    uint32_t n_choices = experts->n_tok * experts->n_top;
    uint32_t terms = experts->terms == WEIR_DEVICE_ROUNDED ? WEIR_DEVICE_ROUNDED
                                                           : WEIR_DEVICE_FINE;
    uint32_t hidden = experts->down.rows;
    uint64_t rows = gemm_choice_rows(n_choices, experts->n_experts);
    struct gemm gemm = {
        .shape = gemm_shape_of(&experts->gate, terms, rows),
        .out = WEIR_OUT_GATED,
        .n_tok = n_choices,
        .next = gemm_shape_of(&experts->down, terms, rows),
        .expert = experts->expert,
        .routing = experts->routing,
        .n_experts = experts->n_experts,
        .from_expert = experts->from,
        .to_expert = experts->to,
    };
    struct experts_scratch at =
        many_scratch(n_choices, gemm_packed_bytes(&gemm.next),
                     gemm_packed_bytes(&gemm.shape), hidden);
    float *sums = (float *)(device->scratch + at.sums);
    const struct gemm_pack pack = {
        .shape = gemm.shape,
        .n = n_choices,
        .x = experts->x,
        .ld_x = experts->ld_x,
        .norm = experts->norm,
        .factor = experts->factor,
        .packed = (uint16_t *)(device->scratch + at.other),
        .expert = experts->expert,
        .routing = experts->routing,
        .n_top = experts->n_top,
        .from_expert = experts->from,
        .to_expert = experts->to,
    };

    if (!weir_cuda_has_scratch(device, at.end, "a layer's experts"))
        return;
    weir_cuda_pack(device, &pack);
    gemm.x = pack.packed;
    gemm.packed = (uint16_t *)(device->scratch + at.act);
    gemm.to[0].w = gemm.to[1].w = experts->gate;
    if (gemm.next.block_pad != gemm.next.block_cols)
        weir_cuda_fill(device, gemm.packed, gemm_packed_bytes(&gemm.next));
    weir_cuda_gemm(device, &gemm);
    gemm.x = gemm.packed;
    gemm.packed = NULL;
    gemm.shape = gemm.next;
    gemm.out = WEIR_OUT_STORE;
    gemm.is_down = 1;
    gemm.to[0].w = experts->down;
    gemm.to[0].y = sums;
    gemm.to[0].ld_y = hidden;
    weir_cuda_gemm(device, &gemm);
    weir_cuda_sum_experts(device, sums, experts);
}

void weir_cuda_experts(struct weir_device *device,
                       const struct weir_device_experts *experts)
{
    if (!experts->n_tok)
        return;
    if (experts->gate.dtype != WEIR_I8 && experts->gate.dtype != WEIR_BF16)
        weir_cuda_fail(device, WEIR_ENOTSUP, "experts must be int8 or bf16");
    else if (experts->n_tok <= WEIR_DEVICE_FEW)
        few_experts(device, experts);
    else
        many_experts(device, experts);
}
