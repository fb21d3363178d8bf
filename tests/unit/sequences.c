/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several sequences in one pass, prompts beside single tokens, and spans of few
 * tokens and many: each sequence gets the bits that it gets alone in a span
 * that holds all of it.  And a prompt of many chunks wants the weights once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/session.h"
#include "model/import.h"
#include "tests/tap.h"

#define N_VOCAB 512
#define N       5
#define N_STEPS 3

/* Tokens of each sequence at each step: prompts, single tokens, neither */
static const size_t n_ids[N][N_STEPS] = {
    {600, 1, 40}, {1, 1, 1}, {33, 700, 1}, {5, 31, 32}, {64, 1, 2}};

static char path[] = "sequences.XXXXXX";
static const char *const folders[] = {"moe-8l", "odd", "dense-tied"};
static float alone[N][N_STEPS][N_VOCAB], together[N][N_STEPS][N_VOCAB];
static struct weir_state states[N];
static struct weir_err err;

static int pack(const char *name)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 65536};
    const char *srcdir = getenv("srcdir");
    char folder[4096];

    snprintf(folder, sizeof(folder), "%s/tests/golden/%s",
             srcdir ? srcdir : ".", name);
    return weir_import_folder(&import, folder, path, &err);
}

/* The ids of sequence `s` at step `step`; they last to the next call. */
static const int32_t *ids_of(size_t s, size_t step, size_t n_vocab)
{
    static int32_t ids[N][1024];

    for (size_t i = 0; i < n_ids[s][step]; i++)
        ids[s][i] = (int32_t)((i * 31 + s * 77 + step * 5 + 3) % n_vocab);
    return ids[s];
}

static struct weir_jamba *start(struct weir_jamba_options options)
{
    struct weir_jamba *jamba = NULL;
    int rc = weir_jamba_open(path, &options, &jamba, &err);

    if (!rc)
        rc = weir_budget_take(jamba, 0, 1024, 1, &err);
    for (size_t s = 0; s < N && !rc; s++)
        rc = weir_state_init(&states[s], &jamba->config, 1024, WEIR_BF16, &err);
    if (!rc)
        return jamba;
    tap_diag("%s", err.message);
    weir_jamba_close(jamba);
    return NULL;
}

static void stop(struct weir_jamba *jamba)
{
    for (size_t s = 0; s < N; s++)
        weir_state_fini(&states[s]);
    weir_jamba_close(jamba);
}

/* All steps of sequences [from, to) together */
static int run(struct weir_jamba *jamba, size_t from, size_t to,
               float (*logits)[N_STEPS][N_VOCAB])
{
    struct weir_sequence sequences[N];
    int rc = 0;

    for (size_t step = 0; step < N_STEPS && !rc; step++) {
        for (size_t s = from; s < to; s++)
            sequences[s] = (struct weir_sequence){
                .state = &states[s],
                .ids = ids_of(s, step, jamba->config.n_vocab),
                .n_ids = n_ids[s][step],
                .logits = logits[s][step]};
        rc = weir_jamba_forward(jamba, sequences + from, to - from, NULL, &err);
    }
    return rc;
}

static void compare(const char *name, const char *what,
                    struct weir_jamba_options options)
{
    struct weir_jamba *jamba = start(options);

    memset(together, 0, sizeof(together));
    tap_ok(jamba && !run(jamba, 0, N, together) &&
               !memcmp(alone, together, sizeof(alone)),
           "%s: %s: the same bits", name, what);
    stop(jamba);
}

static void test_bits(const char *name)
{
    struct weir_jamba_options options = {.n_threads = 2, .span_tok = 2048};
    struct weir_jamba *jamba = start(options);
    int rc = jamba ? 0 : WEIR_EIO;

    memset(alone, 0, sizeof(alone));
    for (size_t s = 0; s < N && !rc; s++)
        rc = run(jamba, s, s + 1, alone);
    tap_ok(!rc, "%s: %d sequences one by one", name, N);
    stop(jamba);
    compare(name, "together", options);
    options.span_tok = 7;
    compare(name, "in spans of 7 tokens", options);
    options.span_tok = 520;
    options.n_threads = 3;
    compare(name, "in spans of 520 tokens", options);
    options.span_tok = 0;
    options.weight_bytes = 1 << 16;
    compare(name, "under a budget", options);
}

/*
 * Bytes read of the drive for a prompt of n_tok tokens, without the rows of the
 * embedding, which are read tile by tile
 */
static uint64_t bytes_of(struct weir_jamba_options options, size_t n_tok)
{
    struct weir_residency_stats before, after = {0};
    struct weir_tile_record tile = {0};
    struct weir_jamba *jamba = start(options);
    struct weir_sequence sequence = {
        .state = &states[0], .n_ids = n_tok, .logits = alone[0][0]};
    int32_t ids[1024];

    if (!jamba)
        return 0;
    for (size_t i = 0; i < n_tok; i++)
        ids[i] = (int32_t)(i * 37 % 50); /* of a few rows of the embedding */
    sequence.ids = ids;
    weir_residency_get_stats(jamba->residency, &before);
    if (!weir_jamba_forward(jamba, &sequence, 1, NULL, &err))
        weir_residency_get_stats(jamba->residency, &after);
    weir_file_tile(jamba->file,
                   jamba->file->tensors[jamba->bind.embed].first_tile, &tile);
    stop(jamba);
    return after.read_bytes - before.read_bytes -
           (after.n_direct - before.n_direct) * weir_page_up(tile.stored_bytes);
}

static void test_one_pass(void)
{
    struct weir_jamba_options options = {.io = WEIR_IO_PREAD, .span_tok = 1024};
    struct weir_file *file;
    uint64_t model, bytes;

    if (weir_file_open(path, &file, &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    model = file->n_bytes;
    weir_file_close(file);
    options.weight_bytes = model / 3;
    bytes = bytes_of(options, 1024);
    tap_ok(bytes > model / 2 && bytes <= model * 105 / 100,
           "two chunks read %llu bytes of a model of %llu",
           (unsigned long long)bytes, (unsigned long long)model);
    options.span_tok = 512;
    tap_ok(bytes_of(options, 1024) > bytes * 3 / 2, "two spans read it twice");
}

static void test_refusals(void)
{
    struct weir_jamba *jamba = start((struct weir_jamba_options){0});
    int32_t ids[] = {1, 2, 100000};
    struct weir_sequence twice[] = {
        {.state = &states[0], .ids = ids, .n_ids = 2},
        {.state = &states[0], .ids = ids, .n_ids = 1}};
    struct weir_sequence wrong[] = {
        {.state = &states[0], .ids = ids, .n_ids = 2},
        {.state = &states[1], .ids = ids, .n_ids = 3}};

    tap_ok(jamba &&
               weir_jamba_forward(jamba, twice, 2, NULL, &err) == WEIR_EARG,
           "a state twice: %s", err.message);
    tap_ok(jamba &&
               weir_jamba_forward(jamba, wrong, 2, NULL, &err) == WEIR_EARG,
           "an id that is none: %s", err.message);
    tap_ok(!states[0].n_tok && !states[0].spoiled && !states[1].spoiled,
           "and nothing has happened");
    stop(jamba);
}

int main(void)
{
    int fd = mkstemp(path);

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (fd < 0 || pack(folders[i])) {
            tap_ok(0, "%s: %s", folders[i], err.message);
            continue;
        }
        test_bits(folders[i]);
        if (i == 0) {
            test_one_pass();
            test_refusals();
        }
    }
    close(fd);
    unlink(path);
    return tap_done();
}
