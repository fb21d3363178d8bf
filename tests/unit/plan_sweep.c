/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines and models drawn at random, each with budgets from nothing to all
 * that the model takes: none is exceeded, and no plan is slower than the one
 * with less memory.
 */
#include "offload/plan.h"

#include <string.h>

#include "tests/tap.h"

#define N_MODELS  400
#define N_BUDGETS 60
#define MAX_UNITS 256

static uint64_t seed = 1;
static struct weir_plan_unit units[MAX_UNITS];

/* In [from, to), by the generator of Knuth's MMIX */
static double draw(double from, double to)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return from + (to - from) * (double)(seed >> 33) / (double)(1u << 31);
}

static struct weir_plan_unit *add_unit(struct weir_plan_model *model,
                                       enum weir_plan_kind kind,
                                       enum weir_codec codec, double n_bytes)
{
    struct weir_plan_unit *unit = &units[model->n_units++];

    memset(unit, 0, sizeof(*unit));
    unit->kind = kind;
    unit->unpacked_bytes[codec] = (uint64_t)n_bytes;
    unit->stored_bytes =
        (uint64_t)(codec == WEIR_CODEC_RAW ? n_bytes
                                           : n_bytes * draw(0.66, 0.69));
    unit->held_bytes = unit->stored_bytes + 4096 - unit->stored_bytes % 4096;
    unit->share = 1;
    unit->flop = 2 * n_bytes;
    return unit;
}

static struct weir_plan_model draw_model(void)
{
    struct weir_plan_model model = {.units = units,
                                    .kept_bytes = 1000000,
                                    .work_bytes = 5000000,
                                    .state_bytes = 100000,
                                    .kv_bytes = 1000,
                                    .wait_bytes = 16384,
                                    .seen_flop = 1e5,
                                    .chunk_tok = 64};
    unsigned n_layers = (unsigned)draw(1, 9), n_experts = (unsigned)draw(2, 16);
    unsigned n_top = (unsigned)draw(1, 3), codec = (unsigned)draw(0, 3);
    unsigned expert_codec = (unsigned)draw(0, 3);
    double mixer = draw(1e6, 1e8), expert = draw(1e6, 1e8);
    struct weir_plan_unit *unit;

    model.n_top = n_top;
    model.guess_tok = (uint32_t)draw(0, 5);
    for (unsigned i = 0; i < n_layers; i++) {
        add_unit(&model, WEIR_PLAN_TRUNK, codec, mixer * draw(1, 1.1))->stage =
            i;
        add_unit(&model, WEIR_PLAN_TRUNK, WEIR_CODEC_RAW, mixer / 2)->stage = i;
        for (unsigned e = 0; e < n_experts; e++) {
            unit = add_unit(&model, WEIR_PLAN_EXPERT, expert_codec, expert);
            unit->group = unit->stage = i;
            unit->share = (double)n_top / n_experts;
        }
    }
    unit = add_unit(&model, WEIR_PLAN_ROWS, WEIR_CODEC_RAW, 5e7);
    unit->row_bytes = 256 << 10;
    add_unit(&model, WEIR_PLAN_HEAD, codec, 5e7);
    return model;
}

static struct weir_plan_machine draw_machine(void)
{
    return (struct weir_plan_machine){
        .disk_gbps = draw(0.5, 20),
        .dram_gbps = draw(5, 105),
        .gflops = draw(50, 1050),
        .decode_gbps = {0, WEIR_PLAN_ZSTD_GBPS, WEIR_PLAN_PLANES_GBPS},
        .n_threads = (unsigned)draw(1, 9),
        .ram_bytes = UINT64_MAX};
}

static int is_slower(const struct weir_plan_speed *speed, double *before)
{
    int slower = speed->tps < *before * (1 - 1e-9);

    *before = speed->tps;
    return slower;
}

/* One model on one machine; how many plans were made, and went wrong */
static void sweep(unsigned *n_plans, unsigned *n_over, unsigned *n_slower)
{
    struct weir_plan_model model = draw_model();
    struct weir_plan_machine machine = draw_machine();
    struct weir_plan_budget budget = {.fixed_bytes = 64 << 20,
                                      .n_ctx = 4096,
                                      .n_prompt = (uint64_t)draw(1, 2000),
                                      .batch = 1};
    double all = 4e8, decode = 0, prompt = 0;
    struct weir_plan plan;

    if (draw(0, 1) < 0.3)
        budget.batch = (uint32_t)draw(2, 17);
    for (uint32_t i = 0; i < model.n_units; i++)
        for (int c = 0; c < WEIR_N_CODECS; c++)
            all += (double)units[i].unpacked_bytes[c];
    for (unsigned i = 1; i <= N_BUDGETS; i++) {
        budget.ram_bytes = (uint64_t)(all * i / N_BUDGETS);
        if (!weir_plan_make(&plan, &machine, &model, &budget, NULL)) {
            *n_plans += 1;
            *n_over += plan.ram.sum > budget.ram_bytes;
            *n_slower += is_slower(&plan.decode, &decode) ||
                         is_slower(&plan.prompt, &prompt);
        }
        weir_plan_fini(&plan);
    }
}

int main(void)
{
    unsigned n_plans = 0, n_over = 0, n_slower = 0;

    for (unsigned i = 0; i < N_MODELS; i++)
        sweep(&n_plans, &n_over, &n_slower);
    tap_ok(n_plans > N_MODELS * N_BUDGETS / 2, "%u plans are made", n_plans);
    tap_ok(n_over == 0, "%u exceed their budget", n_over);
    tap_ok(n_slower == 0, "%u are slower than with less memory", n_slower);
    return tap_done();
}
