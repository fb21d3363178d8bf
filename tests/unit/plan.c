/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans of machines and models that are nowhere but here.  The models have the
 * shapes of Mini and Large, so that what a plan says can be worked out by hand.
 */
#include "offload/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

#define MAX_UNITS 1024
#define GB        1000000000ull
#define MB        1000000ull

enum { EMBED, MIXER, MLP, ROUTER, EXPERTS, HEAD };

/* A shape, in parameters */
struct shape {
    unsigned n_layers;
    uint64_t mamba, attention, mlp, router, embed;
    unsigned kv_bytes;
    uint64_t state_bytes;
    uint64_t wait_bytes;
};

static const struct shape mini = {32,        105308448, 41943040,
                                  176160768, 65536,     268435456,
                                  16384,     17432576,  16384};
static const struct shape large = {72,        420332064, 150994944,
                                   603979776, 131072,    536870912,
                                   36864,     78446592,  32768};

static struct weir_plan_unit units[MAX_UNITS];

static struct weir_plan_unit *add_unit(struct weir_plan_model *model,
                                       enum weir_plan_kind kind, unsigned class,
                                       uint64_t n, unsigned bytes)
{
    struct weir_plan_unit *unit = &units[model->n_units++];

    memset(unit, 0, sizeof(*unit));
    unit->kind = kind;
    unit->class = class;
    unit->stored_bytes = unit->held_bytes = n * bytes;
    unit->unpacked_bytes[WEIR_CODEC_RAW] = n * bytes;
    unit->share = 1;
    unit->flop = 2 * (double)n;
    return unit;
}

static void add_experts(struct weir_plan_model *model,
                        const struct shape *shape, unsigned group)
{
    struct weir_plan_unit *unit;

    add_unit(model, WEIR_PLAN_TRUNK, ROUTER, shape->router, 2);
    for (int e = 0; e < 16; e++) {
        unit = add_unit(model, WEIR_PLAN_EXPERT, EXPERTS, shape->mlp, 1);
        unit->group = group;
        unit->share = 2.0 / 16;
    }
}

/* As ExpertsInt8, raw: bf16 but for experts and MLPs */
static struct weir_plan_model build(const struct shape *shape)
{
    struct weir_plan_model model = {.units = units,
                                    .kept_bytes = 100 * MB,
                                    .work_bytes = 300 * MB,
                                    .state_bytes = shape->state_bytes,
                                    .kv_bytes = shape->kv_bytes,
                                    .wait_bytes = shape->wait_bytes,
                                    .chunk_tok = 512,
                                    .n_top = 2};
    struct weir_plan_unit *unit;

    unit = add_unit(&model, WEIR_PLAN_ROWS, EMBED, shape->embed, 2);
    unit->row_bytes = 256 << 10;
    unit->flop = 0;
    for (unsigned i = 0; i < shape->n_layers; i++) {
        add_unit(&model, WEIR_PLAN_TRUNK, MIXER,
                 i % 8 == 4 ? shape->attention : shape->mamba, 2);
        if (i % 2)
            add_experts(&model, shape, i / 2);
        else
            add_unit(&model, WEIR_PLAN_TRUNK, MLP, shape->mlp, 1);
    }
    add_unit(&model, WEIR_PLAN_HEAD, HEAD, shape->embed, 2);
    for (uint32_t i = 0; i < model.n_units; i++)
        model.file_bytes += units[i].stored_bytes;
    return model;
}

/* What is bf16 is stored as planes, two thirds of its size. */
static void compress(struct weir_plan_model *model)
{
    for (uint32_t i = 0; i < model->n_units; i++) {
        struct weir_plan_unit *unit = &units[i];

        if (unit->class == EXPERTS || unit->class == MLP)
            continue;
        unit->unpacked_bytes[WEIR_CODEC_PLANES] = unit->stored_bytes;
        unit->unpacked_bytes[WEIR_CODEC_RAW] = 0;
        model->file_bytes -= unit->stored_bytes / 3;
        unit->stored_bytes -= unit->stored_bytes / 3;
        unit->held_bytes = unit->stored_bytes;
    }
}

static const struct weir_plan_machine desktop = {
    .disk_gbps = 7,
    .dram_gbps = 80,
    .gflops = 1000,
    .decode_gbps = {0, WEIR_PLAN_ZSTD_GBPS, WEIR_PLAN_PLANES_GBPS},
    .n_threads = 16,
    .ram_bytes = 120 * GB};

static struct weir_plan_budget budget_of(uint64_t ram_bytes)
{
    return (struct weir_plan_budget){.ram_bytes = ram_bytes,
                                     .fixed_bytes = 50 * MB,
                                     .n_ctx = 4096,
                                     .n_prompt = 512,
                                     .batch = 1};
}

static int is_near(double a, double b)
{
    return fabs(a - b) <= 1e-8 * fabs(b);
}

static void near(double is, double should, const char *what)
{
    tap_ok(is_near(is, should), "%s: %.12g, by hand %.12g", what, is, should);
}

static int make(struct weir_plan *plan, const struct weir_plan_machine *machine,
                const struct weir_plan_model *model,
                const struct weir_plan_budget *budget)
{
    struct weir_err err = {.message = ""};
    int rc = weir_plan_make(plan, machine, model, budget, &err);

    if (rc)
        tap_diag("%s", err.message);
    return rc;
}

/* What passes DRAM beside the weights: K and V so far and new, the state */
static double beside(const struct weir_plan_model *model)
{
    return (512 + 2) * (double)model->kv_bytes + 2 * (double)model->state_bytes;
}

/* All in RAM: the 15.2 GB of Mini and 122 GB of Large pass DRAM, no others. */
static void test_fits(const struct shape *shape, uint64_t ram_bytes,
                      double bytes, double experts, const char *name)
{
    struct weir_plan_model model = build(shape);
    struct weir_plan_budget budget = budget_of(ram_bytes);
    struct weir_plan plan;
    int rc = make(&plan, &desktop, &model, &budget);

    tap_ok(!rc && plan.places[1] == WEIR_PINNED &&
               plan.places[7] == WEIR_CACHED && plan.hit_rate == 1 &&
               plan.ram.staging == 0 && plan.n_passes == 1 &&
               plan.classes[EXPERTS].n_units[WEIR_CACHED] ==
                   16 * shape->n_layers / 2,
           "%s: with enough memory all of it stays there", name);
    tap_ok(plan.decode.disk_bytes == 0 && plan.prompt.disk_bytes == 0 &&
               plan.decode.limit == WEIR_PLAN_DRAM,
           "and DRAM is what limits");
    near(plan.decode.dram_bytes - beside(&model), bytes, "bytes of a token");
    near(plan.classes[EXPERTS].dram_bytes, experts, "of experts");
    near(plan.decode.tps, 80e9 / (bytes + beside(&model)), "tokens a second");
    tap_ok(plan.ram.pinned + plan.ram.cache == model.file_bytes,
           "what is pinned or cached is the model");
    weir_plan_fini(&plan);
}

/* The trunk of Mini takes 9.59 GB, an expert 0.176. */
static void test_some_experts(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(14 * GB);
    struct weir_plan plan;
    double held, all = 256 * 176160768.0;
    int rc = make(&plan, &desktop, &model, &budget);

    tap_ok(!rc && plan.classes[MIXER].n_units[WEIR_PINNED] == 32 &&
               plan.classes[MLP].n_units[WEIR_PINNED] == 16 &&
               plan.classes[HEAD].n_units[WEIR_PINNED] == 1 &&
               plan.classes[EMBED].n_units[WEIR_STREAMED] == 1,
           "14 GB: the trunk of Mini is pinned, the embedding is not");
    tap_ok(plan.classes[EXPERTS].n_units[WEIR_CACHED] == 0 &&
               plan.classes[EXPERTS].n_units[WEIR_PINNED] > 0,
           "%u experts are pinned: a cache would be below what a token wants",
           plan.classes[EXPERTS].n_units[WEIR_PINNED]);
    held = (double)plan.classes[EXPERTS].bytes[WEIR_PINNED];
    near(plan.hit_rate, held / all, "share of experts in RAM");
    near(plan.decode.disk_bytes, 5637144576.0 * (1 - held / all) + (256 << 10),
         "read for a token");
    tap_ok(plan.decode.limit == WEIR_PLAN_DISK, "the drive limits");
    near(plan.decode.overlap_tps, 7e9 / plan.decode.disk_bytes,
         "tokens a second, if all overlaps");
    near(plan.decode.serial_tps,
         1 / (plan.decode.disk_bytes / 7e9 + plan.decode.dram_bytes / 80e9 +
              plan.decode.flop / 1e12),
         "without overlap");
    weir_plan_fini(&plan);

    budget.ram_bytes = 32 * GB;
    rc = make(&plan, &desktop, &model, &budget);
    tap_ok(!rc && plan.classes[EXPERTS].n_units[WEIR_CACHED] == 256 &&
               plan.classes[EXPERTS].n_units[WEIR_PINNED] == 0 &&
               plan.ram.cache >= 5637144576,
           "32 GB: a cache holds more than a token wants: %.3g GB",
           (double)plan.ram.cache / 1e9);
    near(plan.hit_rate, (double)plan.ram.cache / all, "share of hits");
    near(plan.classes[EXPERTS].dram_bytes,
         5637144576.0 * (plan.hit_rate + 2 * (1 - plan.hit_rate)),
         "a miss passes DRAM twice");
    weir_plan_fini(&plan);
}

/* Seconds of DRAM for what is no expert */
static double trunk_seconds(const struct weir_plan *plan)
{
    double n_bytes = plan->decode.dram_bytes;

    for (int i = 0; i < WEIR_PLAN_CLASSES; i++)
        n_bytes -= plan->classes[i].disk_bytes;
    n_bytes -= plan->classes[EXPERTS].dram_bytes;
    return (n_bytes + plan->classes[EXPERTS].disk_bytes) / 80e9;
}

/* Experts are waited for, but what was guessed of them, and the trunk is not.
 */
static void test_overlap(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(14 * GB);
    struct weir_plan_machine machine = desktop;
    struct weir_plan plan;
    const double computing = 2 * 5637144576.0 / 40e9;
    double trunk, experts;

    tap_ok(make(&plan, &machine, &model, &budget) == 0, "Mini in 14 GB");
    trunk = trunk_seconds(&plan);
    experts = plan.classes[EXPERTS].disk_bytes / 7e9;
    near(1 / plan.decode.tps, trunk + experts, "a router is waited for");
    weir_plan_fini(&plan);

    model.guess_tok = 1;
    machine.disk_gbps = 42;
    machine.gflops = 40;
    tap_ok(make(&plan, &machine, &model, &budget) == 0, "few cores");
    trunk = plan.decode.flop / 40e9 - computing;
    near(1 / plan.decode.tps, trunk + computing, "computing is waited for");
    weir_plan_fini(&plan);
    machine.disk_gbps = 9;
    tap_ok(make(&plan, &machine, &model, &budget) == 0, "a slower drive");
    near(1 / plan.decode.tps,
         trunk +
             (1 - WEIR_PLAN_GUESSED) * plan.classes[EXPERTS].disk_bytes / 9e9,
         "those experts are that were not guessed");
    weir_plan_fini(&plan);
    budget.batch = 2;
    tap_ok(make(&plan, &machine, &model, &budget) == 0, "two texts");
    near(1 / plan.decode.tps, trunk + plan.classes[EXPERTS].disk_bytes / 9e9,
         "and all of them where none is");
    weir_plan_fini(&plan);

    budget = budget_of(6 * GB);
    tap_ok(make(&plan, &desktop, &model, &budget) == 0, "Mini in 6 GB");
    near(1 / plan.decode.tps, plan.decode.disk_bytes / 7e9,
         "a trunk that streams fills the gaps of the drive");
    weir_plan_fini(&plan);
}

/* What a layer has to read cannot be read beside another's computing. */
static void test_stages(void)
{
    struct weir_plan_model model = {.units = units, .chunk_tok = 512};
    struct weir_plan_budget budget = budget_of(150 * MB);
    struct weir_plan plan;

    add_unit(&model, WEIR_PLAN_TRUNK, MIXER, 70 * MB, 1);
    add_unit(&model, WEIR_PLAN_TRUNK, MLP, 70 * MB, 1)->flop = 40e9;
    budget.n_prompt = 1;
    tap_ok(make(&plan, &desktop, &model, &budget) == 0 &&
               plan.places[0] == WEIR_STREAMED &&
               plan.places[1] == WEIR_STREAMED,
           "a mixer and an MLP stream");
    near(1 / plan.decode.tps, 0.04014, "in one layer, beside all it computes");
    weir_plan_fini(&plan);
    units[1].stage = 1;
    tap_ok(make(&plan, &desktop, &model, &budget) == 0, "in two");
    near(1 / plan.decode.tps, 0.01 + 0.04, "the longest of each counts");
    weir_plan_fini(&plan);
}

/* Equal experts and mixers are spread over the layers. */
static void test_spread(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(6 * GB);
    unsigned front = 0, back = 0, in_group[16] = {0}, least = 16, most = 0;
    struct weir_plan plan;
    int rc = make(&plan, &desktop, &model, &budget);

    for (uint32_t i = 0; i < model.n_units && !rc; i++)
        if (units[i].class != EXPERTS && plan.places[i] == WEIR_PINNED)
            *(i < model.n_units / 2 ? &front : &back) += 1;
    tap_ok(front && back && front < back + 4 && back < front + 4,
           "6 GB: pinned are %u units of the first half of Mini, %u of the "
           "second",
           front, back);
    tap_ok(plan.classes[EXPERTS].n_units[WEIR_PINNED] == 0 &&
               plan.classes[MIXER].n_units[WEIR_STREAMED] > 0,
           "no expert is pinned while some of the trunk is not");
    weir_plan_fini(&plan);

    budget.ram_bytes = 14 * GB;
    rc = make(&plan, &desktop, &model, &budget);
    for (uint32_t i = 0; i < model.n_units && !rc; i++)
        in_group[units[i].group] +=
            units[i].class == EXPERTS && plan.places[i] == WEIR_PINNED;
    for (int g = 0; g < 16; g++) {
        least = in_group[g] < least ? in_group[g] : least;
        most = in_group[g] > most ? in_group[g] : most;
    }
    tap_ok(least > 0 && most - least <= 1,
           "14 GB: each layer has %u to %u experts pinned", least, most);
    weir_plan_fini(&plan);
}

/* What is compressed stays so, in memory as well. */
static void test_compressed(void)
{
    const double packed =
        2 * (2948636544.0 + 167772160 + 1048576 + 268435456) + 3 * (128 << 10);
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(60 * GB);
    struct weir_plan plan;
    int rc;

    compress(&model);
    rc = make(&plan, &desktop, &model, &budget);
    tap_ok(!rc && plan.ram.pinned + plan.ram.cache == model.file_bytes,
           "a compressed model takes as much memory as its file");
    near(plan.decode.decode_bytes, packed, "and is decoded at each use");
    near(plan.decode.seconds[WEIR_PLAN_CORES],
         plan.decode.flop / 1e12 + packed / (5e9 * 16),
         "by the cores that compute as well");
    weir_plan_fini(&plan);
}

static void test_too_small(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(500 * MB);
    struct weir_err err = {.message = ""};
    const char *at;
    unsigned long long least = 0;
    struct weir_plan plan;
    int rc = weir_plan_make(&plan, &desktop, &model, &budget, &err);

    at = strstr(err.message, "the least is ");
    if (at)
        least = strtoull(at + strlen("the least is "), NULL, 10);
    /* 100 kept, 300 to work, 50 fixed, 67.1 KV, 17.4 state: MB */
    tap_ok(rc == WEIR_ELIMIT && least == 510, "500 MB are refused: %s",
           err.message);
    weir_plan_fini(&plan);
    budget.ram_bytes = least << 20;
    rc = make(&plan, &desktop, &model, &budget);
    tap_ok(!rc, "the least that it names is enough");
    tap_ok(!rc && plan.ram.sum <= budget.ram_bytes, "and not exceeded");
    weir_plan_fini(&plan);
    budget.n_ctx = UINT64_MAX;
    rc = weir_plan_make(&plan, &desktop, &model, &budget, &err);
    tap_ok(rc == WEIR_ELIMIT, "a context without end is refused: %s",
           err.message);
    weir_plan_fini(&plan);
    budget.n_ctx = UINT64_MAX / model.kv_bytes;
    rc = weir_plan_make(&plan, &desktop, &model, &budget, &err);
    tap_ok(rc == WEIR_ELIMIT, "and one whose bytes nearly fit 64 bits");
    weir_plan_fini(&plan);
}

static void test_no_drive(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_machine machine = desktop;
    struct weir_plan_budget budget = budget_of(16 * GB);
    struct weir_err err = {.message = ""};
    struct weir_plan plan;
    int rc;

    machine.disk_gbps = 0;
    rc = weir_plan_make(&plan, &machine, &model, &budget, &err);
    tap_ok(rc == WEIR_EARG && strstr(err.message, "drive"),
           "a drive of unknown speed is asked for: %s", err.message);
    weir_plan_fini(&plan);
    budget.ram_bytes = 64 * GB;
    rc = make(&plan, &machine, &model, &budget);
    tap_ok(!rc, "but not when nothing streams");
    weir_plan_fini(&plan);
}

/* 534 MB are taken before a mixer of 211 and an embedding of 537. */
static void test_small_model(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(1300 * MB);
    struct weir_plan plan;

    model.n_units = 2;
    tap_ok(make(&plan, &desktop, &model, &budget) == 0 &&
               plan.ram.staging == 0 &&
               plan.classes[EMBED].n_units[WEIR_PINNED] == 1,
           "a model that fits needs no room for reads");
    weir_plan_fini(&plan);
    budget.ram_bytes = 1280 * MB;
    tap_ok(make(&plan, &desktop, &model, &budget) == 0 &&
               plan.classes[EMBED].n_units[WEIR_STREAMED] == 1 &&
               plan.classes[MIXER].n_units[WEIR_PINNED] == 1,
           "with a little less its embedding streams");
    weir_plan_fini(&plan);
    budget.ram_bytes = 740 * MB;
    tap_ok(make(&plan, &desktop, &model, &budget) == 0 &&
               plan.classes[MIXER].n_units[WEIR_STREAMED] == 1 &&
               plan.ram.staging == 0,
           "and with less than a unit all of it, tile by tile");
    weir_plan_fini(&plan);
}

static uint64_t sum_of(const struct weir_plan_ram *ram)
{
    return ram->fixed + ram->kept + ram->work + ram->state + ram->kv +
           ram->staging + ram->prompt + ram->pinned + ram->cache;
}

/* Every byte of the model is somewhere, and the RAM is what units take. */
static int is_sound(const struct weir_plan *plan,
                    const struct weir_plan_model *model,
                    const struct weir_plan_budget *budget)
{
    uint64_t pinned = 0, all = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < model->n_units; i++) {
        all += units[i].held_bytes;
        if (plan->places[i] == WEIR_PINNED)
            pinned += units[i].held_bytes;
    }
    for (int i = 0; i < WEIR_PLAN_CLASSES; i++)
        for (int p = 0; p < WEIR_N_PLACES; p++)
            n += plan->classes[i].n_units[p];
    return n == model->n_units && plan->ram.pinned == pinned &&
           plan->ram.sum == sum_of(&plan->ram) &&
           plan->ram.sum <= budget->ram_bytes && plan->ram.cache <= all;
}

/* From the least to all of it: sound, and never slower than with less */
static void sweep(const struct shape *shape,
                  const struct weir_plan_machine *machine,
                  struct weir_plan_budget budget, int compressed, uint64_t most,
                  const char *name)
{
    struct weir_plan_model model = build(shape);
    double decode = 0, serial = 0, prompt = 0, first = 0;
    unsigned n_sound = 0, n_slower = 0, n = 0;
    struct weir_plan plan;

    if (compressed)
        compress(&model);
    model.guess_tok = compressed ? 1 : 0;
    for (uint32_t i = 1; compressed && i < model.n_units; i++)
        units[i].stage = units[i - 1].stage + (units[i].class == MIXER);
    budget.ram_bytes = 2 * GB;
    for (; budget.ram_bytes < most; budget.ram_bytes += most / 997, n++) {
        if (make(&plan, machine, &model, &budget))
            break;
        n_sound += is_sound(&plan, &model, &budget);
        n_slower += plan.decode.tps < decode * (1 - 1e-9) ||
                    plan.prompt.tps < prompt * (1 - 1e-9) ||
                    plan.decode.tps < plan.decode.serial_tps ||
                    plan.decode.tps > plan.decode.overlap_tps * (1 + 1e-9);
        decode = plan.decode.tps;
        serial = plan.decode.serial_tps;
        prompt = plan.prompt.tps;
        first = n ? first : decode;
        weir_plan_fini(&plan);
    }
    tap_ok(n > 900 && n_sound == n, "%s: %u of %u budgets are kept", name,
           n_sound, n);
    tap_ok(n_slower == 0 && decode >= first && serial > 0,
           "more memory is never slower: %.3g to %.3g tokens a second", first,
           decode);
}

static void test_sweeps(void)
{
    struct weir_plan_machine fast_drive = desktop, two_cores = desktop;
    struct weir_plan_budget one = budget_of(0), many = one, long_prompt = one;

    fast_drive.disk_gbps = 60;
    two_cores.n_threads = 2;
    two_cores.disk_gbps = 14;
    many.batch = 8;
    long_prompt.n_prompt = 20000;
    long_prompt.n_ctx = 20480;
    sweep(&mini, &desktop, one, 0, 60 * GB, "Mini");
    sweep(&mini, &desktop, one, 1, 60 * GB, "compressed");
    sweep(&mini, &two_cores, one, 1, 60 * GB, "with few cores");
    sweep(&mini, &fast_drive, one, 1, 60 * GB, "with many drives");
    sweep(&mini, &desktop, many, 1, 60 * GB, "eight sequences");
    sweep(&mini, &desktop, long_prompt, 1, 60 * GB, "a long prompt");
    sweep(&mini, &fast_drive, long_prompt, 1, 60 * GB, "and many drives");
    sweep(&large, &desktop, one, 0, 440 * GB, "Large");
    sweep(&large, &fast_drive, long_prompt, 1, 440 * GB,
          "Large, a long prompt");
}

/* Read once: 20,000 tokens wait in 328 MB. */
static void test_prompt(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(16 * GB);
    double streamed;
    struct weir_plan plan;
    int rc;

    budget.n_prompt = 20000;
    budget.n_ctx = 20000;
    rc = make(&plan, &desktop, &model, &budget);
    tap_ok(!rc && plan.n_passes == 1 && plan.span_tok == 20000 &&
               plan.ram.prompt == 20000 * 16384,
           "a prompt of 20,000 tokens reads the model once");
    streamed = 256 * 176160768.0 * (1 - plan.hit_rate) + 536870912;
    near(plan.prompt.disk_bytes * 20000, streamed, "its bytes of the drive");
    near(plan.prompt.flop * 20000,
         2 * (12110311296.0 - 266240 - 2 * 268435456) * 20000 + 2 * 268435456.0,
         "its arithmetic");
    tap_ok(plan.prompt.limit == WEIR_PLAN_CORES, "which limits it");
    weir_plan_fini(&plan);

    /* 795 MB are taken; a quarter of the rest */
    budget.ram_bytes = 1000 * MB;
    rc = make(&plan, &desktop, &model, &budget);
    tap_ok(!rc && plan.n_passes == 7 && plan.span_tok == 3072,
           "with 1 GB there is room for six chunks to wait");
    weir_plan_fini(&plan);
    budget.ram_bytes = 820 * MB;
    rc = make(&plan, &desktop, &model, &budget);
    tap_ok(!rc && plan.n_passes == 40 && plan.span_tok == 512,
           "with less none has, and each chunk reads the model");
    weir_plan_fini(&plan);

    budget = budget_of(16 * GB);
    budget.n_prompt = 1000;
    rc = make(&plan, &desktop, &model, &budget);
    tap_ok(!rc && plan.n_passes == 1, "two chunks share a pass");
    weir_plan_fini(&plan);

    budget = budget_of(16 * GB);
    budget.n_prompt = 1;
    rc = make(&plan, &desktop, &model, &budget);
    near(plan.prompt.disk_bytes, plan.decode.disk_bytes,
         "a prompt of one token reads what a token decoded reads");
    weir_plan_fini(&plan);
}

/* Of 16 experts, 8 sequences want 66 %, read once for all of them. */
static void test_batch(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(12 * GB);
    double miss, wanted = 1 - pow(7.0 / 8, 8);
    struct weir_plan plan;
    int rc;

    budget.batch = 8;
    rc = make(&plan, &desktop, &model, &budget);
    miss = 1 - plan.hit_rate;
    tap_ok(!rc && plan.ram.kv == 8ull * 4096 * 16384 &&
               plan.ram.state == 8 * 17432576ull,
           "each of 8 sequences has its K, V and state");
    near(plan.classes[EXPERTS].disk_bytes,
         256 * 176160768.0 * wanted * miss / 8, "bytes of experts a token");
    near(plan.classes[EMBED].disk_bytes, 256 << 10, "and of the embedding");
    weir_plan_fini(&plan);
}

static void test_mapped(void)
{
    struct weir_plan_model model = build(&mini);
    struct weir_plan_machine machine = desktop;
    struct weir_plan_budget budget = budget_of(0);
    struct weir_plan plan;
    int rc;

    compress(&model);
    rc = make(&plan, &machine, &model, &budget);
    tap_ok(!rc && plan.mapped && plan.decode.disk_bytes == 0 &&
               plan.ram.pinned == model.file_bytes,
           "a mapped file that fits is in the page cache");
    near(plan.decode.decode_bytes,
         2 * (2948636544.0 + 167772160 + 1048576 + 268435456) + 3 * (128 << 10),
         "as it is stored: it is decoded at each use");
    weir_plan_fini(&plan);

    machine.ram_bytes = 20 * GB;
    rc = make(&plan, &machine, &model, &budget);
    tap_ok(!rc && plan.classes[MIXER].n_units[WEIR_PINNED] == 32 &&
               plan.classes[EXPERTS].n_units[WEIR_CACHED] == 256 &&
               plan.hit_rate > 0.2 && plan.hit_rate < 0.3,
           "one that does not keeps its trunk there, and %.3g of its experts",
           plan.hit_rate);
    weir_plan_fini(&plan);

    machine.ram_bytes = 10 * GB;
    rc = make(&plan, &machine, &model, &budget);
    tap_ok(!rc && plan.hit_rate == 0 &&
               plan.classes[MIXER].n_units[WEIR_STREAMED] == 32,
           "less than one token wants keeps nothing");
    near(plan.decode.disk_bytes,
         2818572288 + 5637144576.0 +
             4.0 / 3 * (2948636544.0 + 167772160 + 1048576 + 268435456) +
             (256 << 10),
         "all of it is read");
    weir_plan_fini(&plan);

    machine.ram_bytes = 100 * MB;
    tap_ok(make(&plan, &machine, &model, &budget) == WEIR_ELIMIT,
           "and less than the rest of the program is refused");
    weir_plan_fini(&plan);
}

/* Of a trunk that a device has no room for, few tokens are the CPU's. */
static void test_small_device(void)
{
    struct weir_plan_machine machine = desktop;
    struct weir_plan_model model = build(&mini);
    struct weir_plan_budget budget = budget_of(100 * GB);
    const double experts = 5637144576.0, touched = 15227502336.0;
    struct weir_plan plan;
    double there;

    machine.hbm_gbps = 1000;
    machine.pcie_gbps = 25;
    machine.device_gflops = 100000;
    model.beside_tok = model.step_tok = 16;
    budget.device_bytes = 5 * GB;
    tap_ok(!make(&plan, &machine, &model, &budget), "a device of 5 GB");
    there = (double)plan.device_pinned;
    near(plan.decode.pcie_bytes, 0, "a token has nothing copied there");
    near(plan.decode.dram_bytes, touched - there + (256 << 10),
         "what is not there comes from RAM");
    weir_plan_fini(&plan);
    budget.batch = 17;
    tap_ok(!make(&plan, &machine, &model, &budget) && there > 3e9 &&
               plan.decode.pcie_bytes > 0 && plan.prompt.pcie_bytes > 0,
           "more tokens, and prompts, have the trunk copied");
    weir_plan_fini(&plan);
    budget.batch = budget.only_device = 1;
    tap_ok(!make(&plan, &machine, &model, &budget), "the device alone");
    near(plan.decode.pcie_bytes, touched - experts * plan.device_hits - there,
         "has it copied for each token");
    weir_plan_fini(&plan);
}

int main(void)
{
    test_fits(&mini, 60 * GB, 15227502336.0 + (256 << 10), 5637144576.0,
              "Mini");
    test_fits(&large, 440 * GB, 121992743872.0 + (256 << 10), 43486543872.0,
              "Large");
    test_some_experts();
    test_overlap();
    test_stages();
    test_spread();
    test_compressed();
    test_too_small();
    test_no_drive();
    test_small_model();
    test_sweeps();
    test_prompt();
    test_batch();
    test_mapped();
    test_small_device();
    return tap_done();
}
