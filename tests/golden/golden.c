/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program against the golden values of README.md, and against itself:
 * threads, chunks, codecs, tile sizes and shards must not change a bit.
 *
 * A call of 32 tokens or more is a prompt, whose products have an order of
 * their own, and round activations to bf16 at the levels that have it.  So
 * there are two ways of computing, tokens by tokens and as prompts, and the
 * bits are the same within each.  Decoding is held to the tolerance of f32
 * everywhere, prompts where they are in f32; where they round, every position
 * before the first token that goes to another expert is held to TOLERANCE_BF16,
 * and such a token must have been close to going there.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "kernels/levels.h"
#include "model/config.h"
#include "tests/golden/compare.h"
#include "tests/golden/flips.h"
#include "tests/tap.h"

#define PATH_BYTES 4096
#define MAX_WORDS  32
#define MAX_LAYERS 64

#define TOLERANCE      1e-4
#define TOLERANCE_INT8 1e-3
#define TOLERANCE_BF16 2e-2
#define LARGEST_GAP    0.05 /* of router logits, where experts may change */

struct golden {
    char name[64]; /* level and case */
    char folder[PATH_BYTES];
    struct weir_checkpoint values;
    char n_greedy[16];
    const char *device; /* that computes */
    int rounds;         /* the level rounds the activations of prompts */
};

static char room[PATH_BYTES]; /* a folder of our own */

/* A path in our folder, in one of a few buffers that take turns */
static const char *at(const char *name)
{
    static char paths[8][PATH_BYTES + 64];
    static unsigned turn;
    char *path = paths[turn++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", room, name);
    return path;
}

/* Runs `words` up to NULL with $WEIR; its exit status, or -1 */
static int weir(const char *word, ...)
{
    const char *argv[MAX_WORDS] = {getenv("WEIR")};
    va_list words;
    int status;
    pid_t child;

    va_start(words, word);
    for (int i = 1; i < MAX_WORDS - 1 && word; i++) {
        argv[i] = word;
        word = va_arg(words, const char *);
    }
    va_end(words);
    child = fork();
    if (child == 0) {
        execv(argv[0], (char **)argv);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Everything there is to compute: logits, hidden states, routers, greedy ids */
static int compute(const struct golden *golden, const char *model,
                   const char *out, const char *chunk, const char *threads)
{
    return weir("logits", at(model), "--ids", at("ids"), "-o", at(out),
                "--hidden", "--router", "--greedy", golden->n_greedy, "--chunk",
                chunk, "-t", threads, "--device", golden->device, NULL);
}

static int write_ids(const struct golden *golden)
{
    size_t n;
    int32_t *ids = values_of(&golden->values, "input_ids", &n);
    FILE *file = fopen(at("ids"), "w");

    for (size_t i = 0; i < n && file; i++)
        fprintf(file, "%d\n", ids[i]);
    free(ids);
    return !file || fclose(file) || !n ? -1 : 0;
}

/* The farthest of PREFIX.0, PREFIX.1 ... that the golden values have */
static double farthest(const struct golden *golden,
                       const struct weir_checkpoint *out, const char *prefix,
                       unsigned *n)
{
    double worst = 0;

    *n = 0;
    for (int i = 0; i <= MAX_LAYERS; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%s.%d", prefix, i);
        if (weir_checkpoint_find(&golden->values, name) < 0)
            continue;
        worst = fmax(worst, tensor_distance(out, name, &golden->values, name));
        ++*n;
    }
    return worst;
}

static void compare_layers(const struct golden *golden,
                           const struct weir_checkpoint *out,
                           const char *prefix)
{
    unsigned n;
    double far = farthest(golden, out, prefix, &n);

    if (n)
        tap_ok(far < TOLERANCE, "%s: %u tensors %s.N are %.1e away",
               golden->name, n, prefix, far);
}

/* All values of the file `name`, computed in f32 */
static void compare_values(const struct golden *golden, const char *name)
{
    struct weir_checkpoint out;
    struct weir_err err;
    double far;

    if (weir_checkpoint_open_file(at(name), &out, &err)) {
        tap_ok(0, "%s: %s", golden->name, err.message);
        return;
    }
    far = tensor_distance(&out, "logits", &golden->values, "logits");
    tap_ok(far < TOLERANCE, "%s: %s logits are %.1e away", golden->name, name,
           far);
    compare_layers(golden, &out, "hidden");
    compare_layers(golden, &out, "router");
    tap_ok(same_tensor(&out, &golden->values, "greedy_ids"),
           "%s: the greedy continuation of %s is the same", golden->name, name);
    weir_checkpoint_close(&out);
}

/* Experts of a token; 0 if they cannot be known */
static size_t n_top_of(const struct golden *golden)
{
    struct weir_buf json = WEIR_BUF(1 << 20);
    struct weir_config config = {0};
    char path[PATH_BYTES + 64];
    struct weir_err err;
    int rc;

    snprintf(path, sizeof(path), "%s/config.json", golden->folder);
    rc = weir_buf_add_file(&json, path, &err);
    if (!rc)
        rc = weir_config_parse(json.data, json.n_bytes, path, &config, &err);
    if (rc)
        tap_diag("%s", err.message);
    weir_buf_fini(&json);
    return rc ? 0 : config.n_top;
}

/* The farthest logits of one of the first n tokens */
static double farthest_row(const float *out, const float *want, size_t n,
                           size_t width)
{
    double worst = 0;

    for (size_t t = 0; t < n; t++) {
        double far = 0, norm = 0;

        for (size_t i = t * width; i < (t + 1) * width; i++) {
            far += ((double)out[i] - want[i]) * ((double)out[i] - want[i]);
            norm += (double)want[i] * want[i];
        }
        worst = isfinite(far) ? fmax(worst, sqrt(far / norm)) : HUGE_VAL;
    }
    return worst;
}

/*
 * A prompt whose activations were rounded.  Not every golden file has router
 * logits; those of decoding, which have been compared with what there is, do.
 */
static void compare_rounded(const struct golden *golden, const char *name)
{
    struct weir_checkpoint out, decoding;
    struct flips flips;
    struct weir_err err;
    size_t n_ids, n_out, n, k = n_top_of(golden);
    float *logits, *want;
    double far;

    free(values_of(&golden->values, "input_ids", &n_ids));
    if (weir_checkpoint_open_file(at(name), &out, &err) ||
        weir_checkpoint_open_file(at("decoding"), &decoding, &err)) {
        tap_ok(0, "%s: %s", golden->name, err.message);
        return;
    }
    logits = values_of(&out, "logits", &n_out);
    want = values_of(&golden->values, "logits", &n);
    if (!k || n_out != n || find_flips(&out, &decoding, n_ids, k, &flips)) {
        tap_ok(0, "%s: %s can be compared", golden->name, name);
    } else {
        far = farthest_row(logits, want, flips.first, n / n_ids);
        if (!flips.first)
            tap_skip("%s: the first token of a rounded %s goes elsewhere",
                     golden->name, name);
        else
            tap_ok(far > 0 && far < TOLERANCE_BF16,
                   "%s: a rounded %s is %.1e away in %zu of %zu positions",
                   golden->name, name, far, flips.first, n_ids);
        tap_ok(flips.gap < LARGEST_GAP,
               "%s: %zu other choices of experts, the first at a gap of %.1e",
               golden->name, flips.n, flips.gap);
    }
    free(logits);
    free(want);
    weir_checkpoint_close(&decoding);
    weir_checkpoint_close(&out);
}

static void test_cuts(const struct golden *golden)
{
    static const char *const chunks[] = {"0", "64", "1", "7"};

    for (size_t i = 0; i < 4; i++)
        for (const char *threads = "2"; threads;
             threads = *threads == '2' ? "1" : NULL)
            tap_ok(!compute(golden, "model", "out", chunks[i], threads) &&
                       same_files(at(i < 2 ? "prompt" : "decoding"), at("out")),
                   "%s: chunk %s, %s threads: the same bytes", golden->name,
                   chunks[i], threads);
}

static void test_packed(const struct golden *golden, const char *folder,
                        const char *codec, const char *what)
{
    tap_ok(!weir("pack", folder, "-o", at("other"), "--quant", "none",
                 "--codec", codec, NULL) &&
               !compute(golden, "other", "out", "0", "2") &&
               same_files(at("prompt"), at("out")) &&
               !compute(golden, "other", "out", "7", "2") &&
               same_files(at("decoding"), at("out")),
           "%s: %s: the same bytes", golden->name, what);
}

static void test_packings(const struct golden *golden)
{
    test_packed(golden, golden->folder, "raw", "codec raw");
    test_packed(golden, golden->folder, "zstd", "codec zstd");
    setenv("WEIR_TILE_CEILING", "4096", 1);
    test_packed(golden, golden->folder, "auto", "tiles of 4 KiB");
    unsetenv("WEIR_TILE_CEILING");
    if (mkdir(at("shards"), 0777) ||
        split_checkpoint(golden->folder, at("shards")))
        tap_ok(0, "%s: cannot cut it into shards", golden->name);
    else
        test_packed(golden, at("shards"), "auto", "two shards");
}

/* The last row by itself, and K and V rounded to bf16 */
static void test_options(const struct golden *golden)
{
    struct weir_checkpoint base, out;
    struct weir_err err;
    size_t n_all, n_last;
    float *all, *last;

    if (weir("logits", at("model"), "--ids", at("ids"), "-o", at("out"),
             "--last", "--chunk", "7", NULL) ||
        weir_checkpoint_open_file(at("out"), &out, &err) ||
        weir_checkpoint_open_file(at("decoding"), &base, &err)) {
        tap_ok(0, "%s: --last works", golden->name);
        return;
    }
    all = values_of(&base, "logits", &n_all);
    last = values_of(&out, "logits", &n_last);
    tap_ok(n_last && n_all > n_last &&
               !memcmp(all + n_all - n_last, last, 4 * n_last),
           "%s: --last is the last row", golden->name);
    free(all);
    free(last);
    weir_checkpoint_close(&base);
    weir_checkpoint_close(&out);
}

static void test_bf16(const struct golden *golden)
{
    struct weir_checkpoint out;
    struct weir_err err;
    double far;

    if (weir("logits", at("model"), "--ids", at("ids"), "-o", at("out"), "--kv",
             "bf16", "--chunk", "7", NULL) ||
        weir_checkpoint_open_file(at("out"), &out, &err)) {
        tap_ok(0, "%s: --kv bf16 works", golden->name);
        return;
    }
    far = tensor_distance(&out, "logits", &golden->values, "logits");
    tap_ok(far > 0 && far < 2e-2, "%s: with K and V in bf16 %.1e away",
           golden->name, far);
    weir_checkpoint_close(&out);
}

static void test_int8(const struct golden *golden)
{
    struct weir_checkpoint out;
    struct weir_err err;
    double far;

    if (weir("pack", golden->folder, "-o", at("int8"), NULL) ||
        compute(golden, "int8", "int8.out", golden->rounds ? "1" : "0", "2") ||
        weir_checkpoint_open_file(at("int8.out"), &out, &err)) {
        tap_ok(0, "%s: ExpertsInt8 works", golden->name);
        return;
    }
    far = tensor_distance(&out, "logits", &golden->values, "int8_logits");
    tap_ok(far < TOLERANCE_INT8, "%s: logits of ExpertsInt8 are %.1e away",
           golden->name, far);
    weir_checkpoint_close(&out);
    tap_ok(!compute(golden, "int8", "int8.out", "7", "2") &&
               !compute(golden, "int8", "out", "1", "1") &&
               same_files(at("int8.out"), at("out")),
           "%s: ExpertsInt8 in chunks of 7 and 1: the same bytes",
           golden->name);
}

/* Steps are what a caller makes them, so that only equal calls are compared. */
static void run_on_device(struct golden *golden)
{
    compare_values(golden, "decoding");
    if (golden->rounds)
        compare_rounded(golden, "prompt");
    else
        compare_values(golden, "prompt");
    tap_ok(!compute(golden, "model", "out", "1", "2") &&
               same_files(at("decoding"), at("out")),
           "%s: chunk 1: the same bytes", golden->name);
    tap_ok(!compute(golden, "model", "out", "0", "2") &&
               same_files(at("prompt"), at("out")),
           "%s: once more: the same bytes", golden->name);
    test_int8(golden);
}

static void forget_room(void)
{
    static const char *const names[] = {
        "ids",
        "model",
        "prompt",
        "decoding",
        "other",
        "out",
        "int8",
        "int8.out",
        "shards/config.json",
        "shards/generation_config.json",
        "shards/model.safetensors.index.json",
        "shards/model-00001-of-00002.safetensors",
        "shards/model-00002-of-00002.safetensors",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(at(names[i]));
    rmdir(at("shards"));
    rmdir(room);
}

static void run_case(struct golden *golden)
{
    size_t n;

    free(values_of(&golden->values, "greedy_ids", &n));
    snprintf(golden->n_greedy, sizeof(golden->n_greedy), "%zu", n);
    if (write_ids(golden) ||
        weir("pack", golden->folder, "-o", at("model"), "--quant", "none",
             NULL) ||
        compute(golden, "model", "prompt", "0", "1") ||
        compute(golden, "model", "decoding", "7", "1")) {
        tap_ok(0, "%s: pack and logits work", golden->name);
        return;
    }
    if (strcmp(golden->device, "cpu")) {
        run_on_device(golden);
        return;
    }
    compare_values(golden, "decoding");
    if (golden->rounds)
        compare_rounded(golden, "prompt");
    else
        compare_values(golden, "prompt");
    test_cuts(golden);
    test_packings(golden);
    test_options(golden);
    test_bf16(golden);
    test_int8(golden);
}

static void test_case(const char *folder, const char *parent,
                      enum weir_level level, const char *device)
{
    struct golden golden = {.device = device,
                            .rounds = level >= WEIR_LEVEL_AVX512_BF16 ||
                                      !strcmp(device, "cuda")};
    struct weir_err err;
    char path[PATH_BYTES + 64];

    setenv("WEIR_CPU", weir_level_name(level), 1);
    snprintf(golden.name, sizeof(golden.name), "%s %s",
             strcmp(device, "cpu") ? device : weir_level_name(level), folder);
    snprintf(golden.folder, sizeof(golden.folder), "%s/%s", parent, folder);
    snprintf(path, sizeof(path), "%s/golden.safetensors", golden.folder);
    if (weir_checkpoint_open_file(path, &golden.values, &err)) {
        tap_ok(0, "%s: %s", golden.name, err.message);
        return;
    }
    snprintf(room, sizeof(room), "golden.XXXXXX");
    if (mkdtemp(room))
        run_case(&golden);
    else
        tap_ok(0, "%s: there is room for it", golden.name);
    forget_room();
    weir_checkpoint_close(&golden.values);
}

/* At every level that this machine and this build have */
static void test_here(const char *parent)
{
    static const char *const cases[] = {"moe-8l", "dense-tied", "odd"};

    for (enum weir_level level = 0; level <= weir_level_detected(); level++)
        for (size_t i = 0; weir_level_compiled(level) && i < 3; i++)
            test_case(cases[i], parent, level, "cpu");
}

/*
 * On the device that WEIR_TEST_DEVICE names, or the CPU as one.  What it has to
 * do with is the lowest level's.
 */
static void test_device(const char *parent)
{
    static const char *const cases[] = {"moe-8l", "dense-tied", "odd"};
    const char *device = getenv("WEIR_TEST_DEVICE");
    int is_gpu = device && !strcmp(device, "cuda");

    for (size_t i = 0; i < (is_gpu ? 2 : 3); i++)
        test_case(cases[i], parent, WEIR_LEVEL_REF, device ? device : "host");
}

/* At the lowest and the highest level: these take long */
static void test_elsewhere(const char *parent)
{
    static const char *const cases[] = {"moe-16x2", "long"};
    enum weir_level best = weir_level_detected();

    while (!weir_level_compiled(best))
        best--;
    for (size_t i = 0; i < 2; i++) {
        test_case(cases[i], parent, WEIR_LEVEL_REF, "cpu");
        if (best > WEIR_LEVEL_REF)
            test_case(cases[i], parent, best, "cpu");
    }
}

int main(void)
{
    const char *srcdir = getenv("srcdir"), *more = getenv("WEIR_GOLDEN_DIR");
    char parent[PATH_BYTES - 64];

    if (!getenv("WEIR"))
        tap_skip_all("WEIR does not name the program");
    snprintf(parent, sizeof(parent), "%s/tests/golden", srcdir ? srcdir : ".");
    test_here(parent);
    test_device(parent);
    snprintf(parent, sizeof(parent), "%s/golden", more ? more : "");
    if (more)
        test_elsewhere(parent);
    else
        tap_skip("moe-16x2 and long: WEIR_GOLDEN_DIR is not set");
    return tap_done();
}
