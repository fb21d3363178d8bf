/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/trace.h"
#include "engine/chooser.h"
#include "tools/answer_form.h"
#include "tools/chat.h"
#include "tools/chat_interrupt.h"
#include "tools/cli.h"
#include "tools/ids.h"
#include "tools/memory.h"
#include "tools/progress.h"
#include "tools/run_forecast.h"
#include "tools/run_session.h"
#include "tools/sampling.h"
#include "tools/trace_record.h"

#define PROMPT_BYTES (1UL << 30) /* most in a prompt, and in an answer */
#define N_TOKENS     256         /* most in an answer, unless -n says */
#define CHAT_TOK     16384       /* room in a chat on the terminal */

struct run_args {
    struct cli cli;
    const char *model;
    const char *prompt, *file, *ids; /* at most one */
    struct chat_prompt chat;
    int on_terminal; /* a chat there, in place of a prompt */
    size_t n_tokens; /* 0: for a chat, what there is room for */
    struct sampling sampling;
    struct answer_form form;
    struct weir_model_options model_options;
    struct weir_session_options session_options;
    struct trace_record trace;
    struct run_session session;
    int stats, json;
};

struct run {
    struct run_args args;
    weir_model *model;
    weir_session *session;
    struct weir_chooser chooser;
    int32_t *ids; /* the prompt */
    size_t n_ids, n_cached;
    size_t n_out;
    int at_eos;
    int broken;                   /* standard output takes no more */
    struct weir_buf text;         /* of the answer, for JSON */
    struct weir_buf answer;       /* its ids as int32_t, likewise */
    struct run_forecast forecast; /* with --stats */
    double load_s, prompt_s, answer_s;
    struct progress progress; /* of the prompt */
};

/* A line on the terminal while a long prompt is read */
static int show_prompt(void *ctx, size_t n_done, size_t n_tok)
{
    if (n_tok > 1)
        progress_show(ctx, "reading the prompt", n_done, n_tok);
    return n_tok > 1 && chat_interrupt_seen();
}

static void take_source(const struct run_args *args)
{
    if (args->prompt || args->file || args->ids)
        cli_usage(&args->cli, "one prompt at a time: one of -p, -f and --ids");
}

static void take_option(struct run_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_run_prompt:
        take_source(args);
        args->prompt = cli->value;
        break;
    case OPT_run_file:
        take_source(args);
        args->file = cli->value;
        break;
    case OPT_run_ids:
        take_source(args);
        args->ids = cli->value;
        break;
    case OPT_run_chat:
        args->chat.on = 1;
        break;
    case OPT_run_system:
        args->chat.system = cli->value;
        break;
    case OPT_run_chat_template:
        args->chat.template = cli->value;
        break;
    case OPT_run_n_tokens:
        args->n_tokens = cli_uint(cli, 1, INT32_MAX);
        break;
    case OPT_run_ctx:
        args->session_options.n_ctx = cli_uint(cli, 2, INT32_MAX);
        break;
    case OPT_run_kv:
        args->session_options.kv =
            cli_choice(cli, "f32|bf16") ? WEIR_KV_BF16 : WEIR_KV_F32;
        break;
    case OPT_run_threads:
        args->model_options.n_threads = cli_threads(cli);
        break;
    case OPT_run_session:
        args->session.path = cli->value;
        break;
    case OPT_run_trace:
        args->trace.path = cli->value;
        break;
    case OPT_run_stats:
        args->stats = 1;
        break;
    case OPT_run_json:
        args->json = 1;
        break;
    default:
        if (!sampling_take(&args->sampling, cli, option) &&
            !answer_form_take(&args->form, cli, option) &&
            !memory_take(&args->model_options, cli, option))
            cli_keep_argument(cli, &args->model, "model");
    }
}

static int is_stdin(const char *path)
{
    return path && !strcmp(path, "-");
}

/* Standard input gives either a schema or something else. */
static void check_stdin(const struct run_args *args)
{
    if (!answer_form_reads_stdin(&args->form))
        return;
    if ((!args->prompt && !args->file && !args->ids) || is_stdin(args->file) ||
        is_stdin(args->ids))
        cli_usage(&args->cli, "the prompt comes from standard input, and so "
                              "would --json-schema -; name a file");
    if (is_stdin(args->chat.template))
        cli_usage(&args->cli, "--chat-template and --json-schema cannot both "
                              "come from standard input; name a file");
}

static void parse(struct run_args *args, int argc, char **argv)
{
    int option;

    sampling_init(&args->sampling);
    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    if (!args->model)
        cli_usage(&args->cli, "no model given");
    memory_check(&args->model_options, &args->cli);
    check_stdin(args);
    args->on_terminal = !args->prompt && !args->file && !args->ids &&
                        !args->json && isatty(STDIN_FILENO) &&
                        isatty(STDOUT_FILENO);
    if (args->on_terminal)
        return;
    chat_prompt_check(&args->chat, &args->cli);
    if (args->chat.on && args->ids)
        cli_usage(&args->cli, "--chat wants text, not --ids");
    if (args->session_options.n_ctx)
        cli_usage(&args->cli, "--ctx is for a chat on a terminal; here there "
                              "is room for the prompt and -n tokens");
    if (!args->n_tokens)
        args->n_tokens = N_TOKENS;
}

static int need_tokenizer(const struct run *run, struct weir_err *err)
{
    if (run->model->tokenizer)
        return 0;
    return weir_err_set(err, WEIR_ENOTSUP,
                        "%s: was packed without a tokenizer, so that it cannot "
                        "read text; give the prompt as --ids FILE",
                        run->args.model);
}

static int encode_message(struct run *run, const char *text, size_t n_bytes,
                          struct weir_err *err)
{
    struct weir_buf chat = WEIR_BUF(PROMPT_BYTES);
    int rc = chat_prompt_render(&run->args.chat, run->model, text, n_bytes,
                                &chat, err);

    if (!rc)
        rc = weir_model_encode(run->model, chat.data ? chat.data : "",
                               chat.n_bytes, WEIR_SPECIAL_GUARDED, 1, &run->ids,
                               &run->n_ids, err);
    weir_buf_fini(&chat);
    return rc;
}

static int encode(struct run *run, const char *text, size_t n_bytes,
                  struct weir_err *err)
{
    if (run->args.chat.on)
        return encode_message(run, text, n_bytes, err);
    return weir_model_encode(run->model, text, n_bytes, 1, 1, &run->ids,
                             &run->n_ids, err);
}

static int read_prompt(struct run *run, struct weir_err *err)
{
    const struct run_args *args = &run->args;
    struct weir_buf buf = WEIR_BUF(PROMPT_BYTES);
    int rc;

    if (args->ids)
        return ids_read(args->ids, &run->ids, &run->n_ids, err);
    rc = need_tokenizer(run, err);
    if (rc)
        return rc;
    if (args->prompt)
        return encode(run, args->prompt, strlen(args->prompt), err);
    rc = cli_read(args->file, &buf, err);
    if (!rc)
        rc = encode(run, buf.data ? buf.data : "", buf.n_bytes, err);
    weir_buf_fini(&buf);
    return rc;
}

static int open_model(struct run *run, struct weir_err *err)
{
    double start = progress_seconds();
    int rc;

    rc = weir_model_open(run->args.model, &run->args.model_options, &run->model,
                         err);
    run->load_s = progress_seconds() - start;
    if (!rc)
        memory_warn(run->model, &run->args.cli);
    if (!rc)
        rc = sampling_settle(&run->args.sampling, run->model, err);
    if (!rc)
        sampling_warn(&run->args.sampling, &run->args.cli);
    return rc ? rc : answer_form_open(&run->args.form, run->model, err);
}

/* With room for n_ctx tokens, or more */
static int open_session(struct run *run, struct weir_session_options *options,
                        struct weir_err *err)
{
    const struct answer_form *form = &run->args.form;
    size_t n_vocab = weir_model_n_vocab(run->model);
    double start;
    int rc = run_session_prepare(&run->args.session, run->model, options, err);

    if (rc)
        return rc;
    options->progress = show_prompt;
    options->progress_ctx = &run->progress;
    if (run->args.stats && run->n_ids)
        run_forecast_make(&run->forecast, run->model, options, run->n_ids);
    start = progress_seconds();
    if (form->grammar)
        rc = weir_session_reserve(run->model, options, 1,
                                  answer_form_bytes(form, run->model), err);
    if (!rc)
        rc = weir_session_new(run->model, options, &run->session, err);
    if (!rc)
        rc = run_session_load(&run->args.session, run->session, err);
    run->load_s += progress_seconds() - start;
    run->chooser.logits = calloc(n_vocab, sizeof(*run->chooser.logits));
    if (!rc && !run->chooser.logits)
        rc = weir_err_nomem(err, n_vocab * sizeof(*run->chooser.logits),
                            "logits");
    return rc;
}

static int begin_answer(struct run *run, struct weir_err *err)
{
    const struct sampling *sampling = &run->args.sampling;
    uint32_t n_eos;
    const int32_t *eos = sampling_eos(sampling, run->model, &n_eos);
    int rc = weir_sampler_init(&run->chooser.sampler, &sampling->values,
                               weir_model_n_vocab(run->model), err);

    return rc ? rc
              : answer_form_begin(&run->args.form, run->model, eos, n_eos,
                                  &run->chooser.mask, err);
}

static int prepare(struct run *run, struct weir_err *err)
{
    struct weir_session_options options = run->args.session_options;
    int rc = read_prompt(run, err);

    if (rc)
        return rc;
    if (run->n_ids == 0)
        return weir_err_set(err, WEIR_EFORMAT,
                            "the prompt is empty, and the "
                            "model has no id to begin with");
    options.n_ctx = run->n_ids + run->args.n_tokens;
    rc = open_session(run, &options, err);
    if (rc)
        return rc;
    memory_warn_scratch(run->model, run->n_ids, &run->args.cli);
    return begin_answer(run, err);
}

static int show(struct run *run, const char *text, size_t n_bytes,
                struct weir_err *err)
{
    if (run->args.json)
        return weir_buf_add(&run->text, text, n_bytes, err);
    fwrite(text, 1, n_bytes, stdout);
    run->broken = fflush(stdout) != 0;
    return 0;
}

static int show_both(struct run *run, const struct weir_stop_out *out,
                     struct weir_err *err)
{
    int rc = show(run, out->text[0], out->n_bytes[0], err);

    return rc ? rc : show(run, out->text[1], out->n_bytes[1], err);
}

/* Shows the text less what is, or may yet become, a stop string. */
static int put_text(struct run *run, const char *text, size_t n_bytes,
                    struct weir_err *err)
{
    struct weir_stop_out out;

    weir_stop_push(&run->args.sampling.stop, text, n_bytes, &out);
    return show_both(run, &out, err);
}

/* The next token of the answer, or with id < 0 its end */
static int put_token(struct run *run, int32_t id, struct weir_err *err)
{
    const char *text;
    char number[16];
    size_t n_bytes;
    int rc;

    if (id >= 0 && run->args.json) {
        rc = weir_buf_add(&run->answer, &id, sizeof(id), err);
        if (rc)
            return rc;
    }
    if (run->model->tokenizer) {
        rc = weir_session_decode(run->session, id, &text, &n_bytes, err);
        return rc ? rc : put_text(run, text, n_bytes, err);
    }
    if (run->args.json)
        return 0;
    if (id < 0)
        return put_text(run, "\n", 1, err);
    n_bytes = (size_t)snprintf(number, sizeof(number), "%s%" PRId32,
                               run->n_out ? " " : "", id);
    return put_text(run, number, n_bytes, err);
}

static int next_token(struct run *run, int32_t *id, struct weir_err *err)
{
    *id = weir_chooser_next(&run->chooser);
    if (*id >= 0 || *id == WEIR_MASK_NO_TOKEN)
        return 0;
    return weir_err_set(err, WEIR_ECORRUPT,
                        "%s: the scores after token %zu are not finite; its "
                        "weights are damaged or overflow",
                        run->args.model, weir_session_n_tok(run->session));
}

static int put_end(struct run *run, struct weir_err *err)
{
    struct weir_stop_out out;
    int rc = put_token(run, -1, err);

    if (rc)
        return rc;
    weir_stop_finish(&run->args.sampling.stop, &out);
    return show_both(run, &out, err);
}

/* Whether the answer is at its end behind this token of it */
static int is_last(struct run *run, int32_t id)
{
    if (run->args.sampling.stop.met < 0)
        run->at_eos = answer_form_ends(run->chooser.mask, id);
    return run->at_eos || run->n_out == run->args.n_tokens || run->broken ||
           run->args.sampling.stop.met >= 0 || run_session_is_over();
}

static int generate(struct run *run, struct weir_err *err)
{
    double start = progress_seconds();
    int32_t id;
    int rc;

    rc = weir_session_prefix(run->session, run->ids, run->n_ids,
                             run->chooser.logits, &run->n_cached, err);
    run->prompt_s = progress_seconds() - start;
    progress_end(&run->progress);
    weir_sampler_see_prompt(&run->chooser.sampler, run->ids, run->n_ids);
    run_session_catch(&run->args.session);
    start = progress_seconds();
    while (!rc) {
        weir_trace_part("sampling", -1);
        rc = next_token(run, &id, err);
        run->at_eos =
            !rc && sampling_is_eos(&run->args.sampling, run->model, id);
        if (rc || run->at_eos || id == WEIR_MASK_NO_TOKEN)
            break;
        rc = put_token(run, id, err);
        run->n_out++;
        if (is_last(run, id))
            break;
        if (!rc)
            rc = weir_chooser_eval(&run->chooser, run->session, id, err);
    }
    run->answer_s = progress_seconds() - start;
    return rc || run->broken ? rc : put_end(run, err);
}

static double per_second(size_t n, double s)
{
    return s > 0 ? (double)n / s : 0;
}

/* The first token of an answer comes with the prompt. */
static size_t n_steps(const struct run *run)
{
    return weir_session_n_tok(run->session) - run->n_ids;
}

static double prompt_tps(const struct run *run)
{
    return per_second(run->n_ids - run->n_cached, run->prompt_s);
}

static double answer_tps(const struct run *run)
{
    return per_second(n_steps(run), run->answer_s);
}

static json_t *plan_json(const struct run *run)
{
    return run_forecast_json(&run->forecast, prompt_tps(run), answer_tps(run));
}

static const char *stop_reason(const struct run *run)
{
    if (run->args.sampling.stop.met >= 0)
        return "stop";
    if (run->at_eos)
        return "eos";
    return run_session_is_over() ? "interrupt" : "length";
}

static json_t *stop_string(const struct run *run)
{
    const struct weir_stop *stop = &run->args.sampling.stop;

    if (stop->met < 0)
        return json_null();
    return json_stringn(stop->strings[stop->met].text,
                        stop->strings[stop->met].n_bytes);
}

static int print_json(const struct run *run, struct weir_err *err)
{
    const int32_t *answer = (const int32_t *)run->answer.data;
    json_t *ids = json_array(), *text = json_null(), *root;
    int bad = 0, rc;

    for (size_t i = 0; i < run->n_out; i++)
        bad |= json_array_append_new(ids, json_integer(answer[i]));
    if (run->model->tokenizer)
        text = json_stringn(run->text.data ? run->text.data : "",
                            run->text.n_bytes);
    root = json_pack(
        "{s:I, s:I, s:I, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:f, s:f, s:f, "
        "s:f, s:f}",
        "prompt_tokens", (json_int_t)run->n_ids, "cached_tokens",
        (json_int_t)run->n_cached, "generated_tokens", (json_int_t)run->n_out,
        "text", text, "ids", ids, "stop", stop_reason(run), "stop_string",
        stop_string(run), "sampling", sampling_json(&run->args.sampling),
        "weights", memory_json(run->model), "plan", plan_json(run), "load_s",
        run->load_s, "prompt_s", run->prompt_s, "prompt_tok_per_s",
        prompt_tps(run), "generate_s", run->answer_s, "generate_tok_per_s",
        answer_tps(run));
    if (!root || bad) {
        json_decref(root);
        return weir_err_nomem(err, run->text.n_bytes, "JSON");
    }
    rc = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(root);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}

/* What ended an answer before it was whole, or NULL */
static const char *cut_by(const struct run *run)
{
    if (!run->chooser.mask || run->at_eos || run->broken)
        return NULL;
    if (run->args.sampling.stop.met >= 0)
        return "a stop string";
    if (weir_mask_may_end(run->chooser.mask))
        return NULL;
    if (run_session_is_over())
        return "a signal";
    return run->n_out == run->args.n_tokens ? "-n" : "want of tokens for it";
}

/* Whoever reads JSON wants to know, though it is no error. */
static void warn_if_cut(const struct run *run)
{
    const char *by = cut_by(run);

    if (by)
        cli_warn(&run->args.cli,
                 "the answer is not whole: it was ended by %s, after %zu "
                 "tokens",
                 by, run->n_out);
}

static int answer_prompt(struct run *run, struct weir_err *err)
{
    int rc = prepare(run, err);

    if (!rc)
        rc = generate(run, err);
    if (!rc && run->args.json)
        rc = print_json(run, err);
    if (!rc)
        warn_if_cut(run);
    return rc;
}

/* A chat is not timed as a whole: it has its own --stats. */
static int converse(struct run *run, struct weir_err *err)
{
    struct run_args *args = &run->args;
    struct weir_session_options options = args->session_options;
    struct chat chat = {.cli = &args->cli,
                        .model = run->model,
                        .prompt = &args->chat,
                        .sampling = &args->sampling,
                        .form = &args->form,
                        .progress = &run->progress,
                        .n_tokens = args->n_tokens,
                        .stats = args->stats};
    int rc = need_tokenizer(run, err);

    if (rc)
        return rc;
    if (!options.n_ctx)
        options.n_ctx = CHAT_TOK;
    options.snapshot_bytes =
        weir_session_usual_snapshots(run->model, options.n_ctx);
    rc = open_session(run, &options, err);
    chat.session = run->session;
    chat.logits = run->chooser.logits;
    chat.n_ctx = options.n_ctx;
    return rc ? rc : chat_run(&chat, err);
}

static void print_stats(const struct run *run)
{
    fprintf(stderr,
            "load      %.3f s\n"
            "prompt    %zu tokens, %.3f s, %.2f tok/s\n"
            "generated %zu tokens, %.3f s, %.2f tok/s\n",
            run->load_s, run->n_ids, run->prompt_s, prompt_tps(run), run->n_out,
            run->answer_s, answer_tps(run));
    run_session_print(&run->args.session, run->n_ids, run->n_cached);
    run_forecast_print(&run->forecast, prompt_tps(run), answer_tps(run));
    memory_print(run->model);
    sampling_print(&run->args.sampling);
}

static void release(struct run *run)
{
    answer_form_end(run->chooser.mask);
    answer_form_fini(&run->args.form);
    weir_sampler_fini(&run->chooser.sampler);
    weir_session_free(run->session);
    weir_model_close(run->model);
    weir_buf_fini(&run->text);
    weir_buf_fini(&run->answer);
    free(run->ids);
    free(run->chooser.logits);
}

static int begin_trace(struct run_args *args, struct weir_err *err)
{
    const char *const inputs[] = {args->model,         args->file,
                                  args->ids,           args->form.schema,
                                  args->chat.template, args->session.path};

    return trace_record_begin(&args->trace, &args->cli,
                              args->model_options.n_threads, inputs,
                              sizeof(inputs) / sizeof(*inputs), err);
}

/* A reader that goes away is an error to report, not a signal to die from. */
static int run_main(int argc, char **argv)
{
    struct run run = {.text = WEIR_BUF(PROMPT_BYTES),
                      .answer = WEIR_BUF(PROMPT_BYTES)};
    struct weir_err err;
    int rc, status;

    parse(&run.args, argc, argv);
    progress_init(&run.progress, 0);
    run.progress.unit = "tokens";
    signal(SIGPIPE, SIG_IGN);
    rc = answer_form_read(&run.args.form, &err);
    if (!rc)
        rc = begin_trace(&run.args, &err);
    if (!rc)
        rc = open_model(&run, &err);
    if (!rc)
        rc = run.args.on_terminal ? converse(&run, &err)
                                  : answer_prompt(&run, &err);
    if (!rc && weir_session_n_tok(run.session))
        rc = run_session_save(&run.args.session, run.session, &err);
    status = rc ? cli_fail(&run.args.cli, &err) : cli_finish(&run.args.cli);
    if (!rc && run.args.stats && !run.args.on_terminal)
        print_stats(&run);
    release(&run);
    run_session_die();
    return trace_record_end(&run.args.trace, &run.args.cli, status);
}

const struct command cmd_run = {"run", run_main};
