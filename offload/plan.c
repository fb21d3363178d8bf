/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token is as fast as the slowest of what it needs.  With B sequences that
 * decode in step, a unit that a share s of all tokens touches is wanted by a
 * step with the probability
 *
 *     p = 1 - (1 - s)^B        1 for the trunk, k/E of one token's experts
 *
 * and then once for all of them.  Where the unit is says what it costs:
 *
 *     pinned      stored bytes from DRAM, and the decoding of its compressed
 *                 tiles; or, where it stays unpacked, more from DRAM and none
 *     streamed    the first, behind whole pages from the drive, which writes
 *                 them to DRAM
 *     cached      as pinned with probability h, as streamed else
 *     mapped      stored bytes and decoding while the page cache has it
 *
 * h is c/E when the cache holds c of the E experts of each group: routers of
 * a trained mixture are kept near uniform, and then it does not matter which
 * c they are.  K, V and state are added to DRAM, and arithmetic shares the
 * cores with decoding.  So, for each resource,
 *
 *     seconds(disk)  = bytes / disk rate
 *     seconds(dram)  = bytes / DRAM rate
 *     seconds(cores) = flop / peak + sum over codecs of
 *                      unpacked bytes / (rate of one thread * threads)
 *
 * and the time is between their maximum, when all of it overlaps, and their
 * sum, when nothing does: plan_speed.c says where.
 *
 * A prompt of N tokens goes through the layers in chunks; tokens of one span
 * share what is read from the drive.  What a span is takes memory, of each
 * token what waits between two layers: a quarter of what is free is given to it
 * at most.  Where a scratch file is allowed a prompt that is longer goes there
 * (scratch.h), and is one span.
 *
 * Where things go is what placement.c says of the rest, so that it is what a
 * run does with as much.
 */
#include "offload/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "offload/plan_parts.h"

#define MOST (1ull << 60) /* bytes; sums of a few stay below 2^64 */

struct planner {
    struct weir_plan *plan;
    const struct weir_plan_machine *machine;
    const struct weir_plan_model *model;
    const struct weir_plan_budget *budget;
    struct weir_placement_unit *units; /* [n_units] */
    uint64_t flex;                     /* bytes for units */
    uint64_t span; /* tokens that the memory set aside is enough for */
    struct weir_err *err;
};

static int has_device(const struct planner *planner)
{
    return planner->budget->device_bytes > 0;
}

static const struct weir_plan_unit *unit_of(const struct planner *planner,
                                            uint32_t number)
{
    return &planner->model->units[number];
}

const char *weir_plan_resource_name(enum weir_plan_resource resource)
{
    static const char *const names[] = {"disk", "dram", "cores",
                                        "pcie", "hbm",  "gpu"};

    return resource < WEIR_PLAN_RESOURCES ? names[resource] : "unknown";
}

/* a * b, at most MOST */
static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t n;

    return __builtin_mul_overflow(a, b, &n) || n > MOST ? MOST : n;
}

/* ---- memory ---- */

static void set_base(const struct planner *planner)
{
    const struct weir_plan_budget *budget = planner->budget;
    struct weir_plan_ram *ram = &planner->plan->ram;

    ram->fixed = budget->fixed_bytes;
    ram->kept = planner->model->kept_bytes;
    ram->work = planner->model->work_bytes;
    if (budget->device_bytes)
        return;
    ram->state = product(budget->batch, planner->model->state_bytes);
    ram->kv = product(product(budget->batch, budget->n_ctx),
                      planner->model->kv_bytes);
}

static void set_sum(struct weir_plan_ram *ram)
{
    ram->sum = ram->fixed + ram->kept + ram->work + ram->state + ram->kv +
               ram->staging + ram->prompt + ram->pinned + ram->cache;
}

static double mib(uint64_t n_bytes)
{
    return (double)n_bytes / (1 << 20);
}

static int refuse(const struct planner *planner)
{
    const struct weir_plan_ram *ram = &planner->plan->ram;
    uint64_t least = (ram->sum + (1 << 20) - 1) >> 20;

    return weir_err_set(
        planner->err, WEIR_ELIMIT,
        "a budget of %.1f MiB of RAM is too small: the least is %llu MiB, of "
        "which KV cache %.1f, state %.1f, working memory %.1f, index and "
        "vectors %.1f, the program %.1f; allow more, or a shorter context",
        mib(planner->budget->ram_bytes), (unsigned long long)least,
        mib(ram->kv), mib(ram->state), mib(ram->work), mib(ram->kept),
        mib(ram->fixed));
}

static uint64_t chunk_of(const struct planner *planner)
{
    uint64_t chunk = planner->model->chunk_tok;

    return planner->budget->n_prompt < chunk ? planner->budget->n_prompt
                                             : chunk;
}

/* Where a device computes, those of a step go through all layers. */
static uint64_t device_span(const struct planner *planner)
{
    uint64_t step = planner->model->step_tok;

    return planner->budget->n_prompt < step ? planner->budget->n_prompt : step;
}

/* All tokens of the prompt share a pass, and most of them wait in a file. */
static int set_block(struct planner *planner)
{
    const struct weir_plan_model *model = planner->model;
    uint64_t n_tok = planner->budget->n_prompt, quarter = planner->flex / 4;
    uint64_t notes = product(n_tok, model->note_bytes);
    uint64_t each = model->wait_bytes - model->note_bytes;
    uint64_t room = quarter > notes ? quarter - notes : 0;
    uint64_t block = weir_scratch_block(n_tok, room / each);
    uint64_t wanted = notes + product(block < n_tok ? block : n_tok, each);

    if (wanted >= planner->flex)
        return weir_err_set(planner->err, WEIR_ELIMIT,
                            "the budget leaves %.1f MiB for weights and a "
                            "prompt, of which %llu tokens want %.1f beside a "
                            "scratch file; allow more, or a shorter prompt",
                            mib(planner->flex), (unsigned long long)n_tok,
                            mib(wanted));
    planner->plan->ram.prompt = wanted;
    planner->flex -= wanted;
    planner->span = n_tok;
    if (block < n_tok)
        planner->plan->block_tok = block;
    return 0;
}

/* How many tokens of the prompt can share a pass, and the memory for it */
static int set_span(struct planner *planner)
{
    uint64_t n_tok = planner->budget->n_prompt, chunk = chunk_of(planner);
    uint64_t each = planner->model->wait_bytes, quarter = planner->flex / 4;
    uint64_t wanted = product(n_tok, each);

    planner->span = chunk;
    if (has_device(planner))
        planner->span = device_span(planner);
    if (n_tok == chunk || has_device(planner))
        return 0;
    if (wanted > quarter && planner->budget->scratch)
        return set_block(planner);
    planner->plan->ram.prompt = wanted < quarter ? wanted : quarter;
    planner->flex -= planner->plan->ram.prompt;
    if (wanted <= quarter)
        planner->span = n_tok;
    else if (quarter > product(chunk, each))
        planner->span = quarter / each / chunk * chunk;
    return 0;
}

/* ---- placement ---- */

static void place(const struct planner *planner, uint32_t number,
                  enum weir_place where)
{
    const struct weir_plan_unit *unit = unit_of(planner, number);
    struct weir_plan_class *class = &planner->plan->classes[unit->class];

    planner->plan->places[number] = (uint8_t)where;
    class->n_units[where]++;
    class->bytes[where] +=
        where == WEIR_ON_DEVICE ? weir_plan_unpacked_bytes(unit)
        : where == WEIR_STREAMED || planner->plan->mapped   ? unit->stored_bytes
        : weir_plan_is_decoded(planner->plan, unit, number) ? unit->kept_bytes
                                                            : unit->held_bytes;
}

static void predict(const struct planner *planner)
{
    planner->plan->span_tok = planner->span;
    weir_plan_predict(planner->plan, planner->machine, planner->model,
                      planner->budget);
}

static void list_units(const struct planner *planner)
{
    static const enum weir_use_kind kinds[] = {
        [WEIR_PLAN_TRUNK] = WEIR_USE_TRUNK,
        [WEIR_PLAN_HEAD] = WEIR_USE_TRUNK,
        [WEIR_PLAN_EXPERT] = WEIR_USE_EXPERT,
        [WEIR_PLAN_ROWS] = WEIR_USE_ROWS};

    for (uint32_t i = 0; i < planner->model->n_units; i++) {
        const struct weir_plan_unit *unit = unit_of(planner, i);

        planner->units[i] =
            (struct weir_placement_unit){{kinds[unit->kind], unit->group},
                                         unit->held_bytes,
                                         unit->kept_bytes,
                                         {0}};
        if (planner->plan->places[i] == WEIR_ON_DEVICE)
            planner->units[i].use.kind = WEIR_USE_ELSEWHERE;
        memcpy(planner->units[i].decoded, unit->unpacked_bytes,
               sizeof(unit->unpacked_bytes));
    }
}

static void take_places(const struct planner *planner,
                        const struct weir_placement *placement)
{
    struct weir_plan *plan = planner->plan;

    plan->unpacked = placement->unpacked;
    for (uint32_t i = 0; i < plan->n_units; i++)
        place(planner, i, placement->places[i]);
    plan->ram.pinned = placement->pinned_bytes;
    plan->ram.cache = placement->cache_bytes;
    plan->ram.staging = placement->staging_bytes;
    plan->hit_rate = placement->n_experts
                         ? (double)placement->n_here / placement->n_experts
                         : 1;
    if (plan->block_tok) {
        weir_scratch_count(&planner->model->scratch, planner->budget->n_prompt,
                           placement->n_held, &plan->scratch);
        plan->scratch_file_bytes = weir_scratch_file_bytes(
            &planner->model->scratch, planner->budget->n_prompt);
    }
    predict(planner);
}

/* Where all of it is in RAM, no prompt has to wait for anything. */
static int place_units(struct planner *planner)
{
    const struct weir_plan_machine *machine = planner->machine;
    struct weir_placement_ask ask = {.n_bytes = planner->flex,
                                     .n_top = planner->model->n_top,
                                     .n_tok = planner->budget->batch,
                                     .cache = planner->budget->cache,
                                     .rates.disk_gbps = machine->disk_gbps};
    struct weir_placement placement = {0};
    uint32_t n_units = planner->model->n_units;
    int rc;

    for (int i = 0; i < WEIR_N_CODECS; i++)
        ask.rates.decode_gbps[i] = machine->decode_gbps[i] * machine->n_threads;
    planner->span = planner->budget->n_prompt;
    rc = weir_placement_make(&placement, planner->units, n_units, &ask,
                             planner->err);
    if (!rc && !weir_placement_is_whole(&placement)) {
        weir_placement_fini(&placement);
        rc = set_span(planner);
        ask.n_bytes = planner->flex;
        if (!rc)
            rc = weir_placement_make(&placement, planner->units, n_units, &ask,
                                     planner->err);
    }
    if (!rc)
        take_places(planner, &placement);
    weir_placement_fini(&placement);
    return rc;
}

/* ---- a device ---- */

/* As device_place.c does it */
static int place_on_device(struct planner *planner)
{
    const struct weir_plan_budget *budget = planner->budget;
    const struct weir_placement_ask ask = {
        .n_bytes = budget->device_bytes,
        .n_top = planner->model->n_top,
        .n_tok =
            budget->only_device ? budget->batch : planner->model->chunk_tok,
        .cache = WEIR_CACHE_STORED};
    struct weir_placement placement = {0};
    struct weir_plan *plan = planner->plan;
    int rc, has_all;

    list_units(planner);
    for (uint32_t i = 0; i < plan->n_units; i++) {
        planner->units[i].n_bytes =
            weir_plan_unpacked_bytes(unit_of(planner, i));
        planner->units[i].unpacked_bytes = 0;
    }
    rc = weir_placement_make(&placement, planner->units, plan->n_units, &ask,
                             planner->err);
    has_all = !rc && placement.n_here == placement.n_experts;
    for (uint32_t i = 0; i < plan->n_units && !rc; i++)
        if (placement.places[i] == WEIR_PINNED ||
            (has_all && placement.places[i] == WEIR_CACHED))
            plan->places[i] = WEIR_ON_DEVICE;
    if (!rc && placement.n_cached && !has_all)
        plan->device_hits = (double)placement.n_cached / placement.n_experts;
    plan->device_pinned = placement.pinned_bytes;
    plan->device_staging = placement.staging_bytes + placement.cache_bytes;
    if (has_all) {
        plan->device_pinned += placement.cache_bytes;
        plan->device_staging = placement.staging_bytes;
    }
    weir_placement_fini(&placement);
    return rc;
}

static int plan_budget(struct planner *planner)
{
    struct weir_plan_ram *ram = &planner->plan->ram;

    set_sum(ram);
    if (ram->sum > planner->budget->ram_bytes)
        return refuse(planner);
    planner->flex = planner->budget->ram_bytes - ram->sum;
    list_units(planner);
    return place_units(planner);
}

/* ---- without a budget ---- */

/* All of the file is in the page cache. */
static void map_all(struct planner *planner)
{
    struct weir_plan *plan = planner->plan;

    for (uint32_t i = 0; i < plan->n_units; i++)
        place(planner, i,
              plan->places[i] == WEIR_ON_DEVICE ? WEIR_ON_DEVICE : WEIR_PINNED);
    plan->ram.pinned = planner->model->file_bytes;
    plan->hit_rate = 1;
    planner->span = planner->budget->n_prompt;
    predict(planner);
}

/*
 * The page cache keeps what was used last, so that it has the whole trunk and
 * then experts, or nothing that will be used again.
 */
static void place_pages(struct planner *planner, uint64_t pages)
{
    struct weir_plan *plan = planner->plan;
    double trunk = 0, experts = 0, wanted = 0;

    for (uint32_t i = 0; i < plan->n_units; i++) {
        const struct weir_plan_unit *unit = unit_of(planner, i);
        double stored = (double)unit->stored_bytes;

        if (plan->places[i] == WEIR_ON_DEVICE)
            continue;
        if (unit->kind == WEIR_PLAN_EXPERT)
            experts += stored;
        else if (unit->kind != WEIR_PLAN_ROWS)
            trunk += stored;
        wanted += stored * weir_plan_touched(unit, planner->budget->batch);
    }
    for (uint32_t i = 0; i < plan->n_units; i++) {
        enum weir_plan_kind kind = unit_of(planner, i)->kind;

        place(planner, i,
              plan->places[i] == WEIR_ON_DEVICE ? WEIR_ON_DEVICE
              : (double)pages < wanted || kind == WEIR_PLAN_ROWS ? WEIR_STREAMED
              : kind == WEIR_PLAN_EXPERT                         ? WEIR_CACHED
                                                                 : WEIR_PINNED);
    }
    plan->ram.cache = pages;
    plan->hit_rate = (double)pages < wanted ? 0
                     : experts > 0          ? ((double)pages - trunk) / experts
                                            : 1;
    if (plan->hit_rate > 1)
        plan->hit_rate = 1;
}

static int plan_map(struct planner *planner)
{
    struct weir_plan *plan = planner->plan;
    uint64_t room = planner->machine->ram_bytes;

    set_sum(&plan->ram);
    if (plan->ram.sum + planner->model->file_bytes <= room) {
        map_all(planner);
        return 0;
    }
    if (plan->ram.sum > room) {
        struct planner whole = *planner;
        struct weir_plan_budget budget = *planner->budget;

        budget.ram_bytes = room;
        whole.budget = &budget;
        return refuse(&whole);
    }
    planner->span =
        has_device(planner) ? device_span(planner) : chunk_of(planner);
    place_pages(planner, room - plan->ram.sum);
    predict(planner);
    return 0;
}

static int check_drive(const struct planner *planner)
{
    const struct weir_plan *plan = planner->plan;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < plan->n_units; i++)
        if (plan->places[i] == WEIR_STREAMED ||
            (plan->places[i] == WEIR_CACHED && plan->hit_rate < 1))
            bytes += unit_of(planner, i)->stored_bytes;
    if (!bytes || planner->machine->disk_gbps > 0)
        return 0;
    return weir_err_set(planner->err, WEIR_EARG,
                        "%.2f GB of this model do not fit in RAM and would "
                        "be read from the drive, whose speed is not known; "
                        "give it to weir plan with --disk-gbps",
                        (double)bytes / 1e9);
}

int weir_plan_make(struct weir_plan *plan,
                   const struct weir_plan_machine *machine,
                   const struct weir_plan_model *model,
                   const struct weir_plan_budget *budget, struct weir_err *err)
{
    struct planner planner = {.plan = plan,
                              .machine = machine,
                              .model = model,
                              .budget = budget,
                              .err = err};
    size_t n = model->n_units + 1u;
    int rc = 0;

    memset(plan, 0, sizeof(*plan));
    plan->n_units = model->n_units;
    plan->mapped = budget->ram_bytes == 0;
    plan->places = calloc(n, sizeof(*plan->places));
    planner.units = calloc(n, sizeof(*planner.units));
    if (!plan->places || !planner.units)
        rc = weir_err_nomem(err, n * sizeof(*planner.units), "a plan");
    set_base(&planner);
    if (!rc && has_device(&planner))
        rc = place_on_device(&planner);
    if (!rc)
        rc = plan->mapped ? plan_map(&planner) : plan_budget(&planner);
    if (!rc) {
        plan->n_passes =
            (budget->n_prompt + plan->span_tok - 1) / plan->span_tok;
        set_sum(&plan->ram);
        rc = check_drive(&planner);
    }
    free(planner.units);
    return rc;
}

void weir_plan_fini(struct weir_plan *plan)
{
    free(plan->places);
    memset(plan, 0, sizeof(*plan));
}
