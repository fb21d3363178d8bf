/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file has the rows of all tokens of a span, in f32 as memory has them: a
 * narrower type would let the budget, which decides about the file, into the
 * bits.  Behind them, in a model with experts, it has room for as many sums.
 * offload/scratch.h says what moves.
 */
#include "model/wait.h"

static uint64_t row_bytes(const struct weir_config *config)
{
    return config->n_hidden * sizeof(float);
}

void weir_wait_describe(const struct weir_config *config,
                        struct weir_scratch_use *use)
{
    *use = (struct weir_scratch_use){.row_bytes = row_bytes(config),
                                     .n_layers = config->n_layers,
                                     .n_experts = config->n_experts};
    for (uint32_t i = 0; i < config->n_layers; i++)
        use->n_groups += weir_config_is_moe(config, i) != 0;
}

int weir_wait_take(struct weir_jamba *jamba, size_t n_tok, size_t n_block,
                   struct weir_err *err)
{
    struct weir_scratch_use use;
    int rc = 0;

    if (n_tok > n_block) {
        weir_wait_describe(&jamba->config, &use);
        rc = weir_scratch_open(jamba->scratch_path,
                               weir_scratch_file_bytes(&use, n_tok),
                               jamba->scratch_calls, &jamba->scratch, err);
    }
    if (rc)
        return rc;
    return weir_work_take_span(&jamba->work, &jamba->config, n_tok,
                               n_tok < n_block ? n_tok : n_block, err);
}

typedef int move_fn(struct weir_jamba *jamba, uint64_t offset, float *rows,
                    uint64_t n_bytes, struct weir_err *err);

static int read_rows(struct weir_jamba *jamba, uint64_t offset, float *rows,
                     uint64_t n_bytes, struct weir_err *err)
{
    return weir_scratch_read(jamba->scratch, offset, rows, n_bytes, err);
}

static int write_rows(struct weir_jamba *jamba, uint64_t offset, float *rows,
                      uint64_t n_bytes, struct weir_err *err)
{
    return weir_scratch_write(jamba->scratch, offset, rows, n_bytes, err);
}

static int move(struct weir_jamba *jamba, unsigned what, size_t row,
                size_t n_tok, move_fn *fn, struct weir_err *err)
{
    const struct weir_work *work = &jamba->work;
    uint64_t each = row_bytes(&jamba->config), at = row * each;
    uint64_t n_bytes = weir_scratch_up(n_tok * each);
    uint64_t sums = weir_scratch_up(work->span_tok * each);
    int rc = 0;

    if (what & WEIR_WAIT_HIDDEN)
        rc = fn(jamba, at, work->hidden, n_bytes, err);
    if (what & WEIR_WAIT_SUM && !rc)
        rc = fn(jamba, sums + at, work->sum, n_bytes, err);
    return rc;
}

int weir_wait_load(struct weir_jamba *jamba, unsigned what, size_t row,
                   size_t n_tok, struct weir_err *err)
{
    return move(jamba, what, row, n_tok, read_rows, err);
}

int weir_wait_store(struct weir_jamba *jamba, unsigned what, size_t row,
                    size_t n_tok, struct weir_err *err)
{
    return move(jamba, what, row, n_tok, write_rows, err);
}

uint32_t weir_wait_experts(const struct weir_jamba *jamba, size_t n_tok)
{
    uint32_t all = jamba->config.n_experts;
    unsigned n = weir_residency_can_hold(jamba->residency);

    return n_tok <= jamba->work.block_tok || n > all ? all : n;
}

void weir_wait_count(const struct weir_jamba *jamba, size_t n_tok,
                     struct weir_scratch_stats *bytes)
{
    struct weir_scratch_use use;

    *bytes = (struct weir_scratch_stats){0};
    if (n_tok <= jamba->work.block_tok || !jamba->scratch)
        return;
    weir_wait_describe(&jamba->config, &use);
    weir_scratch_count(&use, n_tok, weir_wait_experts(jamba, n_tok), bytes);
}
