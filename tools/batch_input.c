/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/batch_input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define READ_BYTES ((size_t)1 << 16)

static size_t count_lines(const char *data, size_t n_bytes)
{
    const char *end = data + n_bytes;
    size_t n = 0;

    while ((data = memchr(data, '\n', (size_t)(end - data))) != NULL) {
        data++;
        n++;
    }
    return n;
}

/* The hash of the whole file, read with pread() so that its place stays */
static int hash_file(struct batch_input *input, XXH3_state_t *state,
                     struct weir_err *err)
{
    char data[READ_BYTES];
    ssize_t n;

    while ((n = pread(input->fd, data, sizeof(data), (off_t)input->n_bytes))) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return weir_err_errno(err, errno, "read", input->name);
        XXH3_64bits_update(state, data, (size_t)n);
        input->n_lines += count_lines(data, (size_t)n);
        input->n_bytes += (uint64_t)n;
    }
    input->n_lines++;
    snprintf(input->identity, sizeof(input->identity),
             "%" PRIu64 " bytes, XXH3 %016" PRIx64, input->n_bytes,
             (uint64_t)XXH3_64bits_digest(state));
    return 0;
}

static int identify(struct batch_input *input, struct weir_err *err)
{
    XXH3_state_t *state;
    struct stat st;
    int rc;

    if (fstat(input->fd, &st))
        return weir_err_errno(err, errno, "look at", input->name);
    if (!S_ISREG(st.st_mode) || lseek(input->fd, 0, SEEK_CUR) != 0)
        return 0;
    state = XXH3_createState();
    if (!state)
        return weir_err_nomem(err, 1024, "a hash");
    XXH3_64bits_reset(state);
    rc = hash_file(input, state, err);
    XXH3_freeState(state);
    return rc;
}

int batch_input_open(struct batch_input *input, const char *path,
                     size_t line_bytes, struct weir_err *err)
{
    int is_stdin = !strcmp(path, "-");

    memset(input, 0, sizeof(*input));
    input->name = is_stdin ? "standard input" : path;
    input->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0)
        return weir_err_errno(err, errno, "open", path);
    weir_lines_init(&input->lines, input->fd, input->name, line_bytes);
    return identify(input, err);
}

void batch_input_close(struct batch_input *input)
{
    weir_lines_fini(&input->lines);
    if (input->fd > STDIN_FILENO)
        close(input->fd);
}
