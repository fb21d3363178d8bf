/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat.h"

#include <stdio.h>
#include <string.h>

#include "tools/chat_interrupt.h"
#include "tools/chat_message.h"

void chat_say(struct chat *chat)
{
    struct weir_err err;
    int rc = chat_answer(chat, &err);

    if (!rc && chat->stats)
        chat_print_stats(chat);
    if (!rc)
        return;
    chat_text_drop(&chat->text);
    if (rc == WEIR_ESTOPPED)
        fputs("[stopped; the message is taken back]\n", stderr);
    else
        cli_fail(chat->cli, &err);
}

static void take_message(struct chat *chat, const struct weir_buf *message,
                         int is_block)
{
    struct weir_err err;

    if (!message->n_bytes)
        return;
    if (!is_block && message->data[0] == '/')
        chat_command(chat, message->data);
    else if (chat_text_add(&chat->text, "user", message->data, message->n_bytes,
                           &err))
        cli_fail(chat->cli, &err);
    else
        chat_say(chat);
}

static int converse(struct chat *chat, struct chat_lines *lines,
                    struct weir_buf *message, struct weir_err *err)
{
    int kind = CHAT_LINE_TEXT, before, is_block;

    while (!chat->is_over) {
        before = kind;
        kind = chat_message_read(lines, message, &is_block, err);
        if (kind < 0)
            return kind;
        if (kind == CHAT_LINE_TEXT)
            take_message(chat, message, is_block);
        else if (kind == CHAT_LINE_BREAK && before != CHAT_LINE_BREAK)
            puts("Ctrl-C again, Ctrl-D or /bye ends the chat.");
        else if (kind != CHAT_LINE_CANCEL)
            chat->is_over = 1;
    }
    return 0;
}

int chat_run(struct chat *chat, struct weir_err *err)
{
    struct weir_buf message = WEIR_BUF(CHAT_TEXT_BYTES);
    struct chat_lines *lines = NULL;
    int rc = chat_text_open(&chat->text, chat->model, chat->prompt, err);

    if (!rc && !chat->text.template)
        cli_warn(chat->cli,
                 "%s; until then what you type is gone on with as it is",
                 err->message);
    if (!rc) {
        lines = chat_lines_new();
        if (!lines)
            rc = weir_err_set(err, WEIR_EIO,
                              "the terminal cannot be set up for a chat; give "
                              "the prompt with -p or -f");
    }
    if (!rc) {
        chat_show_init(&chat->show);
        chat_interrupt_catch();
        puts("/help says what there is; Ctrl-D ends the chat.");
        rc = converse(chat, lines, &message, err);
    }
    chat_lines_free(lines);
    chat_text_close(&chat->text);
    weir_buf_fini(&message);
    return rc;
}
