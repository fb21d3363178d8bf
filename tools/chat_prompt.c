/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat_prompt.h"

#include <string.h>

#include "base/utf8.h"
#include "text/chat.h"

void chat_prompt_check(const struct chat_prompt *chat, const struct cli *cli)
{
    if (chat->on)
        return;
    if (chat->system)
        cli_usage(cli, "--system has no meaning without --chat");
    if (chat->template)
        cli_usage(cli, "--chat-template has no meaning without --chat");
}

static int open_chat(const struct chat_prompt *prompt, const weir_model *model,
                     struct weir_chat **chat, struct weir_err *err)
{
    const struct weir_file *file = model->jamba->file;
    struct weir_buf text = WEIR_BUF(WEIR_JINJA_BYTES);
    int rc;

    if (prompt->template) {
        rc = cli_read(prompt->template, &text, err);
        if (!rc)
            rc = weir_chat_from_text(text.data ? text.data : "", text.n_bytes,
                                     prompt->template, file, chat, err);
        weir_buf_fini(&text);
        return rc;
    }
    rc = weir_chat_from_file(file, chat, err);
    if (!rc && !*chat)
        rc = weir_err_set(err, WEIR_ENOTSUP,
                          "%s: was packed without a chat template; give one "
                          "with --chat-template",
                          file->path);
    return rc;
}

static int add_message(json_t *messages, const char *role, const char *text,
                       size_t n_bytes)
{
    json_t *message =
        json_pack("{s:s, s:s%}", "role", role, "content", text, n_bytes);

    return json_array_append_new(messages, message);
}

static json_t *make_messages(const struct chat_prompt *prompt, const char *text,
                             size_t n_bytes)
{
    json_t *messages = json_array();
    int bad = 0;

    if (prompt->system)
        bad = add_message(messages, "system", prompt->system,
                          strlen(prompt->system));
    if (!bad)
        bad = add_message(messages, "user", text, n_bytes);
    if (!bad)
        return messages;
    json_decref(messages);
    return NULL;
}

static int check_text(const char *text, size_t n_bytes, struct weir_err *err)
{
    size_t valid = weir_utf8_valid(text, n_bytes);

    if (valid == n_bytes)
        return 0;
    return weir_err_at(err, WEIR_EFORMAT, valid,
                       "the message is not UTF-8 at byte %zu; convert it, for "
                       "example with iconv",
                       valid);
}

int chat_prompt_render(const struct chat_prompt *prompt,
                       const weir_model *model, const char *text,
                       size_t n_bytes, struct weir_buf *out,
                       struct weir_err *err)
{
    struct weir_chat_input input = {.add_generation_prompt = 1};
    struct weir_chat *chat = NULL;
    json_t *messages = NULL;
    int rc = open_chat(prompt, model, &chat, err);

    if (!rc)
        rc = check_text(text, n_bytes, err);
    if (!rc && prompt->system)
        rc = check_text(prompt->system, strlen(prompt->system), err);
    if (!rc) {
        messages = make_messages(prompt, text, n_bytes);
        if (!messages)
            rc = weir_err_nomem(err, n_bytes, "messages");
    }
    input.messages = messages;
    if (!rc)
        rc = weir_chat_render_guarded(chat, model->tokenizer, &input, out, err);
    json_decref(messages);
    weir_chat_free(chat);
    return rc;
}

int chat_prompt_open(const weir_model *model, const struct cli *cli,
                     struct weir_chat **chat, struct weir_err *err)
{
    int rc = weir_chat_from_file(model->jamba->file, chat, err);

    if (!rc || rc == WEIR_ENOMEM)
        return rc;
    cli_warn(cli, "%s; there will be no chats", err->message);
    return 0;
}
