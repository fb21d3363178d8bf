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
 *     pinned      unpacked bytes from DRAM
 *     streamed    stored bytes from the drive, which pass DRAM twice (the
 *                 drive writes, a core reads), and the decoding of its
 *                 compressed tiles
 *     cached      the first with probability h, the second else, and then its
 *                 unpacked bytes written into the cache; by a prompt, which
 *                 wants all experts and would find none, nothing is replaced
 *     mapped      stored bytes from DRAM, and the decoding, at each use
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
 * sum, when nothing does.  A prompt of N tokens goes through the layers in
 * chunks; tokens of one span share what is read from the drive.  What a span
 * is takes memory: of each token what waits between two layers, and two units
 * unpacked, one in use and one arriving.  A quarter of what is free is given
 * to it at most.
 *
 * Where things go.  A byte of RAM that holds what every token touches saves a
 * byte a token, one that holds an expert k/E of one: so the trunk comes first,
 * unit by unit, those that save most drive bytes per byte held before others
 * (a raw tile saves 1, one that unpacks to 1.5 times its size two thirds).
 * Then experts, then tables of which a token wants a row.  The order is the
 * same whatever the budget, and the first unit that does not fit ends it: with
 * more RAM nothing is lost that was there with less, so a plan never gets
 * slower.  Among equals the order is that of van der Corput (the bits of the
 * ordinal reversed), so that those that stream lie evenly between those that
 * do not, and the drive has something to do all the time.
 *
 * A cache of experts that holds less than one step wants has thrown away each
 * of them before its turn comes again: below that some experts are pinned.
 * Above it a cache follows the text, which may be worth more than c/E and
 * never less; but its misses cost DRAM, and where that is what limits, experts
 * stay pinned.
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
    uint32_t *order; /* [n_units] */
    uint64_t flex;   /* bytes for units */
    uint64_t span;   /* tokens that the memory set aside is enough for */
    struct weir_err *err;
};

static const struct weir_plan_unit *unit_of(const struct planner *planner,
                                            uint32_t number)
{
    return &planner->model->units[number];
}

static uint64_t unpacked_of(const struct planner *planner, uint32_t number)
{
    return weir_plan_unpacked(unit_of(planner, number));
}

const char *weir_plan_resource_name(enum weir_plan_resource resource)
{
    static const char *const names[] = {"disk", "dram", "cores"};

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
    ram->state = product(budget->batch, planner->model->state_bytes);
    ram->kv = product(product(budget->batch, budget->n_ctx),
                      planner->model->kv_bytes);
}

static void set_sum(struct weir_plan_ram *ram)
{
    ram->sum = ram->fixed + ram->kept + ram->work + ram->state + ram->kv +
               ram->staging + ram->prompt + ram->pinned + ram->cache;
}

static uint64_t all_unpacked(const struct planner *planner)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < planner->model->n_units; i++)
        sum += unpacked_of(planner, i);
    return sum;
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
        "vectors %.1f, reads under way %.1f, the program %.1f; allow more, or "
        "a shorter context",
        mib(planner->budget->ram_bytes), (unsigned long long)least,
        mib(ram->kv), mib(ram->state), mib(ram->work), mib(ram->kept),
        mib(ram->staging), mib(ram->fixed));
}

/* Two of the largest units that a prompt has to keep for its tokens */
static uint64_t arriving_bytes(const struct planner *planner)
{
    const struct weir_plan_unit *unit;
    uint64_t most = 0;

    for (uint32_t i = 0; i < planner->model->n_units; i++) {
        unit = unit_of(planner, i);
        if ((unit->kind == WEIR_PLAN_TRUNK || unit->kind == WEIR_PLAN_EXPERT) &&
            weir_plan_unpacked(unit) > most)
            most = weir_plan_unpacked(unit);
    }
    return 2 * most;
}

static uint64_t chunk_of(const struct planner *planner)
{
    uint64_t chunk = planner->model->chunk_tok;

    return planner->budget->n_prompt < chunk ? planner->budget->n_prompt
                                             : chunk;
}

/* How many tokens of the prompt can share a pass, and the memory for it */
static void set_span(struct planner *planner)
{
    uint64_t n_tok = planner->budget->n_prompt, chunk = chunk_of(planner);
    uint64_t each = planner->model->wait_bytes, quarter = planner->flex / 4;
    uint64_t arriving = arriving_bytes(planner);
    uint64_t wanted = arriving + product(n_tok, each);

    planner->span = chunk;
    if (n_tok == chunk)
        return;
    planner->plan->ram.prompt = wanted < quarter ? wanted : quarter;
    planner->flex -= planner->plan->ram.prompt;
    if (wanted <= quarter)
        planner->span = n_tok;
    else if (quarter > arriving + product(chunk, each))
        planner->span = (quarter - arriving) / each / chunk * chunk;
}

/* ---- placement ---- */

static void place(const struct planner *planner, uint32_t number,
                  enum weir_place where)
{
    const struct weir_plan_unit *unit = unit_of(planner, number);
    struct weir_plan_class *class = &planner->plan->classes[unit->class];

    planner->plan->places[number] = (uint8_t)where;
    class->n_units[where]++;
    class->bytes[where] += where == WEIR_STREAMED || planner->plan->mapped
                               ? unit->stored_bytes
                               : weir_plan_unpacked(unit);
}

static void clear_places(const struct planner *planner)
{
    memset(planner->plan->classes, 0, sizeof(planner->plan->classes));
    planner->plan->ram.pinned = planner->plan->ram.cache = 0;
}

/* Pins in the order as long as it fits; returns the bytes of experts pinned. */
static uint64_t fill(const struct planner *planner)
{
    struct weir_plan *plan = planner->plan;
    uint64_t experts = 0, n;
    int full = 0;

    clear_places(planner);
    for (uint32_t i = 0; i < plan->n_units; i++) {
        uint32_t number = planner->order[i];

        n = unpacked_of(planner, number);
        full |= n > planner->flex - plan->ram.pinned;
        place(planner, number, full ? WEIR_STREAMED : WEIR_PINNED);
        if (full)
            continue;
        plan->ram.pinned += n;
        if (unit_of(planner, number)->kind == WEIR_PLAN_EXPERT)
            experts += n;
    }
    return experts;
}

/* The same memory as a cache of all experts */
static void fill_cache(const struct planner *planner, uint64_t cache_bytes)
{
    struct weir_plan *plan = planner->plan;
    struct weir_plan_ram ram = plan->ram;

    clear_places(planner);
    plan->ram.cache = cache_bytes;
    plan->ram.pinned = ram.pinned - cache_bytes;
    for (uint32_t i = 0; i < plan->n_units; i++) {
        int is_expert = unit_of(planner, i)->kind == WEIR_PLAN_EXPERT;

        place(planner, i, is_expert ? WEIR_CACHED : plan->places[i]);
    }
}

/* Bytes of experts: all, and those that a step is expected to want */
static void sum_experts(const struct planner *planner, double *all,
                        double *wanted)
{
    *all = *wanted = 0;
    for (uint32_t i = 0; i < planner->model->n_units; i++) {
        const struct weir_plan_unit *unit = unit_of(planner, i);
        double n = (double)weir_plan_unpacked(unit);

        if (unit->kind != WEIR_PLAN_EXPERT)
            continue;
        *all += n;
        *wanted += n * weir_plan_touched(unit, planner->budget->batch);
    }
}

/*
 * A span spares the drive and costs DRAM, where its units wait for the other
 * chunks: whichever is faster.
 */
static void predict(const struct planner *planner)
{
    struct weir_plan *plan = planner->plan, chunked;

    plan->span_tok = planner->span;
    weir_plan_predict(plan, planner->machine, planner->model, planner->budget);
    chunked = *plan;
    chunked.span_tok = chunk_of(planner);
    weir_plan_predict(&chunked, planner->machine, planner->model,
                      planner->budget);
    if (chunked.prompt.tps > plan->prompt.tps)
        *plan = chunked;
}

static void place_units(struct planner *planner)
{
    uint64_t pinned = fill(planner);
    double all, wanted, tps;

    sum_experts(planner, &all, &wanted);
    planner->plan->hit_rate = all > 0 ? (double)pinned / all : 1;
    predict(planner);
    if ((double)pinned < wanted || (double)pinned >= all)
        return;
    tps = planner->plan->decode.tps;
    fill_cache(planner, pinned);
    predict(planner);
    if (planner->plan->decode.tps >= tps * (1 - 1e-9))
        return;
    fill(planner);
    predict(planner);
}

static void pin_all(struct planner *planner)
{
    struct weir_plan *plan = planner->plan;

    clear_places(planner);
    for (uint32_t i = 0; i < plan->n_units; i++)
        place(planner, i, WEIR_PINNED);
    plan->ram.pinned =
        plan->mapped ? planner->model->file_bytes : all_unpacked(planner);
    plan->hit_rate = 1;
    planner->span = planner->budget->n_prompt;
    predict(planner);
}

static int plan_budget(struct planner *planner)
{
    struct weir_plan_ram *ram = &planner->plan->ram;
    uint64_t ram_bytes = planner->budget->ram_bytes;
    uint64_t all = all_unpacked(planner);

    set_sum(ram);
    if (ram->sum + all <= ram_bytes) {
        pin_all(planner);
        return 0;
    }
    ram->staging = planner->budget->staging_bytes;
    if (ram->staging > all)
        ram->staging = all;
    set_sum(ram);
    if (ram->sum > ram_bytes)
        return refuse(planner);
    planner->flex = ram_bytes - ram->sum;
    set_span(planner);
    place_units(planner);
    return 0;
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

        if (unit->kind == WEIR_PLAN_EXPERT)
            experts += stored;
        else if (unit->kind != WEIR_PLAN_ROWS)
            trunk += stored;
        wanted += stored * weir_plan_touched(unit, planner->budget->batch);
    }
    clear_places(planner);
    for (uint32_t i = 0; i < plan->n_units; i++) {
        enum weir_plan_kind kind = unit_of(planner, i)->kind;

        place(planner, i,
              (double)pages < wanted || kind == WEIR_PLAN_ROWS ? WEIR_STREAMED
              : kind == WEIR_PLAN_EXPERT                       ? WEIR_CACHED
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
        pin_all(planner);
        return 0;
    }
    if (plan->ram.sum > room) {
        struct planner whole = *planner;
        struct weir_plan_budget budget = *planner->budget;

        budget.ram_bytes = room;
        whole.budget = &budget;
        return refuse(&whole);
    }
    planner->span = chunk_of(planner);
    place_pages(planner, room - plan->ram.sum);
    predict(planner);
    return 0;
}

static int check_drive(const struct planner *planner)
{
    const struct weir_plan *plan = planner->plan;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < plan->n_units; i++)
        if (plan->places[i] != WEIR_PINNED)
            bytes += unit_of(planner, i)->stored_bytes;
    if (!bytes || planner->machine->disk_gbps > 0)
        return 0;
    return weir_err_set(planner->err, WEIR_EARG,
                        "%.2f GB of this model do not fit in RAM and would "
                        "be read from the drive, whose speed is not known; "
                        "give it with --disk-gbps",
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
    int rc;

    memset(plan, 0, sizeof(*plan));
    plan->n_units = model->n_units;
    plan->mapped = budget->ram_bytes == 0;
    plan->places = calloc(n, sizeof(*plan->places));
    planner.order = calloc(n, sizeof(*planner.order));
    if (plan->places && planner.order)
        rc = weir_plan_order(model, planner.order, err);
    else
        rc = weir_err_nomem(err, n * sizeof(*planner.order), "a plan");
    set_base(&planner);
    if (!rc)
        rc = plan->mapped ? plan_map(&planner) : plan_budget(&planner);
    if (!rc) {
        plan->n_passes =
            (budget->n_prompt + plan->span_tok - 1) / plan->span_tok;
        set_sum(&plan->ram);
        rc = check_drive(&planner);
    }
    free(planner.order);
    return rc;
}

void weir_plan_fini(struct weir_plan *plan)
{
    free(plan->places);
    memset(plan, 0, sizeof(*plan));
}
