/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "offload/file.h"
#include "offload/index.h"
#include "text/tokenizer.h"
#include "tools/cli.h"
#include "tools/ids.h"

struct options {
    const char *path;
    int bos, decode, ids;
};

static void set_path(struct options *options, const struct cli *cli)
{
    if (options->path)
        cli_usage(cli, "one MODEL or --tokenizer FILE, not '%s' and '%s'",
                  options->path, cli->value);
    options->path = cli->value;
}

static void parse(struct options *options, struct cli *cli)
{
    int option;

    while ((option = cli_next(cli)) != CLI_END) {
        switch (option) {
        case CLI_ARGUMENT:
        case OPT_tokenize_tokenizer:
            set_path(options, cli);
            break;
        case OPT_tokenize_ids:
            options->ids = 1;
            break;
        case OPT_tokenize_bos:
            options->bos = 1;
            break;
        case OPT_tokenize_decode:
            options->decode = 1;
            break;
        }
    }
    if (!options->path)
        cli_usage(cli, "no MODEL and no --tokenizer FILE");
    if (options->decode && options->ids)
        cli_usage(cli, "--ids and --decode exclude each other");
    if (options->decode && options->bos)
        cli_usage(cli, "--bos has no meaning with --decode");
}

static int is_weir(int fd)
{
    unsigned char start[sizeof(weir_file_magic)];

    return pread(fd, start, sizeof(start), 0) == (ssize_t)sizeof(start) &&
           !memcmp(start, weir_file_magic, sizeof(start));
}

static int open_model(const char *path, struct weir_tokenizer **tokenizer,
                      struct weir_err *err)
{
    struct weir_file *file;
    int rc;

    rc = weir_file_open(path, &file, err);
    if (rc)
        return rc;
    rc = weir_tokenizer_from_file(file, tokenizer, err);
    weir_file_close(file);
    if (!rc && !*tokenizer)
        rc = weir_err_set(err, WEIR_ENOTSUP,
                          "%s: the model was packed without a tokenizer; pack "
                          "it again from a folder that has tokenizer.json, or "
                          "use --tokenizer",
                          path);
    return rc;
}

static int open_tokenizer(int fd, const char *path,
                          struct weir_tokenizer **tokenizer,
                          struct weir_err *err)
{
    struct weir_buf buf = WEIR_BUF(WEIR_TOKENIZER_BYTES);
    int rc;

    rc = weir_buf_add_fd(&buf, fd, path, err);
    if (!rc)
        rc = weir_tokenizer_parse(buf.data, buf.n_bytes, path, tokenizer, err);
    weir_buf_fini(&buf);
    return rc;
}

/* The kind of file is found by its content, however it was named. */
static int open_any(const char *path, struct weir_tokenizer **tokenizer,
                    struct weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return weir_err_errno(err, errno, "open", path);
    rc = is_weir(fd) ? open_model(path, tokenizer, err)
                     : open_tokenizer(fd, path, tokenizer, err);
    close(fd);
    return rc;
}

static int encode(const struct weir_tokenizer *tokenizer, int bos,
                  const struct weir_buf *input, struct weir_err *err)
{
    int32_t *ids;
    size_t n_ids;
    int rc;

    rc = weir_tokenizer_encode(tokenizer, input->data, input->n_bytes, 1, bos,
                               &ids, &n_ids, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n_ids; i++)
        printf(i ? " %d" : "%d", ids[i]);
    putchar('\n');
    free(ids);
    return 0;
}

static int decode_ids(struct weir_detokenizer *detokenizer, const int32_t *ids,
                      size_t n_ids, struct weir_err *err)
{
    const char *text;
    size_t n_bytes;
    int rc;

    for (size_t i = 0; i < n_ids; i++) {
        rc =
            weir_detokenizer_push(detokenizer, ids[i], 1, &text, &n_bytes, err);
        if (rc == WEIR_EARG)
            return weir_err_set(err, WEIR_EFORMAT,
                                "standard input: number %zu, %d, is no token "
                                "id of this vocabulary, which has ids from 0 "
                                "to %zu",
                                i + 1, ids[i],
                                weir_tokenizer_n_vocab(detokenizer->tokenizer) -
                                    1);
        if (rc)
            return rc;
        fwrite(text, 1, n_bytes, stdout);
    }
    weir_detokenizer_finish(detokenizer, &text, &n_bytes);
    fwrite(text, 1, n_bytes, stdout);
    return 0;
}

static int decode(const struct weir_tokenizer *tokenizer,
                  const struct weir_buf *input, struct weir_err *err)
{
    struct weir_detokenizer detokenizer;
    int32_t *ids;
    size_t n_ids;
    int rc;

    rc = ids_parse(input->data, input->n_bytes, "standard input", &ids, &n_ids,
                   err);
    if (rc)
        return rc;
    rc = weir_detokenizer_init(&detokenizer, tokenizer, err);
    if (!rc) {
        rc = decode_ids(&detokenizer, ids, n_ids, err);
        weir_detokenizer_fini(&detokenizer);
    }
    free(ids);
    return rc;
}

static int tokenize(const struct options *options, struct weir_err *err)
{
    struct weir_buf input = WEIR_BUF(WEIR_TEXT_BYTES);
    struct weir_tokenizer *tokenizer;
    int rc;

    rc = open_any(options->path, &tokenizer, err);
    if (rc)
        return rc;
    rc = weir_buf_add_fd(&input, STDIN_FILENO, "standard input", err);
    if (!rc)
        rc = options->decode ? decode(tokenizer, &input, err)
                             : encode(tokenizer, options->bos, &input, err);
    weir_buf_fini(&input);
    weir_tokenizer_free(tokenizer);
    return rc;
}

static int run(int argc, char **argv)
{
    struct options options = {0};
    struct weir_err err;
    struct cli cli;

    cli_init(&cli, argc, argv);
    parse(&options, &cli);
    if (tokenize(&options, &err))
        return cli_fail(&cli, &err);
    return cli_finish(&cli);
}

const struct command cmd_tokenize = {"tokenize", run};
