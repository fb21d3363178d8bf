/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat_interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t interrupted;

static void take_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void chat_interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = take_signal};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

int chat_interrupt_seen(void)
{
    return interrupted;
}

void chat_interrupt_clear(void)
{
    interrupted = 0;
}
