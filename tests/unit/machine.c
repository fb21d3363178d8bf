/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of machines and cgroups that are folders here. */
#include "offload/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/tap.h"

#define MIB (1ull << 20)

static char root[] = "/tmp/weir-machine-XXXXXX";

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

static void clear(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'/*", root);
    if (system(command))
        tap_ok(0, "cannot clear %s", root);
    put("proc/meminfo", "MemTotal:       16777216 kB\n"
                        "MemFree:          104857 kB\n"
                        "MemAvailable:    8388608 kB\n");
}

static void expect(uint64_t total, uint64_t available, const char *what)
{
    struct weir_machine_ram ram;

    weir_machine_read_ram(root, &ram);
    tap_ok(ram.total == total && ram.available == available, "%s", what);
    if (ram.total != total || ram.available != available)
        tap_diag("%" PRIu64 " of %" PRIu64 ", not %" PRIu64 " of %" PRIu64,
                 ram.available, ram.total, available, total);
}

static void test_machine(void)
{
    clear();
    expect(16384 * MIB, 8192 * MIB, "a machine without cgroups");
    put("proc/meminfo", "MemTotal: 1024 kB\n");
    expect(MIB, MIB, "an old kernel does not say what is available");
    put("proc/meminfo", "");
    expect(UINT64_MAX, UINT64_MAX, "nothing is known");
}

static void test_version_2(void)
{
    clear();
    put("proc/self/cgroup", "0::/user/job\n");
    put("sys/fs/cgroup/user/job/memory.max", "max\n");
    put("sys/fs/cgroup/user/job/memory.current", "1048576\n");
    expect(16384 * MIB, 8192 * MIB, "version 2: a cgroup without a limit");
    put("sys/fs/cgroup/user/job/memory.max", "4294967296\n");
    expect(4096 * MIB, 4095 * MIB, "a limit less what is used");
    put("sys/fs/cgroup/user/job/memory.stat",
        "anon 1\nfile 9\nactive_file 262144\ninactive_file 524288\n");
    expect(4096 * MIB, 4095 * MIB + 786432, "pages of files can be taken back");
    put("sys/fs/cgroup/user/memory.max", "1073741824\n");
    put("sys/fs/cgroup/user/memory.current", "536870912\n");
    expect(1024 * MIB, 512 * MIB, "a cgroup above it allows less");
    put("sys/fs/cgroup/user/memory.current", "2147483648\n");
    expect(1024 * MIB, 0, "and is over its limit");
    put("sys/fs/cgroup/user/memory.max", "1099511627776\n");
    put("sys/fs/cgroup/user/memory.current", "0\n");
    expect(4096 * MIB, 4095 * MIB + 786432, "a high limit takes nothing away");
}

static void test_version_1(void)
{
    clear();
    put("proc/self/cgroup", "5:cpu,cpuacct:/jobs\n4:memory:/jobs/one\n"
                            "1:name=systemd:/\n0::/\n");
    put("sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes",
        "9223372036854771712\n");
    put("sys/fs/cgroup/memory/jobs/one/memory.usage_in_bytes", "1048576\n");
    expect(16384 * MIB, 8192 * MIB, "version 1: a cgroup without a limit");
    put("sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes", "2147483648\n");
    put("sys/fs/cgroup/memory/jobs/one/memory.stat",
        "inactive_file 7\ntotal_inactive_file 1048576\n");
    expect(2048 * MIB, 2048 * MIB, "a limit, and what is used is files");
    put("proc/self/cgroup", "4:hugetlb,memory:/jobs/one\n");
    expect(2048 * MIB, 2048 * MIB, "a controller that shares its mount");
    put("proc/self/cgroup", "4:hugememory:/jobs/one\n5:memory2:/jobs/one\n");
    expect(16384 * MIB, 8192 * MIB, "another controller is none of ours");
    put("proc/self/cgroup", "4:memory:/docker/0123456789abcdef\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
    expect(1024 * MIB, 1024 * MIB,
           "in a container the mount is its cgroup, whatever /proc says");
}

static void expect_budget(uint64_t available, uint64_t budget)
{
    struct weir_machine_ram ram = {available, available};
    uint64_t is = weir_machine_default_budget(&ram);

    tap_ok(is == budget, "of %" PRIu64 " MiB a budget takes %" PRIu64,
           available >> 20, is >> 20);
}

int main(void)
{
    char command[128];

    if (!mkdtemp(root))
        tap_skip_all("there is no room in /tmp");
    test_machine();
    test_version_2();
    test_version_1();
    expect_budget(65536 * MIB, 57344 * MIB);
    expect_budget(4096 * MIB, 3072 * MIB);
    expect_budget(1024 * MIB, 512 * MIB);
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    if (system(command))
        tap_diag("%s was left", root);
    return tap_done();
}
