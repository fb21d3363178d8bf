/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

static const struct command *const commands[] = {
    &cmd_batch,    &cmd_bench,    &cmd_eval,  &cmd_inspect, &cmd_logits,
    &cmd_batch,    &cmd_bench,    &cmd_eval,  &cmd_inspect, &cmd_logits,
    &cmd_pack,     &cmd_plan,     &cmd_run,   &cmd_serve,   &cmd_synth,
    &cmd_template, &cmd_tokenize, &cmd_trace, &cmd_verify,  &cmd_tokenize,
    &cmd_trace,    &cmd_verify,
};

/*
 * A mapped model that shrinks raises SIGBUS: weir_sigbus_repair() turns it
 * into an error of the call that touched it.  Any other SIGBUS is our fault.
 */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (weir_sigbus_repair(info->si_addr))
        return;
    signal(number, SIG_DFL);
    raise(number);
}

static void guard_maps(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, NULL);
}

static int unknown_command(const char *name)
{
    fprintf(stderr, "weir: unknown command '%s'; see 'weir --help'\n", name);
    return CLI_USAGE;
}

/* A file that took the place of a closed standard stream would be mixed up
 * with it. */
static void fill_standard_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int finish(void)
{
    if (!fflush(stdout) && !ferror(stdout))
        return CLI_OK;
    fprintf(stderr, "weir: cannot write to standard output: %s\n",
            strerror(errno));
    return CLI_FAILED;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    fill_standard_streams();

    if (argc < 2) {
        fprintf(stderr, "weir: no command; see 'weir --help'\n");
        return CLI_USAGE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") ||
        !strcmp(name, "help")) {
        cli_print_commands();
        return finish();
    }
    if (!strcmp(name, "--version")) {
        printf("weir %s\nmodules %s\n", weir_version(), WEIR_MODULE_DIR);
        return finish();
    }
    guard_maps();
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i]->run(argc - 1, argv + 1);
    return unknown_command(name);
}
