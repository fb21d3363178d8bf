/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernels a product, and the experts of a layer, are made of. */
#include "kernels/cuda/few.h"
#include "kernels/cuda/gemm.h"

#define ROUND_TOK 32 /* of few tokens, in one launch */

static uint64_t align(uint64_t n)
{
    return (n + 255) / 256 * 256;
}

/* Sums of the parts of n_slots tiles */
static uint64_t few_bytes(uint64_t n_slots)
{
    return align(n_slots * 8 * FEW_ROWS * FEW_TOK * sizeof(float));
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

static uint64_t dense_slots(uint64_t rows, uint64_t n_tok)
{
    return (rows / (FEW_ROWS / 2) + WEIR_DEVICE_MATRICES) * n_groups_of(n_tok);
}

uint64_t weir_cuda_matmul_bytes(const struct weir_device_limits *limits)
{
    uint64_t n_tok = limits->n_tok < ROUND_TOK ? limits->n_tok : ROUND_TOK;
    uint64_t few = few_bytes(dense_slots(limits->rows, n_tok));
    uint64_t cols = limits->cols + 8 * GEMM_STEP;
    uint64_t many = align(limits->n_tok * cols * 2 * sizeof(uint16_t));

    return few > many ? few : many;
}

static void few_round(struct weir_device *device,
                      const struct weir_device_matmul *matmul, uint32_t from,
                      uint32_t n_tok)
{
    uint64_t rows = 0;
    struct few few = {
        .kind = FEW_DENSE,
        .out = matmul->out,
        .n_tok = n_tok,
        .n_mat = matmul->n_mat,
        .n_groups = (uint32_t)n_groups_of(n_tok),
        .x = matmul->x + from * matmul->ld_x,
        .ld_x = matmul->ld_x,
        .norm = matmul->norm,
        .factor = matmul->factor ? matmul->factor + from : NULL,
        .eps = matmul->eps,
        .partial = (float *)device->scratch,
        .counter = device->counters,
    };

    for (uint32_t m = 0; m < matmul->n_mat; m++) {
        few.to[m].w = matmul->to[m].w;
        few.to[m].bias = matmul->to[m].bias;
        few.to[m].y = matmul->to[m].y + from * matmul->to[m].ld_y;
        few.to[m].ld_y = matmul->to[m].ld_y;
        rows += matmul->to[m].w.rows;
    }
    if (weir_cuda_has_scratch(device, few_bytes(dense_slots(rows, n_tok)),
                              "a product"))
        weir_cuda_few(device, &few);
}

static void many(struct weir_device *device,
                 const struct weir_device_matmul *matmul)
{
    struct gemm gemm = {
        .shape = gemm_shape_of(&matmul->to[0].w, matmul->terms),
        .out = matmul->out,
        .n_tok = matmul->n_tok,
        .x = (uint16_t *)device->scratch,
    };
    uint64_t n_bytes = matmul->n_tok * gemm.shape.ld * sizeof(uint16_t);
    uint32_t n = matmul->out == WEIR_OUT_GATED ? 2 : 1;

    if (!weir_cuda_has_scratch(device, n_bytes, "a product of many tokens"))
        return;
    weir_cuda_pack(device, &gemm.shape, matmul->x, matmul->ld_x, matmul->n_tok,
                   matmul->norm, matmul->factor, matmul->eps,
                   (uint16_t *)device->scratch);
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

void weir_cuda_matmul(struct weir_device *device,
                      const struct weir_device_matmul *matmul)
{
    uint32_t dtype = matmul->to[0].w.dtype, left = matmul->n_tok;

    if (!left)
        return;
    if (dtype != WEIR_I8 && dtype != WEIR_BF16) {
        weir_cuda_plain(device, matmul);
    } else if (left > FEW_TOK && matmul->terms != WEIR_DEVICE_EXACT) {
        many(device, matmul);
    } else {
        for (; left > ROUND_TOK; left -= ROUND_TOK)
            few_round(device, matmul, matmul->n_tok - left, ROUND_TOK);
        few_round(device, matmul, matmul->n_tok - left, left);
    }
}

/* What lies in the scratch of a layer's experts, in bytes from its start */
struct experts_scratch {
    uint64_t act, sums, other, end;
};

static struct experts_scratch few_scratch(uint64_t n_choices, uint64_t inter,
                                          uint64_t hidden, uint64_t n_groups)
{
    struct experts_scratch at = {0, 0, 0, 0};
    uint64_t rows = 2 * inter > hidden ? 2 * inter : hidden;

    at.sums = align(n_choices * inter * sizeof(float));
    at.other = at.sums + align(n_choices * hidden * sizeof(float));
    at.end = at.other + few_bytes((rows / FEW_ROWS + 2) * n_groups);
    return at;
}

/* inter and hidden: elements of a packed row */
static struct experts_scratch many_scratch(uint64_t n_tok, uint64_t n_choices,
                                           uint64_t inter, uint64_t packed,
                                           uint64_t hidden)
{
    struct experts_scratch at = {0, 0, 0, 0};

    at.sums = align(n_choices * inter * sizeof(uint16_t));
    at.other = at.sums + align(n_choices * hidden * sizeof(float));
    at.end = at.other + align(n_tok * packed * sizeof(uint16_t));
    return at;
}

uint64_t weir_cuda_experts_bytes(const struct weir_device_limits *limits)
{
    uint32_t few =
        limits->n_tok < WEIR_DEVICE_FEW ? limits->n_tok : WEIR_DEVICE_FEW;
    uint64_t inter = limits->inter, hidden = limits->hidden;
    uint64_t pad = 8 * GEMM_STEP, n_few, n_many;

    if (!limits->n_experts)
        return 0;
    n_few = few_scratch((uint64_t)few * limits->n_top, inter, hidden,
                        n_choice_groups(few * limits->n_top, limits->n_experts))
                .end;
    n_many =
        many_scratch(limits->n_tok, (uint64_t)limits->n_tok * limits->n_top,
                     2 * (inter + pad), 2 * (hidden + pad), hidden)
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
        .n_mat = 2,
        .n_groups = n_choice_groups(n_choices, experts->n_experts),
        .x = experts->x,
        .ld_x = experts->ld_x,
        .norm = experts->norm,
        .factor = experts->factor,
        .counter = device->counters,
        .n_top = experts->n_top,
        .n_experts = experts->n_experts,
        .expert = experts->expert,
        .routing = experts->routing,
        .from_expert = experts->from,
        .to_expert = experts->to,
        .sum = experts->y,
        .ld_sum = experts->ld_y,
        .in_order = experts->in_order,
    };
    struct experts_scratch at =
        few_scratch(n_choices, inter, hidden, few.n_groups);
    float *act = (float *)(device->scratch + at.act);

    if (!weir_cuda_has_scratch(device, at.end, "a layer's experts"))
        return;
    few.partial = (float *)(device->scratch + at.other);
    few.to[0].w = few.to[1].w = experts->gate;
    few.to[0].y = act;
    few.to[0].ld_y = inter;
    weir_cuda_few(device, &few);
    few.kind = FEW_DOWNS;
    few.out = WEIR_OUT_STORE;
    few.n_mat = 1;
    few.x = act;
    few.ld_x = inter;
    few.norm = few.factor = NULL;
    few.to[0].w = experts->down;
    few.to[0].y = (float *)(device->scratch + at.sums);
    few.to[0].ld_y = hidden;
    weir_cuda_few(device, &few);
}

static void many_experts(struct weir_device *device,
                         const struct weir_device_experts *experts)
{
    uint32_t n_choices = experts->n_tok * experts->n_top;
    uint32_t terms = experts->terms == WEIR_DEVICE_ROUNDED ? WEIR_DEVICE_ROUNDED
                                                           : WEIR_DEVICE_FINE;
    uint32_t hidden = experts->down.rows;
    struct gemm gemm = {
        .shape = gemm_shape_of(&experts->gate, terms),
        .out = WEIR_OUT_GATED,
        .n_tok = n_choices,
        .next = gemm_shape_of(&experts->down, terms),
        .expert = experts->expert,
        .routing = experts->routing,
        .n_experts = experts->n_experts,
        .n_top = experts->n_top,
        .from_expert = experts->from,
        .to_expert = experts->to,
    };
    struct experts_scratch at = many_scratch(
        experts->n_tok, n_choices, gemm.next.ld, gemm.shape.ld, hidden);
    float *sums = (float *)(device->scratch + at.sums);

    if (!weir_cuda_has_scratch(device, at.end, "a layer's experts"))
        return;
    gemm.x = (uint16_t *)(device->scratch + at.other);
    gemm.packed = (uint16_t *)(device->scratch + at.act);
    weir_cuda_pack(device, &gemm.shape, experts->x, experts->ld_x,
                   experts->n_tok, experts->norm, experts->factor, 0,
                   (uint16_t *)(device->scratch + at.other));
    gemm.to[0].w = gemm.to[1].w = experts->gate;
    if (gemm.next.block_pad != gemm.next.block_cols)
        weir_cuda_fill(device, gemm.packed,
                       n_choices * gemm.next.ld * sizeof(*gemm.packed));
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
