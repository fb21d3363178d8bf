/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan is told of a model is what the model is, counted otherwise. */
#include "model/plan_model.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/cost.h"
#include "model/import.h"
#include "offload/tiling.h"
#include "tests/tap.h"

static struct weir_jamba *jamba;

/* One token at the beginning, each of whose experts is chosen or none is */
static struct weir_cost cost_of(int chosen, uint8_t *experts)
{
    const int32_t id = 7;
    struct weir_cost cost = {0};
    const struct weir_cost_pass pass = {&id, 1, 1, 0, WEIR_BF16, experts};

    memset(experts, chosen,
           (size_t)jamba->config.n_layers * jamba->config.n_experts);
    weir_cost_add(&cost, jamba, &pass);
    return cost;
}

/* Stored bytes of vectors: of experts, or of all else */
static uint64_t vectors_of(int experts)
{
    const struct weir_file *file = jamba->file;
    struct weir_tile_record tile;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < file->n_tensors; i++) {
        int of_expert = strstr(file->tensors[i].name, ".experts.") != NULL;

        if (file->tensors[i].rows > 1 || of_expert != experts)
            continue;
        weir_file_tile(file, file->tensors[i].first_tile, &tile);
        sum += tile.stored_bytes;
    }
    return sum;
}

static void test_bytes(const struct weir_plan_model *model)
{
    const struct weir_config *config = &jamba->config;
    uint8_t *experts = calloc(config->n_layers, config->n_experts);
    struct weir_cost none = cost_of(0, experts), all = cost_of(1, experts);
    uint64_t trunk = 0, chosen = 0, rows = 0;
    double flop = model->seen_flop;

    free(experts);
    for (uint32_t i = 0; i < model->n_units; i++) {
        const struct weir_plan_unit *unit = &model->units[i];

        if (unit->kind == WEIR_PLAN_EXPERT)
            chosen += unit->stored_bytes;
        else if (unit->kind == WEIR_PLAN_ROWS)
            rows += unit->row_bytes;
        else
            trunk += unit->stored_bytes;
        flop += unit->share * unit->flop;
    }
    trunk += vectors_of(0);
    tap_ok(trunk <= none.weight_bytes &&
               llabs((long long)(none.weight_bytes - trunk - rows)) <=
                   (long long)rows / 2,
           "bytes of the trunk, which each token touches, and a tile of rows");
    tap_ok(chosen > 0
               ? chosen + vectors_of(1) == all.weight_bytes - none.weight_bytes
               : config->n_experts == 1,
           "bytes of all experts");
    tap_ok(fabs(flop - (double)none.flop) < 1e-6 * flop,
           "arithmetic of a token: %.0f, %.0f", flop, (double)none.flop);
    tap_ok(model->kv_bytes * 2 == none.kv_bytes &&
               model->state_bytes * 2 == none.state_bytes,
           "K, V and state");
}

/* On a device, whose products keep two terms of a mixer's activations */
static void test_prompts(const struct weir_plan_model *model)
{
    int more = 1, others = 1;

    for (uint32_t i = 0; i < model->n_units; i++) {
        const struct weir_plan_unit *unit = &model->units[i];
        int is_mixer = unit->class == WEIR_PART_ATTENTION ||
                       unit->class == WEIR_PART_MAMBA;

        if (is_mixer)
            more &= unit->prompt_flop > 1.5 * unit->flop &&
                    unit->prompt_flop <= 2 * unit->flop;
        else
            others &= unit->prompt_flop == 0;
    }
    tap_ok(more && others, "prompts take mixers of a device twice as much");
}

static size_t usable(void *data)
{
    return malloc_usable_size(data);
}

static void test_memory(const struct weir_plan_model *model)
{
    struct weir_work *work = &jamba->work;
    size_t is = work->float_bytes + work->packed_bytes + work->worker_bytes +
                usable(work->jobs) + usable(work->products) +
                usable(work->workers) + usable(work->first) +
                usable(work->runs);
    uint64_t arena = usable(jamba->bind.arena);

    tap_ok(is >= model->work_bytes && is - model->work_bytes < 5 * 4096,
           "working memory of %zu bytes was foreseen: %llu", is,
           (unsigned long long)model->work_bytes);
    tap_ok(model->kept_bytes + 4096 > arena,
           "vectors of %llu bytes were foreseen, with the index: %llu",
           (unsigned long long)arena, (unsigned long long)model->kept_bytes);
}

static void test_missing(void)
{
    struct weir_unit *unit = &jamba->file->units[1];
    const char *name = unit->name;
    struct weir_plan_model model;
    struct weir_err err = {.message = ""};
    int rc;

    unit->name = "nothing";
    rc = weir_plan_model_init(&model, jamba->file, &jamba->config, WEIR_BF16, 1,
                              &err);
    tap_ok(rc == WEIR_EFORMAT && strstr(err.message, name),
           "a unit that is missing is named: %s", err.message);
    weir_plan_model_fini(&model);
    unit->name = name;
}

static void test_folder(const char *name)
{
    struct weir_import import = {.quant = {1, 1},
                                 .tile_ceiling = WEIR_TILE_BYTES};
    const char *srcdir = getenv("srcdir");
    char folder[4096], path[] = "plan.XXXXXX";
    const struct weir_jamba_options options = {.n_threads = 3};
    struct weir_plan_model model = {0};
    struct weir_err err = {.message = ""};
    int fd = mkstemp(path), rc;

    snprintf(folder, sizeof(folder), "%s/tests/golden/%s",
             srcdir ? srcdir : ".", name);
    rc = fd < 0 ? WEIR_EIO : weir_import_folder(&import, folder, path, &err);
    if (!rc)
        rc = weir_jamba_open(path, &options, &jamba, &err);
    if (!rc)
        rc = weir_plan_model_init(&model, jamba->file, &jamba->config,
                                  WEIR_BF16, 3, &err);
    tap_ok(!rc, "%s: is described %s", name, err.message);
    if (!rc) {
        test_bytes(&model);
        test_prompts(&model);
        test_memory(&model);
        test_missing();
    }
    weir_plan_model_fini(&model);
    weir_jamba_close(jamba);
    jamba = NULL;
    close(fd);
    unlink(path);
}

int main(void)
{
    test_folder("moe-8l");
    test_folder("dense-tied");
    test_folder("odd");
    return tap_done();
}
