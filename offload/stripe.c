/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is recorded of a part must lead to it when the model is opened.  A path
 * that was given from the root is taken as it is.  Any other becomes the way to
 * it from the folder of the first part, so that all can be moved together; it
 * is found between the real folders, for `..' does not go back through a link.
 */
#include "offload/stripe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"

/* The n bytes of a folder's path, without slashes at the end but for the root's
 */
static size_t trim(const char *folder, size_t n)
{
    while (n > 1 && folder[n - 1] == '/')
        n--;
    return n;
}

/* `folder`/`name`.`number`; without a number for 0 */
static int join(char **path, const char *folder, const char *name,
                unsigned number, struct weir_err *err)
{
    const char *slash = *folder && folder[strlen(folder) - 1] != '/' ? "/" : "";
    int n = number ? asprintf(path, "%s%s%s.%u", folder, slash, name, number)
                   : asprintf(path, "%s%s%s", folder, slash, name);

    if (n < 0) {
        *path = NULL;
        return weir_err_nomem(err, strlen(folder), "a path");
    }
    if (n > WEIR_PATH_BYTES)
        return weir_err_set(err, WEIR_EARG, "a path of %d bytes; most are %d",
                            n, WEIR_PATH_BYTES);
    for (const char *at = *path; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return weir_err_set(err, WEIR_EARG,
                                "%s: has a control character, which paths in "
                                "a model cannot have; rename the folder",
                                *path);
    return 0;
}

/* Bytes of the components that two real paths begin with alike */
static size_t common(const char *a, const char *b)
{
    size_t n = 0, i = 0;

    for (;; i++) {
        int ends_a = !a[i] || a[i] == '/', ends_b = !b[i] || b[i] == '/';

        if (ends_a && ends_b)
            n = i;
        if (a[i] != b[i] || !a[i])
            return n;
    }
}

/* The way from the folder `from` to `to`, both real paths; appends it. */
static int add_way(struct weir_buf *way, const char *from, const char *to,
                   struct weir_err *err)
{
    size_t n = common(from, to);
    int rc = 0;

    for (const char *at = from + n; *at && !rc; at++)
        if (*at == '/' && at[1])
            rc = weir_buf_add(way, "../", 3, err);
    for (to += n; *to == '/';)
        to++;
    return rc ? rc : weir_buf_add(way, to, strlen(to), err);
}

static int real_path(const char *folder, char **real, uint64_t *drive,
                     struct weir_err *err)
{
    struct stat st;

    *real = realpath(folder, NULL);
    if (!*real)
        return weir_err_errno(err, errno, "find the folder", folder);
    if (stat(*real, &st) || !S_ISDIR(st.st_mode))
        return weir_err_set(err, WEIR_EARG, "%s: not a folder", folder);
    *drive = st.st_dev;
    return 0;
}

static int record(struct weir_pack_part *part, const char *first,
                  const char *folder, const char *name, unsigned number,
                  struct weir_err *err)
{
    struct weir_buf way = WEIR_BUF(4 * WEIR_PATH_BYTES);
    char *from, *to = NULL;
    int rc = real_path(first, &from, &part->drive, err);

    if (!rc)
        rc = real_path(folder, &to, &part->drive, err);
    if (!rc && number && *folder != '/')
        rc = add_way(&way, from, to, err);
    if (!rc && number)
        rc = join(&part->recorded,
                  *folder == '/' ? folder
                  : way.data     ? way.data
                                 : "",
                  name, number, err);
    free(from);
    free(to);
    weir_buf_fini(&way);
    return rc;
}

static int add_part(struct weir_stripe *stripe, const char *first,
                    const char *folder, const char *name, struct weir_err *err)
{
    unsigned number = stripe->n_parts;
    struct weir_pack_part *part = &stripe->parts[number];
    int rc;

    if (number == WEIR_FILES_MAX)
        return weir_err_set(err, WEIR_EARG, "a model lies in %d files at most",
                            WEIR_FILES_MAX);
    stripe->n_parts++;
    rc = record(part, first, folder, name, number, err);
    return rc ? rc : join(&part->path, folder, name, number, err);
}

/* The folder that `output` names, if it does, must be the first. */
static int check_folder(const char *first, const char *output, const char *name,
                        struct weir_err *err)
{
    struct stat named, given;
    char *folder;
    int same;

    if (name == output)
        return 0;
    folder = strndup(output, (size_t)(name - output));
    if (!folder)
        return weir_err_nomem(err, strlen(output), "a path");
    same = !stat(folder, &named) && !stat(first, &given) &&
           named.st_dev == given.st_dev && named.st_ino == given.st_ino;
    free(folder);
    if (same)
        return 0;
    return weir_err_set(err, WEIR_EARG,
                        "%s: does not lie in %s, the first folder to spread "
                        "the model over; give the output a name alone",
                        output, first);
}

static int add_folders(struct weir_stripe *stripe, const char *folders,
                       const char *first, const char *name,
                       struct weir_err *err)
{
    int rc = 0;

    for (const char *at = folders; at && !rc;) {
        size_t n = strcspn(at, ",");
        char *folder = strndup(at, trim(at, n));

        if (!folder)
            return weir_err_nomem(err, n, "a path");
        rc = n ? add_part(stripe, first, folder, name, err)
               : weir_err_set(err, WEIR_EARG, "'%s': a folder without a name",
                              folders);
        free(folder);
        at = at[n] ? at + n + 1 : NULL;
    }
    return rc;
}

int weir_stripe_init(struct weir_stripe *stripe, const char *folders,
                     const char *output, struct weir_err *err)
{
    const char *slash = strrchr(output, '/'),
               *name = slash ? slash + 1 : output;
    char *first = strndup(folders, trim(folders, strcspn(folders, ",")));
    int rc;

    memset(stripe, 0, sizeof(*stripe));
    stripe->n_bytes = WEIR_STRIPE_BYTES;
    if (!first)
        return weir_err_nomem(err, strlen(folders), "a path");
    rc = *name ? add_folders(stripe, folders, first, name, err)
               : weir_err_set(err, WEIR_EARG,
                              "'%s' cannot be an output file; give it a name",
                              output);
    if (!rc)
        rc = check_folder(first, output, name, err);
    free(first);
    return rc;
}

void weir_stripe_fini(struct weir_stripe *stripe)
{
    for (unsigned i = 0; i < WEIR_FILES_MAX; i++) {
        free(stripe->parts[i].path);
        free(stripe->parts[i].recorded);
    }
    memset(stripe, 0, sizeof(*stripe));
}

unsigned weir_stripe_n_sharing(const struct weir_stripe *stripe,
                               unsigned number)
{
    unsigned n = 0;

    for (unsigned i = 0; i < stripe->n_parts; i++)
        n += stripe->parts[i].drive == stripe->parts[number].drive;
    return n;
}
