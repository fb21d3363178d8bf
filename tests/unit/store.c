/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the memory that weights pass through, one by one: who stays, who
 * goes for whom, and what is counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/config.h"
#include "model/import.h"
#include "offload/governor.h"
#include "offload/residency.h"
#include "offload/tiling.h"
#include "tests/tap.h"

#define MAX_GROUPS 16

static struct weir_err err;
static struct weir_file *file;
static struct weir_config config;
static struct weir_use *uses;             /* [n_units] */
static struct weir_placement_unit *units; /* [n_units] */
static uint32_t layers[MAX_GROUPS];       /* of the groups */
static uint32_t n_groups;
static struct weir_residency *residency;
static struct weir_pool *pool;

/* ---- the model ---- */

static uint32_t expert(uint32_t group, uint32_t e)
{
    char name[64];

    snprintf(name, sizeof(name), "layers.%u.experts.%u", layers[group], e);
    return weir_file_find_unit(file, name);
}

static void describe(void)
{
    uses = calloc(file->n_units, sizeof(*uses));
    units = calloc(file->n_units, sizeof(*units));
    for (uint32_t i = 0; i < config.n_layers; i++)
        if (weir_config_is_moe(&config, i))
            layers[n_groups++] = i;
    for (uint32_t g = 0; g < n_groups; g++)
        for (uint32_t e = 0; e < config.n_experts; e++)
            uses[expert(g, e)] = (struct weir_use){WEIR_USE_EXPERT, g};
    uses[weir_file_find_unit(file, "embed")].kind = WEIR_USE_ROWS;
    for (uint32_t u = 0; u < file->n_units; u++) {
        units[u].use = uses[u];
        weir_placement_describe(file, &file->units[u], &units[u]);
    }
}

static int open_model(const char *path)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 4096};
    const char *srcdir = getenv("srcdir");
    char folder[4096];
    int rc;

    snprintf(folder, sizeof(folder), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    rc = weir_import_folder(&import, folder, path, &err);
    if (!rc)
        rc = weir_file_open(path, &file, &err);
    if (!rc)
        rc = weir_config_read(file, &config, &err);
    if (!rc)
        describe();
    return rc;
}

/* The least memory of which n experts are kept, pinned or in the cache */
static struct weir_placement_ask ask_for(uint32_t n)
{
    struct weir_placement_ask ask = {
        .n_top = config.n_top, .n_tok = 1, .cache = WEIR_CACHE_STORED};
    struct weir_placement placement;
    uint32_t n_here = 0, n_pass = 0;

    while (n_here < n || n_pass < 2 * config.n_top) {
        ask.n_bytes += 4096;
        if (weir_placement_make(&placement, units, file->n_units, &ask, NULL))
            break;
        n_here = placement.n_here;
        n_pass = placement.trunk.n ? 0 : placement.experts.n;
        weir_placement_fini(&placement);
    }
    return ask;
}

/* ---- what passes do ---- */

/* All of its tiles have come then, or it was not on its way. */
static void touch(uint32_t unit)
{
    const struct weir_unit *of = &file->units[unit];
    size_t n_bytes = weir_residency_scratch_bytes(residency);
    void *scratch = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    const void *data;
    int rc = 0;

    weir_residency_scratch_init(residency, scratch);
    for (uint32_t i = 0; i < of->n_tensors && !rc; i++) {
        uint32_t tensor = of->first_tensor + i;
        uint64_t n = weir_tiling_n_tiles(&file->tensors[tensor]);

        for (uint64_t k = 0; k < n && !rc; k++)
            rc =
                weir_residency_tile(residency, tensor, k, scratch, &data, &err);
    }
    if (rc)
        tap_diag("%s: %s", of->name, err.message);
    free(scratch);
}

static void use(uint32_t unit)
{
    weir_residency_want(residency, unit);
    touch(unit);
    weir_residency_done(residency, unit);
}

static void use_pass(uint32_t group, uint32_t e)
{
    weir_residency_begin_pass(residency);
    use(expert(group, e));
}

/* 1 when that many were counted since the store is there */
static int counts(uint64_t n_hits, uint64_t n_misses, uint64_t n_evictions)
{
    struct weir_residency_stats stats;

    weir_residency_get_stats(residency, &stats);
    if (stats.n_hits == n_hits && stats.n_misses == n_misses &&
        stats.n_evictions == n_evictions)
        return 1;
    tap_diag("%llu hits, %llu misses, %llu evictions",
             (unsigned long long)stats.n_hits,
             (unsigned long long)stats.n_misses,
             (unsigned long long)stats.n_evictions);
    return 0;
}

static uint64_t n_direct(void)
{
    struct weir_residency_stats stats;

    weir_residency_get_stats(residency, &stats);
    return stats.n_direct;
}

static int begin_with(struct weir_placement_ask ask)
{
    const struct weir_residency_options options = {.io = WEIR_IO_PREAD};
    int rc = weir_residency_new(file, &options, &residency, &err);

    if (!rc)
        rc = weir_residency_keep(residency, uses, &ask, pool, &err);
    if (rc)
        tap_ok(0, "a store: %s", err.message);
    return !rc;
}

static int begin(uint32_t n_kept)
{
    return begin_with(ask_for(n_kept));
}

static void end(void)
{
    weir_residency_free(residency);
    residency = NULL;
}

/* Two of the four experts of each group are kept. */
static void test_same_pass(void)
{
    if (!begin(2 * n_groups))
        return;
    weir_residency_begin_pass(residency);
    use(expert(0, 0));
    use(expert(0, 1));
    tap_ok(counts(0, 2, 0), "two experts that were not there");
    use(expert(0, 2));
    use(expert(0, 3));
    tap_ok(counts(0, 4, 0), "two more drive none of the same pass out");
    use(expert(0, 0));
    use(expert(0, 1));
    tap_ok(counts(2, 4, 0), "so that the first two are there");
    use(expert(0, 2));
    tap_ok(counts(2, 5, 0), "and the others are not");
    end();
}

static void test_oldest(void)
{
    if (!begin(2 * n_groups))
        return;
    use_pass(0, 0);
    use_pass(0, 1);
    use_pass(0, 2);
    tap_ok(counts(0, 3, 1), "a third expert drives one out in another pass");
    use_pass(0, 1);
    use_pass(0, 2);
    tap_ok(counts(2, 3, 1), "not one of the last two");
    use_pass(0, 1);
    use_pass(0, 0);
    tap_ok(counts(3, 4, 2), "but the one used longest ago");
    use_pass(0, 1);
    tap_ok(counts(4, 4, 2), "which was another by then");
    end();
}

static void test_groups(void)
{
    if (!begin(2 * n_groups))
        return;
    for (uint32_t g = 0; g < n_groups; g++) {
        use_pass(g, 0);
        use_pass(g, 1);
    }
    tap_ok(counts(0, 2 * n_groups, 0), "each group has room of its own");
    for (int i = 0; i < 5; i++) {
        use_pass(1, 2);
        use_pass(1, 3);
    }
    use_pass(0, 0);
    use_pass(0, 1);
    tap_ok(counts(8 + 2, 2 * n_groups + 2, 2), "which no other takes from it");
    end();
}

/* Four slots pass experts on: more that are wanted wait for them. */
static void test_waiting(void)
{
    if (!begin(2 * n_groups))
        return;
    weir_residency_begin_pass(residency);
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t e = 0; e < 4; e++)
            weir_residency_want(residency, expert(g, e));
    tap_ok(counts(0, 12, 0), "twelve are wanted at once");
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t e = 0; e < 4; e++)
            use(expert(g, e));
    tap_ok(counts(0, 12, 0), "and are not counted again when they are used");
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t e = 0; e < 4; e++)
            weir_residency_done(residency, expert(g, e));
    weir_residency_begin_pass(residency);
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t e = 0; e < 4; e++)
            use(expert(g, e));
    tap_ok(counts(6, 18, 0), "two of each group were kept");
    end();
}

/* Less than one token wants: some stay for good, the others pass. */
static void test_pinned(void)
{
    if (!begin(2 * n_groups - 1))
        return;
    for (int i = 0; i < 3; i++) {
        weir_residency_begin_pass(residency);
        for (uint32_t g = 0; g < n_groups; g++)
            for (uint32_t e = 0; e < 4; e++)
                use(expert(g, e));
    }
    tap_ok(counts(3 * (2 * n_groups - 1), 3 * (2 * n_groups + 1), 0),
           "experts that are pinned are hit in each pass, others never");
    end();
}

/* What fits comes once. */
static void test_all(void)
{
    if (!begin(4 * n_groups))
        return;
    for (int i = 0; i < 3; i++) {
        weir_residency_begin_pass(residency);
        for (uint32_t g = 0; g < n_groups; g++)
            for (uint32_t e = 0; e < 4; e++)
                use(expert(g, e));
    }
    tap_ok(counts(2 * 4 * n_groups, 4 * n_groups, 0),
           "with room for all each is read once");
    end();
}

/* ---- guesses ---- */

/* 1 when that many guesses were counted, and bytes of n_wasted experts */
static int guesses(uint64_t n, uint64_t n_right, uint64_t n_wasted)
{
    struct weir_residency_stats stats;
    uint64_t each = units[expert(0, 0)].n_bytes;

    weir_residency_get_stats(residency, &stats);
    if (stats.n_guesses == n && stats.n_guesses_right == n_right &&
        stats.guess_wasted_bytes == n_wasted * each)
        return 1;
    tap_diag("%llu guesses, %llu right, %llu bytes wasted",
             (unsigned long long)stats.n_guesses,
             (unsigned long long)stats.n_guesses_right,
             (unsigned long long)stats.guess_wasted_bytes);
    return 0;
}

/* Guesses that have come by the time that something is wanted */
static void guess(uint32_t group, uint32_t e)
{
    weir_residency_guess(residency, expert(group, e));
    touch(expert(group, e));
}

static uint64_t n_tiles(uint32_t unit)
{
    struct weir_extent extent;

    weir_extent_find(file, &file->units[unit], &extent);
    return extent.n_tiles;
}

static void test_guess(void)
{
    if (!begin(2 * n_groups))
        return;
    weir_residency_begin_pass(residency);
    guess(0, 0);
    guess(0, 1);
    use(expert(0, 0));
    tap_ok(guesses(2, 1, 0) && counts(1, 0, 0),
           "a guess that is right is a hit");
    use_pass(0, 1);
    tap_ok(guesses(2, 1, 0) && counts(2, 0, 0),
           "a wrong one stays where there is room, and is no right one later");
    guess(0, 0);
    guess(0, 1);
    tap_ok(guesses(2, 1, 0), "what is there is not guessed");
    guess(0, 3);
    use(expert(0, 1));
    tap_ok(guesses(3, 1, 1) && counts(3, 0, 0),
           "a wrong guess drives nothing out where there is no room");
    use(expert(0, 3));
    tap_ok(guesses(3, 1, 1) && counts(3, 1, 1),
           "so that it is read again when it is wanted");
    end();
}

/* The first to go is what came by a guess and was never used. */
static void test_guess_goes(void)
{
    if (!begin(2 * n_groups))
        return;
    use_pass(0, 0);
    weir_residency_begin_pass(residency);
    guess(0, 1);
    use(expert(1, 0));
    use_pass(0, 2);
    tap_ok(guesses(1, 0, 1) && counts(0, 3, 1),
           "which was read for nothing then");
    use_pass(0, 0);
    tap_ok(counts(1, 3, 1), "and not what was used before");
    end();
}

/* Of four slots that pass experts on two are for those that are wanted. */
static void test_guess_slots(void)
{
    uint64_t before;

    if (!begin(0))
        return;
    weir_residency_begin_pass(residency);
    for (uint32_t e = 0; e < 4; e++)
        weir_residency_guess(residency, expert(0, e));
    for (uint32_t e = 0; e < 4; e++)
        touch(expert(0, e));
    before = n_direct();
    tap_ok(before == 2 * n_tiles(expert(0, 0)),
           "two of four slots may be guessed");
    for (uint32_t e = 0; e < 4; e++)
        weir_residency_want(residency, expert(1, e));
    for (uint32_t e = 0; e < 4; e++)
        touch(expert(1, e));
    tap_ok(counts(0, 4, 0) && n_direct() == before,
           "and all four hold what is wanted when four are");
    for (uint32_t e = 0; e < 4; e++)
        weir_residency_done(residency, expert(1, e));
    weir_residency_begin_pass(residency);
    for (uint32_t e = 0; e < 4; e++)
        weir_residency_guess(residency, expert(2, e));
    weir_residency_begin_pass(residency);
    for (uint32_t e = 0; e < 4; e++)
        use(expert(3, e));
    tap_ok(counts(0, 8, 0) && n_direct() == before,
           "guesses of a pass that broke off are forgotten");
    end();
}

/* ---- the trunk ---- */

/* Memory in which the trunk passes through three slots; lists what does. */
static struct weir_placement_ask ask_streaming(uint32_t *list, uint32_t *n)
{
    struct weir_placement_ask ask = {
        .n_top = config.n_top, .n_tok = 1, .cache = WEIR_CACHE_STORED};
    struct weir_placement placement = {0};

    while (placement.trunk.n < 3) {
        weir_placement_fini(&placement);
        ask.n_bytes += 4096;
        if (weir_placement_make(&placement, units, file->n_units, &ask, NULL))
            break;
    }
    *n = 0;
    for (uint32_t u = 0; u < file->n_units; u++)
        if (uses[u].kind == WEIR_USE_TRUNK &&
            placement.places[u] == WEIR_STREAMED)
            list[(*n)++] = u;
    weir_placement_fini(&placement);
    return ask;
}

/* Units of the trunk come in turn, without being asked for. */
static void test_ahead(void)
{
    uint32_t *list = calloc(file->n_units, sizeof(*list)), n;

    if (!begin_with(ask_streaming(list, &n)))
        return;
    weir_residency_begin_pass(residency);
    use(list[n - 2]);
    for (uint32_t i = n - 1; i < n + 2; i++)
        touch(list[i % n]);
    tap_ok(n > 5 && n_direct() == 0,
           "behind a unit of the trunk three follow, around the end");
    touch(list[2]);
    tap_ok(n_direct() == n_tiles(list[2]), "but no more than have slots");
    weir_residency_begin_pass(residency);
    for (uint32_t i = n / 2; i < n; i++)
        use(list[i]);
    tap_ok(n_direct() == n_tiles(list[2]),
           "another that is wanted takes their place");
    end();
    free(list);
}

static void test_governor(void)
{
    struct weir_governor governor = {0};
    int n_allowed = 0;

    for (int i = 0; i < WEIR_GOVERNOR_WINDOW - 1; i++)
        weir_governor_note(&governor, 0);
    tap_ok(weir_governor_allows(&governor), "few guesses say nothing");
    weir_governor_note(&governor, 0);
    for (int i = 0; i < WEIR_GOVERNOR_PAUSE; i++)
        n_allowed += weir_governor_allows(&governor);
    tap_ok(n_allowed == 0 && weir_governor_allows(&governor),
           "wrong ones end them for %d chances", WEIR_GOVERNOR_PAUSE);
    for (int i = 0; i < 10 * WEIR_GOVERNOR_WINDOW; i++)
        weir_governor_note(&governor, i % 4 == 0);
    tap_ok(weir_governor_allows(&governor), "one right one in four pays");
    weir_governor_note(&governor, 0);
    weir_governor_note(&governor, 0);
    tap_ok(!weir_governor_allows(&governor), "fewer do not");
}

/* Routers that are not in memory are not asked. */
static void test_may_guess(void)
{
    uint32_t router;
    char name[64];
    int may;

    snprintf(name, sizeof(name), "layers.%u.router", layers[0]);
    router = weir_file_find_unit(file, name);
    if (!begin(0))
        return;
    may = weir_residency_may_guess(residency, router);
    end();
    residency = NULL;
    if (weir_residency_new(file, NULL, &residency, &err))
        return;
    tap_ok(may && !weir_residency_may_guess(residency, router),
           "a mapped model guesses nothing, one that is read does");
    end();
}

/* ---- what stays decoded ---- */

/* Tiles of the unit that are not as in `mapped` */
static unsigned n_differ(struct weir_residency *mapped, uint32_t unit)
{
    const struct weir_unit *of = &file->units[unit];
    void *scratch = aligned_alloc(
        64, (weir_residency_scratch_bytes(residency) + 63) / 64 * 64);
    void *other = aligned_alloc(
        64, (weir_residency_scratch_bytes(mapped) + 63) / 64 * 64);
    const void *a, *b;
    unsigned n = 0;

    weir_residency_scratch_init(residency, scratch);
    weir_residency_scratch_init(mapped, other);
    for (uint32_t i = 0; i < of->n_tensors; i++) {
        uint32_t tensor = of->first_tensor + i;
        const struct weir_tensor *t = &file->tensors[tensor];

        for (uint64_t k = 0; k < weir_tiling_n_tiles(t); k++)
            n += weir_residency_tile(residency, tensor, k, scratch, &a, &err) ||
                 weir_residency_tile(mapped, tensor, k, other, &b, &err) ||
                 memcmp(a, b, weir_tiling_tile_bytes(t, k));
    }
    free(scratch);
    free(other);
    return n;
}

/* With n_bytes; how many units have a tensor whose tiles lie unpacked */
static unsigned try_unpacked(uint64_t n_bytes)
{
    const struct weir_placement_ask ask = {.n_bytes = n_bytes,
                                           .n_top = config.n_top,
                                           .n_tok = 1,
                                           .cache = WEIR_CACHE_UNPACKED};
    struct weir_residency *mapped;
    unsigned n = 0, n_wrong = 0;

    if (!begin_with(ask))
        return 0;
    if (weir_residency_new(file, NULL, &mapped, &err))
        return 0;
    for (uint32_t u = 0; u < file->n_units; u++) {
        int is_packed = units[u].unpacked_bytes > 0;

        n_wrong += n_differ(mapped, u);
        for (uint32_t i = 0; i < file->units[u].n_tensors && is_packed; i++)
            if (weir_residency_is_unpacked(residency,
                                           file->units[u].first_tensor + i)) {
                n++;
                break;
            }
    }
    tap_ok(n_wrong == 0, "of %llu bytes %u compressed units are decoded",
           (unsigned long long)n_bytes, n);
    weir_residency_free(mapped);
    end();
    return n;
}

static void test_unpacked(void)
{
    uint64_t all = 0;
    unsigned n_packed = 0, n_half;

    for (uint32_t u = 0; u < file->n_units; u++) {
        n_packed += units[u].unpacked_bytes > 0;
        all += units[u].unpacked_bytes ? units[u].unpacked_bytes
                                       : units[u].n_bytes;
    }
    n_half = try_unpacked(all / 2);
    tap_ok(n_half > 0 && n_half < n_packed, "some of %u", n_packed);
    tap_ok(try_unpacked(all) == n_packed, "all of %u", n_packed);
}

int main(void)
{
    char path[] = "store.XXXXXX";
    int fd = mkstemp(path);

    if (fd < 0 || weir_pool_new(2, &pool, &err))
        return 1;
    if (open_model(path)) {
        tap_ok(0, "a model: %s", err.message);
    } else {
        test_same_pass();
        test_oldest();
        test_groups();
        test_waiting();
        test_pinned();
        test_all();
        test_guess();
        test_guess_goes();
        test_guess_slots();
        test_ahead();
        test_governor();
        test_may_guess();
        test_unpacked();
    }
    weir_pool_free(pool);
    weir_file_close(file);
    free(uses);
    free(units);
    close(fd);
    unlink(path);
    return tap_done();
}
