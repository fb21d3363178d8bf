/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat_message.h"

#include <string.h>

#define QUOTES "\"\"\""

/* Takes the quotes away that the text ends in, past its first `from` bytes. */
static int ends_in_quotes(struct weir_buf *message, size_t from)
{
    const size_t n = strlen(QUOTES);

    if (message->n_bytes < from + n ||
        memcmp(message->data + message->n_bytes - n, QUOTES, n))
        return 0;
    message->n_bytes -= n;
    message->data[message->n_bytes] = '\0';
    return 1;
}

/*
 * What stands behind the first quotes is the first line, if it is anything.  A
 * block that is not ended is dropped.
 */
static int read_block(struct chat_lines *lines, struct weir_buf *message,
                      struct weir_err *err)
{
    int kind = CHAT_LINE_TEXT, rc;
    size_t from = 0;

    message->n_bytes -= strlen(QUOTES);
    memmove(message->data, message->data + strlen(QUOTES), message->n_bytes);
    while (!ends_in_quotes(message, from)) {
        rc = from || message->n_bytes ? weir_buf_add(message, "\n", 1, err) : 0;
        from = message->n_bytes;
        if (!rc)
            kind = rc = chat_lines_read(lines, "... ", message, err);
        if (rc < 0)
            return rc;
        if (kind != CHAT_LINE_TEXT)
            return CHAT_LINE_CANCEL;
    }
    if (message->n_bytes && message->n_bytes == from &&
        message->data[from - 1] == '\n')
        message->n_bytes--;
    return kind;
}

int chat_message_read(struct chat_lines *lines, struct weir_buf *message,
                      int *is_block, struct weir_err *err)
{
    int kind;

    message->n_bytes = 0;
    *is_block = 0;
    kind = chat_lines_read(lines, ">>> ", message, err);
    if (kind != CHAT_LINE_TEXT || message->n_bytes < strlen(QUOTES) ||
        memcmp(message->data, QUOTES, strlen(QUOTES)))
        return kind;
    *is_block = 1;
    return read_block(lines, message, err);
}
