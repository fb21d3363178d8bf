/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packed model or a checkpoint that is flipped, cut, lengthened or shrinks
 * while it is mapped gives an error or the very same logits, never others.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/le.h"
#include "model/import.h"
#include "model/synth.h"
#include "offload/index.h"
#include "offload/stripe.h"
#include "offload/tiling.h"
#include "tests/tap.h"
#include "weir.h"

#define N_TOK  5
#define MAX_V  1024
#define N_FLIP 400

static const int32_t ids[N_TOK] = {1, 17, 300, 42, 511};
static char folder[] = "damage.XXXXXX";
static float good[MAX_V];
static size_t n_vocab;

static const char *path_of(const char *name)
{
    static char path[4][256];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
    return path[turn];
}

static uint64_t random_below(uint64_t n)
{
    static uint64_t x = 88172645463325252u;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x % n;
}

static void write_bytes(const char *name, const void *data, size_t n)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || weir_pwrite_all(fd, data, n, 0, name, NULL))
        perror(name);
    close(fd);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (weir_sigbus_repair(info->si_addr))
        return;
    signal(number, SIG_DFL);
    raise(number);
}

static int evaluate(weir_model *model, float *logits, struct weir_err *err)
{
    struct weir_session_options options = {.n_ctx = N_TOK, .kv = WEIR_KV_F32};
    weir_session *session;
    int rc = weir_session_new(model, &options, &session, err);

    if (!rc)
        rc = weir_session_eval(session, ids, N_TOK, logits, err);
    weir_session_free(session);
    return rc;
}

static int run_model(const char *name, float *logits, struct weir_err *err)
{
    struct weir_model_options options = {.n_threads = 1};
    weir_model *model;
    int rc = weir_model_open(path_of(name), &options, &model, err);

    if (rc)
        return rc;
    n_vocab = weir_model_n_vocab(model);
    rc = n_vocab > MAX_V ? WEIR_ELIMIT : evaluate(model, logits, err);
    weir_model_close(model);
    return rc;
}

/* 1: refused in one line; 0: the same logits; -1: neither. */
static int judge(const char *name)
{
    struct weir_err err = {0};
    float logits[MAX_V];
    int rc = run_model(name, logits, &err);

    if (rc < 0)
        return *err.message && !strchr(err.message, '\n') ? 1 : -1;
    return memcmp(logits, good, n_vocab * sizeof(*logits)) ? -1 : 0;
}

static int import_model(const char *from, const char *to,
                        enum weir_codec_policy policy, struct weir_err *err)
{
    struct weir_import import = {
        .quant = {1, 1}, .policy = policy, .tile_ceiling = WEIR_TILE_BYTES};

    return weir_import_folder(&import, from, path_of(to), err);
}

/* Half of the flips go into header and index, half anywhere. */
static size_t pick_place(const struct weir_buf *file, int i)
{
    uint64_t index = 4096 + weir_le64(file->data + 32);

    return (size_t)random_below(i % 2 ? index : file->n_bytes);
}

static void test_flips(struct weir_buf *file, const char *codec)
{
    unsigned refused = 0, same = 0, wrong = 0;

    for (int i = 0; i < N_FLIP; i++) {
        size_t at = pick_place(file, i);
        char bit = (char)(1 << random_below(8));
        int verdict;

        file->data[at] ^= bit;
        write_bytes("flipped", file->data, file->n_bytes);
        verdict = judge("flipped");
        file->data[at] ^= bit;
        refused += verdict == 1;
        same += verdict == 0;
        if (verdict < 0)
            tap_diag("%s: byte %zu, bit %#x", codec, at, (unsigned char)bit);
        wrong += verdict < 0;
    }
    tap_ok(!wrong && refused > N_FLIP / 4,
           "%s: %d flipped bits: %u refused, %u harmless", codec, N_FLIP,
           refused, same);
}

static void test_cuts(struct weir_buf *file, const char *codec)
{
    unsigned refused = 0, n = 100;

    for (unsigned i = 0; i < n; i++) {
        size_t keep = i < 10 ? i * 500 : random_below(file->n_bytes);

        write_bytes("cut", file->data, keep);
        refused += judge("cut") == 1;
    }
    tap_ok(refused == n, "%s: %u of %u cuts refused", codec, refused, n);
    weir_buf_add(file, "more", 4, NULL);
    write_bytes("cut", file->data, file->n_bytes);
    tap_ok(judge("cut") == 1, "%s: four bytes more: refused", codec);
}

/*
 * Lies whose checksums are good, as an attacker makes them: they may make
 * another model, but must not lead out of the file or out of memory.
 */
static void test_lies(const struct weir_buf *file, const char *codec)
{
    static const uint8_t extremes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    uint64_t n = weir_le64(file->data + 32);
    uint8_t *lie = malloc(file->n_bytes);
    unsigned refused = 0, taken = 0;

    for (int i = 0; i < 2 * N_FLIP; i++) {
        int in_header = i % 8 == 0;
        size_t at = in_header ? 8 + random_below(72) : 4096 + random_below(n);

        memcpy(lie, file->data, file->n_bytes);
        lie[at] = extremes[random_below(sizeof(extremes))];
        weir_le64_put(lie + 40, XXH3_64bits(lie + 4096, n));
        weir_le64_put(lie + 4088, XXH3_64bits(lie, 4088));
        write_bytes("flipped", lie, file->n_bytes);
        if (judge("flipped") == 1)
            refused++;
        else
            taken++;
    }
    free(lie);
    tap_ok(refused > N_FLIP / 2, "%s: %u lies refused, %u survived", codec,
           refused, taken);
}

/* What can happen to "model". */
static void test_model(const char *codec)
{
    struct weir_buf file = WEIR_BUF(64 << 20);
    struct weir_err err;

    if (weir_buf_add_file(&file, path_of("model"), &err)) {
        tap_ok(0, "%s: %s", codec, err.message);
        return;
    }
    tap_ok(judge("model") == 0, "%s: undamaged: the same logits", codec);
    test_flips(&file, codec);
    test_lies(&file, codec);
    test_cuts(&file, codec);
    weir_buf_fini(&file);
}

static void test_packed(const char *source, enum weir_codec_policy policy,
                        const char *codec)
{
    struct weir_err err;

    if (import_model(source, "model", policy, &err))
        tap_ok(0, "%s: pack: %s", codec, err.message);
    else
        test_model(codec);
}

static void put_sums(struct weir_buf *file)
{
    uint8_t *data = (uint8_t *)file->data;

    weir_le64_put(data + 40, XXH3_64bits(data + 4096, weir_le64(data + 32)));
    weir_le64_put(data + 4088, XXH3_64bits(data, 4088));
}

/* Whether the file, with byte `at` changed, is refused for that reason */
static int is_refused(struct weir_buf *file, size_t at, char bits,
                      const char *reason)
{
    struct weir_err err = {0};
    float logits[MAX_V];
    int rc;

    file->data[at] ^= bits;
    put_sums(file);
    write_bytes("flipped", file->data, file->n_bytes);
    rc = run_model("flipped", logits, &err);
    file->data[at] ^= bits;
    put_sums(file);
    return rc == WEIR_EFORMAT && strstr(err.message, reason);
}

/* Whether a unit is refused of which one tensor alone has other tiles. */
static int torn_is_refused(struct weir_buf *file,
                           const struct weir_file *parsed, uint32_t tensor,
                           uint32_t other)
{
    size_t at = 4096 + weir_index_tiles_at(parsed), n = WEIR_TILE_RECORD_BYTES;

    memcpy(file->data + at + parsed->tensors[tensor].first_tile * n,
           file->data + at + parsed->tensors[other].first_tile * n,
           weir_tiling_n_tiles(&parsed->tensors[tensor]) * n);
    return is_refused(file, 12, 0, "shares tiles in part");
}

/* Tiles may be shared only as a whole, and only where the header says so. */
static void test_sharing(void)
{
    struct weir_buf file = WEIR_BUF(64 << 20);
    const struct weir_tensor *tensor;
    struct weir_file *parsed = NULL;
    size_t records, tensors, other, i;
    struct weir_err err;

    if (weir_buf_add_file(&file, path_of("model"), &err) ||
        weir_file_open(path_of("model"), &parsed, &err)) {
        tap_ok(0, "aliased: %s", err.message);
        return;
    }
    i = weir_file_find(parsed,
                       "model.layers.3.feed_forward.experts.1.up_proj.weight");
    tensor = &parsed->tensors[i];
    tensors = 4096 + weir_index_tiles_at(parsed) - 88 * parsed->n_tensors;
    records = 4096 + weir_index_tiles_at(parsed) +
              tensor->first_tile * WEIR_TILE_RECORD_BYTES;
    other = (weir_tiling_n_tiles(tensor) - 1) * WEIR_TILE_RECORD_BYTES;
    tap_ok(is_refused(&file, 12, 1, "place of a tile"),
           "aliased, but the header does not say so: refused");
    tap_ok(is_refused(&file, records + other + 8, 1, "not those of one other"),
           "one record of a shared tensor differs: refused");
    tap_ok(is_refused(&file, records + 1, 16, "not those of one other"),
           "tiles that begin inside those of another: refused");
    i = weir_file_find(parsed, "model.layers.3.pre_ff_layernorm.weight");
    tap_ok(is_refused(&file, tensors + 88 * i + 8, WEIR_BF16 ^ WEIR_F16,
                      "not those of one other"),
           "a shared tensor of another type: refused");
    i = weir_file_find(parsed,
                       "model.layers.3.feed_forward.experts.1.up_proj.weight");
    other = weir_file_find(
        parsed, "model.layers.1.feed_forward.experts.0.up_proj.weight");
    tap_ok(torn_is_refused(&file, parsed, (uint32_t)i, (uint32_t)other),
           "a unit that shares the tiles of two others: refused");
    weir_file_close(parsed);
    weir_buf_fini(&file);
}

/* Layers of one kind share their tiles. */
static void test_aliased(const char *source)
{
    struct weir_synth synth = {
        .quant = {1, 1}, .tile_ceiling = WEIR_TILE_BYTES, .alias = 1};
    struct weir_err err;
    char shape[600];

    snprintf(shape, sizeof(shape), "%s/config.json", source);
    if (weir_synth_write(&synth, shape, path_of("model"), &err) ||
        run_model("model", good, &err))
        tap_ok(0, "aliased: %s", err.message);
    else
        test_model("aliased");
    test_sharing();
}

/* The same model in two files: "model" and "model.1" */
static int import_parts(const char *from, struct weir_err *err)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 8192};
    struct weir_stripe stripe;
    char folders[64];
    int rc;

    snprintf(folders, sizeof(folders), "%s,%s", folder, folder);
    rc = weir_stripe_init(&stripe, folders, "model", err);
    stripe.n_bytes = WEIR_FILE_PAGE;
    import.stripe = &stripe;
    if (!rc)
        rc = weir_import_folder(&import, from, path_of("model"), err);
    weir_stripe_fini(&stripe);
    return rc;
}

static void test_shrinking(const char *name)
{
    struct weir_model_options options = {.n_threads = 1};
    struct sigaction action = {.sa_sigaction = on_sigbus,
                               .sa_flags = SA_SIGINFO};
    struct weir_err err = {0};
    float logits[MAX_V];
    weir_model *model;
    struct stat st;
    int rc;

    sigaction(SIGBUS, &action, NULL);
    if (weir_model_open(path_of("model"), &options, &model, &err)) {
        tap_ok(0, "open: %s", err.message);
        return;
    }
    tap_ok(!evaluate(model, logits, &err), "a mapped model works");
    stat(path_of(name), &st);
    if (truncate(path_of(name), st.st_size / 16384 * 4096))
        perror("truncate");
    rc = evaluate(model, logits, &err);
    tap_ok(rc == WEIR_EIO && strstr(err.message, "shrank") &&
               strstr(err.message, path_of(name)),
           "and says so when its file shrinks: %s", err.message);
    weir_model_close(model);
    signal(SIGBUS, SIG_DFL);
}

/* Flips in the header of a checkpoint; its data has no checksums. */
static void test_checkpoint(const char *source)
{
    unsigned refused = 0, same = 0, wrong = 0;
    struct weir_buf file = WEIR_BUF(64 << 20), config = WEIR_BUF(1 << 20);
    struct weir_err err;
    char path[1024];
    uint64_t header;

    mkdir(path_of("folder"), 0700);
    snprintf(path, sizeof(path), "%s/config.json", source);
    weir_buf_add_file(&config, path, &err);
    write_bytes("folder/config.json", config.data, config.n_bytes);
    snprintf(path, sizeof(path), "%s/model.safetensors", source);
    weir_buf_add_file(&file, path, &err);
    header = 8 + weir_le64(file.data);
    for (int i = 0; i < N_FLIP / 2; i++) {
        size_t at = i < 64 ? (size_t)i / 8 : (size_t)random_below(header);
        char bit = (char)(1 << i % 8);
        int verdict;

        file.data[at] ^= bit;
        write_bytes("folder/model.safetensors", file.data, file.n_bytes);
        file.data[at] ^= bit;
        if (import_model(path_of("folder"), "flipped", WEIR_POLICY_RAW, &err))
            verdict = *err.message ? 1 : -1;
        else
            verdict = judge("flipped");
        refused += verdict == 1;
        same += verdict == 0;
        if (verdict < 0)
            tap_diag("checkpoint: byte %zu, bit %#x", at, (unsigned char)bit);
        wrong += verdict < 0;
    }
    tap_ok(!wrong && refused,
           "checkpoint: flipped headers: %u refused, %u harmless", refused,
           same);
    weir_buf_fini(&file);
    weir_buf_fini(&config);
}

static void remove_all(void)
{
    static const char *const made[] = {"model",
                                       "model.part",
                                       "model.1",
                                       "flipped",
                                       "flipped.part",
                                       "cut",
                                       "folder/config.json",
                                       "folder/model.safetensors"};

    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
        unlink(path_of(made[i]));
    rmdir(path_of("folder"));
    rmdir(folder);
}

int main(void)
{
    const char *srcdir = getenv("srcdir");
    struct weir_err err;
    char source[512];

    snprintf(source, sizeof(source), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    if (import_model(source, "model", WEIR_POLICY_AUTO, &err) ||
        run_model("model", good, &err)) {
        tap_ok(0, "%s", err.message);
        return tap_done();
    }
    test_packed(source, WEIR_POLICY_RAW, "raw");
    test_packed(source, WEIR_POLICY_ZSTD, "zstd");
    test_packed(source, WEIR_POLICY_AUTO, "auto");
    test_shrinking("model");
    if (import_parts(source, &err))
        tap_ok(0, "in parts: %s", err.message);
    else
        test_shrinking("model.1");
    test_checkpoint(source);
    test_aliased(source);
    remove_all();
    return tap_done();
}
