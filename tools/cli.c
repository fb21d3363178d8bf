/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/utf8.h"

struct option {
    const char *command;
    char letter; /* or 0 */
    const char *name;
    const char *operand; /* NULL: takes none */
    const char *help;
};

static const struct option options[] = {
#define COMMAND(name, operands, summary)
#define OPTION(command, key, letter, name, operand, help)                      \
    [OPT_##command##_##key] = {#command, letter, name, operand, help},
#include "options.def"
#undef COMMAND
#undef OPTION
};

static const struct {
    const char *name, *operands, *summary;
} commands[] = {
#define COMMAND(name, operands, summary) {#name, operands, summary},
#define OPTION(command, key, letter, name, operand, help)
#include "options.def"
#undef COMMAND
#undef OPTION
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

void cli_print_commands(void)
{
    printf("usage: weir COMMAND [OPTION...] [ARGUMENT...]\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\n'weir COMMAND --help' lists the options of a command; "
           "'man weir' says more.\n");
}

static void print_option(const struct option *option)
{
    char left[64];
    int n;

    n = snprintf(left, sizeof(left), "  %c%c%s --%s",
                 option->letter ? '-' : ' ',
                 option->letter ? option->letter : ' ',
                 option->letter ? "," : " ", option->name);
    if (option->operand)
        n += snprintf(left + n, sizeof(left) - (size_t)n, " %s",
                      option->operand);
    printf("%-32s %s\n", left, option->help);
}

void cli_print_help(const char *command)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!strcmp(commands[i].name, command))
            printf("usage: weir %s [OPTION...] %s\n%s\n\n", command,
                   commands[i].operands, commands[i].summary);
    for (int i = 0; i < CLI_N_OPTIONS; i++)
        if (!strcmp(options[i].command, command))
            print_option(&options[i]);
    printf("%-32s %s\n", "  -h, --help", "print this and exit");
}

void cli_init(struct cli *cli, int argc, char **argv)
{
    memset(cli, 0, sizeof(*cli));
    cli->command = argv[0];
    cli->argc = argc;
    cli->argv = argv;
    cli->at = 1;
}

void cli_usage(const struct cli *cli, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "weir %s: ", cli->command);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "; see 'weir %s --help'\n", cli->command);
    exit(CLI_USAGE);
}

void cli_warn(const struct cli *cli, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "weir %s: warning: ", cli->command);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

int cli_fail(const struct cli *cli, const struct weir_err *err)
{
    fprintf(stderr, "weir %s: %s\n", cli->command, err->message);
    switch (err->code) {
    case WEIR_EARG:
        return CLI_USAGE;
    case WEIR_EIO:
    case WEIR_ENOMEM:
        return CLI_FAILED;
    default:
        return CLI_REFUSED;
    }
}

int cli_finish(const struct cli *cli)
{
    if (!fflush(stdout) && !ferror(stdout))
        return CLI_OK;
    fprintf(stderr, "weir %s: cannot write to standard output: %s\n",
            cli->command, strerror(errno));
    return CLI_FAILED;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

/* Levenshtein's distance of two short names. */
static unsigned name_distance(const char *a, const char *b)
{
    unsigned row[32], n = (unsigned)strlen(b), diagonal, above;

    if (n >= 32)
        return n;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 0; a[i]; i++) {
        diagonal = row[0];
        row[0] = i + 1;
        for (unsigned j = 0; j < n; j++) {
            above = row[j + 1];
            row[j + 1] = min3(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[n];
}

static void __attribute__((noreturn))
unknown_name(const struct cli *cli, const char *name)
{
    const char *nearest = NULL;
    unsigned best = 3, distance;
    char bare[32];

    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(name, "="), name);
    for (int i = 0; i < CLI_N_OPTIONS; i++) {
        if (strcmp(options[i].command, cli->command))
            continue;
        distance = name_distance(bare, options[i].name);
        if (distance < best) {
            best = distance;
            nearest = options[i].name;
        }
    }
    if (nearest)
        cli_usage(cli, "unknown option --%s; did you mean --%s?", name,
                  nearest);
    cli_usage(cli, "unknown option --%s", name);
}

static int find_option(const struct cli *cli, char letter, const char *name,
                       size_t n)
{
    for (int i = 0; i < CLI_N_OPTIONS; i++) {
        if (strcmp(options[i].command, cli->command))
            continue;
        if (letter ? options[i].letter == letter
                   : !strncmp(options[i].name, name, n) && !options[i].name[n])
            return i;
    }
    return CLI_END;
}

static void take_operand(struct cli *cli, int option, const char *attached)
{
    cli->value = attached;
    if (!options[option].operand) {
        if (attached)
            cli_usage(cli, "%s takes no value", cli->option);
        return;
    }
    if (attached)
        return;
    if (cli->at >= cli->argc)
        cli_usage(cli, "%s wants %s", cli->option, options[option].operand);
    cli->value = cli->argv[cli->at++];
}

static void __attribute__((noreturn)) help_and_exit(const struct cli *cli)
{
    cli_print_help(cli->command);
    exit(cli_finish(cli));
}

static int next_long(struct cli *cli, const char *word)
{
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    int option;

    if (!strcmp(name, "help"))
        help_and_exit(cli);
    option = find_option(cli, 0, name, n);
    if (option == CLI_END)
        unknown_name(cli, name);
    cli->option = word;
    take_operand(cli, option, equals ? equals + 1 : NULL);
    return option;
}

static int next_letter(struct cli *cli)
{
    static char written[3] = "-?";
    char letter = *cli->letter++;
    int option = find_option(cli, letter, NULL, 0);
    const char *rest = *cli->letter ? cli->letter : NULL;

    if (option == CLI_END && letter == 'h')
        help_and_exit(cli);
    if (option == CLI_END)
        cli_usage(cli, "unknown option -%c", letter);
    written[1] = letter;
    cli->option = written;
    if (options[option].operand)
        cli->letter = NULL;
    else
        cli->letter = rest;
    take_operand(cli, option, options[option].operand ? rest : NULL);
    return option;
}

int cli_next(struct cli *cli)
{
    const char *word;

    if (cli->letter)
        return next_letter(cli);
    if (cli->at >= cli->argc)
        return CLI_END;
    word = cli->argv[cli->at++];
    if (!cli->only_arguments && !strcmp(word, "--")) {
        cli->only_arguments = 1;
        return cli_next(cli);
    }
    if (cli->only_arguments || word[0] != '-' || !word[1]) {
        cli->option = NULL;
        cli->value = word;
        return CLI_ARGUMENT;
    }
    if (word[1] == '-')
        return next_long(cli, word);
    cli->letter = word + 1;
    return next_letter(cli);
}

const char *cli_option_name(int option)
{
    return option < 0 ? "" : options[option].name;
}

uint64_t cli_uint(const struct cli *cli, uint64_t min, uint64_t max)
{
    unsigned long long n;
    char *end;

    errno = 0;
    n = strtoull(cli->value, &end, 10);
    if (cli->value[0] < '0' || cli->value[0] > '9' || *end || errno ||
        n < min || n > max)
        cli_usage(cli, "%s must be a whole number from %llu to %llu, not '%s'",
                  cli->option, (unsigned long long)min, (unsigned long long)max,
                  cli->value);
    return n;
}

/* What one of "K", "KB", "M" and so on stands for; 0 for anything else */
static double unit_of_size(const char *unit)
{
    static const char letters[] = "KMGT";
    const char *letter = strchr(letters, *unit);
    double base, n = 1;

    if (!*unit)
        return 1;
    if (!letter || (unit[1] && strcmp(unit + 1, "B")))
        return 0;
    base = unit[1] ? 1000 : 1024;
    for (const char *at = letters; at <= letter; at++)
        n *= base;
    return n;
}

/* Digits with a point or without: strtod() takes a good deal more. */
static double plain_number(const char *text, char **end)
{
    char copy[32];
    size_t n = strspn(text, "0123456789.");
    double value;

    snprintf(copy, sizeof(copy), "%.*s", (int)(n < 31 ? n : 31), text);
    value = strtod(copy, end);
    *end = (char *)text + (*end - copy);
    return value;
}

uint64_t cli_size(const struct cli *cli)
{
    char *end;
    double n = plain_number(cli->value, &end), unit = unit_of_size(end);

    if (end == cli->value || !unit || n * unit < 1 || n * unit >= 0x1p63)
        cli_usage(cli,
                  "%s must be a size such as 16G, which is 16 * 2^30 bytes, "
                  "or 16GB, which is 16 * 10^9, not '%s'",
                  cli->option, cli->value);
    return (uint64_t)(n * unit);
}

double cli_rate(const struct cli *cli)
{
    char *end;
    double n = plain_number(cli->value, &end);

    if (end == cli->value || *end || n < 1e-6 || n > 1e12)
        cli_usage(cli, "%s must be a number above 0, not '%s'", cli->option,
                  cli->value);
    return n;
}

int cli_choice(const struct cli *cli, const char *words)
{
    const char *at = words, *bar;
    size_t n;

    for (int i = 0;; i++) {
        bar = strchr(at, '|');
        n = bar ? (size_t)(bar - at) : strlen(at);
        if (strlen(cli->value) == n && !memcmp(cli->value, at, n))
            return i;
        if (!bar)
            break;
        at = bar + 1;
    }
    cli_usage(cli, "%s must be one of %s, not '%s'", cli->option, words,
              cli->value);
}

void cli_keep_argument(const struct cli *cli, const char **kept,
                       const char *what)
{
    if (*kept)
        cli_usage(cli, "one %s at a time; '%s' is too much", what, cli->value);
    *kept = cli->value;
}

int cli_read(const char *path, struct weir_buf *buf, struct weir_err *err)
{
    if (path && strcmp(path, "-"))
        return weir_buf_add_file(buf, path, err);
    return weir_buf_add_fd(buf, STDIN_FILENO, "standard input", err);
}

unsigned cli_threads(const struct cli *cli)
{
    return (unsigned)cli_uint(cli, 1, WEIR_POOL_MAX_THREADS);
}

void cli_name_model(const char *path, char *name, size_t n_bytes)
{
    const char *slash = strrchr(path, '/');
    const char *from = slash ? slash + 1 : path;
    size_t n = strlen(from);

    if (n > 5 && !strcmp(from + n - 5, ".weir"))
        n -= 5;
    if (n == 0 || n >= n_bytes || weir_utf8_valid(from, n) < n)
        snprintf(name, n_bytes, "model");
    else
        snprintf(name, n_bytes, "%.*s", (int)n, from);
}
