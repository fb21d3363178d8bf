/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup is a folder below the place where its controller is mounted.  Its
 * limit holds for all cgroups below it, so that every folder on the way up to
 * the mount is looked at.  In a container the path in /proc may be that of the
 * host and its own cgroup the root of the mount: folders that are not there
 * are passed over.  Pages of files count as used in a cgroup, but can be taken
 * back.
 */
#include "offload/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define MAX_TEXT  (1u << 20)
#define MAX_MOUNT 1024 /* bytes of paths */
#define MAX_GROUP 2048
#define MAX_PATH  (MAX_MOUNT + MAX_GROUP + 256)

/* How a version of cgroups calls things. */
struct version {
    const char *controller; /* in /proc/self/cgroup */
    const char *mounts[2];
    const char *limit, *usage, *inactive, *active;
};

static const struct version versions[] = {
    {"memory",
     {"/sys/fs/cgroup/memory", NULL},
     "memory.limit_in_bytes",
     "memory.usage_in_bytes",
     "total_inactive_file",
     "total_active_file"},
    {"",
     {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"},
     "memory.max",
     "memory.current",
     "inactive_file",
     "active_file"},
};

#define N_VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* All of a small file, with a NUL behind it; NULL when it cannot be read. */
static char *read_text(const char *folder, const char *name)
{
    struct weir_buf text = WEIR_BUF(MAX_TEXT);
    char path[MAX_PATH];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (!weir_buf_add_file(&text, path, NULL) && text.data)
        return text.data;
    weir_buf_fini(&text);
    return NULL;
}

/* The number behind `key` at the beginning of a line; UINT64_MAX without. */
static uint64_t find_number(const char *text, const char *key)
{
    size_t n = strlen(key);
    uint64_t value;
    char *end;

    for (const char *at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, key, n) || (n && at[n] != ' '))
            continue;
        value = strtoull(at + n, &end, 10);
        return end == at + n ? UINT64_MAX : value;
    }
    return UINT64_MAX;
}

static uint64_t read_number(const char *folder, const char *name,
                            const char *key)
{
    char *text = read_text(folder, name);
    uint64_t value = text ? find_number(text, key) : UINT64_MAX;

    free(text);
    return value;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void read_meminfo(const char *root, struct weir_machine_ram *ram)
{
    char *text;
    char path[MAX_MOUNT];

    snprintf(path, sizeof(path), "%s/proc", root);
    text = read_text(path, "meminfo");
    ram->total = text ? find_number(text, "MemTotal:") : UINT64_MAX;
    ram->available = text ? find_number(text, "MemAvailable:") : UINT64_MAX;
    free(text);
    if (ram->total < UINT64_MAX >> 10)
        ram->total <<= 10;
    if (ram->available < UINT64_MAX >> 10)
        ram->available <<= 10;
}

/* Bytes of files that a cgroup could take back */
static uint64_t read_files(const char *folder, const struct version *version)
{
    uint64_t inactive = read_number(folder, "memory.stat", version->inactive);
    uint64_t active = read_number(folder, "memory.stat", version->active);

    return (inactive == UINT64_MAX ? 0 : inactive) +
           (active == UINT64_MAX ? 0 : active);
}

static void read_folder(const char *folder, const struct version *version,
                        struct weir_machine_ram *ram)
{
    uint64_t limit = read_number(folder, version->limit, "");
    uint64_t usage = read_number(folder, version->usage, "");
    uint64_t files;

    /* version 1 says "no limit" with a number near 2^63 */
    if (limit >= UINT64_MAX >> 2)
        return;
    files = read_files(folder, version);
    if (usage == UINT64_MAX)
        usage = 0;
    usage -= least(usage, files);
    ram->total = least(ram->total, limit);
    ram->available = least(ram->available, limit - least(limit, usage));
}

/* `path` is cut from its end. */
static void read_folders(const char *mount, char *path,
                         const struct version *version,
                         struct weir_machine_ram *ram)
{
    char folder[MAX_MOUNT + MAX_GROUP];
    char *slash;

    for (;;) {
        snprintf(folder, sizeof(folder), "%s%s", mount, path);
        read_folder(folder, version, ram);
        slash = strrchr(path, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static void read_group(const char *root, const char *path,
                       const struct version *version,
                       struct weir_machine_ram *ram)
{
    char mount[MAX_MOUNT], copy[MAX_GROUP];

    for (size_t i = 0; i < 2 && version->mounts[i]; i++) {
        snprintf(mount, sizeof(mount), "%s%s", root, version->mounts[i]);
        snprintf(copy, sizeof(copy), "%s", path);
        read_folders(mount, copy, version, ram);
    }
}

/* 1 when `name` is one of the words between commas */
static int has_word(const char *words, const char *name)
{
    size_t n = strlen(name);

    if (!n)
        return !*words;
    for (const char *at = words; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, name, n) && (!at[n] || at[n] == ','))
            return 1;
    }
    return 0;
}

/* Lines are "4:cpu,memory:/path", or "0::/path" of version 2. */
static void read_groups(const char *root, char *text,
                        struct weir_machine_ram *ram)
{
    char *rest = text, *line, *words, *path;

    while ((line = strsep(&rest, "\n"))) {
        words = strchr(line, ':');
        path = words ? strchr(words + 1, ':') : NULL;
        if (!path)
            continue;
        *words++ = *path++ = '\0';
        for (size_t i = 0; i < N_VERSIONS; i++)
            if (has_word(words, versions[i].controller))
                read_group(root, path, &versions[i], ram);
    }
}

void weir_machine_read_ram(const char *root, struct weir_machine_ram *ram)
{
    char path[MAX_MOUNT];
    char *text;

    read_meminfo(root, ram);
    snprintf(path, sizeof(path), "%s/proc/self", root);
    text = read_text(path, "cgroup");
    if (text)
        read_groups(root, text, ram);
    free(text);
    ram->available = least(ram->available, ram->total);
}

uint64_t weir_machine_default_budget(const struct weir_machine_ram *ram)
{
    uint64_t left = ram->available / 8;

    if (left < 1ull << 30)
        left = 1ull << 30;
    return ram->available - least(left, ram->available / 2);
}
