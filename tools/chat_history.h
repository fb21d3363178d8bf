/* SPDX-License-Identifier: Apache-2.0 */
/* Where the lines of earlier chats are kept. */
#ifndef WEIR_TOOLS_CHAT_HISTORY_H
#define WEIR_TOOLS_CHAT_HISTORY_H

#include <stddef.h>

/*
 * The file weir/history below $XDG_STATE_HOME, or ~/.local/state (XDG Base
 * Directory Specification 0.8), whose folders are made.  0: there is no place
 * for it.
 */
int chat_history_path(char *path, size_t size);

#endif
