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

int chat_prompt_template(const struct chat_prompt *prompt,
                         const weir_model *model, struct weir_chat **chat,
                         struct weir_err *err)
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

int chat_prompt_add(json_t *messages, const char *role, const char *text,
                    size_t n_bytes, struct weir_err *err)
{
    int rc = check_text(text, n_bytes, err);

    if (!rc &&
        json_array_append_new(messages, json_pack("{s:s, s:s%}", "role", role,
                                                  "content", text, n_bytes)))
        rc = weir_err_nomem(err, n_bytes, "messages");
    return rc;
}

static int make_messages(const struct chat_prompt *prompt, const char *text,
                         size_t n_bytes, json_t *messages, struct weir_err *err)
{
    int rc = 0;

    if (!messages)
        return weir_err_nomem(err, n_bytes, "messages");
    if (prompt->system)
        rc = chat_prompt_add(messages, "system", prompt->system,
                             strlen(prompt->system), err);
    return rc ? rc : chat_prompt_add(messages, "user", text, n_bytes, err);
}

int chat_prompt_render(const struct chat_prompt *prompt,
                       const weir_model *model, const char *text,
                       size_t n_bytes, struct weir_buf *out,
                       struct weir_err *err)
{
    json_t *messages = json_array();
    const struct weir_chat_input input = {.messages = messages,
                                          .add_generation_prompt = 1};
    struct weir_chat *chat = NULL;
    int rc = chat_prompt_template(prompt, model, &chat, err);

    if (!rc)
        rc = make_messages(prompt, text, n_bytes, messages, err);
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
