/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat_interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;
static int ends[2] = {-1, -1}; /* of a pipe */

/* On any thread: whoever waits elsewhere is woken by the pipe. */
static void take_signal(int number)
{
    int before = errno;
    ssize_t n;

    (void)number;
    interrupted = 1;
    n = write(ends[1], "", 1);
    (void)n; /* a pipe that is full wakes, too */
    errno = before;
}

void chat_interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = take_signal};

    if (ends[0] < 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        ends[0] = ends[1] = -1;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

int chat_interrupt_fd(void)
{
    return ends[0];
}

int chat_interrupt_seen(void)
{
    return interrupted;
}

void chat_interrupt_clear(void)
{
    char bytes[64];

    while (read(ends[0], bytes, sizeof(bytes)) > 0)
        ;
    interrupted = 0;
}
