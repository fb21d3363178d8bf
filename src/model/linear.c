/* SPDX-License-Identifier: Apache-2.0 */
#include "model/linear.h"

#include "offload/tiling.h"

struct round {
    struct weir_jamba *jamba;
    const struct weir_product *products;
    size_t n;
};

static const struct weir_tensor *tensor_of(const struct weir_jamba *jamba,
                                           const struct weir_product *p)
{
    return &jamba->file->tensors[p->linear->tensor];
}

/* Block `block` of row group `group`, into the worker's partial sum for it */
static int multiply_block(struct weir_jamba *jamba,
                          const struct weir_product *p, size_t group,
                          unsigned block, uint32_t rows,
                          struct weir_worker *worker)
{
    const struct weir_tensor *tensor = tensor_of(jamba, p);
    size_t cols = weir_tiling_block_cols(tensor);
    struct weir_tile tile = {.dtype = tensor->dtype,
                             .rows = rows,
                             .cols = cols,
                             .row_bytes = weir_tiling_row_bytes(tensor)};
    size_t ld_partial = jamba->work.ld_partial;
    float *partial = worker->partial + weir_partial_of(block) * ld_partial;
    int rc;

    rc = weir_residency_tile(jamba->residency, p->linear->tensor,
                             group * tensor->col_blocks + block, worker->tile,
                             &tile.data, &worker->err);
    if (rc)
        return rc;
    jamba->kernels.matmul(&tile, p->x + block * cols, p->ld_x, p->n_tok,
                          partial, rows);
    jamba->kernels.block_fold(worker->partial, ld_partial, p->n_tok * rows,
                              block);
    return 0;
}

/* All column blocks of one row group, then its scales and biases */
static int multiply_group(struct weir_jamba *jamba,
                          const struct weir_product *p, size_t group,
                          struct weir_worker *worker)
{
    const struct weir_tensor *tensor = tensor_of(jamba, p);
    const float *scale = p->linear->scale, *bias = p->linear->bias;
    uint64_t row;
    uint32_t rows;
    int rc;

    weir_tiling_group(tensor, group, &row, &rows);
    for (unsigned block = 0; block < tensor->col_blocks; block++) {
        rc = multiply_block(jamba, p, group, block, rows, worker);
        if (rc)
            return rc;
    }
    jamba->kernels.scale_bias(worker->partial, rows, p->n_tok, rows,
                              scale ? scale + row : NULL,
                              bias ? bias + row : NULL, p->y + row, p->ld_y);
    return 0;
}

/* The last product whose items begin at or before `item` */
static const struct weir_product *find_product(const struct round *round,
                                               size_t item)
{
    size_t low = 0, high = round->n, middle;

    while (high - low > 1) {
        middle = low + (high - low) / 2;
        if (round->products[middle].first_item <= item)
            low = middle;
        else
            high = middle;
    }
    return &round->products[low];
}

/*
 * Items come to a worker in ascending order, so its first failure is its
 * earliest; after it, what it computes is not needed any more.
 */
static void multiply_item(void *ctx, size_t item, unsigned number)
{
    const struct round *round = ctx;
    struct weir_worker *worker = &round->jamba->work.workers[number];
    const struct weir_product *p = find_product(round, item);

    if (worker->rc)
        return;
    worker->rc = multiply_group(round->jamba, p, item - p->first_item, worker);
    worker->item = item;
}

static int first_failure(struct weir_work *work, struct weir_err *err)
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

int weir_linear_run(struct weir_jamba *jamba, struct weir_product *products,
                    size_t n, struct weir_err *err)
{
    struct round round = {jamba, products, n};
    size_t n_items = 0;

    for (size_t i = 0; i < n; i++) {
        products[i].first_item = n_items;
        n_items += weir_tiling_n_groups(tensor_of(jamba, &products[i]));
    }
    for (size_t i = 0; i < jamba->work.n_workers; i++)
        jamba->work.workers[i].rc = 0;
    weir_pool_run(jamba->pool, n_items, multiply_item, &round);
    return first_failure(&jamba->work, err);
}

int weir_linear_apply(struct weir_jamba *jamba,
                      const struct weir_linear *linear, const float *x,
                      size_t ld_x, size_t n_tok, float *y, size_t ld_y,
                      struct weir_err *err)
{
    struct weir_product product = {linear, x, ld_x, n_tok, y, ld_y, 0};

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

int weir_linear_row(struct weir_jamba *jamba, uint32_t number, uint64_t row,
                    float *y, struct weir_err *err)
{
    const struct weir_tensor *tensor = &jamba->file->tensors[number];
    size_t cols = weir_tiling_block_cols(tensor);
    size_t row_bytes = weir_tiling_row_bytes(tensor);
    uint64_t in_group, group = group_of(tensor, row, &in_group);
    const void *data;
    int rc;

    for (uint32_t block = 0; block < tensor->col_blocks; block++) {
        rc = weir_residency_tile(jamba->residency, number,
                                 group * tensor->col_blocks + block,
                                 jamba->work.workers[0].tile, &data, err);
        if (rc)
            return rc;
        weir_dtype_widen(tensor->dtype,
                         (const uint8_t *)data + in_group * row_bytes,
                         y + block * cols, cols);
    }
    return 0;
}
