/* SPDX-License-Identifier: Apache-2.0 */
#include "base/path.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int weir_path_exists(const char *path)
{
    struct stat st;

    return !lstat(path, &st) || errno != ENOENT;
}

int weir_path_check_output(const char *path, const char *input,
                           struct weir_err *err)
{
    size_t n = strlen(path);
    struct stat out, in;

    if (n == 0 || path[n - 1] == '/')
        return weir_err_set(err, WEIR_EARG,
                            "'%s' cannot be an output file; give it a name",
                            path);
    if (stat(path, &out))
        return 0;
    if (!S_ISREG(out.st_mode))
        return weir_err_set(err, WEIR_EARG,
                            "%s: is there and is no regular file; give the "
                            "output another name",
                            path);
    if (input && !stat(input, &in) && in.st_dev == out.st_dev &&
        in.st_ino == out.st_ino)
        return weir_err_set(err, WEIR_EARG,
                            "%s: is an input too and would be lost; give the "
                            "output another name",
                            path);
    return 0;
}
