/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids in, logits out: what the model computes, in the layout of the golden
 * values, so that weir can be held beside other implementations.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/session.h"
#include "offload/safetensors_write.h"
#include "tools/cli.h"
#include "tools/ids.h"
#include "tools/memory.h"
#include "tools/trace_record.h"

#define NO_TENSOR SIZE_MAX

struct logits_args {
    struct cli cli;
    const char *model, *ids, *output;
    int hidden, router, last;
    size_t n_greedy, chunk;
    struct weir_model_options model_options;
    struct weir_session_options session_options;
    struct trace_record trace;
};

struct job {
    const struct logits_args *args;
    int32_t *ids, *greedy;
    size_t n_ids;
    weir_model *model;
    weir_session *session;
    float *last; /* [n_vocab], of the last token seen */
    struct weir_sink_tensor *tensors;
    size_t n_tensors;
    size_t first_hidden; /* number of hidden.0, or NO_TENSOR */
    size_t *routers;     /* [n_layers] number of router.i, or NO_TENSOR */
    struct weir_sink sink;
};

static void take_option(struct logits_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_logits_ids:
        args->ids = cli->value;
        break;
    case OPT_logits_output:
        args->output = cli->value;
        break;
    case OPT_logits_hidden:
        args->hidden = 1;
        break;
    case OPT_logits_router:
        args->router = 1;
        break;
    case OPT_logits_greedy:
        args->n_greedy = cli_uint(cli, 0, INT32_MAX);
        break;
    case OPT_logits_chunk:
        args->chunk = cli_uint(cli, 0, SIZE_MAX);
        break;
    case OPT_logits_kv:
        args->session_options.kv =
            cli_choice(cli, "f32|bf16") ? WEIR_KV_BF16 : WEIR_KV_F32;
        break;
    case OPT_logits_threads:
        args->model_options.n_threads = cli_threads(cli);
        break;
    case OPT_logits_trace:
        args->trace.path = cli->value;
        break;
    case OPT_logits_last:
        args->last = 1;
        break;
    default:
        if (!memory_take(&args->model_options, cli, option))
            cli_keep_argument(cli, &args->model, "model");
    }
}

static void parse(struct logits_args *args, int argc, char **argv)
{
    int option;

    memset(args, 0, sizeof(*args));
    args->session_options.kv = WEIR_KV_F32;
    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    if (!args->model)
        cli_usage(&args->cli, "no model given");
    memory_check(&args->model_options, &args->cli);
    if (!args->ids)
        cli_usage(&args->cli, "--ids FILE is missing");
    if (!args->output)
        cli_usage(&args->cli, "-o OUT is missing");
}

static struct weir_sink_tensor *add_tensor(struct job *job, const char *dtype,
                                           size_t rows, size_t cols)
{
    struct weir_sink_tensor *tensor = &job->tensors[job->n_tensors++];

    tensor->dtype = dtype;
    tensor->n_dims = cols ? 2 : 1;
    tensor->shape[0] = rows;
    tensor->shape[1] = cols;
    return tensor;
}

#define SET_NAME(tensor, ...)                                                  \
    snprintf((tensor)->name, sizeof((tensor)->name), __VA_ARGS__)

/* Lists what the file will hold; job->tensors has room for all of it. */
static void describe_output(struct job *job, const struct weir_config *config)
{
    const struct logits_args *args = job->args;
    size_t n = job->n_ids;

    SET_NAME(add_tensor(job, "F32", args->last ? 1 : n, config->n_vocab),
             "logits");
    job->first_hidden = args->hidden ? job->n_tensors : NO_TENSOR;
    for (uint32_t i = 0; args->hidden && i <= config->n_layers; i++)
        SET_NAME(add_tensor(job, "F32", n, config->n_hidden), "hidden.%u", i);
    for (uint32_t i = 0; i < config->n_layers; i++) {
        job->routers[i] = NO_TENSOR;
        if (!args->router || !weir_config_is_moe(config, i))
            continue;
        job->routers[i] = job->n_tensors;
        SET_NAME(add_tensor(job, "F32", n, config->n_experts), "router.%u", i);
    }
    if (args->n_greedy)
        SET_NAME(add_tensor(job, "I32", args->n_greedy, 0), "greedy_ids");
}

static int take_memory(struct job *job, struct weir_err *err)
{
    const struct weir_config *config = &job->model->jamba->config;
    size_t n_tensors = 2 * (size_t)config->n_layers + 3;

    job->tensors = calloc(n_tensors, sizeof(*job->tensors));
    job->routers = calloc(config->n_layers, sizeof(*job->routers));
    job->last = calloc(config->n_vocab, sizeof(*job->last));
    job->greedy = calloc(job->args->n_greedy + 1, sizeof(*job->greedy));
    if (!job->tensors || !job->routers || !job->last || !job->greedy)
        return weir_err_nomem(err, n_tensors * sizeof(*job->tensors),
                              "the output");
    describe_output(job, config);
    return 0;
}

static int write_view(void *ctx, enum weir_view view, uint32_t layer,
                      const float *values, size_t n_tok, size_t width,
                      struct weir_err *err)
{
    struct job *job = ctx;
    size_t tensor = 0;

    if (view == WEIR_VIEW_HIDDEN)
        tensor = job->first_hidden + layer;
    else if (view == WEIR_VIEW_ROUTER)
        tensor = job->routers[layer];
    else
        memcpy(job->last, values + (n_tok - 1) * width,
               width * sizeof(*values));
    return weir_sink_add(&job->sink, tensor, values,
                         n_tok * width * sizeof(*values), err);
}

/* Evaluates ids and writes all that is wanted of them, with or without logits
 */
static int eval(struct job *job, const int32_t *ids, size_t n_ids, int logits,
                struct weir_err *err)
{
    const struct logits_args *args = job->args;
    struct weir_observer observer = {.see = write_view, .ctx = job};

    if (logits)
        observer.views |= 1u << WEIR_VIEW_LOGITS;
    if (args->hidden)
        observer.views |= 1u << WEIR_VIEW_HIDDEN;
    if (args->router)
        observer.views |= 1u << WEIR_VIEW_ROUTER;
    return weir_session_eval_all(job->session, ids, n_ids, NULL, &observer,
                                 err);
}

/* With --last, only the last id's logits are computed: it goes by itself. */
static size_t before_last(const struct job *job)
{
    return job->args->last ? job->n_ids - 1 : job->n_ids;
}

static size_t first_call(const struct job *job)
{
    size_t chunk = job->args->chunk, end = before_last(job);

    return chunk && chunk < end ? chunk : end;
}

static int eval_ids(struct job *job, struct weir_err *err)
{
    size_t chunk = job->args->chunk ? job->args->chunk : job->n_ids, n;
    size_t end = before_last(job);
    int rc = 0;

    for (size_t at = 0; at < end && !rc; at += n) {
        n = end - at < chunk ? end - at : chunk;
        rc = eval(job, job->ids + at, n, !job->args->last, err);
    }
    if (!rc && end < job->n_ids)
        rc = eval(job, job->ids + end, 1, 1, err);
    return rc;
}

static int eval_greedy(struct job *job, struct weir_err *err)
{
    const struct weir_kernels *kernels = &job->model->jamba->kernels;
    size_t n = job->args->n_greedy;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        job->greedy[i] =
            (int32_t)kernels->argmax(job->last, weir_model_n_vocab(job->model));
        if (i + 1 < n)
            rc = weir_session_eval(job->session, &job->greedy[i], 1, job->last,
                                   err);
    }
    if (rc || !n)
        return rc;
    return weir_sink_add(&job->sink, job->n_tensors - 1, job->greedy,
                         n * sizeof(*job->greedy), err);
}

static int run_job(struct job *job, struct weir_err *err)
{
    const struct logits_args *args = job->args;
    struct weir_session_options options = args->session_options;
    int rc = weir_path_check_output(args->output, args->model, err);

    if (!rc)
        rc = weir_path_check_output(args->output, args->ids, err);
    if (!rc)
        rc = ids_read(args->ids, &job->ids, &job->n_ids, err);
    if (rc)
        return rc;
    options.n_ctx = job->n_ids + args->n_greedy;
    rc = weir_model_open(args->model, &args->model_options, &job->model, err);
    if (!rc)
        memory_warn(job->model, &args->cli);
    if (!rc)
        rc = take_memory(job, err);
    if (!rc)
        rc = weir_session_new(job->model, &options, &job->session, err);
    if (!rc)
        memory_warn_scratch(job->model, first_call(job), &args->cli);
    if (!rc)
        rc = weir_sink_open(&job->sink, args->output, job->tensors,
                            job->n_tensors, err);
    if (!rc)
        rc = eval_ids(job, err);
    if (!rc)
        rc = eval_greedy(job, err);
    if (!rc)
        rc = weir_sink_commit(&job->sink, err);
    return rc;
}

static void release_job(struct job *job)
{
    weir_sink_abandon(&job->sink);
    weir_session_free(job->session);
    weir_model_close(job->model);
    free(job->ids);
    free(job->greedy);
    free(job->last);
    free(job->routers);
    free(job->tensors);
}

static int logits_main(int argc, char **argv)
{
    struct logits_args args;
    struct job job = {.args = &args, .sink.fd = -1};
    struct weir_err err;
    int rc, status;

    parse(&args, argc, argv);
    rc =
        trace_record_begin(&args.trace, &args.cli, args.model_options.n_threads,
                           (const char *[]){args.model, args.ids}, 2, &err);
    if (!rc)
        rc = run_job(&job, &err);
    release_job(&job);
    status = rc ? cli_fail(&args.cli, &err) : CLI_OK;
    return trace_record_end(&args.trace, &args.cli, status);
}

const struct command cmd_logits = {"logits", logits_main};
