/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void strip_controls(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

/* What does not fit is cut from the middle: paths are long, cures are last. */
static void fill_message(struct weir_err *err, const char *fmt, va_list args)
{
    const size_t room = sizeof(err->message), head = 160;
    char text[8192];
    size_t n;

    vsnprintf(text, sizeof(text), fmt, args);
    n = strlen(text);
    if (n < room)
        memcpy(err->message, text, n + 1);
    else
        snprintf(err->message, room, "%.*s...%s", (int)head, text,
                 text + n - (room - head - 4));
}

static int err_fill(struct weir_err *err, int code, uint64_t offset,
                    const char *fmt, va_list args)
{
    if (err) {
        err->code = code;
        err->offset = offset;
        fill_message(err, fmt, args);
        strip_controls(err->message);
    }
    return code;
}

int weir_err_set(struct weir_err *err, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    err_fill(err, code, 0, fmt, args);
    va_end(args);
    return code;
}

int weir_err_at(struct weir_err *err, int code, uint64_t offset,
                const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    err_fill(err, code, offset, fmt, args);
    va_end(args);
    return code;
}

int weir_err_nomem(struct weir_err *err, size_t n_bytes, const char *what)
{
    return weir_err_set(err, WEIR_ENOMEM,
                        "out of memory: %zu bytes for %s; close other "
                        "programs or use a machine with more memory",
                        n_bytes, what);
}

static const char *cure_of(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return "; free some space and run the command again";
    case ENOENT:
        return "; check the path";
    case EISDIR:
    case ENOTDIR:
        return "; name a file in a folder that is there";
    case EACCES:
    case EPERM:
        return "; check the permissions";
    case EMFILE:
    case ENFILE:
        return "; raise the limit of open files (ulimit -n)";
    case ENOMEM:
        return "; close other programs or use a machine with more memory";
    case EAGAIN:
        return "; use fewer threads";
    default:
        return "";
    }
}

int weir_err_errno(struct weir_err *err, int errnum, const char *verb,
                   const char *path)
{
    char text[128];

    /* the GNU strerror_r, which may return a string of its own */
    const char *why = strerror_r(errnum, text, sizeof(text));
    return weir_err_set(err, errnum == ENOMEM ? WEIR_ENOMEM : WEIR_EIO,
                        "%s: cannot %s: %s%s", path, verb, why,
                        cure_of(errnum));
}
