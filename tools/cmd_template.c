/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "offload/file.h"
#include "text/chat.h"
#include "tools/cli.h"

#define INPUT_BYTES (64UL << 20) /* most in the variables */

struct template_args {
    struct cli cli;
    const char *model, *file, *input;
};

static void parse(struct template_args *args, int argc, char **argv)
{
    struct cli *cli = &args->cli;
    int option;

    cli_init(cli, argc, argv);
    while ((option = cli_next(cli)) != CLI_END) {
        switch (option) {
        case OPT_template_file:
            args->file = cli->value;
            break;
        case OPT_template_input:
            args->input = cli->value;
            break;
        default:
            cli_keep_argument(cli, &args->model, "model");
        }
    }
    if (!args->model == !args->file)
        cli_usage(cli, "which template: a MODEL, or --file FILE?");
}

static int read_input(const char *path, json_t **input, struct weir_err *err)
{
    const char *what = path && path[0] ? path : "standard input";
    struct weir_buf text = WEIR_BUF(INPUT_BYTES);
    int rc = cli_read(path, &text, err);

    if (!rc)
        rc = weir_json_parse(text.data ? text.data : "", text.n_bytes, what,
                             input, err);
    weir_buf_fini(&text);
    if (!rc && !json_is_object(*input))
        rc = weir_err_set(err, WEIR_EFORMAT,
                          "%s: must be an object, such as {\"messages\": "
                          "[...]}",
                          what);
    return rc;
}

/* A file alone knows only what the input has. */
static int render_file(const struct template_args *args, const json_t *input,
                       struct weir_buf *out, struct weir_err *err)
{
    struct weir_buf text = WEIR_BUF(WEIR_JINJA_BYTES);
    struct weir_jinja *jinja = NULL;
    int rc = cli_read(args->file, &text, err);

    if (!rc)
        rc = weir_jinja_parse(text.data ? text.data : "", text.n_bytes,
                              args->file, &jinja, err);
    if (!rc)
        rc = weir_jinja_render(jinja, &input, 1, 0, out, err);
    weir_jinja_free(jinja);
    weir_buf_fini(&text);
    return rc;
}

static int render_model(const struct template_args *args, const json_t *input,
                        struct weir_buf *out, struct weir_err *err)
{
    const struct weir_chat_input chat_input = {
        .messages = json_object_get(input, "messages"),
        .add_generation_prompt = -1,
        .extra = input,
        .tools = json_object_get(input, "tools"),
        .documents = json_object_get(input, "documents")};
    struct weir_chat *chat = NULL;
    struct weir_file *file;
    int rc = weir_file_open(args->model, &file, err);

    if (rc)
        return rc;
    rc = weir_chat_from_file(file, &chat, err);
    if (!rc && !chat)
        rc = weir_err_set(err, WEIR_ENOTSUP,
                          "%s: was packed without a chat template; give one "
                          "with --file",
                          args->model);
    if (!rc)
        rc = weir_chat_render(chat, &chat_input, out, err);
    weir_chat_free(chat);
    weir_file_close(file);
    return rc;
}

static int run(int argc, char **argv)
{
    struct weir_buf out = WEIR_BUF(WEIR_JINJA_TEXT_BYTES);
    struct template_args args = {0};
    json_t *input = NULL;
    struct weir_err err;
    int rc;

    parse(&args, argc, argv);
    rc = read_input(args.input, &input, &err);
    if (!rc)
        rc = args.file ? render_file(&args, input, &out, &err)
                       : render_model(&args, input, &out, &err);
    if (!rc && out.n_bytes)
        fwrite(out.data, 1, out.n_bytes, stdout);
    json_decref(input);
    weir_buf_fini(&out);
    return rc ? cli_fail(&args.cli, &err) : cli_finish(&args.cli);
}

const struct command cmd_template = {"template", run};
