/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many prompts from a file: lines are read as places get free, all texts go on
 * in step, and answers are written as they come.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "base/seen.h"
#include "base/trace.h"
#include "engine/schedule.h"
#include "offload/index.h"
#include "serve/batch_line.h"
#include "serve/completion.h"
#include "serve/logprobs.h"
#include "serve/tool_calls.h"
#include "tools/batch_args.h"
#include "tools/batch_input.h"
#include "tools/batch_output.h"
#include "tools/batch_report.h"
#include "tools/chat_prompt.h"
#include "tools/progress.h"

/* Memory that a line may take while it is parsed, for each of its bytes */
#define PARSE_BYTES 20

/* Memory for the id of a line, while the table of them grows */
#define ID_BYTES 96

/* A request on its way through the schedule */
struct task {
    uint64_t number; /* of its line */
    int is_chat, shows_ids, shows_scores;
    const struct weir_tool_style *style; /* of calls of tools, or NULL */
    char custom_id[WEIR_CUSTOM_ID_BYTES + 1];
};

struct batch {
    struct batch_args args;
    struct weir_completion_defaults defaults;
    weir_model *model;
    struct weir_chat *chat; /* NULL: it has no template */
    char model_name[256];
    struct batch_input input;
    struct batch_output output;
    struct weir_schedule *schedule;
    struct task *tasks;   /* [places], number 0: free */
    struct weir_seen ids; /* custom ids so far */
    int at_end;           /* of the input */
    struct batch_report report;
    struct progress progress;
};

/* ---- answers ---- */

/* Takes over `body`. */
static int put(struct batch *batch, uint64_t number, const char *custom_id,
               int status, json_t *body, struct weir_err *err)
{
    size_t n_bytes = 0;
    char *text;
    int rc = weir_batch_line_print(number, custom_id, status, body, &text,
                                   &n_bytes, err);

    if (!rc)
        rc = batch_output_put(&batch->output, text, n_bytes, err);
    free(text);
    return rc;
}

static int finished(void *ctx, const struct weir_answer *answer,
                    struct weir_err *err)
{
    struct batch *batch = ctx;
    struct task *task = answer->tag;
    char id[40];
    const struct weir_openai_head head = {task->is_chat ? "chat.completion"
                                                        : "text_completion",
                                          id, time(NULL), batch->model_name};
    const struct weir_choice choice = {
        .text = answer->text,
        .n_bytes = answer->n_bytes,
        .ids = answer->ids,
        .n_ids = answer->n_ids,
        .shows_ids = task->shows_ids || !batch->model->tokenizer,
        .finish_reason = answer->end == WEIR_END_LENGTH ? "length" : "stop",
        .scored = task->shows_scores ? &answer->scored : NULL,
        .tokenizer = batch->model->tokenizer,
    };
    char number[24];
    json_t *part;
    int rc;

    snprintf(number, sizeof(number), "%" PRIu64, task->number);
    snprintf(id, sizeof(id), "%s-%" PRIu64, task->is_chat ? "chatcmpl" : "cmpl",
             task->number);
    if (task->is_chat && task->style)
        part = weir_tool_message(&choice, task->style, number);
    else
        part = task->is_chat ? weir_openai_message(&choice)
                             : weir_openai_text(&choice);
    rc = put(
        batch, task->number, task->custom_id, 200,
        weir_openai_answer(&head, weir_openai_add(json_array(), part),
                           weir_openai_usage(answer->n_prompt, answer->n_cached,
                                             answer->n_ids)),
        err);
    batch->report.n_answers++;
    batch->report.n_prompt += answer->n_prompt;
    batch->report.n_tokens += answer->n_ids;
    task->number = 0;
    return rc;
}

/* A fault of the line is its answer; want of memory ends the batch. */
static int refuse(struct batch *batch, uint64_t number, const char *custom_id,
                  const struct weir_fault *fault, struct weir_err *err)
{
    if (fault->err.code == WEIR_ENOMEM || fault->err.code == WEIR_EIO) {
        *err = fault->err;
        return err->code;
    }
    batch->report.n_refused++;
    return put(batch, number, custom_id, 400, weir_openai_error(fault), err);
}

/* ---- requests ---- */

/* Neither the order of the lines nor a resume changes the seed of an id. */
static uint64_t seed_of(const struct batch *batch, const struct task *task)
{
    const char *id = task->custom_id;
    char line[32];

    snprintf(line, sizeof(line), "line %" PRIu64, task->number);
    if (!*id)
        id = line;
    return XXH3_64bits_withSeed(id, strlen(id),
                                batch->args.sampling.values.seed);
}

static int settle(const struct batch *batch, const json_t *body,
                  const struct task *task, struct weir_completion *completion,
                  struct weir_request *request, struct weir_fault *fault)
{
    int rc;

    weir_completion_init(completion, &batch->defaults);
    completion->is_chat = task->is_chat;
    completion->sampling.seed = seed_of(batch, task);
    rc = weir_openai_read_completion(body, completion, fault);
    return rc ? rc
              : weir_completion_settle(completion, &batch->defaults,
                                       batch->model, request, fault);
}

/* The line's text goes into step, if the fault does not say otherwise. */
static int begin(struct batch *batch, const json_t *body,
                 const struct task *task, struct weir_fault *fault)
{
    struct weir_completion completion;
    struct weir_request request;
    struct task *kept = batch->tasks;
    int rc = settle(batch, body, task, &completion, &request, fault);

    while (kept->number) /* there are as many as places */
        kept++;
    request.tag = kept;
    if (!rc) {
        fault->param[0] = '\0';
        fault->code = "invalid_value";
        rc = weir_schedule_add(batch->schedule, &request, &fault->err);
    }
    if (!rc) {
        *kept = *task;
        kept->shows_ids = completion.return_token_ids;
        kept->shows_scores = completion.logprobs;
        kept->style = completion.style;
    }
    weir_completion_fini(&completion);
    return rc;
}

/* The id of a line must be its own. */
static int check_id(struct batch *batch, const char *id,
                    struct weir_fault *fault)
{
    int rc = *id ? weir_seen_add(&batch->ids, id, strlen(id), &fault->err) : 0;

    if (rc != 1)
        return rc;
    return weir_fault_set(fault, WEIR_EARG, "custom_id", "duplicate_custom_id",
                          "an earlier line has this custom_id");
}

static int parse_line(const struct batch *batch, const struct weir_line *line,
                      struct weir_batch_line *parsed, struct weir_fault *fault)
{
    if (line->text)
        return weir_batch_line_parse(line->text, line->n_bytes, parsed, fault);
    return weir_fault_set(fault, WEIR_EARG, NULL, "line_too_long",
                          "the line is longer than %zu bytes; --ctx allows "
                          "more",
                          batch->input.lines.ceiling);
}

/* Answers a line, or sees to it that it will be; done ones are only known. */
static int take_line(struct batch *batch, const struct weir_line *line,
                     struct weir_err *err)
{
    struct task task = {.number = batch->input.lines.number};
    struct weir_batch_line parsed = {0};
    struct weir_fault fault = {0};
    int is_done = batch_output_has(&batch->output, task.number);
    int rc = parse_line(batch, line, &parsed, &fault);

    if (!rc)
        rc = check_id(batch, parsed.custom_id, &fault);
    task.is_chat = parsed.is_chat;
    memcpy(task.custom_id, parsed.custom_id, sizeof(task.custom_id));
    if (!rc && !is_done)
        rc = begin(batch, parsed.body, &task, &fault);
    weir_batch_line_fini(&parsed);
    if (!rc || (is_done && rc != WEIR_ENOMEM))
        return 0;
    return refuse(batch, task.number, task.custom_id, &fault, err);
}

static int is_blank(const struct weir_line *line)
{
    for (size_t i = 0; i < line->n_bytes; i++)
        if (!strchr(" \t\r", line->text[i]))
            return 0;
    return line->text != NULL;
}

static int fill(struct batch *batch, struct weir_err *err)
{
    struct weir_line line;
    int rc = 0;

    while (!rc && !batch->at_end && weir_schedule_n_free(batch->schedule)) {
        rc = weir_lines_next(&batch->input.lines, &line, err);
        batch->at_end = rc == 0;
        if (rc > 0)
            rc = is_blank(&line) ? 0 : take_line(batch, &line, err);
    }
    return rc;
}

static void show_progress(struct batch *batch)
{
    const struct batch_report *report = &batch->report;
    double at = progress_seconds(), seconds = at - report->seconds;

    if (!batch->progress.enabled || at - batch->progress.last < 0.2)
        return;
    batch->progress.last = at;
    batch->progress.shown = 1;
    fprintf(stderr, "\r%" PRIu64 " answers, %zu under way, %.1f tok/s",
            report->n_answers + report->n_refused,
            weir_schedule_n_running(batch->schedule),
            seconds > 0 ? (double)report->n_tokens / seconds : 0);
    if (batch->input.n_bytes)
        fprintf(stderr, ", %.1f %% read",
                100.0 * (double)batch->input.lines.offset /
                    (double)batch->input.n_bytes);
    fprintf(stderr, "\033[K");
}

static int answer_all(struct batch *batch, struct weir_err *err)
{
    int rc;

    batch_report_begin(&batch->report, batch->model);
    for (;;) {
        rc = fill(batch, err);
        if (rc || !weir_schedule_n_running(batch->schedule))
            break;
        rc = weir_schedule_step(batch->schedule, err);
        if (rc)
            break;
        show_progress(batch);
    }
    progress_end(&batch->progress);
    batch_report_end(&batch->report, batch->schedule, batch->model);
    return rc ? rc : batch_output_finish(&batch->output, err);
}

/* ---- beginning and end ---- */

static int open_output(struct batch *batch, struct weir_err *err)
{
    const struct batch_args *args = &batch->args;
    const struct weir_file *file = batch->model->jamba->file;
    char model[64];
    json_t *job;
    int rc;

    snprintf(
        model, sizeof(model), "%" PRIu64 " bytes, XXH3 %016" PRIx64,
        weir_file_bytes(file),
        (uint64_t)XXH3_64bits(file->index, (size_t)weir_index_bytes(file)));
    job = batch_args_job(args, model, batch->input.identity);
    if (!job)
        return weir_err_nomem(err, sizeof(model), "JSON");
    rc = batch_output_open(&batch->output, args->output, job, err);
    json_decref(job);
    if (!rc && batch->output.n_before && !*batch->input.identity)
        rc = weir_err_set(err, WEIR_EARG,
                          "%s: has answers, but a pipe cannot be told from "
                          "another; give the input as a file, or remove that",
                          batch->output.part);
    batch->report.n_before = batch->output.n_before;
    return rc;
}

static int prepare(struct batch *batch, struct weir_err *err)
{
    struct batch_args *args = &batch->args;
    size_t line_bytes = batch_args_line_bytes(args);
    struct weir_schedule_options options = {.n_places = args->n_places,
                                            .n_ctx = args->n_ctx,
                                            .kv = args->kv,
                                            .other_bytes =
                                                PARSE_BYTES * line_bytes};
    int rc = batch_input_open(&batch->input, args->input, line_bytes, err);

    if (!rc)
        rc = weir_model_open(args->model, &args->model_options, &batch->model,
                             err);
    if (rc)
        return rc;
    memory_warn(batch->model, &args->cli);
    cli_name_model(args->model, batch->model_name, sizeof(batch->model_name));
    rc = sampling_settle(&args->sampling, batch->model, err);
    if (!rc)
        rc = chat_prompt_open(batch->model, &args->cli, &batch->chat, err);
    batch->defaults.chat = batch->chat;
    batch->defaults.n_ctx = args->n_ctx;
    batch->defaults.n_tokens = args->n_tokens;
    batch->defaults.n_tokens_is_chosen = 1;
    sampling_default(&args->sampling, &batch->defaults);
    if (!rc)
        rc = open_output(batch, err);
    if (rc)
        return rc;
    if (!options.n_places)
        options.n_places =
            weir_schedule_usual_places(batch->model, args->n_ctx, args->kv, 0);
    batch->report.n_places = options.n_places;
    batch->tasks = calloc(options.n_places, sizeof(*batch->tasks));
    if (!batch->tasks)
        return weir_err_nomem(err, sizeof(*batch->tasks), "requests");
    options.other_bytes +=
        ID_BYTES * batch->input.n_lines +
        WEIR_LOGPROB_BYTES * weir_schedule_most_scores(args->n_ctx);
    rc = weir_schedule_new(batch->model, &options, finished, batch,
                           &batch->schedule, err);
    if (!rc)
        memory_warn_scratch(batch->model, options.n_places * options.n_ctx,
                            &args->cli);
    return rc;
}

/* The machine is measured in the memory that the model has left: all answers
 * are there by then, and are no worse if it cannot be. */
static int report(struct batch *batch, struct weir_err *err)
{
    const struct batch_args *args = &batch->args;
    unsigned n_threads = weir_pool_n_threads(batch->model->jamba->pool);
    int rc = 0;

    if (args->stats) {
        memory_print(batch->model);
        sampling_print(&args->sampling);
    }
    weir_schedule_free(batch->schedule);
    weir_model_close(batch->model);
    batch->schedule = NULL;
    batch->model = NULL;
    if (args->quiet && !args->json)
        return 0;
    weir_trace_part("measuring the machine", -1);
    if (batch->report.n_passes &&
        batch_report_measure(&batch->report, n_threads,
                             args->model_options.ram_bytes, err))
        cli_warn(&args->cli, "%s; what memory and cores do is not known",
                 err->message);
    if (!args->quiet)
        batch_report_print(&batch->report);
    if (args->json)
        rc = batch_report_print_json(&batch->report, err);
    return rc;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Whether one of both files waits under the name of the other to be whole:
 * NAME.part, or NAME.part.job */
static int would_meet(const char *path, const char *other)
{
    const char *a = name_of(path), *b = name_of(other);

    for (; *a && *a == *b; a++)
        b++;
    return (!*a || !*b) && (*a == *b || !strncmp(*a ? a : b, ".part", 5));
}

/* The timeline takes the place neither of the input nor of answers. */
static int begin_trace(struct batch_args *args, struct weir_err *err)
{
    struct trace_record *trace = &args->trace;
    const char *const inputs[] = {args->model, args->input};

    if (trace->path && args->output && would_meet(trace->path, args->output))
        return weir_err_set(err, WEIR_EARG,
                            "%s: is called as the answers are; give the "
                            "timeline another name",
                            trace->path);
    return trace_record_begin(trace, &args->cli, args->model_options.n_threads,
                              inputs, 2, err);
}

static int batch_main(int argc, char **argv)
{
    struct batch batch = {0};
    struct weir_err err;
    int rc, status;

    batch_args_parse(&batch.args, argc, argv);
    progress_init(&batch.progress, batch.args.quiet);
    signal(SIGPIPE, SIG_IGN);
    rc = begin_trace(&batch.args, &err);
    if (!rc)
        rc = prepare(&batch, &err);
    if (!rc)
        rc = answer_all(&batch, &err);
    if (!rc)
        rc = report(&batch, &err);
    status = rc ? cli_fail(&batch.args.cli, &err) : cli_finish(&batch.args.cli);
    weir_schedule_free(batch.schedule);
    weir_chat_free(batch.chat);
    weir_model_close(batch.model);
    batch_output_close(&batch.output);
    batch_input_close(&batch.input);
    weir_seen_fini(&batch.ids);
    free(batch.tasks);
    return trace_record_end(&batch.args.trace, &batch.args.cli, status);
}

const struct command cmd_batch = {"batch", batch_main};
