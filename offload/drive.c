/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beyond some number of bytes under way a drive gets no faster, only later with
 * each answer; so of all that come close to the best the one is chosen that
 * keeps the fewest bytes under way.
 */
#include "offload/drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "offload/reader.h"

#define LAYOUT_VERSION 1
#define MAX_CACHE      (64 << 10) /* bytes of drives.json */
#define MAX_DEPTH      16
#define MAX_BYTES      ((size_t)4 << 20)
#define MIN_FILE       ((uint64_t)256 << 20) /* less may all lie in the drive */

/* Of each pair, and how near to the best the one chosen comes */
#define PAIR_NS 40000000
#define NEAR    0.97

static const size_t sizes[] = {512 << 10, 1 << 20, 2 << 20, 4 << 20};
/* With fewer the drive waits whenever the reader's thread has to. */
static const unsigned depths[] = {4, 8, MAX_DEPTH};

#define N_SIZES  (sizeof(sizes) / sizeof(sizes[0]))
#define N_DEPTHS (sizeof(depths) / sizeof(depths[0]))

struct probe {
    struct weir_reader *reader;
    struct weir_region region;
    struct weir_read reads[MAX_DEPTH];
    uint64_t n_bytes; /* of the file */
    uint64_t random;
};

/* ---- what is remembered ---- */

/* The folder, made if need be; 0 when there is no place for it */
static int cache_folder(char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;

    if (cache && *cache == '/')
        n = snprintf(path, size, "%s", cache);
    else if (home && *home == '/')
        n = snprintf(path, size, "%s/.cache", home);
    else
        return 0;
    if (n < 0 || (size_t)n + sizeof("/weir") > size)
        return 0;
    mkdir(path, 0700);
    memcpy(path + n, "/weir", sizeof("/weir"));
    mkdir(path, 0700);
    return 1;
}

/* An object with a drive for each key; empty when there is nothing of use */
static json_t *load(const char *path)
{
    struct weir_buf text = WEIR_BUF(MAX_CACHE);
    json_t *root = NULL;
    int64_t version = 0;

    if (weir_buf_add_file(&text, path, NULL) || !text.n_bytes ||
        weir_json_parse(text.data, text.n_bytes, path, &root, NULL))
        root = NULL;
    weir_buf_fini(&text);
    if (json_is_object(root) &&
        !weir_json_get_int(root, "version", path, LAYOUT_VERSION,
                           LAYOUT_VERSION, &version, NULL) &&
        version == LAYOUT_VERSION)
        return root;
    json_decref(root);
    return json_pack("{s:i}", "version", LAYOUT_VERSION);
}

static int recall(const json_t *root, const char *key, struct weir_drive *drive)
{
    const json_t *entry = json_object_get(root, key);
    int64_t request = 0, depth = 0;
    double gbps = 0;

    if (!json_is_object(entry) ||
        weir_json_get_int(entry, "request_bytes", key, 64 << 10, MAX_BYTES,
                          &request, NULL) ||
        weir_json_get_int(entry, "depth", key, 1, MAX_DEPTH, &depth, NULL) ||
        weir_json_get_real(entry, "gbps", key, 1e-3, 1e6, &gbps, NULL) ||
        !request || request % WEIR_READ_ALIGN || !depth || gbps <= 0)
        return 0;
    drive->request_bytes = (size_t)request;
    drive->depth = (unsigned)depth;
    drive->gbps = gbps;
    return 1;
}

/* Under a name of its own first, so that nobody reads half of it. */
static void write_file(const char *path, const char *text)
{
    char part[4096];
    FILE *file;
    int fd, ok;

    if (snprintf(part, sizeof(part), "%s.XXXXXX", path) >= (int)sizeof(part))
        return;
    fd = mkstemp(part);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        if (fd >= 0)
            close(fd);
        return;
    }
    ok = fwrite(text, 1, strlen(text), file) == strlen(text);
    if (fclose(file) || !ok || rename(part, path))
        unlink(part);
}

static void remember(json_t *root, const char *path, const char *key,
                     const struct weir_drive *drive)
{
    json_t *entry = json_pack("{s:I, s:i, s:f}", "request_bytes",
                              (json_int_t)drive->request_bytes, "depth",
                              (int)drive->depth, "gbps", drive->gbps);
    char *text;

    if (!entry || json_object_set_new(root, key, entry))
        return;
    text = json_dumps(root,
                      JSON_INDENT(1) | JSON_SORT_KEYS | JSON_REAL_PRECISION(4));
    if (text)
        write_file(path, text);
    free(text);
}

/* ---- what is measured ---- */

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void submit(struct probe *probe, struct weir_read *read, size_t bytes)
{
    probe->random = probe->random * 6364136223846793005u + 1442695040888963407u;
    read->offset = (probe->random >> 33) % (probe->n_bytes / bytes) * bytes;
    read->n_bytes = bytes;
    weir_reader_submit(probe->reader, read);
}

/* GB/s of reads of `bytes` with `depth` under way; 0 when one failed */
static double measure_pair(struct probe *probe, size_t bytes, unsigned depth)
{
    int64_t start = now_ns(), end = start, last = start + PAIR_NS;
    uint64_t n_done = 0;
    int failed = 0;

    for (unsigned i = 0; i < depth; i++)
        submit(probe, &probe->reads[i], bytes);
    for (unsigned i = 0; !failed && end < last; i = (i + 1) % depth) {
        failed = weir_reader_wait(probe->reader, &probe->reads[i]) != 0;
        end = now_ns();
        n_done++;
        submit(probe, &probe->reads[i], bytes);
    }
    for (unsigned i = 0; i < depth; i++)
        failed |= weir_reader_wait(probe->reader, &probe->reads[i]) != 0;
    return failed ? 0 : (double)(n_done * bytes) / (double)(end - start);
}

static int measure_all(struct probe *probe, struct weir_drive *drive)
{
    double gbps[N_SIZES][N_DEPTHS], best = 0;
    size_t fewest = SIZE_MAX;

    measure_pair(probe, sizes[1], depths[1]); /* touches buffers and drive */
    for (size_t s = 0; s < N_SIZES; s++)
        for (size_t d = 0; d < N_DEPTHS; d++) {
            gbps[s][d] = measure_pair(probe, sizes[s], depths[d]);
            if (gbps[s][d] > best)
                best = gbps[s][d];
        }
    for (size_t s = 0; s < N_SIZES; s++)
        for (size_t d = 0; d < N_DEPTHS; d++)
            if (gbps[s][d] > 0 && gbps[s][d] >= NEAR * best &&
                sizes[s] * depths[d] < fewest) {
                fewest = sizes[s] * depths[d];
                *drive = (struct weir_drive){sizes[s], depths[d], gbps[s][d]};
            }
    return fewest != SIZE_MAX;
}

/* 1 when the drive could be measured, and not the page cache */
static int measure(int fd, uint64_t n_bytes, struct weir_drive *drive)
{
    struct probe probe = {.n_bytes = n_bytes, .random = 1};
    const struct weir_read_file file = {"", fd, 0};
    struct weir_reader_options options = {
        .depth = MAX_DEPTH, .deadline_ms = 2000, .region = &probe.region};
    int ok;

    ok = !weir_region_init(&probe.region, MAX_DEPTH * MAX_BYTES, NULL) &&
         !weir_reader_new(&options, &file, 1, &probe.reader, NULL) &&
         weir_reader_is_direct(probe.reader);
    for (unsigned i = 0; i < MAX_DEPTH && ok; i++)
        probe.reads[i].buffer = probe.region.base + i * MAX_BYTES;
    ok = ok && measure_all(&probe, drive);
    weir_reader_free(probe.reader);
    weir_region_fini(&probe.region);
    return ok;
}

void weir_drive_get(int fd, uint64_t n_bytes, struct weir_drive *drive)
{
    char path[4096 - 16], key[32];
    struct stat st;
    json_t *root;
    size_t n;

    *drive = (struct weir_drive){1 << 20, WEIR_READ_DEPTH, 0};
    if (fstat(fd, &st) || !cache_folder(path, sizeof(path) - 32))
        return;
    n = strlen(path);
    snprintf(path + n, sizeof(path) - n, "/drives.json");
    snprintf(key, sizeof(key), "%u:%u", major(st.st_dev), minor(st.st_dev));
    root = load(path);
    if (root && !recall(root, key, drive) && n_bytes >= MIN_FILE &&
        measure(fd, n_bytes, drive))
        remember(root, path, key, drive);
    json_decref(root);
}
