/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a model runs, beside the bound that the machine sets it: prompts
 * and decoding, with each number of threads.  Before the clock runs a test is
 * done once to touch what it will need and to see which experts it chooses;
 * the machine is measured right before and right after.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/trace.h"
#include "base/utf8.h"
#include "engine/session.h"
#include "model/cost.h"
#include "model/device.h"
#include "offload/tiling.h"
#include "tools/bench_device.h"
#include "tools/bench_kernels.h"
#include "tools/bench_masks.h"
#include "tools/bench_print.h"
#include "tools/bench_probe.h"
#include "tools/progress.h"

struct bench {
    struct bench_args args;
    weir_model *model; /* opened for the threads of this row */
    int reserved;      /* of its budget, room for the sessions */
    char name[320];    /* of the model */
    char codec[64];    /* of its tiles */
    size_t n_ids;      /* of each text */
    int32_t *ids;      /* of every test, [batch][n_ids] */
    weir_session *sessions[WEIR_MAX_EVALS];
    uint8_t *chosen; /* [n_layers][n_experts] */
    float *logits;   /* [batch][n_vocab], that nobody looks at */
    double *tps;     /* of each repeat */
    struct probe probe;
    struct device_speeds device; /* before it was filled */
    struct stream stream;
    struct masks masks;
    struct bench_print print;
    struct progress progress;
    uint64_t n_runs;
};

/* A prompt of n_tok tokens, or as many steps of decoding */
struct test {
    const char *kind; /* "pp" or "tg" */
    size_t n_tok, step;
};

/* The last part of the path, without what would break a table or JSON */
static void name_file(struct bench *bench)
{
    const char *slash = strrchr(bench->args.model, '/');
    const char *from = slash ? slash + 1 : bench->args.model;
    size_t at = 0, left = strlen(from), n;

    for (; left && at + 4 < 256; from += n, left -= n) {
        n = weir_utf8_char(from, left);
        if (n == 0 || (unsigned char)*from < ' ' || *from == 0x7f ||
            *from == '|') {
            bench->name[at++] = '?';
            n = 1;
        } else {
            memcpy(bench->name + at, from, n);
            at += n;
        }
    }
    bench->name[at] = '\0';
}

static int name_model(struct bench *bench, struct weir_err *err)
{
    static const char what[] = "provenance.json";
    const struct weir_file *file = bench->model->jamba->file;
    const char *quant = "unknown";
    json_t *root = NULL;
    size_t n_bytes, at;
    char *json;
    int rc = weir_file_read_blob(file, what, &json, &n_bytes, err);

    if (!rc && json)
        rc = weir_json_parse(json, n_bytes, what, &root, err);
    free(json);
    if (!rc && root)
        rc = weir_json_get_string(root, "quant", what, &quant, err);
    name_file(bench);
    at = strlen(bench->name);
    if (!rc)
        snprintf(bench->name + at, sizeof(bench->name) - at,
                 ", %.32s, %.2f GB%s", quant,
                 (double)weir_file_bytes(file) / 1e9,
                 file->aliased ? ", aliased" : "");
    json_decref(root);
    return rc;
}

static void name_codecs(struct bench *bench)
{
    const struct weir_file *file = bench->model->jamba->file;
    struct weir_tile_record tile;
    unsigned used = 0;
    size_t at = 0;

    for (uint64_t i = 0; i < file->n_tiles; i++) {
        weir_file_tile(file, i, &tile);
        used |= 1u << tile.codec;
    }
    for (int i = 0; i < WEIR_N_CODECS; i++)
        if (used >> i & 1)
            at += (size_t)snprintf(bench->codec + at, sizeof(bench->codec) - at,
                                   "%s%s", at ? "+" : "", weir_codec_name(i));
}

static size_t most_tokens(const struct bench_args *args)
{
    return args->depth +
           (args->n_prompt > args->n_decode ? args->n_prompt : args->n_decode);
}

static enum weir_dtype kv_dtype(const struct bench *bench)
{
    return bench->args.session_options.kv == WEIR_KV_F32 ? WEIR_F32 : WEIR_BF16;
}

/* Ids that look random and are the same everywhere (Steele 2014, splitmix) */
static void fill_ids(int32_t *ids, size_t n, size_t n_vocab)
{
    uint64_t z;

    for (size_t i = 0; i < n; i++) {
        z = (i + 1) * 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        ids[i] = (int32_t)((z ^ z >> 31) % n_vocab);
    }
}

static unsigned most_threads(const struct bench_args *args)
{
    unsigned most = 1;

    for (unsigned i = 0; i < args->n_threads; i++)
        most = args->threads[i] > most ? args->threads[i] : most;
    return most;
}

/* What is taken once, for the first model that is opened */
static int take_memory(struct bench *bench, struct weir_err *err)
{
    const struct bench_args *args = &bench->args;
    const struct weir_config *config = &bench->model->jamba->config;
    size_t n_ids = most_tokens(args) + 1;

    bench->n_ids = n_ids;
    bench->ids = calloc(args->batch * n_ids, sizeof(*bench->ids));
    bench->chosen = calloc(config->n_layers, config->n_experts);
    bench->logits =
        calloc(args->batch * config->n_vocab, sizeof(*bench->logits));
    bench->tps = calloc(args->n_repeats, sizeof(*bench->tps));
    if (!bench->ids || !bench->chosen || !bench->logits || !bench->tps)
        return weir_err_nomem(err, args->batch * n_ids * sizeof(*bench->ids),
                              "a test");
    fill_ids(bench->ids, args->batch * n_ids, config->n_vocab);
    return probe_init(&bench->probe, most_threads(args),
                      stream_probe_bytes(&args->stream), err);
}

/*
 * Tokens from number `at` on for each session, and the scores behind them if
 * wanted; a device keeps those of single tokens, and says which comes next.
 */
static int evaluate(struct bench *bench, size_t at, size_t n_tok, int scores,
                    const struct weir_observer *observer, struct weir_err *err)
{
    static const struct weir_device_draw best = {0};
    struct weir_eval evals[WEIR_MAX_EVALS];
    struct weir_next next[WEIR_MAX_EVALS];
    int32_t ids[WEIR_MAX_EVALS];
    size_t n_vocab = bench->model->jamba->config.n_vocab;
    int by_device = bench->model->jamba->on && n_tok == 1;

    for (size_t i = 0; i < bench->args.batch; i++) {
        evals[i] = (struct weir_eval){
            .session = bench->sessions[i],
            .ids = bench->ids + i * bench->n_ids + at,
            .n_ids = n_tok,
            .logits =
                scores && !by_device ? bench->logits + i * n_vocab : NULL};
        next[i] = (struct weir_next){scores ? &best : NULL, &ids[i]};
    }
    return weir_session_observe_many(evals, by_device ? next : NULL,
                                     bench->args.batch, observer, err);
}

static void end(struct bench *bench)
{
    for (size_t i = 0; i < bench->args.batch; i++) {
        weir_session_free(bench->sessions[i]);
        bench->sessions[i] = NULL;
    }
}

/* Sessions that have read the tokens before the test */
static int begin(struct bench *bench, struct weir_err *err)
{
    struct weir_session_options options = bench->args.session_options;
    size_t depth = bench->args.depth;
    int rc = 0;

    options.n_ctx = most_tokens(&bench->args) + 1;
    if (!bench->reserved)
        rc = weir_session_reserve(
            bench->model, &options, bench->args.batch,
            answer_form_bytes(&bench->args.answer, bench->model), err);
    bench->reserved = 1;
    for (size_t i = 0; i < bench->args.batch && !rc; i++)
        rc = weir_session_new(bench->model, &options, &bench->sessions[i], err);
    if (!rc && depth)
        rc = evaluate(bench, 0, depth, 0, NULL, err);
    return rc;
}

static int mark_chosen(void *ctx, enum weir_view view, uint32_t layer,
                       const float *values, size_t n_tok, size_t width,
                       struct weir_err *err)
{
    struct bench *bench = ctx;
    const struct weir_jamba *jamba = bench->model->jamba;
    uint32_t expert[WEIR_MAX_EXPERTS], k = jamba->config.n_top;
    float prob[WEIR_MAX_EXPERTS];

    (void)view;
    (void)err;
    for (size_t t = 0; t < n_tok; t++) {
        jamba->kernels.route(values + t * width, width, 1, width, k, expert,
                             prob);
        for (uint32_t i = 0; i < k; i++)
            bench->chosen[layer * width + expert[i]] = 1;
    }
    return 0;
}

/* The tokens of a pass, those of each text behind each other */
static void take_ids(const struct bench *bench, struct weir_cost_pass *pass,
                     int32_t *ids)
{
    for (size_t i = 0; i < bench->args.batch; i++)
        memcpy(ids + i * pass->n_tok,
               bench->ids + i * bench->n_ids + pass->n_past,
               pass->n_tok * sizeof(*ids));
    pass->ids = ids;
}

/*
 * The test without a clock: what its passes cost.  One token more has its
 * logits computed, so that the head was touched too.
 */
static int count_passes(struct bench *bench, const struct test *test,
                        int32_t *ids, struct weir_cost *cost,
                        struct weir_err *err)
{
    const struct weir_jamba *jamba = bench->model->jamba;
    const struct weir_observer observer = {
        .views = 1u << WEIR_VIEW_ROUTER, .see = mark_chosen, .ctx = bench};
    struct weir_cost_pass pass = {.n_sequences = bench->args.batch,
                                  .n_tok = test->step,
                                  .kv_dtype = kv_dtype(bench),
                                  .chosen = bench->chosen};
    size_t from = bench->args.depth, to = from + test->n_tok;
    int rc = 0;

    for (pass.n_past = from; pass.n_past < to && !rc;
         pass.n_past += pass.n_tok) {
        memset(bench->chosen, 0,
               (size_t)jamba->config.n_layers * jamba->config.n_experts);
        take_ids(bench, &pass, ids);
        rc = evaluate(bench, pass.n_past, pass.n_tok, 0, &observer, err);
        if (!rc)
            weir_cost_add(cost, jamba, &pass);
    }
    return rc ? rc : evaluate(bench, to, 1, 1, NULL, err);
}

static int count_costs(struct bench *bench, const struct test *test,
                       struct weir_cost *cost, struct weir_err *err)
{
    size_t n = bench->args.batch * test->step;
    int32_t *ids = calloc(n, sizeof(*ids));
    int rc = ids ? begin(bench, err)
                 : weir_err_nomem(err, n * sizeof(*ids), "a test");

    if (!rc)
        rc = count_passes(bench, test, ids, cost, err);
    end(bench);
    free(ids);
    return rc;
}

static int run_once(struct bench *bench, const struct test *test, double *tps,
                    struct weir_err *err)
{
    size_t from = bench->args.depth, to = from + test->n_tok;
    double start, n_tok = (double)(bench->args.batch * test->n_tok);
    int rc = begin(bench, err);

    if (!rc)
        rc = stream_start(&bench->stream, bench->model, &bench->probe, err);
    start = progress_seconds();
    for (size_t at = from; at < to && !rc; at += test->step)
        rc = evaluate(bench, at, test->step, 1, NULL, err);
    *tps = n_tok / (progress_seconds() - start);
    stream_stop(&bench->stream, bench->model);
    end(bench);
    return rc;
}

/* Behind all else of the test, which knows nothing of it; of one text alone */
static int run_masks(struct bench *bench, const struct test *test,
                     struct bench_row *row, struct weir_err *err)
{
    int rc = 0;

    if (!bench->args.answer.grammar)
        return 0;
    bench->masks.row.n = 0;
    row->masks = &bench->masks.row;
    if (test->step != 1)
        return 0;
    rc = begin(bench, err);
    if (!rc)
        rc = masks_measure(&bench->masks, bench->sessions[0], bench->model,
                           bench->ids[bench->args.depth], test->n_tok, err);
    end(bench);
    return rc;
}

static void show_progress(struct bench *bench, uint64_t more)
{
    const struct bench_args *args = &bench->args;
    uint64_t tests = !!args->n_prompt + !!args->n_decode;

    bench->n_runs += more;
    progress_show(&bench->progress, "measuring", bench->n_runs,
                  args->n_threads * tests * (1 + args->n_repeats));
}

/* Mean and standard deviation of the speeds (n - 1; 0 of a single one) */
static void take_speeds(const struct bench *bench, struct bench_row *row)
{
    size_t n = bench->args.n_repeats;
    double sum = 0, squares = 0, d;

    for (size_t i = 0; i < n; i++)
        sum += bench->tps[i];
    row->tps_mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        d = bench->tps[i] - row->tps_mean;
        squares += d * d;
    }
    row->tps_sd = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
}

static void take_costs(const struct test *test, const struct weir_cost *cost,
                       struct bench_row *row)
{
    double n = (double)row->batch * (double)test->n_tok;

    row->bytes_per_token =
        (double)(cost->weight_bytes + cost->state_bytes + cost->kv_bytes) / n;
    row->flop_per_token = (double)cost->flop / n;
    row->distinct_experts = cost->n_experts / (test->n_tok / test->step);
}

static void take_bound(struct bench_row *row)
{
    double read = (row->read_gbps[0] + row->read_gbps[1]) / 2;
    double dram = read * 1e9 / row->bytes_per_token;
    double flops = row->peak_gflops * 1e9 / row->flop_per_token;

    row->bound_by = dram >= flops       ? "flops"
                    : row->hbm_gbps > 0 ? "hbm"
                                        : "dram";
    row->bound_tps = dram < flops ? dram : flops;
    row->share = row->bound_tps > 0 ? row->tps_mean / row->bound_tps : 0;
    if (row->decodes)
        row->matvec_share =
            row->tps_mean * row->bytes_per_token /
            ((row->matvec_gbps[0] + row->matvec_gbps[1]) / 2 * 1e9);
}

static int measure_device(struct bench *bench, struct bench_row *row,
                          unsigned when, struct weir_err *err)
{
    struct weir_on_device *on = bench->model->jamba->on;
    struct device_speeds speeds = bench->device;
    int rc = on->is_whole ? device_measure(&on->room, &speeds, err) : 0;

    row->peak_gflops += speeds.peak_gflops / 2;
    row->read_gbps[when] = speeds.hbm_gbps;
    row->hbm_gbps += speeds.hbm_gbps / 2;
    row->pcie_gbps += speeds.pcie_gbps / 2;
    return rc;
}

/* The machine before the test (0) and after (1) */
static int measure_machine(struct bench *bench, struct bench_row *row,
                           unsigned when, struct weir_err *err)
{
    struct weir_jamba *jamba = bench->model->jamba;

    if (jamba->on && (when == 1 || jamba->on->is_whole))
        return measure_device(bench, row, when, err);
    weir_trace_part("measuring the machine", -1);
    row->dram_gbps =
        probe_read(&bench->probe, jamba->pool, &jamba->kernels) / 1e9;
    if (jamba->on)
        return measure_device(bench, row, when, err);
    row->peak_gflops += probe_flop(jamba->pool, &jamba->kernels) / 2e9;
    row->read_gbps[when] = row->dram_gbps;
    if (row->decodes)
        row->matvec_gbps[when] =
            probe_matvec(&bench->probe, jamba->pool, &jamba->kernels) / 1e9;
    weir_trace_part(NULL, -1);
    return 0;
}

static int measure(struct bench *bench, const struct test *test,
                   struct bench_row *row, struct weir_err *err)
{
    struct stream_test streamed = {.is_prompt = *test->kind == 'p',
                                   .n_tok = test->n_tok,
                                   .depth = bench->args.depth,
                                   .n_ctx = most_tokens(&bench->args) + 1,
                                   .batch = bench->args.batch,
                                   .kv = kv_dtype(bench),
                                   .device = &bench->device};
    struct weir_cost cost = {0};
    int rc = count_costs(bench, test, &cost, err);

    if (rc)
        return rc;
    show_progress(bench, 1);
    rc = measure_machine(bench, row, 0, err);
    if (rc)
        return rc;
    rc = stream_begin(&bench->stream, bench->model, &bench->probe, &streamed,
                      row, err);
    for (size_t i = 0; i < bench->args.n_repeats && !rc; i++) {
        rc = run_once(bench, test, &bench->tps[i], err);
        show_progress(bench, 1);
    }
    if (rc)
        return rc;
    rc = measure_machine(bench, row, 1, err);
    if (rc)
        return rc;
    take_speeds(bench, row);
    take_costs(test, &cost, row);
    take_bound(row);
    return stream_end(&bench->stream, bench->model, &bench->probe, &streamed,
                      bench->args.n_repeats, row, err);
}

static const char *device_name(const struct bench *bench)
{
    const struct weir_on_device *on = bench->model->jamba->on;

    return on ? on->room.table->kind : "cpu";
}

static int run_test(struct bench *bench, const struct test *test,
                    struct weir_err *err)
{
    struct bench_row row = {
        .model = bench->name,
        .codec = bench->codec,
        .device = device_name(bench),
        .threads = weir_pool_n_threads(bench->model->jamba->pool),
        .batch = (unsigned)bench->args.batch,
        .decodes = test->step == 1 && !bench->model->jamba->on,
        .depth = bench->args.depth};
    enum weir_level level;
    int rc;

    if (!test->n_tok)
        return 0;
    snprintf(row.test, sizeof(row.test), "%s%zu", test->kind, test->n_tok);
    rc = weir_level_choose(&level, err);
    if (!rc)
        rc = measure(bench, test, &row, err);
    if (!rc)
        rc = run_masks(bench, test, &row, err);
    progress_end(&bench->progress);
    if (rc)
        return rc;
    row.cpu_level = weir_level_name(level);
    return bench_print_row(&bench->print, &row, err);
}

static int open_model(struct bench *bench, unsigned n_threads,
                      struct weir_err *err)
{
    const struct bench_args *args = &bench->args;
    struct weir_jamba_options options = {.n_threads = n_threads,
                                         .vram_bytes = args->on.vram_bytes,
                                         .only_device = args->on.only_device};
    int rc = weir_model_find_device(args->on.device, &options.device, err);

    stream_options(&args->stream, &options);
    return rc ? rc
              : weir_model_open_with(args->model, &options, &bench->model, err);
}

static int run_threads(struct bench *bench, unsigned n_threads,
                       struct weir_err *err)
{
    const struct bench_args *args = &bench->args;
    const struct test prompt = {"pp", args->n_prompt, args->n_prompt};
    const struct test decode = {"tg", args->n_decode, 1};
    int rc;

    weir_trace_part("loading", -1);
    rc = open_model(bench, n_threads, err);
    if (!rc)
        rc = masks_open(&bench->masks, bench->model, err);
    if (!rc && !bench->ids) {
        rc = name_model(bench, err);
        name_codecs(bench);
        if (!rc)
            rc = take_memory(bench, err);
        if (!rc && !args->stream.on)
            bench_warn(args, &bench->probe);
    }
    if (!rc && bench->model->jamba->on)
        rc = device_measure_empty(&bench->model->jamba->on->room,
                                  &bench->device, err);
    if (!rc)
        rc = stream_init(&bench->stream, &args->stream, bench->model,
                         &bench->probe, err);
    if (!rc)
        rc = run_test(bench, &prompt, err);
    if (!rc)
        rc = run_test(bench, &decode, err);
    stream_fini(&bench->stream);
    masks_close(&bench->masks);
    weir_model_close(bench->model);
    bench->model = NULL;
    bench->reserved = 0;
    return rc;
}

static void release(struct bench *bench)
{
    answer_form_fini(&bench->args.answer);
    probe_fini(&bench->probe);
    free(bench->ids);
    free(bench->chosen);
    free(bench->logits);
    free(bench->tps);
}

static int bench_main(int argc, char **argv)
{
    struct bench bench = {0};
    struct weir_err err;
    int rc, status;

    bench_args_parse(&bench.args, argc, argv);
    if (bench.args.kernels)
        return bench_kernels(&bench.args, &err)
                   ? cli_fail(&bench.args.cli, &err)
                   : cli_finish(&bench.args.cli);
    rc = masks_read(&bench.masks, &bench.args.answer, &err);
    if (!rc)
        rc = trace_record_begin(
            &bench.args.trace, &bench.args.cli, most_threads(&bench.args),
            (const char *[]){bench.args.model, bench.args.answer.schema}, 2,
            &err);
    bench.print.form = bench.args.form;
    progress_init(&bench.progress, 0);
    bench.progress.unit = "runs";
    for (unsigned i = 0; i < bench.args.n_threads && !rc; i++)
        rc = run_threads(&bench, bench.args.threads[i], &err);
    if (!rc)
        bench_print_end(&bench.print);
    status = rc ? cli_fail(&bench.args.cli, &err) : cli_finish(&bench.args.cli);
    release(&bench);
    return trace_record_end(&bench.args.trace, &bench.args.cli, status);
}

const struct command cmd_bench = {"bench", bench_main};
