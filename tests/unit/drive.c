/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of a drive, and what becomes of a damaged memory. */
#include "offload/drive.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "offload/reader.h"
#include "tests/tap.h"

#define LARGE ((uint64_t)256 << 20)

static char folder[] = "drive.XXXXXX";
static char memory[4096];
static int fd;

static struct weir_drive get(uint64_t n_bytes)
{
    struct weir_drive drive = {0};

    weir_drive_get(fd, n_bytes, &drive);
    return drive;
}

static int is_usual(struct weir_drive drive)
{
    return drive.request_bytes == 1 << 20 && drive.depth == WEIR_READ_DEPTH &&
           drive.gbps == 0;
}

static int is_measured(struct weir_drive drive)
{
    return drive.gbps > 0 && drive.request_bytes >= 512 << 10 &&
           drive.request_bytes % WEIR_READ_ALIGN == 0 && drive.depth >= 1 &&
           drive.depth <= WEIR_READ_DEPTH_MAX;
}

static int is_same(struct weir_drive a, struct weir_drive b)
{
    return a.request_bytes == b.request_bytes && a.depth == b.depth;
}

static int write_memory(const char *text)
{
    int out = open(memory, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int rc = out < 0 || weir_pwrite_all(out, text, strlen(text), 0, "", NULL);

    close(out);
    return rc;
}

/* Replaces what stands between `key` and the next ',' or '}' */
static void change(const char *key, const char *value)
{
    struct weir_buf text = WEIR_BUF(1 << 16);
    char made[4096], *at, *end;

    if (weir_buf_add_file(&text, memory, NULL) || !text.data)
        return;
    at = strstr(text.data, key);
    if (at) {
        at += strlen(key);
        end = at + strcspn(at, ",}\n");
        snprintf(made, sizeof(made), "%.*s %s%s", (int)(at - text.data),
                 text.data, value, end);
        write_memory(made);
    }
    weir_buf_fini(&text);
}

static void test_damage(void)
{
    static const char *const texts[] = {
        "", "{", "[1]", "{\"version\": 2}", "{\"version\": \"1\"}", "null"};
    static const char *const values[][2] = {
        {"\"depth\":", "0"},
        {"\"depth\":", "1000"},
        {"\"depth\":", "\"8\""},
        {"\"request_bytes\":", "1048577"},
        {"\"request_bytes\":", "-4096"},
        {"\"gbps\":", "-1"},
        {"\"gbps\":", "true"},
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_memory(texts[i]);
        n += is_usual(get(4096));
    }
    tap_ok(n == sizeof(texts) / sizeof(texts[0]),
           "a file that cannot be understood says nothing");
    n = 0;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        write_memory("{");
        get(LARGE);
        change(values[i][0], values[i][1]);
        n += is_usual(get(4096));
    }
    tap_ok(n == sizeof(values) / sizeof(values[0]),
           "nor do values out of range (%zu)", n);
    tap_ok(is_measured(get(LARGE)), "then it is measured again");
}

static void test_no_place(void)
{
    setenv("XDG_CACHE_HOME", "/proc/nothing", 1);
    tap_ok(is_measured(get(LARGE)), "without a place to write it is measured");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    tap_ok(is_usual(get(LARGE)), "without a place at all it is not");
}

static void test_memory(void)
{
    struct weir_drive first;

    tap_ok(is_usual(get(4096)), "a small file is not measured");
    first = get(LARGE);
    if (is_usual(first)) {
        tap_skip("the file system refuses direct reads");
        return;
    }
    tap_ok(is_measured(first),
           "a large one is: %zu bytes, %u at once, %.2f "
           "GB/s",
           first.request_bytes, first.depth, first.gbps);
    tap_ok(is_same(get(4096), first), "and remembered");
    change("\"depth\":", "5");
    tap_ok(get(LARGE).depth == 5, "and not measured twice");
    test_damage();
    test_no_place();
}

int main(void)
{
    char path[4096], here[2048];

    if (!mkdtemp(folder) || !getcwd(here, sizeof(here)))
        return 1;
    snprintf(path, sizeof(path), "%s/%s", here, folder);
    setenv("XDG_CACHE_HOME", path, 1);
    snprintf(memory, sizeof(memory), "%s/weir/drives.json", folder);
    snprintf(path, sizeof(path), "%s/large", folder);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, LARGE))
        return 1;
    test_memory();
    close(fd);
    unlink(path);
    unlink(memory);
    snprintf(path, sizeof(path), "%s/weir", folder);
    rmdir(path);
    rmdir(folder);
    return tap_done();
}
