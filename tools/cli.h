/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of weir share: options, values, messages, exit status. */
#ifndef WEIR_TOOLS_CLI_H
#define WEIR_TOOLS_CLI_H

#include "base/buf.h"

/* Exit status, as weir(1) documents it. */
enum cli_status {
    CLI_OK = 0,
    CLI_FAILED = 1,  /* the system failed: I/O, memory, space */
    CLI_USAGE = 2,   /* the command line is wrong */
    CLI_REFUSED = 3, /* an input file is malformed, damaged or unsupported */
};

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct command cmd_batch, cmd_bench, cmd_eval, cmd_inspect,
    cmd_logits, cmd_pack, cmd_plan, cmd_run, cmd_serve, cmd_synth, cmd_template,
    cmd_tokenize, cmd_trace, cmd_verify;

/* OPT_pack_codec and so on, one for each line of options.def. */
enum cli_option {
    CLI_ARGUMENT = -2, /* not an option: value holds it */
    CLI_END = -1,      /* nothing is left; the options count up from 0 */
#define COMMAND(name, operands, summary)
#define OPTION(command, key, letter, name, operand, help) OPT_##command##_##key,
#include "options.def"
#undef COMMAND
#undef OPTION
    CLI_N_OPTIONS
};

struct cli {
    const char *command;
    int argc;
    char **argv;
    int at;             /* next word of argv */
    const char *letter; /* rest of a word of several letters, or NULL */
    int only_arguments; /* "--" was seen */
    const char *option; /* the option found, as the user wrote it */
    const char *value;  /* its operand, or the argument */
};

void cli_init(struct cli *cli, int argc, char **argv);

/*
 * The next option or argument.  Prints and exits on --help, on an unknown
 * option and on a missing or unwanted operand.
 */
int cli_next(struct cli *cli);

/* "codec" and so on; "" for what is not an option. */
const char *cli_option_name(int option);

/* Values of the current option; a bad one prints what is allowed and exits. */
uint64_t cli_uint(const struct cli *cli, uint64_t min, uint64_t max);
/* Bytes, at least one: 16G is 16 * 2^30, 16GB is 16 * 10^9; K, M and T too. */
uint64_t cli_size(const struct cli *cli);
/* A number above 0. */
double cli_rate(const struct cli *cli);
/* Position of the value in `words`, "auto|raw|zstd". */
int cli_choice(const struct cli *cli, const char *words);

/* Keeps the argument found, of which there may be one; `what` names it. */
void cli_keep_argument(const struct cli *cli, const char **kept,
                       const char *what);

/* Appends the file at `path`, or standard input for "-" and NULL. */
int cli_read(const char *path, struct weir_buf *buf, struct weir_err *err);

/* Number of threads that the current option asks for. */
unsigned cli_threads(const struct cli *cli);

/* The last part of a model's path, without .weir */
void cli_name_model(const char *path, char *name, size_t n_bytes);

/* Prints "weir COMMAND: ..." and a pointer to --help; exits with CLI_USAGE. */
void cli_usage(const struct cli *cli, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* Prints the error as one line; returns the exit status for its code. */
int cli_fail(const struct cli *cli, const struct weir_err *err);

/* Prints "weir COMMAND: warning: ...". */
void cli_warn(const struct cli *cli, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* CLI_OK, or CLI_FAILED with a message when stdout could not be written. */
int cli_finish(const struct cli *cli);

/* Prints the list of commands, or the help of one. */
void cli_print_commands(void);
void cli_print_help(const char *command);

#endif
