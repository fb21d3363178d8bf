/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How well a model foretells a text: its perplexity (Jelinek et al. 1977) over
 * windows of the text's ids, by the rule that weir-eval(1) and demo/train.py
 * state.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/path.h"
#include "engine/session.h"
#include "text/scores.h"
#include "tools/cli.h"
#include "tools/memory.h"
#include "tools/progress.h"
#include "tools/routing_record.h"
#include "tools/trace_record.h"

#define CTX_DEFAULT 2048

struct eval_args {
    struct cli cli;
    const char *model, *file;
    const char *routing; /* or NULL */
    size_t ctx, stride;
    struct weir_model_options model_options;
    struct weir_session_options session_options;
    struct trace_record trace;
    int quiet, json;
};

struct eval {
    struct eval_args args;
    weir_model *model;
    int32_t *ids;
    size_t n_ids;
    const int32_t *next; /* the id that the next row of logits foretells */
    size_t n_scored, n_windows;
    double nll; /* sum over the ids scored, in nats */
    double seconds;
    struct progress progress;
    struct routing_record routing;
    size_t last_end; /* of the window before */
};

static void take_option(struct eval_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_eval_file:
        if (args->file)
            cli_usage(cli, "one text at a time: -f twice");
        args->file = cli->value;
        break;
    case OPT_eval_ctx:
        args->ctx = cli_uint(cli, 2, INT32_MAX);
        break;
    case OPT_eval_stride:
        args->stride = cli_uint(cli, 1, INT32_MAX);
        break;
    case OPT_eval_kv:
        args->session_options.kv =
            cli_choice(cli, "f32|bf16") ? WEIR_KV_BF16 : WEIR_KV_F32;
        break;
    case OPT_eval_routing:
        args->routing = cli->value;
        break;
    case OPT_eval_threads:
        args->model_options.n_threads = cli_threads(cli);
        break;
    case OPT_eval_trace:
        args->trace.path = cli->value;
        break;
    case OPT_eval_quiet:
        args->quiet = 1;
        break;
    case OPT_eval_json:
        args->json = 1;
        break;
    default:
        if (!memory_take(&args->model_options, cli, option))
            cli_keep_argument(cli, &args->model, "model");
    }
}

static void parse(struct eval_args *args, int argc, char **argv)
{
    int option;

    args->ctx = CTX_DEFAULT;
    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    if (!args->model)
        cli_usage(&args->cli, "no model given");
    memory_check(&args->model_options, &args->cli);
    if (!args->file)
        cli_usage(&args->cli, "-f TEXT is missing");
    if (args->stride == 0)
        args->stride = args->ctx;
    if (args->stride > args->ctx)
        cli_usage(&args->cli,
                  "--stride %zu would skip tokens: at most --ctx, %zu",
                  args->stride, args->ctx);
}

static int read_text(struct eval *eval, struct weir_err *err)
{
    struct weir_buf text = WEIR_BUF(WEIR_TEXT_BYTES);
    int rc = cli_read(eval->args.file, &text, err);

    if (!rc)
        rc = weir_model_encode(eval->model, text.data ? text.data : "",
                               text.n_bytes, 0, 1, &eval->ids, &eval->n_ids,
                               err);
    weir_buf_fini(&text);
    if (!rc && eval->n_ids < 2)
        rc = weir_err_set(err, WEIR_EFORMAT,
                          "%s: %zu tokens are too short a text to foretell; "
                          "two are the least",
                          eval->args.file, eval->n_ids);
    return rc;
}

/* -log softmax(row)[id]; not finite when a score is not */
static double surprise(const float *row, size_t n, int32_t id)
{
    return weir_log_sum_exp(row, n) - row[id];
}

static int score(void *ctx, enum weir_view view, uint32_t layer,
                 const float *values, size_t n_tok, size_t width,
                 struct weir_err *err)
{
    struct eval *eval = ctx;

    if (view == WEIR_VIEW_ROUTER) {
        routing_record_see(&eval->routing, layer, values, n_tok, width);
        return 0;
    }
    for (size_t i = 0; i < n_tok; i++)
        eval->nll += surprise(values + i * width, width, *eval->next++);
    eval->n_scored += n_tok;
    progress_show(&eval->progress, "evaluating", eval->n_scored, eval->n_ids);
    if (isfinite(eval->nll))
        return 0;
    return weir_err_set(err, WEIR_ECORRUPT,
                        "%s: the scores of a token before token %zu of the "
                        "text are not finite; its weights are damaged or "
                        "overflow",
                        eval->args.model, (size_t)(eval->next - eval->ids));
}

/* Scores ids first .. end - 1 with begin .. as their context. */
static int eval_window(struct eval *eval, size_t begin, size_t first,
                       size_t end, struct weir_err *err)
{
    struct weir_session_options options = eval->args.session_options;
    struct weir_observer observer = {
        .views = 1u << WEIR_VIEW_LOGITS, .see = score, .ctx = eval};
    weir_session *session;
    size_t n_before = first - 1 - begin;
    int rc;

    if (eval->args.routing)
        observer.views |= 1u << WEIR_VIEW_ROUTER;
    options.n_ctx = end - begin;
    rc = weir_session_new(eval->model, &options, &session, err);
    if (!rc && !eval->n_windows)
        memory_warn_scratch(eval->model, end - first, &eval->args.cli);
    if (!rc && n_before)
        rc = weir_session_eval(session, eval->ids + begin, n_before, NULL, err);
    eval->next = eval->ids + first;
    if (!rc)
        rc = weir_session_eval_all(session, eval->ids + first - 1, end - first,
                                   NULL, &observer, err);
    weir_session_free(session);
    if (!rc && eval->args.routing)
        rc = routing_record_end_pass(&eval->routing, end - first,
                                     first == eval->last_end, err);
    eval->last_end = end;
    eval->n_windows++;
    return rc;
}

static int begin_routing(struct eval *eval, struct weir_err *err)
{
    const struct eval_args *args = &eval->args;
    size_t most = eval->n_ids < args->ctx ? eval->n_ids : args->ctx;
    int rc = weir_path_check_output(args->routing, args->model, err);

    if (!rc)
        rc = weir_path_check_output(args->routing, args->file, err);
    if (!rc)
        rc = routing_record_init(&eval->routing, eval->model->jamba,
                                 args->routing, most, err);
    return rc;
}

/*
 * Windows begin every `stride` ids, the last ends with the text.  Each scores
 * what no earlier one did, but for its own first id, which has no context.
 */
static int eval_text(struct eval *eval, struct weir_err *err)
{
    const struct eval_args *args = &eval->args;
    double start = progress_seconds();
    size_t begin = 0, first, end = 0;
    int rc = 0;

    while (!rc && end < eval->n_ids) {
        first = end > begin ? end : begin + 1;
        end = eval->n_ids - begin < args->ctx ? eval->n_ids : begin + args->ctx;
        if (first < end)
            rc = eval_window(eval, begin, first, end, err);
        begin += args->stride;
    }
    progress_end(&eval->progress);
    eval->seconds = progress_seconds() - start;
    return rc;
}

static int print_result(const struct eval *eval, struct weir_err *err)
{
    double nll = eval->nll / (double)eval->n_scored;
    json_t *root;
    int rc;

    if (!eval->args.json) {
        printf("tokens %zu\nnll    %.6f\nppl    %.5f\n", eval->n_scored, nll,
               exp(nll));
        return 0;
    }
    root = json_pack("{s:I, s:f, s:f, s:I, s:I, s:I, s:f}", "tokens",
                     (json_int_t)eval->n_scored, "nll", nll, "ppl", exp(nll),
                     "ctx", (json_int_t)eval->args.ctx, "stride",
                     (json_int_t)eval->args.stride, "windows",
                     (json_int_t)eval->n_windows, "eval_s", eval->seconds);
    if (!root)
        return weir_err_nomem(err, sizeof(*root), "JSON");
    rc = json_dumpf(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}

static int eval_main(int argc, char **argv)
{
    struct eval eval = {0};
    struct weir_err err;
    int rc, status;

    parse(&eval.args, argc, argv);
    progress_init(&eval.progress, eval.args.quiet);
    eval.progress.unit = "tokens";
    rc = trace_record_begin(
        &eval.args.trace, &eval.args.cli, eval.args.model_options.n_threads,
        (const char *[]){eval.args.model, eval.args.file}, 2, &err);
    if (!rc)
        rc = weir_model_open(eval.args.model, &eval.args.model_options,
                             &eval.model, &err);
    if (!rc)
        memory_warn(eval.model, &eval.args.cli);
    if (!rc)
        rc = read_text(&eval, &err);
    if (!rc && eval.args.routing)
        rc = begin_routing(&eval, &err);
    if (!rc)
        rc = eval_text(&eval, &err);
    if (!rc && eval.args.routing)
        rc = routing_record_commit(&eval.routing, &err);
    if (!rc)
        rc = print_result(&eval, &err);
    status = rc ? cli_fail(&eval.args.cli, &err) : cli_finish(&eval.args.cli);
    routing_record_fini(&eval.routing);
    weir_model_close(eval.model);
    free(eval.ids);
    return trace_record_end(&eval.args.trace, &eval.args.cli, status);
}

const struct command cmd_eval = {"eval", eval_main};
