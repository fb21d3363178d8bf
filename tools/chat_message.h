/* SPDX-License-Identifier: Apache-2.0 */
/* What a user says at a time: a line, or several between """ and """. */
#ifndef WEIR_TOOLS_CHAT_MESSAGE_H
#define WEIR_TOOLS_CHAT_MESSAGE_H

#include "tools/chat_lines.h"

/*
 * An enum chat_line, of what ended it; its text replaces what `message` held.
 * *is_block: it was between quotes, and so is not a command.  Errors as those
 * of chat_lines_read().
 */
int chat_message_read(struct chat_lines *lines, struct weir_buf *message,
                      int *is_block, struct weir_err *err);

#endif
