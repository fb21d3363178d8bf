/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat_history.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Makes each folder above the file; what cannot be made will be missed. */
static void make_folders(char *path)
{
    for (char *at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
}

int chat_history_path(char *path, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;

    if (state && *state == '/')
        n = snprintf(path, size, "%s/weir/history", state);
    else if (home && *home == '/')
        n = snprintf(path, size, "%s/.local/state/weir/history", home);
    else
        return 0;
    if (n < 0 || (size_t)n >= size)
        return 0;
    make_folders(path);
    return 1;
}
