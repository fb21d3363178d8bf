/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models whose weights are read under a budget, down to one that holds none of
 * them: the logits are those of the mapped model, byte for byte, whatever the
 * budget, the codec, the way to read and the threads.  A drive that fails gives
 * them too, or an error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/import.h"
#include "model/jamba.h"
#include "offload/stripe.h"
#include "offload/tiling.h"
#include "tests/fault/fault_io.h"
#include "tests/tap.h"

#define N_PROMPT 70 /* products of many tokens */
#define N_TOK    78

struct kind {
    const char *folder;
    const char *name;
    struct weir_quant quant;
    enum weir_codec_policy policy;
    uint32_t ceiling;
    const char *folders; /* that it is spread over, as if on many drives */
};

static const struct kind kinds[] = {
    {"tests/golden/moe-8l", "moe-8l, raw", {1, 1}, WEIR_POLICY_RAW, 4096, NULL},
    {"tests/golden/moe-8l",
     "moe-8l, zstd",
     {1, 1},
     WEIR_POLICY_ZSTD,
     4096,
     NULL},
    {"tests/golden/moe-8l",
     "moe-8l, bf16",
     {0, 0},
     WEIR_POLICY_AUTO,
     65536,
     NULL},
    {"tests/golden/odd", "odd", {1, 0}, WEIR_POLICY_AUTO, 4096, NULL},
    {"tests/golden/dense-tied",
     "dense-tied",
     {0, 0},
     WEIR_POLICY_AUTO,
     4096,
     NULL},
    {"demo/model", "the bundled model", {1, 1}, WEIR_POLICY_AUTO, 262144, NULL},
    {"tests/golden/moe-8l",
     "moe-8l, in 3 parts",
     {1, 1},
     WEIR_POLICY_AUTO,
     4096,
     ".,.,."},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static char path[] = "streamed.XXXXXX";
static struct weir_stripe stripe;
static struct weir_err err;
static float *wanted, *got; /* [N_TOK - N_PROMPT + 1][n_vocab] */
static size_t n_values;
static struct weir_residency_stats stats;
static enum weir_cache cache = WEIR_CACHE_STORED;

static int pack(const struct kind *kind)
{
    struct weir_import import = {.quant = kind->quant,
                                 .policy = kind->policy,
                                 .tile_ceiling = kind->ceiling};
    const char *srcdir = getenv("srcdir");
    char folder[4096];

    snprintf(folder, sizeof(folder), "%s/%s", srcdir ? srcdir : ".",
             kind->folder);
    if (kind->folders) {
        int rc = weir_stripe_init(&stripe, kind->folders, path, &err);

        if (rc)
            return rc;
        stripe.n_bytes = 3 * WEIR_FILE_PAGE;
        import.stripe = &stripe;
    }
    return weir_import_folder(&import, folder, path, &err);
}

static int32_t id_of(size_t i, size_t n_vocab)
{
    return (int32_t)((i * 37 + i * i * 5 + 1) % n_vocab);
}

/* A prompt, then token by token, all logits into `out` */
static int evaluate(struct weir_jamba *jamba, struct weir_state *state,
                    float *out)
{
    size_t n_vocab = jamba->config.n_vocab;
    struct weir_sequence sequence;
    int32_t ids[N_TOK];
    int rc;

    for (size_t i = 0; i < N_TOK; i++)
        ids[i] = id_of(i, n_vocab);
    sequence = (struct weir_sequence){state, ids, N_PROMPT, out};
    rc = weir_jamba_forward(jamba, &sequence, 1, NULL, &err);
    for (size_t i = N_PROMPT; i < N_TOK && !rc; i++) {
        sequence = (struct weir_sequence){state, ids + i, 1, out += n_vocab};
        rc = weir_jamba_forward(jamba, &sequence, 1, NULL, &err);
    }
    return rc;
}

/* Opens the model and fills `out`, which is allocated if it is NULL. */
static int run(const struct weir_jamba_options *options, float **out)
{
    struct weir_jamba *jamba;
    struct weir_state state = {0};
    int rc = weir_jamba_open(path, options, &jamba, &err);

    if (rc)
        return rc;
    n_values = (N_TOK - N_PROMPT + 1) * (size_t)jamba->config.n_vocab;
    if (!*out)
        *out = malloc(n_values * sizeof(**out));
    rc = *out ? weir_budget_take(jamba, 0, N_TOK, 1, &err) : WEIR_ENOMEM;
    if (!rc)
        rc = weir_state_init(&state, &jamba->config, N_TOK, WEIR_F32, &err);
    if (!rc)
        rc = evaluate(jamba, &state, *out);
    weir_residency_get_stats(jamba->residency, &stats);
    weir_state_fini(&state);
    weir_jamba_close(jamba);
    return rc;
}

/* 1: the right logits; 0: others; or the code of the error */
static int judge(struct weir_jamba_options options)
{
    int rc;

    options.calls = &fault_io_calls;
    options.cache = cache;
    memset(got, 0xff, n_values * sizeof(*got));
    rc = run(&options, &got);
    return rc ? rc : !memcmp(got, wanted, n_values * sizeof(*got));
}

static uint64_t file_bytes(void)
{
    struct weir_file *file;
    uint64_t n = 0;

    if (!weir_file_open(path, &file, &err)) {
        n = weir_file_bytes(file);
        weir_file_close(file);
    }
    return n;
}

static void free_values(void)
{
    free(wanted);
    free(got);
    wanted = got = NULL;
}

/* 1 when the model can be run at all; `wanted` is what it gives then */
static int prepare(const struct kind *kind)
{
    struct weir_jamba_options mapped = {.n_threads = 2};

    free_values();
    fault_io_reset();
    if (pack(kind) || run(&mapped, &wanted)) {
        tap_ok(0, "%s: %s", kind->name, err.message);
        return 0;
    }
    fault_io.apart = kind->folders != NULL;
    got = malloc(n_values * sizeof(*got));
    return got != NULL;
}

/* ---- budgets ---- */

struct tally {
    unsigned n, n_same;
    uint64_t n_hits, n_misses, n_evictions, n_direct;
    uint64_t n_guesses, n_right, n_wasted;
};

static void try_budget(uint64_t n_bytes, enum weir_io io, unsigned n_threads,
                       struct tally *tally)
{
    struct weir_jamba_options options = {
        .n_threads = n_threads, .io = io, .weight_bytes = n_bytes};
    int verdict = judge(options);

    if (verdict != 1)
        tap_diag("%llu bytes, %s, %u threads: %d %s",
                 (unsigned long long)n_bytes, stats.io, n_threads, verdict,
                 verdict < 0 ? err.message : "other logits");
    tally->n++;
    tally->n_same += verdict == 1;
    tally->n_hits += stats.n_hits;
    tally->n_misses += stats.n_misses;
    tally->n_evictions += stats.n_evictions;
    tally->n_direct += stats.n_direct;
    tally->n_guesses += stats.n_guesses;
    tally->n_right += stats.n_guesses_right;
    tally->n_wasted += stats.guess_wasted_bytes;
}

static void test_budgets(const struct kind *kind)
{
    uint64_t all = file_bytes();
    uint64_t budgets[] = {1, all / 8, all / 3, all * 3 / 4, all * 15 / 16};
    struct tally tally = {0};

    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        try_budget(budgets[i], WEIR_IO_AUTO, 1 + i % 3, &tally);
        if (i)
            try_budget(budgets[i], WEIR_IO_PREAD, 3 - i % 3, &tally);
    }
    tap_ok(tally.n == tally.n_same, "%s: %u times the same bits", kind->name,
           tally.n_same);
    if (strstr(kind->name, "dense"))
        return;
    tap_ok(tally.n_hits && tally.n_misses && tally.n_evictions &&
               tally.n_direct,
           "%s: with %llu hits, %llu misses, %llu evictions, %llu tiles read "
           "by themselves",
           kind->name, (unsigned long long)tally.n_hits,
           (unsigned long long)tally.n_misses,
           (unsigned long long)tally.n_evictions,
           (unsigned long long)tally.n_direct);
    tap_ok(tally.n_right && tally.n_right < tally.n_guesses && tally.n_wasted,
           "%s: %llu experts were guessed, %llu of them right, %llu bytes for "
           "nothing",
           kind->name, (unsigned long long)tally.n_guesses,
           (unsigned long long)tally.n_right,
           (unsigned long long)tally.n_wasted);
}

/* What fits is read once. */
static void test_all_in_memory(const struct kind *kind)
{
    uint64_t all = file_bytes();
    struct weir_jamba_options options = {.n_threads = 2, .io = WEIR_IO_PREAD};
    int verdict;

    options.weight_bytes = 2 * all;
    verdict = judge(options);
    tap_ok(verdict == 1 && stats.read_bytes < all + all / 4 &&
               !stats.n_evictions,
           "%s: what fits is read once: %llu of %llu bytes", kind->name,
           (unsigned long long)stats.read_bytes, (unsigned long long)all);
}

/* What stays is decoded when it comes, or never. */
static void test_unpacked(const struct kind *kind)
{
    uint64_t all = file_bytes(), n_unpacked = 0, stored;
    uint64_t budgets[] = {all / 8, all / 3, all * 15 / 16, 2 * all};
    struct weir_jamba_options options = {.n_threads = 2,
                                         .weight_bytes = 2 * all};
    struct tally tally = {0};

    judge(options);
    stored = stats.pinned_bytes + stats.cache_bytes;
    cache = WEIR_CACHE_UNPACKED;
    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        try_budget(budgets[i], i % 2 ? WEIR_IO_PREAD : WEIR_IO_AUTO, 1 + i % 3,
                   &tally);
        n_unpacked += stats.is_unpacked;
    }
    tap_ok(tally.n == tally.n_same && n_unpacked == tally.n,
           "%s: unpacked, %u times the same bits", kind->name, tally.n_same);
    if (kind->policy != WEIR_POLICY_RAW)
        tap_ok(stats.pinned_bytes + stats.cache_bytes != stored,
               "%s: of %llu bytes %llu became", kind->name,
               (unsigned long long)stored,
               (unsigned long long)(stats.pinned_bytes + stats.cache_bytes));
    cache = WEIR_CACHE_STORED;
}

/* What has room passes through it: no tile of it is read by itself. */
static void test_by_themselves(const struct kind *kind)
{
    struct weir_jamba_options options = {.n_threads = 2, .io = WEIR_IO_PREAD};
    uint64_t all = file_bytes(), n_all, n_half;

    options.weight_bytes = 2 * all;
    judge(options);
    n_all = stats.n_direct;
    options.weight_bytes = all / 2;
    judge(options);
    n_half = stats.n_direct;
    tap_ok(n_half <= n_all + N_TOK,
           "%s: with half the memory %llu tiles are read by themselves, of "
           "which %llu before and %d at most of the embedding",
           kind->name, (unsigned long long)n_half, (unsigned long long)n_all,
           N_TOK);
}

/* A prompt that wants all experts in turn finds some of them again. */
static void test_scan(const struct kind *kind)
{
    struct weir_jamba_options options = {
        .n_threads = 2, .io = WEIR_IO_PREAD, .cache = cache};
    struct weir_state state = {0};
    struct weir_jamba *jamba;
    int32_t ids[40];
    struct weir_sequence sequence = {&state, ids, 40, NULL};
    int rc;

    options.weight_bytes = file_bytes() * 7 / 8;
    if (weir_jamba_open(path, &options, &jamba, &err)) {
        tap_ok(0, "%s: %s", kind->name, err.message);
        return;
    }
    for (size_t i = 0; i < 40; i++)
        ids[i] = id_of(i, jamba->config.n_vocab);
    rc = weir_budget_take(jamba, 0, N_TOK, 1, &err);
    if (!rc)
        rc = weir_state_init(&state, &jamba->config, 400, WEIR_F32, &err);
    for (int i = 0; i < 10 && !rc; i++)
        rc = weir_jamba_forward(jamba, &sequence, 1, NULL, &err);
    weir_residency_get_stats(jamba->residency, &stats);
    tap_ok(!rc && stats.n_hits * 4 > stats.n_misses &&
               stats.n_evictions * 4 < stats.n_misses,
           "%s: ten passes over all experts: %llu hits, %llu misses, %llu "
           "evictions",
           kind->name, (unsigned long long)stats.n_hits,
           (unsigned long long)stats.n_misses,
           (unsigned long long)stats.n_evictions);
    weir_state_fini(&state);
    weir_jamba_close(jamba);
}

/* One pass of tokens that are each id twice, in chunks */
static int pass_all_ids(uint64_t weight_bytes, uint64_t *n_tiles)
{
    struct weir_jamba_options options = {.n_threads = 2,
                                         .io = WEIR_IO_PREAD,
                                         .cache = cache,
                                         .weight_bytes = weight_bytes,
                                         .span_tok = 2048};
    struct weir_state state = {0};
    struct weir_sequence sequence = {.state = &state};
    struct weir_jamba *jamba;
    int32_t *ids;
    int rc = weir_jamba_open(path, &options, &jamba, &err);

    if (rc)
        return rc;
    sequence.n_ids = 2 * jamba->config.n_vocab;
    sequence.ids = ids = calloc(sequence.n_ids, sizeof(*ids));
    for (size_t i = 0; i < sequence.n_ids; i++)
        ids[i] = (int32_t)(i * 37 % jamba->config.n_vocab);
    rc = weir_budget_take(jamba, 0, sequence.n_ids, 1, &err);
    if (!rc)
        rc = weir_state_init(&state, &jamba->config, sequence.n_ids, WEIR_F32,
                             &err);
    if (!rc)
        rc = weir_jamba_forward(jamba, &sequence, 1, NULL, &err);
    weir_residency_get_stats(jamba->residency, &stats);
    *n_tiles = weir_tiling_n_tiles(&jamba->file->tensors[jamba->bind.embed]);
    weir_state_fini(&state);
    weir_jamba_close(jamba);
    free(ids);
    return rc;
}

/* A long prompt reads each tile of the embedding once. */
static void test_embedding(const struct kind *kind)
{
    uint64_t n_tiles, n_before;
    int rc = pass_all_ids(2 * file_bytes(), &n_tiles);

    n_before = stats.n_direct;
    if (!rc)
        rc = pass_all_ids(stats.pinned_bytes + stats.cache_bytes - 4096,
                          &n_tiles);
    tap_ok(!rc && stats.n_direct == n_before + n_tiles,
           "%s: a long prompt reads %llu tiles of the embedding, %llu in all",
           kind->name, (unsigned long long)n_tiles,
           (unsigned long long)(stats.n_direct - n_before));
}

/* ---- faults ---- */

/* The place of a tile of the tensor called `name` */
static uint64_t place_of(const char *name)
{
    struct weir_tile_record record = {0};
    struct weir_file *file;
    uint32_t i;

    if (weir_file_open(path, &file, &err))
        return 0;
    i = weir_file_find(file, name);
    if (i != WEIR_NO_TENSOR)
        weir_file_tile(file, file->tensors[i].first_tile, &record);
    weir_file_close(file);
    return record.offset;
}

struct place {
    const char *name; /* of a tensor */
    uint64_t budget_part;
    const char *text;
    int n_after; /* times that it comes right before it stays wrong */
};

/* Pinned, streamed, and read by itself */
static const struct place places[] = {
    {"lm_head.weight", 2, "a tile that is pinned", 0},
    {"model.layers.3.feed_forward.experts.1.up_proj.weight", 4,
     "a tile of an expert", 0},
    {"model.layers.3.feed_forward.experts.1.up_proj.weight", 4,
     "a tile that is read the second time", 1},
    {"model.layers.0.mamba.in_proj.weight", 0, "a tile read by itself", 0},
};

static void test_place(const struct place *place, enum weir_io io)
{
    uint64_t at = place_of(place->name);
    struct weir_jamba_options options = {.n_threads = 2, .io = io};
    int good;

    options.weight_bytes =
        place->budget_part ? file_bytes() / place->budget_part : 1;
    fault_io_reset();
    fault_io.flip_at = at;
    fault_io.flip_n = 1;
    tap_ok(judge(options) == 1 && !fault_io.flip_n,
           "%s that comes wrong is read again", place->text);
    fault_io.flip_n = 1 << 30;
    fault_io.flip_after = place->n_after;
    good = judge(options) == WEIR_ECORRUPT;
    tap_ok(good && err.offset == at && strstr(err.message, place->name),
           "%s that stays wrong: %s", place->text, err.message);
    fault_io_reset();
    fault_io.bad_from = at;
    fault_io.bad_to = at + 1;
    fault_io.bad_errnum = EIO;
    fault_io.bad_n = 1 << 30;
    good = judge(options) == WEIR_EIO;
    tap_ok(good && strstr(err.message, strerror(EIO)),
           "%s that cannot be read: %s", place->text, err.message);
}

/* All logits of a new session into `out` */
static int pass(struct weir_jamba *jamba, float *out)
{
    struct weir_state state = {0};
    int rc = weir_state_init(&state, &jamba->config, N_TOK, WEIR_F32, &err);

    if (!rc)
        rc = evaluate(jamba, &state, out);
    weir_state_fini(&state);
    return rc;
}

/* The same; how many tiles were read by themselves */
static uint64_t singles_of_pass(struct weir_jamba *jamba, int *rc)
{
    uint64_t before;

    weir_residency_get_stats(jamba->residency, &stats);
    before = stats.n_direct;
    *rc = pass(jamba, got);
    weir_residency_get_stats(jamba->residency, &stats);
    return stats.n_direct - before;
}

/* In passes that fail units find slots which the next session wants too. */
static void fail_passes(struct weir_jamba *jamba)
{
    uint64_t at = place_of("lm_head.weight");
    uint64_t before, after;
    unsigned n_failed = 0;
    int first, last;

    before = singles_of_pass(jamba, &first);
    for (int i = 0; i < 10; i++) {
        fault_io.bad_from = at / 2;
        fault_io.bad_to = at;
        fault_io.bad_errnum = EIO;
        fault_io.bad_n = 1 << 30;
        n_failed += pass(jamba, got) == WEIR_EIO;
    }
    fault_io_reset();
    after = singles_of_pass(jamba, &last);
    tap_ok(!first && !last && n_failed == 10 &&
               !memcmp(got, wanted, n_values * sizeof(*got)),
           "after %u passes that failed: the same bits", n_failed);
    tap_ok(after == before,
           "and as many slots: %llu tiles by themselves, %llu "
           "before",
           (unsigned long long)after, (unsigned long long)before);
}

static void test_after_failure(enum weir_io io)
{
    struct weir_jamba_options options = {
        .n_threads = 2, .io = io, .cache = cache, .calls = &fault_io_calls};
    struct weir_jamba *jamba;
    int rc;

    fault_io_reset();
    options.weight_bytes = file_bytes() / 4;
    rc = weir_jamba_open(path, &options, &jamba, &err);
    if (!rc)
        rc = weir_budget_take(jamba, 0, N_TOK, 1, &err);
    if (rc)
        tap_ok(0, "a model to fail with: %s", err.message);
    else
        fail_passes(jamba);
    weir_jamba_close(jamba);
}

static void test_faults(enum weir_io io)
{
    struct weir_jamba_options options = {
        .n_threads = 2, .io = io, .deadline_ms = 200};

    options.weight_bytes = file_bytes() / 4;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        test_place(&places[i], io);
    cache = WEIR_CACHE_UNPACKED;
    test_place(
        &(struct place){"lm_head.weight", 1, "a tile that is decoded", 0}, io);
    test_place(&(struct place){"model.layers.3.feed_forward.experts.1.up_proj."
                               "weight",
                               4, "a tile that is not", 0},
               io);
    cache = WEIR_CACHE_STORED;
    test_after_failure(io);
    fault_io_reset();
    fault_io.n_short = 50;
    fault_io.n_again = 50;
    options.deadline_ms = 0; /* nothing stalls but a busy machine */
    tap_ok(judge(options) == 1, "short reads and EAGAIN: the same bits");
    options.deadline_ms = 200;
    for (int n = 1; n < 2000; n *= 3) {
        fault_io_reset();
        fault_io.stall_at = n;
        if (judge(options) == 1)
            break;
        if (!strstr(err.message, "not answered"))
            tap_ok(0, "a drive that stalls at answer %d: %s", n, err.message);
    }
    tap_ok(strstr(err.message, "not answered") != NULL,
           "a drive that stalls: %s", err.message);
    fault_io.stall = 0;
    fault_io_reset();
    usleep(20000);
}

int main(void)
{
    int fd = mkstemp(path);

    if (fd < 0)
        return 1;
    close(fd);
    for (size_t i = 0; i < N_KINDS; i++) {
        unlink(path);
        if (!prepare(&kinds[i]))
            continue;
        test_budgets(&kinds[i]);
        test_all_in_memory(&kinds[i]);
        test_unpacked(&kinds[i]);
        test_by_themselves(&kinds[i]);
        if (!strstr(kinds[i].name, "dense"))
            test_scan(&kinds[i]);
    }
    unlink(path);
    if (prepare(&kinds[1])) {
        test_embedding(&kinds[1]);
        test_faults(WEIR_IO_PREAD);
        test_faults(WEIR_IO_AUTO);
    }
    free_values();
    unlink(path);
    for (unsigned i = 1; i < stripe.n_parts; i++)
        unlink(stripe.parts[i].path);
    weir_stripe_fini(&stripe);
    return tap_done();
}
