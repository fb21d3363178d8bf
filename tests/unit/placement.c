/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where units go, worked out by hand; and that what a plan says of a model is
 * what becomes of it when it is run with as much.
 */
#include "offload/placement.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/import.h"
#include "model/jamba.h"
#include "model/plan_model.h"
#include "tests/tap.h"

#define N_LAYERS  4
#define N_EXPERTS 8
#define N_UNITS   (2 + N_LAYERS * (2 + N_EXPERTS))

enum { EMBED, HEAD = N_UNITS - 1 };

/*
 * An embedding of 70, four layers of a mixer of 100, a router of 1 and eight
 * experts of 50, a head of 130: a trunk of 534.
 */
static struct weir_placement_unit units[N_UNITS];

static uint32_t mixer_of(uint32_t layer)
{
    return 1 + layer * (2 + N_EXPERTS);
}

static void build(void)
{
    uint32_t u = 0;

    units[u++] =
        (struct weir_placement_unit){.use = {WEIR_USE_ROWS, 0}, .n_bytes = 70};
    for (uint32_t i = 0; i < N_LAYERS; i++) {
        units[u++] = (struct weir_placement_unit){.use = {WEIR_USE_TRUNK, 0},
                                                  .n_bytes = 100};
        units[u++] = (struct weir_placement_unit){.use = {WEIR_USE_TRUNK, 0},
                                                  .n_bytes = 1};
        for (int e = 0; e < N_EXPERTS; e++)
            units[u++] = (struct weir_placement_unit){
                .use = {WEIR_USE_EXPERT, i}, .n_bytes = 50};
    }
    units[u++] = (struct weir_placement_unit){.use = {WEIR_USE_TRUNK, 0},
                                              .n_bytes = 130};
}

static struct weir_placement placed(uint64_t n_bytes, unsigned n_tok)
{
    const struct weir_placement_ask ask = {
        .n_bytes = n_bytes, .n_top = 2, .n_tok = n_tok};
    struct weir_placement placement;

    weir_placement_make(&placement, units, N_UNITS, &ask, NULL);
    return placement;
}

static unsigned count(const struct weir_placement *placement,
                      enum weir_use_kind kind, enum weir_place place)
{
    unsigned n = 0;

    for (uint32_t u = 0; u < N_UNITS; u++)
        n += units[u].use.kind == kind && placement->places[u] == place;
    return n;
}

/* Four experts pass, 200; behind routers and head three mixers do, 300. */
static void test_trunk(void)
{
    struct weir_placement placement = placed(133, 1);

    tap_ok(placement.trunk.n == 0 && placement.pinned_bytes == 4 &&
               placement.experts.n == 2,
           "of 133 bytes routers are pinned, and two experts pass");
    weir_placement_fini(&placement);
    placement = placed(4 + 130 + 300 + 200, 1);
    tap_ok(placement.pinned_bytes == 134 && placement.trunk.n == 3 &&
               placement.trunk.n_bytes == 100 && placement.experts.n == 4 &&
               placement.n_cached == 0 && placement.staging_bytes == 500 &&
               placement.n_at_once == 2,
           "of 634 the head is as well, mixers pass through three slots");
    weir_placement_fini(&placement);
    placement = placed(633, 1);
    tap_ok(placement.trunk.n_bytes == 130 && placement.trunk.n == 3,
           "of 633 the head passes with them");
    weir_placement_fini(&placement);
    placement = placed(534 + 200, 1);
    tap_ok(placement.trunk.n == 0 && placement.pinned_bytes == 534 &&
               placement.n_here == 0 && placement.experts.n == 4,
           "of 734 all of the trunk does");
    weir_placement_fini(&placement);
}

/* A token wants eight experts of 32. */
static void test_experts(void)
{
    struct weir_placement placement = placed(734 + 7 * 50, 1);
    unsigned first = 0;

    for (uint32_t i = 0; i < N_LAYERS; i++)
        first += placement.places[mixer_of(i) + 2] == WEIR_PINNED;
    tap_ok(count(&placement, WEIR_USE_EXPERT, WEIR_PINNED) == 7 && first == 4 &&
               placement.n_cached == 0 && placement.cache_bytes == 0 &&
               placement.n_here == 7 && placement.pinned_bytes == 534 + 350,
           "room for seven: they are pinned, the first of each group first");
    weir_placement_fini(&placement);
    placement = placed(734 + 9 * 50, 1);
    tap_ok(count(&placement, WEIR_USE_EXPERT, WEIR_CACHED) == 32 &&
               placement.n_cached == 9 && placement.cache_bytes == 450 &&
               placement.experts.n == 13 && placement.n_here == 9,
           "room for nine: a cache");
    tap_ok(placement.quotas[0] + placement.quotas[1] + placement.quotas[2] +
                       placement.quotas[3] ==
                   9 &&
               placement.quotas[0] >= 2 && placement.quotas[3] <= 3,
           "of which each group has its part");
    weir_placement_fini(&placement);
    placement = placed(734 + 9 * 50, 3);
    tap_ok(placement.n_cached == 0 && placement.n_here == 9,
           "three tokens in step want more, so that nine are pinned");
    weir_placement_fini(&placement);
}

static void test_rows(void)
{
    struct weir_placement placement = placed(534 + 1600, 1);

    tap_ok(placement.n_here == 32 && placement.staging_bytes == 0 &&
               placement.cache_bytes == 1600 &&
               placement.n_at_once == UINT_MAX &&
               placement.places[EMBED] == WEIR_STREAMED &&
               !weir_placement_is_whole(&placement),
           "all experts have slots of their own, the embedding has no room");
    weir_placement_fini(&placement);
    placement = placed(534 + 1600 + 70, 1);
    tap_ok(placement.places[EMBED] == WEIR_PINNED &&
               weir_placement_is_whole(&placement),
           "with 70 more it has");
    weir_placement_fini(&placement);
}

/* Every budget is kept, and none places less than a smaller one. */
static void test_sweep(void)
{
    unsigned n_over = 0, n_less = 0;
    uint64_t trunk = 0, here = 0;

    for (uint64_t n = 0; n < 2300; n++) {
        struct weir_placement placement = placed(n, 1);
        uint64_t pinned = count(&placement, WEIR_USE_TRUNK, WEIR_PINNED);

        n_over += placement.pinned_bytes + placement.cache_bytes +
                      placement.staging_bytes >
                  n;
        n_less += pinned < trunk || placement.n_here < here;
        trunk = pinned;
        here = placement.n_here;
        weir_placement_fini(&placement);
    }
    tap_ok(n_over == 0, "%u of 2300 budgets are exceeded", n_over);
    tap_ok(n_less == 0, "%u lose what was there with less", n_less);
}

/* ---- what is compressed ---- */

/* Mixers of 100 become 150, experts of 50 become 60. */
static struct weir_placement placed_packed(uint64_t n_bytes,
                                           enum weir_cache cache,
                                           double disk_gbps, double decode_gbps)
{
    struct weir_placement_unit packed[N_UNITS];
    const struct weir_placement_ask ask = {
        .n_bytes = n_bytes,
        .n_top = 2,
        .n_tok = 1,
        .cache = cache,
        .rates = {disk_gbps, {0, decode_gbps, decode_gbps}}};
    struct weir_placement placement;

    memcpy(packed, units, sizeof(packed));
    for (uint32_t u = 0; u < N_UNITS; u++) {
        uint64_t n = units[u].n_bytes;

        packed[u].unpacked_bytes = n == 100 ? 150 : n == 50 ? 60 : 0;
        packed[u].decoded[WEIR_CODEC_PLANES] = packed[u].unpacked_bytes;
    }
    weir_placement_make(&placement, packed, N_UNITS, &ask, NULL);
    return placement;
}

static void test_packed(void)
{
    struct weir_placement placement =
        placed_packed(734 + 200 + 60, WEIR_CACHE_UNPACKED, 0, 0);

    tap_ok(placement.unpacked && placement.pinned_bytes == 734 + 60 &&
               placement.staging_bytes == 200 && placement.n_here == 1 &&
               placement.n_cached == 0,
           "of 994 the trunk is decoded, and one expert; four pass as stored");
    weir_placement_fini(&placement);
    placement = placed_packed(734 + 200 + 59, WEIR_CACHE_UNPACKED, 0, 0);
    tap_ok(placement.n_here == 0, "of 993 no expert has room");
    weir_placement_fini(&placement);
    placement = placed_packed(734 + 200 + 28 * 60, WEIR_CACHE_UNPACKED, 0, 0);
    tap_ok(placement.n_here == 28 && placement.n_cached == 0 &&
               count(&placement, WEIR_USE_EXPERT, WEIR_PINNED) == 28,
           "experts that are decoded are pinned and not in a cache");
    weir_placement_fini(&placement);
    placement = placed_packed(734 + 32 * 60, WEIR_CACHE_UNPACKED, 0, 0);
    tap_ok(placement.n_here == 32 && placement.experts.n == 0 &&
               placement.n_at_once == UINT_MAX,
           "with room for all none passes");
    weir_placement_fini(&placement);
    placement = placed_packed(994, WEIR_CACHE_STORED, 0, 0);
    tap_ok(!placement.unpacked && placement.pinned_bytes == 534 + 250,
           "as stored five experts have room");
    weir_placement_fini(&placement);
}

/* Which of the two a drive and cores choose, with n_bytes */
static int unpacks(uint64_t n_bytes, double disk_gbps, double decode_gbps)
{
    struct weir_placement placement =
        placed_packed(n_bytes, WEIR_CACHE_AUTO, disk_gbps, decode_gbps);
    int unpacked = placement.unpacked;

    weir_placement_fini(&placement);
    return unpacked;
}

/*
 * With 994 bytes a token reads 8 * 31/32 of 50 bytes and decodes 8 * 31/32 of
 * 60 when what stays is decoded; or reads 8 * 27/32 of 50, and decodes all: 600
 * of mixers and 8 * 60.  At a drive of 1, 387.5, nine tenths of which are
 * 348.75, or 337.5 and 1080.
 */
static void test_choice(void)
{
    tap_ok(!unpacks(994, 1, 10), "cores that decode fast hold more as stored");
    tap_ok(!unpacks(994, 1, 1080 / 348.0) && unpacks(994, 1, 1080 / 349.0),
           "as long as that takes a tenth less than the drive would");
    tap_ok(unpacks(994, 10, 10), "a drive that is fast wants them decoded");
    tap_ok(unpacks(994, 0, 10) && unpacks(994, 1, 0),
           "so does what is not known");
    tap_ok(unpacks(734 + 32 * 60 + 70, 0.001, 1000),
           "and what fits whole is always decoded");
}

/* ---- a plan and a run ---- */

static struct weir_err err;
static enum weir_cache cache;

static int run(const char *path, uint64_t n_bytes,
               struct weir_residency_stats *stats)
{
    const struct weir_jamba_options options = {.n_threads = 1,
                                               .io = WEIR_IO_PREAD,
                                               .cache = cache,
                                               .weight_bytes = n_bytes};
    struct weir_jamba *jamba;
    int rc = weir_jamba_open(path, &options, &jamba, &err);

    if (rc)
        return rc;
    rc = weir_budget_take(jamba, 0, 16, 1, &err);
    weir_residency_get_stats(jamba->residency, stats);
    weir_jamba_close(jamba);
    return rc;
}

/* With n_bytes for weights, beside what everything else takes */
static int plan(const struct weir_plan_model *model, uint64_t n_bytes,
                struct weir_plan *plan)
{
    const struct weir_plan_machine machine = {.disk_gbps = 1,
                                              .dram_gbps = 10,
                                              .gflops = 100,
                                              .decode_gbps = {1, 1, 1},
                                              .n_threads = 1};
    struct weir_plan_budget budget = {.ram_bytes = 1ull << 40,
                                      .n_ctx = 16,
                                      .n_prompt = 1,
                                      .batch = 1,
                                      .cache = cache};
    int rc = weir_plan_make(plan, &machine, model, &budget, &err);

    budget.ram_bytes = n_bytes + plan->ram.sum - plan->ram.pinned -
                       plan->ram.cache - plan->ram.staging;
    weir_plan_fini(plan);
    return rc ? rc : weir_plan_make(plan, &machine, model, &budget, &err);
}

/* 1 when they agree */
static int compare(const char *path, const struct weir_plan_model *model,
                   uint64_t n_bytes)
{
    struct weir_residency_stats stats = {0};
    struct weir_plan planned = {0};
    int rc = run(path, n_bytes, &stats), same;

    if (!rc)
        rc = plan(model, n_bytes, &planned);
    same = !rc && stats.pinned_bytes == planned.ram.pinned &&
           stats.cache_bytes == planned.ram.cache &&
           stats.staging_bytes == planned.ram.staging;
    if (!same)
        tap_diag(
            "%llu bytes: pinned %llu, %llu; cache %llu, %llu; for reads "
            "%llu, %llu %s",
            (unsigned long long)n_bytes, (unsigned long long)stats.pinned_bytes,
            (unsigned long long)planned.ram.pinned,
            (unsigned long long)stats.cache_bytes,
            (unsigned long long)planned.ram.cache,
            (unsigned long long)stats.staging_bytes,
            (unsigned long long)planned.ram.staging, rc ? err.message : "");
    weir_plan_fini(&planned);
    return same;
}

static void test_model(const char *path, const char *name)
{
    struct weir_plan_model model = {0};
    struct weir_config config;
    struct weir_file *file;
    unsigned n_same = 0, n = 0;
    uint64_t most;

    if (weir_file_open(path, &file, &err)) {
        tap_ok(0, "%s: %s", name, err.message);
        return;
    }
    most = file->n_bytes * 9 / 8;
    if (!weir_config_read(file, &config, &err) &&
        !weir_plan_model_init(&model, file, &config, WEIR_BF16, 1, &err))
        for (; n < 36; n++) {
            cache = n % 2 ? WEIR_CACHE_STORED : WEIR_CACHE_UNPACKED;
            n_same += compare(path, &model, 1 + most * (n / 2) / 17);
        }
    tap_ok(n == 36 && n_same == n, "%s: a plan is what becomes of %u budgets",
           name, n_same);
    weir_plan_model_fini(&model);
    weir_file_close(file);
}

static void test_folder(const char *name, enum weir_codec_policy policy)
{
    struct weir_import import = {
        .quant = {1, 1}, .policy = policy, .tile_ceiling = 4096};
    const char *srcdir = getenv("srcdir");
    char folder[4096], path[] = "placement.XXXXXX";
    int fd = mkstemp(path);

    snprintf(folder, sizeof(folder), "%s/tests/golden/%s",
             srcdir ? srcdir : ".", name);
    if (fd < 0 || weir_import_folder(&import, folder, path, &err))
        tap_ok(0, "%s: %s", name, err.message);
    else
        test_model(path, name);
    close(fd);
    unlink(path);
}

int main(void)
{
    build();
    test_trunk();
    test_experts();
    test_rows();
    test_sweep();
    test_packed();
    test_choice();
    test_folder("moe-8l", WEIR_POLICY_RAW);
    test_folder("moe-8l", WEIR_POLICY_ZSTD);
    test_folder("odd", WEIR_POLICY_AUTO);
    test_folder("dense-tied", WEIR_POLICY_AUTO);
    return tap_done();
}
