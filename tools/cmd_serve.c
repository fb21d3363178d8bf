/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAI's API over HTTP: options, signals and messages; src/serve/ serves. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "serve/server.h"
#include "tools/chat_prompt.h"
#include "tools/notify.h"
#include "tools/serve_args.h"

#ifdef WEIR_HAVE_LIBEVENT

#define N_TOKENS 256 /* most in an answer to a prompt */

struct serve {
    struct serve_args args;
    struct weir_completion_defaults defaults;
    weir_model *model;
    struct weir_chat *chat; /* NULL: it has no template */
    char model_name[256];
    struct weir_server *server;
};

static struct weir_server *served; /* by this process, for its signals */

/* The first lets all texts end, the second ends the process. */
static void on_signal(int number)
{
    weir_server_drain(served);
    signal(number, SIG_DFL);
}

static void catch_signals(struct weir_server *server)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    served = server;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

/* Answers of a server differ from each other unless the user wants them not to.
 */
static int choose_seed(struct serve_args *args, struct weir_err *err)
{
    uint64_t *seed = &args->sampling.values.seed;

    if (args->has_seed || getrandom(seed, sizeof(*seed), 0) == sizeof(*seed))
        return 0;
    return weir_err_set(err, WEIR_EIO,
                        "the system has no random numbers; give a --seed");
}

/* Only of the CPU prompts are kept. */
static int check_device(const struct serve *serve, struct weir_err *err)
{
    const struct serve_args *args = &serve->args;

    if (!serve->model->jamba->on || (!args->has_cache && !args->cache_folder))
        return 0;
    return weir_err_set(err, WEIR_ENOTSUP,
                        "a GPU computes, whose prompts are not kept; leave out "
                        "--cache-ram and --cache-dir, or give --device cpu");
}

static int open_model(struct serve *serve, struct weir_err *err)
{
    struct serve_args *args = &serve->args;
    int rc =
        weir_model_open(args->model, &args->model_options, &serve->model, err);

    if (!rc)
        rc = check_device(serve, err);
    if (rc)
        return rc;
    memory_warn(serve->model, &args->cli);
    cli_name_model(args->model, serve->model_name, sizeof(serve->model_name));
    rc = sampling_settle(&args->sampling, serve->model, err);
    if (!rc)
        rc = choose_seed(args, err);
    if (!rc)
        rc = chat_prompt_open(serve->model, &args->cli, &serve->chat, err);
    if (!args->has_cache)
        args->cache_bytes = weir_schedule_usual_cache(serve->model);
    if (!args->n_places)
        args->n_places = weir_schedule_usual_places(
            serve->model, args->n_ctx, args->kv, args->cache_bytes);
    serve->defaults.n_ctx = args->n_ctx;
    serve->defaults.n_tokens = args->n_tokens ? args->n_tokens : N_TOKENS;
    serve->defaults.n_tokens_is_chosen = args->n_tokens != 0;
    serve->defaults.chat = serve->chat;
    sampling_default(&args->sampling, &serve->defaults);
    return rc;
}

static int open_server(struct serve *serve, struct weir_err *err)
{
    const struct serve_args *args = &serve->args;
    const struct weir_server_options options = {
        .host = args->host,
        .port = args->port,
        .cors = args->cors,
        .keys = &args->keys,
        .model_name = args->name ? args->name : serve->model_name,
        .defaults = &serve->defaults,
        .kv = args->kv,
        .n_places = args->n_places,
        .n_queue = args->n_queue,
        .n_piece_tok = args->n_piece_tok,
        .cache_bytes = args->cache_bytes,
        .cache_folder = args->cache_folder,
        .cache_file_bytes = args->cache_file_bytes,
        .timeout_s = args->timeout_s,
    };

    return weir_server_open(serve->model, &options, &serve->server, err);
}

static int is_loopback(const char *host)
{
    return !strncmp(host, "127.", 4) || !strcmp(host, "::1") ||
           !strcmp(host, "localhost");
}

static int announce(const struct serve *serve, struct weir_err *err)
{
    const struct serve_args *args = &serve->args;

    if (!is_loopback(args->host) && args->keys.n == 0)
        cli_warn(&args->cli,
                 "whoever reaches %s may ask; --api-key-file asks for a key",
                 args->host);
    if (!args->quiet)
        fprintf(stderr, "weir serve: listening on %s, %zu texts in step\n",
                weir_server_url(serve->server), args->n_places);
    return notify_manager("READY=1", err);
}

static int serve_main(int argc, char **argv)
{
    static struct serve serve;
    struct weir_err err;
    int rc, status;

    serve_args_parse(&serve.args, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    rc = open_model(&serve, &err);
    if (!rc)
        rc = open_server(&serve, &err);
    if (!rc) {
        catch_signals(serve.server);
        rc = announce(&serve, &err);
    }
    if (!rc)
        rc = weir_server_run(serve.server, &err);
    status = rc ? cli_fail(&serve.args.cli, &err) : CLI_OK;
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    weir_server_close(serve.server);
    weir_chat_free(serve.chat);
    weir_model_close(serve.model);
    return status;
}

#else

static int serve_main(int argc, char **argv)
{
    static struct serve_args args;
    struct weir_err err;

    serve_args_parse(&args, argc, argv);
    weir_err_set(&err, WEIR_ENOTSUP,
                 "this weir was built without libevent, which speaks HTTP; "
                 "install libevent's headers and build weir again");
    return cli_fail(&args.cli, &err);
}

#endif

const struct command cmd_serve = {"serve", serve_main};
