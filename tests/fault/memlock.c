/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be locked into memory is limited for those who are not root: slots
 * are registered with io_uring where it is enough, and else the cure is said
 * and reading goes on.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/import.h"
#include "model/jamba.h"
#include "tests/fault/fault_io.h"
#include "tests/tap.h"

static char path[] = "memlock.XXXXXX";
static struct weir_err err;

enum verdict { WELL, FAILED, SKIPPED };

static int pack(void)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 4096};
    const char *srcdir = getenv("srcdir");
    char folder[4096];

    snprintf(folder, sizeof(folder), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    return weir_import_folder(&import, folder, path, &err);
}

/* Root may lock what it likes, unless it gives that up. */
static void give_up_locking(void)
{
    struct __user_cap_header_struct header = {.version =
                                                  _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    if (syscall(SYS_capget, &header, data))
        return;
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    syscall(SYS_capset, &header, data);
}

/* 1 when a pass went well; *note is what the user is told. */
static enum verdict pass(struct weir_jamba *jamba, const char **note)
{
    struct weir_residency_stats stats;
    struct weir_state state = {0};
    const int32_t ids[] = {1, 2, 3};
    const struct weir_sequence sequence = {
        .state = &state, .ids = ids, .n_ids = 3};
    int rc = weir_budget_take(jamba, 0, 3, 1, &err);

    if (!rc)
        rc = weir_state_init(&state, &jamba->config, 3, WEIR_F32, &err);
    if (!rc)
        rc = weir_jamba_forward(jamba, &sequence, 1, NULL, &err);
    weir_state_fini(&state);
    weir_residency_get_stats(jamba->residency, &stats);
    *note = weir_residency_note(jamba->residency);
    return rc ? FAILED : strcmp(stats.io, "io_uring") ? SKIPPED : WELL;
}

/* With so much to lock: whether the slots were registered, or the cure said */
static enum verdict run(rlim_t most, int *n_registered)
{
    const struct weir_jamba_options options = {
        .n_threads = 1, .weight_bytes = 1 << 20, .calls = &fault_io_calls};
    struct rlimit limit;
    struct weir_jamba *jamba;
    const char *note = NULL;
    enum verdict verdict;

    give_up_locking();
    if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_max < most)
        return SKIPPED;
    limit.rlim_cur = limit.rlim_max = most;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
        weir_jamba_open(path, &options, &jamba, &err))
        return FAILED;
    verdict = pass(jamba, &note);
    *n_registered = fault_io.n_registered;
    if (verdict == WELL && (note && strstr(note, "ulimit -l")) == *n_registered)
        verdict = FAILED;
    weir_jamba_close(jamba);
    return verdict;
}

/*
 * In a process of its own: what is given up does not come back.  All processes
 * of a user share one limit, but for root's, so that others may have used it up
 * for those who are not: then what is said must fit what happened.
 */
static void test_limit(rlim_t most, int registered, const char *text)
{
    int status, n_registered = 0;
    pid_t child = fork();

    if (child == 0) {
        enum verdict verdict = run(most, &n_registered);

        if (verdict == WELL && !getuid() && n_registered != registered)
            verdict = FAILED;
        _exit((int)verdict);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
        tap_ok(0, "%s", text);
    else if (WEXITSTATUS(status) == SKIPPED)
        tap_skip("%s: no io_uring here, or less to lock", text);
    else
        tap_ok(WEXITSTATUS(status) == WELL, "%s", text);
}

int main(void)
{
    int fd = mkstemp(path);

    if (fd < 0 || pack()) {
        tap_ok(0, "a model: %s", err.message);
        return tap_done();
    }
    close(fd);
    fflush(stdout);
    test_limit((rlim_t)64 << 10, 0, "beyond the limit the cure is said");
    test_limit((rlim_t)6 << 20, 1, "within it slots are registered");
    unlink(path);
    return tap_done();
}
