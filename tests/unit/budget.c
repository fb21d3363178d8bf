/* SPDX-License-Identifier: Apache-2.0 */
/* The budget that nobody gave, of machines and cgroups that are folders. */
#include "model/budget.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/tap.h"

#define MIB (1ull << 20)

static char root[] = "/tmp/weir-budget-XXXXXX";

/* Writes below the root, with the folders on the way */
static void put(const char *name, const char *text)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        tap_ok(0, "cannot write %s", path);
}

static void expect(uint64_t wanted, const char *what)
{
    uint64_t is = weir_budget_usual(root);

    tap_ok(is == wanted, "%s", what);
    if (is != wanted)
        tap_diag("%" PRIu64 " MiB instead of %" PRIu64, is >> 20, wanted >> 20);
}

int main(void)
{
    char command[128];

    if (!mkdtemp(root))
        tap_skip_all("no folder can be made in /tmp");
    put("proc/meminfo", "MemTotal:       16777216 kB\n"
                        "MemAvailable:   16777216 kB\n");
    put("proc/self/status", "Name: weir\nVmRSS:\t    5120 kB\n");
    expect(14 * 1024 * MIB + 5 * MIB,
           "what the process has, and 7/8 of 16 GiB");
    put("proc/self/cgroup", "0::/job\n");
    put("sys/fs/cgroup/job/memory.max", "2147483648\n");
    put("sys/fs/cgroup/job/memory.current", "1073741824\n");
    expect(512 * MIB + 5 * MIB, "half of what a cgroup leaves of its 2 GiB");
    put("proc/self/cgroup", "4:memory:/old\n");
    put("sys/fs/cgroup/memory/old/memory.limit_in_bytes", "4294967296\n");
    put("sys/fs/cgroup/memory/old/memory.usage_in_bytes", "0\n");
    expect(3072 * MIB + 5 * MIB, "of version 1: all but a gibibyte of 4");
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    if (system(command))
        tap_diag("%s was left", root);
    return tap_done();
}
