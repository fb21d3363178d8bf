/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a decoding pass a product is matmul() of a few tokens with f32
 * activations, bound by the memory that weights come from.  In a prompt it is
 * the gemm of the CPU's level: every worker packs some tokens of x, and then
 * multiplies slices of tiles with slices of the packed tokens.  Slices of
 * tokens run outside, so that the tokens that all workers want at a time are
 * few enough to stay in their caches.
 *
 * A compressed tile is not sliced: whoever decodes it uses all of it.
 */
#include "model/linear.h"

#include "base/trace.h"
#include "model/product_name.h"
#include "offload/tiling.h"

#define EXACT_TOK        64 /* tokens of an item with matmul() */
#define LEAST_ROWS       16 /* of an item */
#define ITEMS_PER_THREAD 6  /* so that threads end at about the same time */

struct round {
    struct weir_jamba *jamba;
    struct weir_product *products;
    size_t n;
};

/* What an item computes */
struct piece {
    const struct weir_product *p;
    uint64_t group, row; /* of the matrix, and the first row of the piece */
    uint32_t skip, rows; /* rows of the group before it; its own */
    size_t tok, n_tok;
    size_t ld; /* of its partial sums: [n_tok][ld], or turned round */
};

static const struct weir_tensor *tensor_of(const struct weir_jamba *jamba,
                                           const struct weir_product *p)
{
    return &jamba->file->tensors[p->linear->tensor];
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static const uint8_t *packed_at(const struct weir_cut *cut, size_t n_all,
                                size_t cols, unsigned block, size_t tok)
{
    return cut->packed + block * cut->gemm->packed_bytes(n_all, cols) +
           cut->gemm->packed_bytes(tok, cols);
}

static void multiply_packed(const struct piece *piece, unsigned block,
                            const struct weir_tile *tile, float *partial,
                            void *scratch)
{
    const struct weir_product *p = piece->p;
    const struct weir_gemm *gemm = p->cut.gemm;
    struct weir_tile slice = *tile;
    size_t n;

    for (size_t t = 0; t < piece->n_tok; t += n) {
        const uint8_t *x =
            packed_at(&p->cut, p->n_tok, tile->cols, block, piece->tok + t);

        n = piece->n_tok - t;
        n = n < gemm->best_tok ? n : gemm->best_tok;
        for (size_t r = 0; r < tile->rows; r += slice.rows) {
            slice.rows = tile->rows - r;
            if (slice.rows > WEIR_GEMM_ROWS)
                slice.rows = WEIR_GEMM_ROWS;
            slice.data = (const char *)tile->data + r * tile->row_bytes;
            gemm->multiply(&slice, x, n, partial + r * piece->ld + t, piece->ld,
                           scratch);
        }
    }
}

/* Column block `block` of a piece, into the worker's partial sum for it */
static int multiply_block(struct weir_jamba *jamba, const struct piece *piece,
                          unsigned block, struct weir_worker *worker)
{
    const struct weir_product *p = piece->p;
    const struct weir_tensor *tensor = tensor_of(jamba, p);
    size_t cols = weir_tiling_block_cols(tensor);
    struct weir_tile tile = {.dtype = tensor->dtype,
                             .rows = piece->rows,
                             .cols = cols,
                             .row_bytes = weir_tiling_row_bytes(tensor)};
    size_t ld_partial = jamba->work.ld_partial;
    float *partial = worker->partial + weir_partial_of(block) * ld_partial;
    int rc;

    rc = weir_residency_tile(jamba->residency, p->linear->tensor,
                             piece->group * tensor->col_blocks + block,
                             worker->tile, &tile.data, &worker->err);
    if (rc)
        return rc;
    tile.data = (const char *)tile.data + piece->skip * tile.row_bytes;
    if (p->cut.gemm)
        multiply_packed(piece, block, &tile, partial, worker->gemm);
    else
        jamba->kernels.matmul(&tile, p->x + piece->tok * p->ld_x + block * cols,
                              p->ld_x, piece->n_tok, partial, piece->ld);
    jamba->kernels.block_fold(
        worker->partial, ld_partial,
        piece->ld * (p->cut.gemm ? piece->rows : piece->n_tok), block);
    return 0;
}

/* All column blocks of a piece, then its scales and biases */
static int multiply_piece(struct weir_jamba *jamba, const struct piece *piece,
                          struct weir_worker *worker)
{
    const struct weir_product *p = piece->p;
    const struct weir_tensor *tensor = tensor_of(jamba, p);
    const float *scale = p->linear->scale, *bias = p->linear->bias;
    float *y = p->y + piece->tok * p->ld_y + piece->row;
    int rc;

    for (unsigned block = 0; block < tensor->col_blocks; block++) {
        rc = multiply_block(jamba, piece, block, worker);
        if (rc)
            return rc;
    }
    (p->cut.gemm ? jamba->kernels.turn_scale_bias : jamba->kernels.scale_bias)(
        worker->partial, piece->ld, piece->n_tok, piece->rows,
        scale ? scale + piece->row : NULL, bias ? bias + piece->row : NULL, y,
        p->ld_y);
    return 0;
}

/* Item `item` of a product; the last groups of a part may have no rows left */
static void find_piece(const struct weir_tensor *tensor,
                       const struct weir_product *p, size_t item,
                       struct piece *piece)
{
    const struct weir_cut *cut = &p->cut;
    size_t n_slices = weir_tiling_n_groups(tensor) * cut->n_row_slices;
    size_t slice = item % n_slices;
    uint32_t rows;

    piece->p = p;
    piece->tok = item / n_slices * cut->tok;
    piece->n_tok = p->n_tok - piece->tok;
    if (piece->n_tok > cut->tok)
        piece->n_tok = cut->tok;
    piece->group = slice / cut->n_row_slices;
    piece->skip = (uint32_t)(slice % cut->n_row_slices) * cut->rows;
    weir_tiling_group(tensor, piece->group, &piece->row, &rows);
    piece->row += piece->skip;
    piece->rows = rows > piece->skip ? rows - piece->skip : 0;
    if (piece->rows > cut->rows)
        piece->rows = cut->rows;
    piece->ld =
        cut->gemm ? round_up(piece->n_tok, WEIR_GEMM_GROUP) : piece->rows;
}

/*
 * Items come to a worker in ascending order, so its first failure is its
 * earliest; after it, what it computes is not needed any more.
 */
static void multiply_item(void *ctx, size_t item, unsigned number)
{
    const struct round *round = ctx;
    struct weir_worker *worker = &round->jamba->work.workers[number];
    const struct weir_product *p = round->products + round->n - 1;
    struct piece piece;

    if (worker->rc)
        return;
    while (p->cut.first_item > item)
        p--;
    find_piece(tensor_of(round->jamba, p), p, item - p->cut.first_item, &piece);
    if (piece.rows)
        worker->rc = multiply_piece(round->jamba, &piece, worker);
    worker->item = item;
}

/* One group of tokens of a product that packs */
static void pack_item(void *ctx, size_t item, unsigned number)
{
    const struct round *round = ctx;
    const struct weir_product *p = round->products + round->n - 1;
    const struct weir_tensor *tensor;
    size_t cols, tok, left;

    (void)number;
    while (p->cut.first_pack > item)
        p--;
    tensor = tensor_of(round->jamba, p);
    cols = weir_tiling_block_cols(tensor);
    tok = (item - p->cut.first_pack) * WEIR_GEMM_GROUP;
    left = p->n_tok - tok;
    for (unsigned block = 0; block < tensor->col_blocks; block++)
        p->cut.gemm->pack(
            p->x + tok * p->ld_x + block * cols, p->ld_x,
            left < WEIR_GEMM_GROUP ? left : WEIR_GEMM_GROUP, cols,
            (uint8_t *)packed_at(&p->cut, p->n_tok, cols, block, tok));
}

static size_t n_items(const struct weir_tensor *tensor,
                      const struct weir_cut *cut)
{
    return weir_tiling_n_groups(tensor) * cut->n_row_slices * cut->n_tok_slices;
}

static void cut_rows(const struct weir_tensor *tensor, struct weir_cut *cut,
                     uint32_t rows)
{
    cut->rows = rows;
    cut->n_row_slices = (tensor->tile_rows + rows - 1) / rows;
}

static void cut_product(struct weir_jamba *jamba, struct weir_product *p)
{
    const struct weir_tensor *tensor = tensor_of(jamba, p);
    size_t enough = ITEMS_PER_THREAD * jamba->work.n_workers;
    struct weir_cut *cut = &p->cut;
    /* whether slices of a tile may be used by themselves */
    int lies_raw =
        weir_residency_is_unpacked(jamba->residency, p->linear->tensor);

    cut->gemm = p->precision != WEIR_EXACT
                    ? weir_gemm_for(&jamba->kernels, tensor->dtype,
                                    p->precision == WEIR_FINE)
                    : NULL;
    cut->tok = p->n_tok;
    cut_rows(tensor, cut, tensor->tile_rows);
    if (lies_raw) {
        cut->tok = cut->gemm ? cut->gemm->best_tok : EXACT_TOK;
        if (cut->gemm && cut->rows > WEIR_GEMM_ROWS)
            cut_rows(tensor, cut, WEIR_GEMM_ROWS);
    }
    cut->n_tok_slices = (p->n_tok + cut->tok - 1) / cut->tok;
    while (lies_raw && n_items(tensor, cut) < enough &&
           cut->rows >= 2 * LEAST_ROWS)
        cut_rows(tensor, cut,
                 (uint32_t)round_up((cut->rows + 1) / 2, LEAST_ROWS));
}

/* Items, and where x is packed; how many of each there are */
static void plan_round(struct round *round, size_t *n_packs, size_t *n_all)
{
    struct weir_jamba *jamba = round->jamba;
    uint8_t *packed = jamba->work.packed;

    *n_packs = 0;
    *n_all = 0;
    for (struct weir_product *p = round->products;
         p < round->products + round->n; p++) {
        const struct weir_tensor *tensor = tensor_of(jamba, p);

        cut_product(jamba, p);
        p->cut.first_item = *n_all;
        *n_all += n_items(tensor, &p->cut);
        p->cut.first_pack = *n_packs;
        p->cut.packs =
            p->cut.gemm && (p == round->products || p[-1].x != p->x ||
                            p[-1].cut.gemm != p->cut.gemm);
        if (!p->cut.packs) {
            p->cut.packed = p > round->products ? p[-1].cut.packed : NULL;
            continue;
        }
        p->cut.packed = packed;
        packed +=
            tensor->col_blocks *
            p->cut.gemm->packed_bytes(p->n_tok, weir_tiling_block_cols(tensor));
        *n_packs += (p->n_tok + WEIR_GEMM_GROUP - 1) / WEIR_GEMM_GROUP;
    }
}

int weir_linear_run(struct weir_jamba *jamba, struct weir_product *products,
                    size_t n, struct weir_err *err)
{
    struct round round = {jamba, products, n};
    size_t n_packs, n_all;

    plan_round(&round, &n_packs, &n_all);
    for (size_t i = 0; i < jamba->work.n_workers; i++)
        jamba->work.workers[i].rc = 0;
    weir_trace_name("packing");
    if (n_packs)
        weir_pool_run(jamba->pool, n_packs, pack_item, &round);
    if (WEIR_TRACE_ON)
        weir_trace_name(weir_product_name(tensor_of(jamba, products)->name));
    weir_pool_run(jamba->pool, n_all, multiply_item, &round);
    return weir_work_failure(&jamba->work, err);
}

int weir_linear_apply(struct weir_jamba *jamba,
                      const struct weir_linear *linear, const float *x,
                      size_t ld_x, size_t n_tok, float *y, size_t ld_y,
                      struct weir_err *err)
{
    struct weir_product product = weir_product(linear, x, ld_x, n_tok, y, ld_y);

    product.precision = weir_precision_of(WEIR_FINE, jamba->work.prompt);
    return weir_linear_run(jamba, &product, 1, err);
}

int weir_linear_apply_exact(struct weir_jamba *jamba,
                            const struct weir_linear *linear, const float *x,
                            size_t ld_x, size_t n_tok, float *y, size_t ld_y,
                            struct weir_err *err)
{
    struct weir_product product = weir_product(linear, x, ld_x, n_tok, y, ld_y);

    product.precision = WEIR_EXACT;
    return weir_linear_run(jamba, &product, 1, err);
}

/* The row group that holds row `row`, and its place in it */
static uint64_t group_of(const struct weir_tensor *tensor, uint64_t row,
                         uint64_t *in_group)
{
    uint64_t part_rows = tensor->rows / tensor->row_parts;
    uint64_t part_groups = weir_tiling_n_groups(tensor) / tensor->row_parts;
    uint64_t in_part = row % part_rows;

    *in_group = in_part % tensor->tile_rows;
    return row / part_rows * part_groups + in_part / tensor->tile_rows;
}

/*
 * Each tile is asked for once: an item is the tokens of some groups of rows,
 * chained in the order of their groups.
 */
struct embedding {
    struct weir_jamba *jamba;
    uint32_t tensor;
    const int32_t *ids;
    size_t n_tok;
    uint32_t *first, *next; /* [n_tok]: of an item's chain, behind a token */
    float *y;
};

#define NO_TOKEN UINT32_MAX

static const struct weir_tensor *table_of(const struct embedding *embedding)
{
    return &embedding->jamba->file->tensors[embedding->tensor];
}

static uint64_t find_row(const struct embedding *embedding, uint32_t token,
                         uint64_t *in_group)
{
    return group_of(table_of(embedding), (uint64_t)embedding->ids[token],
                    in_group);
}

static int is_of_group(const struct embedding *embedding, uint32_t token,
                       uint64_t group)
{
    uint64_t in_group;

    return token != NO_TOKEN && find_row(embedding, token, &in_group) == group;
}

static void chain_token(struct embedding *embedding, uint32_t token)
{
    uint64_t in_group, group = find_row(embedding, token, &in_group);
    uint32_t *at = &embedding->first[group % embedding->n_tok];

    while (*at != NO_TOKEN && find_row(embedding, *at, &in_group) < group)
        at = &embedding->next[*at];
    embedding->next[token] = *at;
    *at = token;
}

static void chain_tokens(struct embedding *embedding)
{
    for (size_t i = 0; i < embedding->n_tok; i++)
        embedding->first[i] = NO_TOKEN;
    for (size_t i = 0; i < embedding->n_tok; i++)
        chain_token(embedding, (uint32_t)i);
}

/* The rows of `token` and of those behind it whose rows lie in that tile */
static void widen_rows(const struct embedding *embedding, uint32_t token,
                       uint64_t group, uint32_t block, const uint8_t *tile)
{
    const struct weir_tensor *tensor = table_of(embedding);
    size_t cols = weir_tiling_block_cols(tensor);
    size_t row_bytes = weir_tiling_row_bytes(tensor);
    uint64_t in_group;

    for (; is_of_group(embedding, token, group);
         token = embedding->next[token]) {
        find_row(embedding, token, &in_group);
        weir_dtype_widen(tensor->dtype, tile + in_group * row_bytes,
                         embedding->y + token * tensor->cols + block * cols,
                         cols);
    }
}

static void widen_group(const struct embedding *embedding, uint32_t token,
                        uint64_t group, struct weir_worker *worker)
{
    uint32_t n_blocks = table_of(embedding)->col_blocks;
    const void *tile;

    for (uint32_t block = 0; block < n_blocks && !worker->rc; block++) {
        worker->rc = weir_residency_tile(
            embedding->jamba->residency, embedding->tensor,
            group * n_blocks + block, worker->tile, &tile, &worker->err);
        if (!worker->rc)
            widen_rows(embedding, token, group, block, tile);
    }
}

static void widen_item(void *ctx, size_t item, unsigned number)
{
    const struct embedding *embedding = ctx;
    struct weir_worker *worker = &embedding->jamba->work.workers[number];
    uint32_t token = embedding->first[item];
    uint64_t group, in_group;

    while (token != NO_TOKEN && !worker->rc) {
        worker->item = item;
        group = find_row(embedding, token, &in_group);
        widen_group(embedding, token, group, worker);
        while (is_of_group(embedding, token, group))
            token = embedding->next[token];
    }
}

int weir_linear_rows(struct weir_jamba *jamba, uint32_t tensor,
                     const int32_t *ids, size_t n_tok, float *y,
                     struct weir_err *err)
{
    struct embedding embedding = {
        .jamba = jamba,
        .tensor = tensor,
        .ids = ids,
        .n_tok = n_tok,
        .first = jamba->work.expert,
        .next = jamba->work.order,
        .y = y,
    };

    chain_tokens(&embedding);
    for (size_t i = 0; i < jamba->work.n_workers; i++)
        jamba->work.workers[i].rc = 0;
    weir_trace_name("embedding");
    weir_pool_run(jamba->pool, n_tok, widen_item, &embedding);
    return weir_work_failure(&jamba->work, err);
}
