/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process uses besides weights and sessions is not added up from parts,
 * of which some would be forgotten, but asked of the system when everything
 * else is there: code, index, vectors, activations, tokenizer.  Memory that was
 * taken and not touched yet is added.
 */
#include "model/budget.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/wait.h"
#include "offload/machine.h"

/* For stacks, tables of slots, logits and what else comes later */
#define SLACK ((uint64_t)16 << 20)

void weir_budget_init(struct weir_budget *budget, int mapped,
                      uint64_t ram_bytes, uint64_t weight_bytes)
{
    *budget = (struct weir_budget){
        .mapped = mapped, .ram_bytes = ram_bytes, .weight_bytes = weight_bytes};
}

/* Number behind `key` in a file of the system; 0 when it is not there */
static uint64_t read_number(const char *path, const char *key)
{
    char line[256];
    unsigned long long n = 0;
    FILE *file = fopen(path, "re");
    size_t n_key = strlen(key);

    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, key, n_key)) {
            n = strtoull(line + n_key, NULL, 10);
            break;
        }
    if (file)
        fclose(file);
    return n;
}

static uint64_t resident_bytes(const char *root)
{
    char path[1024];

    snprintf(path, sizeof(path), "%s/proc/self/status", root);
    return read_number(path, "VmRSS:") << 10;
}

/* What the process has already does not count as available any more. */
uint64_t weir_budget_usual(const char *root)
{
    struct weir_machine_ram ram;

    weir_machine_read_ram(root, &ram);
    return resident_bytes(root) + weir_machine_default_budget(&ram);
}

uint64_t weir_budget_bytes(const struct weir_budget *budget)
{
    if (budget->mapped || budget->weight_bytes || budget->ram_bytes)
        return budget->ram_bytes;
    return weir_budget_usual("");
}

/* Activations and scratch, in which nobody has worked yet */
static uint64_t untouched_bytes(const struct weir_jamba *jamba)
{
    const struct weir_work *work = &jamba->work;

    return work->float_bytes + work->packed_bytes + work->worker_bytes +
           work->span_bytes;
}

static double mib(uint64_t n_bytes)
{
    return (double)n_bytes / (1 << 20);
}

/* What is left beside sessions of n_bytes */
static int find_free_bytes(const struct weir_jamba *jamba, uint64_t n_bytes,
                           uint64_t *left, struct weir_err *err)
{
    const struct weir_budget *budget = &jamba->budget;
    uint64_t other = resident_bytes("") + untouched_bytes(jamba) + SLACK;
    uint64_t ram = weir_budget_bytes(budget);

    if (other < ram && n_bytes < ram - other) {
        *left = ram - other - n_bytes;
        return 0;
    }
    return weir_err_set(err, WEIR_ELIMIT,
                        "a budget of %.1f MiB of RAM is too small: the program "
                        "and what it works in take %.1f, the state and KV "
                        "cache of the session %.1f, and the weights want some; "
                        "allow more, or a shorter context",
                        mib(ram), mib(other), mib(n_bytes));
}

/* Which unit is what; an embedding that is also the head is used in full. */
void weir_budget_uses(const struct weir_jamba *jamba, struct weir_use *uses)
{
    const struct weir_config *config = &jamba->config;
    const struct weir_bind *bind = &jamba->bind;
    uint32_t group = 0;

    if (!config->tied)
        uses[bind->embed_unit].kind = WEIR_USE_ROWS;
    for (uint32_t i = 0; i < config->n_layers; i++) {
        if (!weir_config_is_moe(config, i))
            continue;
        for (uint32_t e = 0; e < config->n_experts; e++)
            uses[bind->layers[i].mlps[e].unit] =
                (struct weir_use){WEIR_USE_EXPERT, group};
        group++;
    }
}

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

/*
 * Tokens of a span of n_tok that are in memory when the others wait in a file,
 * with n_bytes for all: few, as the weights want memory too, but not so few
 * that the embedding, of which each block reads what it wants, is read often.
 */
static size_t find_block(const struct weir_config *config, size_t n_tok,
                         uint64_t n_bytes)
{
    uint64_t kept = n_tok * weir_work_span_bytes(config);
    uint64_t room = n_bytes > kept ? n_bytes - kept : 0;

    return weir_scratch_block(n_tok, room / weir_work_block_bytes(config));
}

/* Room for spans of n_tok tokens that are more than memory is for */
static int take_block(struct weir_jamba *jamba, size_t n_tok, uint64_t n_bytes,
                      uint64_t most, struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    size_t n_block = find_block(config, n_tok, n_bytes);
    uint64_t wanted = n_tok * weir_work_span_bytes(config) +
                      n_block * weir_work_block_bytes(config);

    if (wanted < most)
        return weir_wait_take(jamba, n_tok, n_block, err);
    return weir_err_set(err, WEIR_ELIMIT,
                        "the budget leaves %.1f MiB for weights and a prompt, "
                        "of which %zu tokens want %.1f beside a scratch file; "
                        "allow more, or a shorter context",
                        mib(most), n_tok, mib(wanted));
}

/*
 * Room for a session of n_ctx tokens, in whole chunks, in memory or else, if a
 * place for a scratch file is known, there; what is left then.  Nothing waits
 * in a file for weights that are in memory anyway: spans cost no reads then.
 */
static int take_span(struct weir_jamba *jamba, size_t n_ctx, uint64_t *left,
                     struct weir_err *err)
{
    struct weir_work *work = &jamba->work;
    uint64_t before = work->span_bytes, n_bytes = *left / 4 + before;
    uint64_t most = n_bytes / (weir_work_span_bytes(&jamba->config) +
                               weir_work_block_bytes(&jamba->config));
    int is_whole = weir_file_bytes(jamba->file) <= *left - *left / 4;
    int waits = n_ctx > most && jamba->scratch_path && !is_whole;
    size_t n_tok;
    int rc;

    if (most > WEIR_MOST_SPAN_TOK || waits)
        most = WEIR_MOST_SPAN_TOK;
    n_tok = round_up(n_ctx < most ? n_ctx : (size_t)most, WEIR_CHUNK_TOK);
    if (n_tok <= work->span_tok)
        return 0;
    rc = waits ? take_block(jamba, n_tok, n_bytes, *left + before, err)
               : weir_wait_take(jamba, n_tok, n_tok, err);
    *left -= work->span_bytes - before;
    return rc;
}

/* Gives what no device holds its memory; places: as weir_budget_place_rest() */
static int keep_weights(struct weir_jamba *jamba, const uint8_t *places,
                        uint64_t n_bytes, unsigned n_texts,
                        struct weir_err *err)
{
    const struct weir_placement_ask ask = {.n_bytes = n_bytes,
                                           .n_top = jamba->config.n_top,
                                           .n_tok = n_texts,
                                           .cache = jamba->budget.cache};
    uint32_t n_units = jamba->file->n_units;
    struct weir_use *uses = calloc(n_units + 1u, sizeof(*uses));
    int rc;

    if (!uses)
        return weir_err_nomem(err, n_units * sizeof(*uses), "a plan");
    weir_budget_uses(jamba, uses);
    for (uint32_t u = 0; places && u < n_units; u++)
        if (places[u] == WEIR_PINNED)
            uses[u].kind = WEIR_USE_ELSEWHERE;
    rc = weir_residency_keep(jamba->residency, uses, &ask, jamba->pool, err);
    free(uses);
    return rc;
}

static int place_weights(struct weir_jamba *jamba, uint64_t n_bytes,
                         size_t n_ctx, unsigned n_texts, struct weir_err *err)
{
    struct weir_budget *budget = &jamba->budget;
    uint64_t weights = budget->weight_bytes;
    int rc = 0;

    if (!weights)
        rc = find_free_bytes(jamba, n_bytes, &weights, err);
    if (!rc && !budget->weight_bytes && !budget->span_tok)
        rc = take_span(jamba, n_ctx, &weights, err);
    return rc ? rc : keep_weights(jamba, NULL, weights, n_texts, err);
}

int weir_budget_place_rest(struct weir_jamba *jamba, const uint8_t *places,
                           unsigned n_texts, struct weir_err *err)
{
    uint64_t weights = jamba->budget.weight_bytes;
    int rc = 0;

    if (jamba->budget.mapped)
        return 0;
    if (!weights)
        rc = find_free_bytes(jamba, 0, &weights, err);
    return rc ? rc : keep_weights(jamba, places, weights, n_texts, err);
}

static int take(struct weir_jamba *jamba, uint64_t n_bytes, size_t n_ctx,
                unsigned n_texts, struct weir_err *err)
{
    struct weir_budget *budget = &jamba->budget;
    uint64_t left = budget->session_room - budget->session_bytes;
    int rc;

    if (!budget->placed) {
        rc = place_weights(jamba, n_bytes, n_ctx, n_texts, err);
        if (rc)
            return rc;
        budget->placed = 1;
        budget->session_room = left = n_bytes;
    }
    if (n_bytes > left && !budget->weight_bytes)
        return weir_err_set(err, WEIR_ELIMIT,
                            "a session of %.1f MiB does not fit into the %.1f "
                            "MiB that the budget has left for sessions: the "
                            "first one says how much they get; end another, or "
                            "ask for a shorter context",
                            mib(n_bytes), mib(left));
    budget->session_bytes += n_bytes;
    return 0;
}

int weir_budget_take(struct weir_jamba *jamba, uint64_t n_bytes, size_t n_ctx,
                     unsigned n_texts, struct weir_err *err)
{
    int rc;

    if (jamba->budget.mapped || jamba->on)
        return 0;
    pthread_mutex_lock(&jamba->lock);
    rc = take(jamba, n_bytes, n_ctx, n_texts, err);
    pthread_mutex_unlock(&jamba->lock);
    return rc;
}

void weir_budget_give(struct weir_jamba *jamba, uint64_t n_bytes)
{
    if (jamba->budget.mapped || jamba->on)
        return;
    pthread_mutex_lock(&jamba->lock);
    jamba->budget.session_bytes -= n_bytes;
    pthread_mutex_unlock(&jamba->lock);
}
