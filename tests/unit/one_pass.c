/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A prompt that waits in a scratch file: it wants the weights once, whatever
 * its length, moves the bytes that were foretold, and gets the bits that it
 * gets in memory.  With WEIR_LONG_TESTS one of 256K tokens passes too, which
 * takes a minute or two.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/session.h"
#include "model/synth.h"
#include "model/wait.h"
#include "tests/tap.h"

#define N_VOCAB 512
#define LONGEST 262144

/* Mamba, attention, MLPs, and experts of which some have room at a time */
static const char shape[] =
    "{\"model_type\": \"jamba\", \"hidden_size\": 32, \"vocab_size\": 512,"
    " \"intermediate_size\": 32, \"num_hidden_layers\": 4,"
    " \"num_attention_heads\": 2, \"num_key_value_heads\": 1,"
    " \"attn_layer_period\": 4, \"attn_layer_offset\": 2,"
    " \"expert_layer_period\": 2, \"expert_layer_offset\": 1,"
    " \"num_experts\": 16, \"num_experts_per_tok\": 2,"
    " \"mamba_d_state\": 4, \"mamba_dt_rank\": 4, \"mamba_expand\": 1}";

static char shape_path[] = "one-pass.XXXXXX", path[] = "one-pass.XXXXXX";
static struct weir_err err;
static int32_t *ids; /* [LONGEST] */

/* What a pass left and took */
struct outcome {
    int rc;
    float logits[N_VOCAB];
    uint64_t weights; /* read from the drive, with those that stay */
    struct weir_scratch_stats moved, foretold;
    uint64_t model;
};

static void evaluate(struct weir_jamba *jamba, size_t n_tok, size_t first,
                     struct outcome *out)
{
    struct weir_residency_stats stats;
    struct weir_state state = {0};
    struct weir_sequence parts[] = {
        {.state = &state, .ids = ids, .n_ids = first},
        {.state = &state,
         .ids = ids + first,
         .n_ids = n_tok - first,
         .logits = out->logits}};

    out->rc = weir_budget_take(jamba, 0, n_tok, 1, &err);
    weir_wait_count(jamba, n_tok - first, &out->foretold);
    if (!out->rc)
        out->rc =
            weir_state_init(&state, &jamba->config, n_tok, WEIR_BF16, &err);
    for (int i = first == 0; i < 2 && !out->rc; i++)
        out->rc = weir_jamba_forward(jamba, &parts[i], 1, NULL, &err);
    weir_residency_get_stats(jamba->residency, &stats);
    weir_scratch_get_stats(jamba->scratch, &out->moved);
    out->weights = stats.read_bytes;
    out->model = weir_file_bytes(jamba->file);
    weir_state_fini(&state);
}

/* n_tok tokens, `first` of them, which may be none, in a call of their own */
static struct outcome run(struct weir_jamba_options options, size_t n_tok,
                          size_t first)
{
    struct outcome out = {.rc = 0};
    struct weir_jamba *jamba;

    options.n_threads = options.n_threads ? options.n_threads : 2;
    options.io = WEIR_IO_PREAD;
    options.weight_bytes = options.weight_bytes ? options.weight_bytes : 1;
    out.rc = weir_jamba_open(path, &options, &jamba, &err);
    if (!out.rc)
        evaluate(jamba, n_tok, first, &out);
    if (out.rc)
        tap_diag("%s", err.message);
    weir_jamba_close(jamba);
    return out;
}

static int is_same(const struct outcome *a, const struct outcome *b)
{
    return !a->rc && !b->rc && !memcmp(a->logits, b->logits, sizeof(a->logits));
}

static void check_bytes(const struct outcome *out, size_t n_tok)
{
    tap_ok(out->weights > out->model / 2 &&
               out->weights <= out->model * 105 / 100,
           "%zu tokens read %llu bytes of a model of %llu", n_tok,
           (unsigned long long)out->weights, (unsigned long long)out->model);
    tap_ok(out->moved.written_bytes &&
               out->moved.written_bytes == out->foretold.written_bytes &&
               out->moved.read_bytes == out->foretold.read_bytes,
           "and write and read the %llu and %llu bytes that were foretold",
           (unsigned long long)out->moved.written_bytes,
           (unsigned long long)out->moved.read_bytes);
}

/*
 * A third of the weights has room, and an eighth of the tokens.  Of the longest
 * prompt only bytes are counted.
 */
static void test_one_pass(size_t n_tok, uint64_t model)
{
    struct weir_jamba_options options = {.weight_bytes = model / 3,
                                         .span_tok = n_tok,
                                         .block_tok = n_tok / 8,
                                         .scratch = "."};
    struct outcome wait = run(options, n_tok, 0), memory, spans;

    check_bytes(&wait, n_tok);
    if (n_tok == LONGEST)
        return;
    options.scratch = NULL;
    options.block_tok = 0;
    memory = run(options, n_tok, 0);
    tap_ok(is_same(&wait, &memory) && !memory.moved.written_bytes,
           "and give the bits that they give in memory");
    options.span_tok = n_tok / 4;
    spans = run(options, n_tok, 0);
    tap_ok(is_same(&wait, &spans) && spans.weights > 2 * wait.weights,
           "and in four spans, which read %llu bytes",
           (unsigned long long)spans.weights);
}

/* Tokens that are no multiple of anything, behind others, and other groups */
static void test_rests(uint64_t model)
{
    struct weir_jamba_options options = {.span_tok = 8192};
    struct outcome memory = run(options, 5003, 40), wait;

    options.scratch = ".";
    options.block_tok = 1024;
    for (uint64_t part = 1; part <= 25; part *= 5) {
        options.n_threads = part % 4;
        options.weight_bytes = model / part;
        wait = run(options, 5003, 40);
        tap_ok(is_same(&memory, &wait) &&
                   wait.moved.written_bytes == wait.foretold.written_bytes &&
                   wait.moved.read_bytes == wait.foretold.read_bytes,
               "with 1/%llu of the weights in memory: the same bits, %llu "
               "bytes written as foretold",
               (unsigned long long)part,
               (unsigned long long)wait.moved.written_bytes);
    }
    wait = run(options, 1024, 0);
    tap_ok(!wait.rc && !wait.moved.written_bytes && !wait.moved.read_bytes,
           "a prompt that has room writes nothing");
}

/* ---- a drive that fails ---- */

static int n_calls_left; /* until one fails, of those that `fault` is about */
static enum { NOTHING, READS, WRITES, SHORT, FULL } fault;

static int fails(int is_write)
{
    return (fault == READS && !is_write) || (fault == WRITES && is_write)
               ? n_calls_left-- == 0
               : 0;
}

/* Once it ends within a page, as long as there is more than a part of one */
static size_t half(size_t n)
{
    return fault == SHORT && n > 4096 ? n / 2 + 8 : n;
}

static int allocate(int fd, off_t n_bytes)
{
    return fault == FULL ? ENOSPC : weir_scratch_system.allocate(fd, n_bytes);
}

static ssize_t read_some(int fd, void *data, size_t n, off_t offset)
{
    errno = EIO;
    return fails(0) ? -1 : weir_scratch_system.pread(fd, data, half(n), offset);
}

static ssize_t write_some(int fd, const void *data, size_t n, off_t offset)
{
    errno = ENOSPC;
    return fails(1) ? -1
                    : weir_scratch_system.pwrite(fd, data, half(n), offset);
}

static void test_faults(void)
{
    struct weir_scratch_calls calls = weir_scratch_system;
    struct weir_jamba_options options = {.span_tok = 4096};
    struct outcome memory = run(options, 4000, 0), wait;

    calls.allocate = allocate;
    calls.pread = read_some;
    calls.pwrite = write_some;
    options.block_tok = 1024;
    options.scratch = ".";
    options.scratch_calls = &calls;
    fault = SHORT;
    wait = run(options, 4000, 0);
    tap_ok(is_same(&memory, &wait), "calls that move half: the same bits");
    for (int i = 0; i < 50; i += 24) {
        fault = READS;
        n_calls_left = i;
        wait = run(options, 4000, 0);
        tap_ok(wait.rc == WEIR_EIO && strstr(err.message, "cannot read"),
               "read %d fails: so does the pass", i);
        fault = WRITES;
        n_calls_left = i;
        wait = run(options, 4000, 0);
        tap_ok(wait.rc == WEIR_EIO && strstr(err.message, "No space left"),
               "write %d fails: so does the pass", i);
    }
    fault = FULL;
    wait = run(options, 4000, 0);
    tap_ok(wait.rc == WEIR_EIO && !wait.weights,
           "a drive that is full is found before anything is read");
}

/* ---- the model ---- */

static uint64_t make_model(void)
{
    struct weir_synth synth = {.quant = {1, 1}, .tile_ceiling = 4096};
    FILE *file = fopen(shape_path, "w");
    struct weir_file *made;
    uint64_t n_bytes;

    if (!file || fputs(shape, file) < 0 || fclose(file) ||
        weir_synth_write(&synth, shape_path, path, &err) ||
        weir_file_open(path, &made, &err)) {
        tap_ok(0, "a model: %s", err.message);
        return 0;
    }
    n_bytes = weir_file_bytes(made);
    weir_file_close(made);
    return n_bytes;
}

int main(void)
{
    int a = mkstemp(shape_path), b = mkstemp(path);
    uint64_t model;

    ids = calloc(LONGEST, sizeof(*ids));
    if (a < 0 || b < 0 || !ids) {
        tap_ok(0, "files and memory");
        return tap_done();
    }
    for (size_t i = 0; i < LONGEST; i++)
        ids[i] = (int32_t)((i * 37 + i / 512) % 50); /* of a few tiles */
    model = make_model();
    test_one_pass(8192, model);
    if (getenv("WEIR_LONG_TESTS"))
        test_one_pass(LONGEST, model);
    else
        tap_skip("256K tokens: WEIR_LONG_TESTS is not set");
    test_rests(model);
    test_faults();
    close(a);
    close(b);
    unlink(shape_path);
    unlink(path);
    free(ids);
    return tap_done();
}
