/* SPDX-License-Identifier: Apache-2.0 */
/* Checking a whole model on a drive that fails, with either engine. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "offload/verify.h"
#include "tests/fault/fault_io.h"
#include "tests/fault/fault_model.h"
#include "tests/tap.h"

static struct weir_file *file;
static struct weir_err err;
static char said[512]; /* the last of what was said to be bad */
static uint64_t seen, expected;
static int n_notes;

static void on_bad(void *ctx, const char *text)
{
    (void)ctx;
    snprintf(said, sizeof(said), "%s", text);
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    seen = done;
    expected = total;
}

static void on_note(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
    n_notes++;
}

/* Bad tiles, or the code of the error */
static long verify(enum weir_io io, unsigned n_threads)
{
    struct weir_verify job = {.n_threads = n_threads,
                              .io = io,
                              .calls = &fault_io_calls,
                              .bad = on_bad,
                              .progress = on_progress,
                              .note = on_note};
    uint64_t n_bad;
    int rc;

    *said = '\0';
    seen = expected = 0;
    n_notes = 0;
    rc = weir_verify_run(&job, file, &n_bad, &err);
    return rc ? rc : (long)n_bad;
}

/* The place of a tile in the middle */
static uint64_t middle(void)
{
    struct weir_tile_record record;

    weir_file_tile(file, file->n_tiles / 2, &record);
    return record.offset;
}

static void test_drive(enum weir_io io, const char *name)
{
    uint64_t at = middle();
    char place[64];

    snprintf(place, sizeof(place), "offset %llu: tile", (unsigned long long)at);
    fault_io_reset();
    tap_ok(verify(io, 3) == 0 && seen && seen == expected && !n_notes,
           "%s: a good file is good", name);
    fault_io.flip_at = at;
    fault_io.flip_n = 1;
    tap_ok(verify(io, 2) == 1 && strstr(said, place) &&
               strstr(said, "checksum"),
           "%s: one byte that comes wrong: %s", name, said);
    fault_io.bad_from = at;
    fault_io.bad_to = at + 1;
    fault_io.bad_errnum = EIO;
    fault_io.bad_n = 1000;
    tap_ok(verify(io, 2) == 1 && strstr(said, place) &&
               strstr(said, "cannot be read") && seen == expected,
           "%s: one place that cannot be read: %s", name, said);
    fault_io.bad_n = 1;
    tap_ok(verify(io, 1) == 0, "%s: unless it comes the second time", name);
}

static void test_system(enum weir_io io, const char *name)
{
    fault_io_reset();
    fault_io.open_errnum = EINVAL;
    tap_ok(verify(io, 2) == 0 && n_notes == 1,
           "%s: a file system without direct reads is noted", name);
    fault_io_reset();
    fault_io.bad_to = UINT64_MAX;
    fault_io.bad_errnum = ETIMEDOUT;
    fault_io.bad_n = 1 << 30;
    tap_ok(verify(io, 2) > 0, "%s: a drive that fails everywhere", name);
}

#ifdef HAVE_LIBURING
static void test_ring(void)
{
    long rc;

    fault_io_reset();
    fault_io.wait_rc = -EBADF;
    fault_io.wait_at = 2;
    rc = verify(WEIR_IO_URING, 2);
    tap_ok(rc == WEIR_EIO && !*said && *err.message,
           "a ring that breaks is not the file's fault: %s", err.message);
    fault_io_reset();
    fault_io.init_rc = -EPERM;
    tap_ok(verify(WEIR_IO_AUTO, 2) == 0 && n_notes == 1,
           "no ring: threads read, and it is noted");
    tap_ok(verify(WEIR_IO_URING, 2) < 0, "unless it must be a ring: %s",
           err.message);
}
#endif

int main(void)
{
    const struct fault_model *kind = &fault_models[1];

    if (fault_room_make())
        return 1;
    if (fault_lay(kind, "moe-8l") || fault_pack(kind, "model.weir", &err) ||
        weir_file_open(fault_at("model.weir"), &file, &err)) {
        tap_ok(0, "%s", err.message);
    } else {
        test_drive(WEIR_IO_PREAD, "pread");
        test_system(WEIR_IO_PREAD, "pread");
        fault_io_reset();
        if (verify(WEIR_IO_URING, 2) < 0) {
            tap_skip("io_uring: %s", err.message);
        } else {
            test_drive(WEIR_IO_URING, "io_uring");
            test_system(WEIR_IO_URING, "io_uring");
#ifdef HAVE_LIBURING
            test_ring();
#endif
        }
        weir_file_close(file);
    }
    fault_room_remove();
    return tap_done();
}
