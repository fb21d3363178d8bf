/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

static const struct command *const commands[] = {
    &cmd_inspect, &cmd_logits, &cmd_pack, &cmd_run, &cmd_tokenize, &cmd_verify,
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

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    if (argc < 2) {
        fprintf(stderr, "weir: no command; see 'weir --help'\n");
        return CLI_USAGE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") ||
        !strcmp(name, "help")) {
        cli_print_commands();
        return fflush(stdout) ? CLI_FAILED : CLI_OK;
    }
    if (!strcmp(name, "--version")) {
        printf("weir %s\n", weir_version());
        return fflush(stdout) ? CLI_FAILED : CLI_OK;
    }
    guard_maps();
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i]->run(argc - 1, argv + 1);
    return unknown_command(name);
}
