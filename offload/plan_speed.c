/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/plan_parts.h"

#include <math.h>
#include <string.h>

#define GIGA 1e9

/* What some tokens ask of the machine. */
struct load {
    double disk, dram, flop;
    double decoded[WEIR_N_CODECS]; /* unpacked bytes of compressed tiles */
};

/* Tokens on their way through all units. */
struct pass {
    double n_tok;  /* in all */
    double span;   /* that share what is read from the drive */
    double chunk;  /* that go through a unit at once */
    double n_last; /* of them need logits at a time: the head runs once */
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

static void decode(struct load *load, const struct weir_plan_unit *unit,
                   double times)
{
    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS; i++)
        load->decoded[i] += times * (double)unit->unpacked_bytes[i];
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

static void add_unit(struct load *load, const struct weir_plan *plan,
                     uint32_t number, const struct weir_plan_unit *unit,
                     const struct pass *pass)
{
    double reads = times_wanted(unit, pass, pass->span), hits;
    double uses = times_wanted(unit, pass, pass->chunk);

    if (unit->kind == WEIR_PLAN_HEAD)
        reads = uses = 1;
    if (unit->kind == WEIR_PLAN_ROWS)
        uses = reads;
    hits = plan->places[number] == WEIR_PINNED   ? 1
           : plan->places[number] == WEIR_CACHED ? plan->hit_rate
                                                 : 0;
    load->disk += (1 - hits) * reads * read_bytes(plan, unit);
    load->dram += (1 - hits) * reads * read_bytes(plan, unit) +
                  uses * (double)unit->stored_bytes;
    decode(load, unit, uses);
}

static void add_flop(struct load *load, const struct weir_plan_unit *unit,
                     const struct pass *pass)
{
    double n_tok = unit->kind == WEIR_PLAN_HEAD ? pass->n_last : pass->n_tok;

    load->flop += n_tok * unit->share * unit->flop;
}

static void finish(struct weir_plan_speed *speed, const struct load *load,
                   const struct weir_plan_machine *machine, double n_tok)
{
    double most = 0, sum = 0, decoding = 0;

    memset(speed, 0, sizeof(*speed));
    speed->disk_bytes = load->disk / n_tok;
    speed->dram_bytes = load->dram / n_tok;
    speed->flop = load->flop / n_tok;
    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS; i++) {
        speed->decode_bytes += load->decoded[i] / n_tok;
        decoding += load->decoded[i] / n_tok /
                    (machine->decode_gbps[i] * machine->n_threads * GIGA);
    }
    if (load->disk > 0 && machine->disk_gbps > 0)
        speed->seconds[WEIR_PLAN_DISK] =
            speed->disk_bytes / (machine->disk_gbps * GIGA);
    speed->seconds[WEIR_PLAN_DRAM] =
        speed->dram_bytes / (machine->dram_gbps * GIGA);
    speed->seconds[WEIR_PLAN_CORES] =
        speed->flop / (machine->gflops * GIGA) + decoding;
    for (int i = 0; i < WEIR_PLAN_RESOURCES; i++) {
        sum += speed->seconds[i];
        if (speed->seconds[i] > most) {
            most = speed->seconds[i];
            speed->limit = i;
        }
    }
    speed->tps = 1 / most;
    speed->serial_tps = 1 / sum;
}

static void predict_decode(struct weir_plan *plan,
                           const struct weir_plan_machine *machine,
                           const struct weir_plan_model *model,
                           const struct weir_plan_budget *budget)
{
    const double n = budget->batch, past = (double)budget->n_prompt;
    const struct pass pass = {n, n, n < model->chunk_tok ? n : model->chunk_tok,
                              n};
    struct load load = {0}, before;

    for (uint32_t i = 0; i < model->n_units; i++) {
        const struct weir_plan_unit *unit = &model->units[i];
        struct weir_plan_class *class = &plan->classes[unit->class];

        before = load;
        add_unit(&load, plan, i, unit, &pass);
        add_flop(&load, unit, &pass);
        class->disk_bytes += (load.disk - before.disk) / n;
        class->dram_bytes += (load.dram - before.dram) / n;
    }
    load.dram += n * (2 * (double)model->state_bytes +
                      (past + 2) * (double)model->kv_bytes);
    load.flop += n * (past + 1) * model->seen_flop;
    finish(&plan->decode, &load, machine, n);
}

/* One prompt: chunk by chunk K and V of all before are read again. */
static void predict_prompt(struct weir_plan *plan,
                           const struct weir_plan_machine *machine,
                           const struct weir_plan_model *model,
                           const struct weir_plan_budget *budget)
{
    const double n = (double)budget->n_prompt, chunk = model->chunk_tok;
    const double n_chunks = ceil(n / chunk);
    const struct pass pass = {n, (double)plan->span_tok, n < chunk ? n : chunk,
                              1};
    struct load load = {0};

    for (uint32_t i = 0; i < model->n_units; i++) {
        add_unit(&load, plan, i, &model->units[i], &pass);
        add_flop(&load, &model->units[i], &pass);
    }
    load.dram += n_chunks * 2 * (double)model->state_bytes +
                 (chunk * n_chunks * (n_chunks - 1) / 2 + 2 * n) *
                     (double)model->kv_bytes;
    load.flop += n * (n + 1) / 2 * model->seen_flop;
    finish(&plan->prompt, &load, machine, n);
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
