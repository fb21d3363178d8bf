/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What overlaps.  The trunk is used in an order that is known, so that it is
 * read while anything else happens.  Experts are known when their router has
 * run: from then on they are read, and computed as they come, but nothing goes
 * on without them.  With Rt and Re seconds of the drive for the trunk and for
 * experts, Ct and Ce seconds to compute with each (DRAM or cores, what takes
 * longer), and a share g of the experts' reads begun by a good guess before,
 * beside the trunk's computation,
 *
 *     T = max(Rt + Re, DRAM, Ct + max(Ce, (1 - g) Re))
 *
 * The drive is never done before Rt + Re.  If it has time left, the gaps that
 * experts leave it are enough for the trunk: Ct, and of Ce what is above Re.
 * Then the cores are what is waited for, and they wait for experts alone.  The
 * traffic of the drive is part of DRAM, which is a bound by itself.
 *
 * That would be the time of a token if everything could be read long before it
 * is used.  But the trunk's slots let the drive be two units ahead, which is a
 * layer: where it has more to read than there is to compute, it is waited for,
 * and what it could have done meanwhile at another layer is lost.  So layers
 * (the stages of a model) are added up, each as long as T says of it.
 *
 * A device computes the trunk, but for what the CPU does of a token that is
 * decoded and the device has no room for, one after the other, and experts
 * beside the CPU: Ct and Ce are what they take together and side by side.  What
 * passes through the device takes the way there, P seconds, which is a bound as
 * Rt + Re is; experts that are brought for a token that is decoded arrive after
 * their router, those of prompts before.
 *
 * More memory takes from Re, Rt or both of a stage, but never from one to give
 * the other, since no expert is kept before all of the trunk is: so no stage
 * grows.
 */
#include "offload/plan_parts.h"

#include <math.h>
#include <string.h>

#define GIGA 1e9

/* What some tokens ask of the machine. */
struct load {
    struct demand {
        double disk, dram, flop;       /* of DRAM: what is computed with */
        double decoded[WEIR_N_CODECS]; /* unpacked bytes of compressed tiles */
        double pcie, hbm, device_flop;
    } trunk, experts;
};

/* Tokens on their way through all units. */
struct pass {
    double n_tok; /* in all */
    double span;  /* that share what is read from the drive */
    double rows;  /* the same of tables, which have to be in RAM together */
    double chunk; /* that go through a unit at once */
    /* what a device has no room for is copied there: of the trunk, and else */
    int brings_trunk, brings;
    double n_last; /* of them need logits at a time: the head runs once */
    int is_prompt;
};

double weir_plan_touched(const struct weir_plan_unit *unit, double n_tok)
{
    double rows;

    if (unit->kind == WEIR_PLAN_EXPERT)
        return 1 - pow(1 - unit->share, n_tok);
    if (unit->kind != WEIR_PLAN_ROWS)
        return 1;
    rows = n_tok * (double)unit->row_bytes;
    return rows < (double)unit->stored_bytes ? rows / (double)unit->stored_bytes
                                             : 1;
}

int weir_plan_is_decoded(const struct weir_plan *plan,
                         const struct weir_plan_unit *unit, uint32_t number)
{
    return plan->unpacked && unit->kept_bytes &&
           plan->places[number] == WEIR_PINNED;
}

uint64_t weir_plan_unpacked_bytes(const struct weir_plan_unit *unit)
{
    uint64_t sum = 0;

    for (int i = 0; i < WEIR_N_CODECS; i++)
        sum += unit->unpacked_bytes[i];
    return sum;
}

static void decode(struct demand *demand, const struct weir_plan_unit *unit,
                   double times)
{
    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS; i++)
        demand->decoded[i] += times * (double)unit->unpacked_bytes[i];
}

/* How often a pass wants a unit that each `part` of its tokens wants once */
static double times_wanted(const struct weir_plan_unit *unit,
                           const struct pass *pass, double part)
{
    double n_whole = floor(pass->n_tok / part);
    double rest = pass->n_tok - n_whole * part;

    return n_whole * weir_plan_touched(unit, part) +
           (rest > 0 ? weir_plan_touched(unit, rest) : 0);
}

/* What the drive reads when the unit is wanted */
static double read_bytes(const struct weir_plan *plan,
                         const struct weir_plan_unit *unit)
{
    int by_tile =
        plan->mapped || unit->kind == WEIR_PLAN_ROWS || !unit->held_bytes;

    return (double)(by_tile ? unit->stored_bytes : unit->held_bytes);
}

static struct demand *demand_of(struct load *load,
                                const struct weir_plan_unit *unit)
{
    return unit->kind == WEIR_PLAN_EXPERT ? &load->experts : &load->trunk;
}

/* Where it is, when RAM is asked for it */
static double hits_of(const struct weir_plan *plan, uint32_t number)
{
    return plan->places[number] == WEIR_PINNED   ? 1
           : plan->places[number] == WEIR_CACHED ? plan->hit_rate
                                                 : 0;
}

/* What it asks of a device that computes it, and of the way there */
static void add_to_device(struct demand *demand, const struct weir_plan *plan,
                          uint32_t number, const struct weir_plan_unit *unit,
                          const struct pass *pass)
{
    int is_head = unit->kind == WEIR_PLAN_HEAD;
    double uses = is_head ? 1 : times_wanted(unit, pass, pass->chunk);
    double bytes = (double)weir_plan_unpacked_bytes(unit), moved = uses;
    double flop = pass->is_prompt && unit->prompt_flop > 0 ? unit->prompt_flop
                                                           : unit->flop;

    demand->device_flop +=
        (is_head ? pass->n_last : pass->n_tok) * unit->share * flop;
    demand->hbm += uses * bytes;
    if (plan->places[number] == WEIR_ON_DEVICE)
        return;
    if (unit->kind == WEIR_PLAN_EXPERT)
        moved *= 1 - plan->device_hits;
    demand->pcie += moved * bytes;
    demand->hbm += moved * bytes;
    demand->disk +=
        (1 - hits_of(plan, number)) * moved * read_bytes(plan, unit);
    if (weir_plan_is_decoded(plan, unit, number)) {
        demand->dram += moved * bytes;
        return;
    }
    demand->dram += moved * (double)unit->stored_bytes;
    decode(demand, unit, moved);
}

/* It has it, or has it copied; rows of the embedding come from RAM. */
static int is_for_device(const struct weir_plan *plan, uint32_t number,
                         const struct weir_plan_unit *unit,
                         const struct pass *pass)
{
    return plan->places[number] == WEIR_ON_DEVICE ||
           (unit->kind == WEIR_PLAN_EXPERT
                ? pass->brings
                : unit->kind != WEIR_PLAN_ROWS && pass->brings_trunk);
}

static void add_unit(struct load *load, const struct weir_plan *plan,
                     uint32_t number, const struct weir_plan_unit *unit,
                     const struct pass *pass)
{
    int is_table = unit->kind == WEIR_PLAN_ROWS;
    struct demand *demand = demand_of(load, unit);
    double reads = times_wanted(unit, pass, is_table ? pass->rows : pass->span);
    double uses = times_wanted(unit, pass, pass->chunk);
    double n_tok = unit->kind == WEIR_PLAN_HEAD ? pass->n_last : pass->n_tok;

    if (is_for_device(plan, number, unit, pass)) {
        add_to_device(demand, plan, number, unit, pass);
        return;
    }
    if (unit->kind == WEIR_PLAN_HEAD)
        reads = uses = 1;
    if (unit->kind == WEIR_PLAN_ROWS)
        uses = reads;
    demand->disk +=
        (1 - hits_of(plan, number)) * reads * read_bytes(plan, unit);
    demand->flop += n_tok * unit->share * unit->flop;
    if (weir_plan_is_decoded(plan, unit, number)) {
        demand->dram += uses * (double)weir_plan_unpacked_bytes(unit);
        return;
    }
    demand->dram += uses * (double)unit->stored_bytes;
    decode(demand, unit, uses);
}

static double disk_of(const struct load *load)
{
    return load->trunk.disk + load->experts.disk;
}

/* What is read from the drive is written to DRAM. */
static double dram_of(const struct load *load)
{
    return load->trunk.dram + load->experts.dram + disk_of(load);
}

static double greater(double a, double b)
{
    return a > b ? a : b;
}

static double core_seconds(const struct demand *demand,
                           const struct weir_plan_machine *machine)
{
    double seconds = demand->flop / (machine->gflops * GIGA);

    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS; i++)
        seconds += demand->decoded[i] /
                   (machine->decode_gbps[i] * machine->n_threads * GIGA);
    return seconds;
}

static double compute_seconds(const struct demand *demand,
                              const struct weir_plan_machine *machine)
{
    return greater(demand->dram / (machine->dram_gbps * GIGA),
                   core_seconds(demand, machine));
}

static double drive_seconds(const struct demand *demand,
                            const struct weir_plan_machine *machine)
{
    return demand->disk > 0 && machine->disk_gbps > 0
               ? demand->disk / (machine->disk_gbps * GIGA)
               : 0;
}

static double rated(double amount, double per_second)
{
    return amount > 0 && per_second > 0 ? amount / (per_second * GIGA) : 0;
}

static double device_seconds(const struct demand *demand,
                             const struct weir_plan_machine *machine)
{
    return greater(rated(demand->hbm, machine->hbm_gbps),
                   rated(demand->device_flop, machine->device_gflops));
}

/* What waits for what: the essay above */
static double expected_seconds(const struct load *load,
                               const struct weir_plan_machine *machine,
                               double guessed)
{
    double arrive = greater(drive_seconds(&load->experts, machine),
                            rated(load->experts.pcie, machine->pcie_gbps));
    double drive = drive_seconds(&load->trunk, machine) +
                   drive_seconds(&load->experts, machine);
    double dram = dram_of(load) / (machine->dram_gbps * GIGA);
    double pcie =
        rated(load->trunk.pcie + load->experts.pcie, machine->pcie_gbps);
    double trunk = compute_seconds(&load->trunk, machine) +
                   device_seconds(&load->trunk, machine);
    double experts = greater(compute_seconds(&load->experts, machine),
                             device_seconds(&load->experts, machine));

    return greater(greater(greater(drive, dram), pcie),
                   trunk + greater(experts, (1 - guessed) * arrive));
}

static void add_demand(struct demand *demand, const struct demand *more,
                       double times)
{
    demand->disk += times * more->disk;
    demand->dram += times * more->dram;
    demand->flop += times * more->flop;
    demand->pcie += times * more->pcie;
    demand->hbm += times * more->hbm;
    demand->device_flop += times * more->device_flop;
    for (int i = 0; i < WEIR_N_CODECS; i++)
        demand->decoded[i] += times * more->decoded[i];
}

static void add_load(struct load *load, const struct load *more, double times)
{
    add_demand(&load->trunk, &more->trunk, times);
    add_demand(&load->experts, &more->experts, times);
}

/* What all stages are made of, and how long they take one after the other */
struct course {
    const struct weir_plan_machine *machine;
    const struct weir_plan_model *model;
    const struct pass *pass;
    double guessed;
    struct load beside; /* what is no unit's, of all stages together */
    struct load all;
    double seconds;
};

static int ends_stage(const struct weir_plan_model *model, uint32_t i)
{
    return i + 1 == model->n_units ||
           model->units[i].stage != model->units[i + 1].stage;
}

/* Per token, classes get what their units read. */
static void run_course(struct course *course, const struct weir_plan *plan,
                       struct weir_plan_class *classes)
{
    const struct weir_plan_model *model = course->model;
    const double n = course->pass->n_tok;
    struct load stage = {0}, before;
    unsigned n_stages = 0;

    for (uint32_t i = 0; i < model->n_units; i++)
        n_stages += ends_stage(model, i) != 0;
    for (uint32_t i = 0; i < model->n_units; i++) {
        const struct weir_plan_unit *unit = &model->units[i];

        before = stage;
        add_unit(&stage, plan, i, unit, course->pass);
        if (classes) {
            classes[unit->class].disk_bytes +=
                (disk_of(&stage) - disk_of(&before)) / n;
            classes[unit->class].dram_bytes +=
                (dram_of(&stage) - dram_of(&before)) / n;
        }
        if (!ends_stage(model, i))
            continue;
        add_load(&stage, &course->beside, 1.0 / n_stages);
        course->seconds +=
            expected_seconds(&stage, course->machine, course->guessed);
        add_load(&course->all, &stage, 1);
        stage = (struct load){0};
    }
}

static void count_bytes(struct weir_plan_speed *speed, const struct load *load,
                        double n_tok)
{
    speed->disk_bytes = disk_of(load) / n_tok;
    speed->dram_bytes = dram_of(load) / n_tok;
    speed->flop = (load->trunk.flop + load->experts.flop) / n_tok;
    speed->pcie_bytes = (load->trunk.pcie + load->experts.pcie) / n_tok;
    speed->hbm_bytes = (load->trunk.hbm + load->experts.hbm) / n_tok;
    speed->device_flop =
        (load->trunk.device_flop + load->experts.device_flop) / n_tok;
    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS; i++)
        speed->decode_bytes +=
            (load->trunk.decoded[i] + load->experts.decoded[i]) / n_tok;
}

static void finish(struct weir_plan_speed *speed, const struct course *course)
{
    const struct weir_plan_machine *machine = course->machine;
    const struct load *load = &course->all;
    double most = 0, sum = 0, n_tok = course->pass->n_tok;

    memset(speed, 0, sizeof(*speed));
    count_bytes(speed, load, n_tok);
    speed->seconds[WEIR_PLAN_DISK] = (drive_seconds(&load->trunk, machine) +
                                      drive_seconds(&load->experts, machine)) /
                                     n_tok;
    speed->seconds[WEIR_PLAN_DRAM] =
        speed->dram_bytes / (machine->dram_gbps * GIGA);
    speed->seconds[WEIR_PLAN_CORES] = (core_seconds(&load->trunk, machine) +
                                       core_seconds(&load->experts, machine)) /
                                      n_tok;
    speed->seconds[WEIR_PLAN_PCIE] =
        rated(speed->pcie_bytes, machine->pcie_gbps);
    speed->seconds[WEIR_PLAN_HBM] = rated(speed->hbm_bytes, machine->hbm_gbps);
    speed->seconds[WEIR_PLAN_GPU] =
        rated(speed->device_flop, machine->device_gflops);
    for (int i = 0; i < WEIR_PLAN_RESOURCES; i++) {
        sum += speed->seconds[i];
        if (speed->seconds[i] > most) {
            most = speed->seconds[i];
            speed->limit = i;
        }
    }
    speed->tps = n_tok / course->seconds;
    speed->overlap_tps = 1 / most;
    speed->serial_tps = 1 / sum;
}

/* The share of experts that a step's guesses begin to read */
static double guessed_share(const struct weir_plan *plan,
                            const struct weir_plan_model *model,
                            const struct weir_plan_budget *budget)
{
    return plan->mapped || budget->batch > model->guess_tok ||
                   budget->device_bytes
               ? 0
               : WEIR_PLAN_GUESSED;
}

/* State, K and V are where is computed. */
static void put_beside(struct course *course,
                       const struct weir_plan_budget *budget, double bytes,
                       double flop)
{
    struct demand *demand = &course->beside.trunk;

    if (budget->device_bytes) {
        demand->hbm = bytes;
        demand->device_flop = flop;
    } else {
        demand->dram = bytes;
        demand->flop = flop;
    }
}

static void predict_decode(struct weir_plan *plan,
                           const struct weir_plan_machine *machine,
                           const struct weir_plan_model *model,
                           const struct weir_plan_budget *budget)
{
    const double n = budget->batch, past = (double)budget->n_prompt;
    const double chunk = n < model->chunk_tok ? n : model->chunk_tok;
    const struct pass pass = {
        .n_tok = n,
        .span = n,
        .rows = n,
        .chunk = chunk,
        .brings_trunk = budget->device_bytes &&
                        (budget->only_device || n > model->beside_tok),
        .brings = budget->device_bytes && budget->only_device,
        .n_last = n};
    struct course course = {.machine = machine,
                            .model = model,
                            .pass = &pass,
                            .guessed = guessed_share(plan, model, budget)};

    put_beside(&course, budget,
               n * (2 * (double)model->state_bytes +
                    (past + 2) * (double)model->kv_bytes),
               n * (past + 1) * model->seen_flop);
    run_course(&course, plan, plan->classes);
    finish(&plan->decode, &course);
}

/* One prompt: chunk by chunk K and V of all before are read again. */
static void predict_prompt(struct weir_plan *plan,
                           const struct weir_plan_machine *machine,
                           const struct weir_plan_model *model,
                           const struct weir_plan_budget *budget)
{
    const double n = (double)budget->n_prompt;
    const double chunk =
        budget->device_bytes ? model->step_tok : model->chunk_tok;
    const double n_chunks = ceil(n / chunk);
    const double rows =
        (double)(plan->block_tok ? plan->block_tok : plan->span_tok);
    const struct pass pass = {.n_tok = n,
                              .span = (double)plan->span_tok,
                              .rows = rows,
                              .chunk = n < chunk ? n : chunk,
                              .brings_trunk = budget->device_bytes > 0,
                              .brings = budget->device_bytes > 0,
                              .n_last = 1,
                              .is_prompt = 1};
    struct course course = {.machine = machine,
                            .model = model,
                            .pass = &pass,
                            .guessed = budget->device_bytes ? 1 : 0};

    put_beside(&course, budget,
               n_chunks * 2 * (double)model->state_bytes +
                   (chunk * n_chunks * (n_chunks - 1) / 2 + 2 * n) *
                       (double)model->kv_bytes,
               n * (n + 1) / 2 * model->seen_flop);
    course.beside.trunk.disk =
        (double)plan->scratch.read_bytes + (double)plan->scratch.written_bytes;
    run_course(&course, plan, NULL);
    finish(&plan->prompt, &course);
}

void weir_plan_predict(struct weir_plan *plan,
                       const struct weir_plan_machine *machine,
                       const struct weir_plan_model *model,
                       const struct weir_plan_budget *budget)
{
    for (int i = 0; i < WEIR_PLAN_CLASSES; i++)
        plan->classes[i].disk_bytes = plan->classes[i].dram_bytes = 0;
    predict_decode(plan, machine, model, budget);
    predict_prompt(plan, machine, model, budget);
}
