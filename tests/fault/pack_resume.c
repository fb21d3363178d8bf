/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing that is interrupted, at any place and by any cause, is continued and
 * ends in the same bytes; the number of threads does not show in them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "offload/pack.h"
#include "tests/tap.h"

#define N_UNITS   12
#define N_TENSORS (4 * N_UNITS)

static char folder[] = "pack_resume.XXXXXX";
static struct weir_pack_tensor tensors[N_TENSORS];
static struct weir_pack_unit units[N_UNITS];
static struct weir_pack pack;

/* A source that fails after some number of reads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_reads, fail_at;

/* A disk that refuses one write: the library's calls come here, not to libc. */
static unsigned n_writes, refuse_at;

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
    int refused;

    pthread_mutex_lock(&lock);
    refused = ++n_writes == refuse_at;
    pthread_mutex_unlock(&lock);
    if (!refused)
        return syscall(SYS_pwrite64, fd, data, n, offset);
    errno = ENOSPC;
    return -1;
}

/* The same for names that files get. */
static unsigned n_renames, keep_name_at;

int rename(const char *from, const char *to)
{
    if (++n_renames != keep_name_at)
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    errno = EIO;
    return -1;
}

static int read_rows(void *ctx, const struct weir_pack_tensor *tensor,
                     uint64_t first, size_t n, void *buffer, const void **data,
                     struct weir_err *err)
{
    uint16_t *out = buffer;
    int failed;

    (void)ctx;
    *data = buffer;
    pthread_mutex_lock(&lock);
    failed = ++n_reads == fail_at;
    pthread_mutex_unlock(&lock);
    if (failed)
        return weir_err_set(err, WEIR_EIO, "the drive is gone");
    for (size_t i = 0; i < n; i++) {
        uint32_t x = (uint32_t)(first + i) * 2654435761u + tensor->source;

        out[i] = weir_f32_to_bf16((float)(int32_t)(x ^ x >> 13) * 1e-11f);
    }
    return 0;
}

static void add_tensor(uint32_t t, uint64_t rows, uint64_t cols,
                       enum weir_split split, enum weir_dtype dtype)
{
    snprintf(tensors[t].name, sizeof(tensors[t].name), "tensor.%u", t);
    tensors[t].src_dtype = dtype == WEIR_I8 ? WEIR_BF16 : dtype;
    tensors[t].dtype = dtype;
    tensors[t].n_dims = rows ? 2 : 1;
    tensors[t].shape[0] = rows ? rows : cols;
    tensors[t].shape[1] = rows ? cols : 0;
    tensors[t].split = split;
    tensors[t].source = t;
}

/* Units like experts: scales, two matrices cut by rows and one by columns. */
static void make_pack(void)
{
    for (uint32_t u = 0; u < N_UNITS; u++) {
        uint32_t t = 4 * u;

        snprintf(units[u].name, sizeof(units[u].name), "unit.%u", u);
        units[u].first_tensor = t;
        units[u].n_tensors = 4;
        add_tensor(t, 0, 64 + 128, WEIR_SPLIT_VECTOR, WEIR_F32);
        tensors[t].is_scales = 1;
        add_tensor(t + 1, 64, 200, WEIR_SPLIT_ROWS, WEIR_I8);
        add_tensor(t + 2, 64, 200, WEIR_SPLIT_HALVES, WEIR_BF16);
        add_tensor(t + 3, 128, 64, WEIR_SPLIT_COLS, WEIR_I8);
    }
    pack.tensors = tensors;
    pack.units = units;
    pack.n_tensors = N_TENSORS;
    pack.n_units = N_UNITS;
    pack.tile_ceiling = 4096;
    pack.n_threads = 2;
    pack.read = read_rows;
}

static const char *path_of(const char *name)
{
    static char path[2][256];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
    return path[turn];
}

/* A model of three parts, whose paths must not show in the bytes */
static struct weir_stripe stripe = {.n_parts = 3, .n_bytes = 3 * 4096};
static char part_paths[3][300];
static char part_names[3][8] = {"", "part.1", "part.2"};

static const char *part_of(const char *name, unsigned part)
{
    static char path[2][300];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), part ? "%s.%u" : "%s",
             path_of(name), part);
    return path[turn];
}

static int write_pack(const char *name, unsigned fail, struct weir_err *err)
{
    n_reads = n_renames = 0;
    fail_at = fail;
    for (unsigned i = 1; i < stripe.n_parts; i++) {
        snprintf(part_paths[i], sizeof(part_paths[i]), "%s", part_of(name, i));
        stripe.parts[i].path = part_paths[i];
        stripe.parts[i].recorded = part_names[i];
    }
    return weir_pack_write(&pack, path_of(name), err);
}

static int same_part(const char *a, const char *b, unsigned part)
{
    struct weir_buf x = WEIR_BUF(64 << 20), y = WEIR_BUF(64 << 20);
    int same = !weir_buf_add_file(&x, part_of(a, part), NULL) &&
               !weir_buf_add_file(&y, part_of(b, part), NULL) &&
               x.n_bytes == y.n_bytes && !memcmp(x.data, y.data, x.n_bytes);

    weir_buf_fini(&x);
    weir_buf_fini(&y);
    return same;
}

static int same_bytes(const char *a, const char *b)
{
    unsigned n_parts = pack.stripe ? pack.stripe->n_parts : 1;
    int same = 1;

    for (unsigned i = 0; i < n_parts; i++)
        same &= same_part(a, b, i);
    return same;
}

static int exists(const char *name)
{
    return !access(path_of(name), F_OK);
}

static void test_threads(void)
{
    struct weir_err err;
    int same = 1;

    tap_ok(!write_pack("whole", 0, &err), "a pack in one go");
    for (unsigned n = 1; n <= 7; n += 3) {
        pack.n_threads = n;
        same &=
            !write_pack("threads", 0, &err) && same_bytes("whole", "threads");
    }
    pack.n_threads = 2;
    tap_ok(same, "1, 4 and 7 threads make the same bytes");
}

/* Several parts fail as one does, but for the order they are written in. */
static unsigned step(void)
{
    return pack.stripe ? 11 : 1;
}

static void test_failures(void)
{
    unsigned total = 0, resumed = 0, wrong = 0, early = 0, n_tries = 0;
    struct weir_err err;

    write_pack("count", 0, &err);
    total = n_reads;
    for (unsigned i = 1; i <= total; i += 5 * step(), n_tries++) {
        unlink(path_of("again"));
        if (write_pack("again", i, &err) != WEIR_EIO || exists("again"))
            early++;
        if (write_pack("again", 0, &err) || !same_bytes("whole", "again"))
            wrong++;
        resumed += n_reads < total;
    }
    tap_ok(!early, "a failing read ends the pack and leaves no file");
    tap_ok(!wrong, "the next run ends in the same bytes, wherever it failed");
    tap_ok(resumed > n_tries / 2, "and reads only what is missing (%u times)",
           resumed);
}

/* Any one write fails, the scales' and the checkpoint's too. */
static void test_refused_writes(void)
{
    unsigned total, wrong = 0, early = 0;
    struct weir_err err;

    n_writes = 0;
    write_pack("count", 0, &err);
    total = n_writes;
    for (unsigned i = 1 + total % step(); i <= total; i += step()) {
        unlink(path_of("again"));
        n_writes = 0;
        refuse_at = i;
        if (write_pack("again", 0, &err) != WEIR_EIO || exists("again"))
            early++;
        refuse_at = 0;
        if (write_pack("again", 0, &err) || !same_bytes("whole", "again"))
            wrong++;
    }
    tap_ok(total > N_TENSORS && !early,
           "%s of %u writes, refused, ends the pack",
           pack.stripe ? "any" : "each", total);
    tap_ok(!wrong, "and the next run ends in the same bytes");
}

/* The header comes last, when the records of all tiles are in their place. */
static void test_refused_header(void)
{
    unsigned total, missing;
    struct weir_err err;
    int refused;

    pack.n_threads = 1;
    write_pack("again", 150, &err);
    n_writes = 0;
    write_pack("again", 0, &err);
    total = n_writes;
    missing = n_reads;
    write_pack("again", 150, &err);
    n_writes = 0;
    refuse_at = total;
    refused = write_pack("again", 0, &err) == WEIR_EIO;
    refuse_at = 0;
    if (pack.stripe)
        missing = 0; /* for the other parts were whole */
    tap_ok(refused && !write_pack("again", 0, &err) && n_reads == missing &&
               same_bytes("whole", "again"),
           "a refused header: what was safe is not read again");
    pack.n_threads = 2;
}

/* A disk that is full: no file may grow beyond a limit. */
static void test_full_disk(void)
{
    struct rlimit limit, old;
    struct weir_err err;
    unsigned wrong = 0;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    for (rlim_t most = 1 << 12; most < 1 << 20; most *= 2) {
        unlink(path_of("full"));
        limit.rlim_cur = most;
        setrlimit(RLIMIT_FSIZE, &limit);
        wrong += write_pack("full", 0, &err) != WEIR_EIO || exists("full") ||
                 !strstr(err.message, "/full.") ||
                 !strstr(err.message, ".part");
        setrlimit(RLIMIT_FSIZE, &old);
        wrong += write_pack("full", 0, &err) || !same_bytes("whole", "full");
    }
    tap_ok(!wrong,
           "no room: an error that names the file, then the same bytes");
}

static void damage_part(const char *name, off_t at)
{
    int fd = open(path_of(name), O_RDWR);

    if (pwrite(fd, "damage", 6, at) != 6)
        tap_diag("could not damage %s", name);
    close(fd);
}

static void test_stale_part(void)
{
    struct weir_err err;
    int fd;

    write_pack("stale", 200, &err);
    pack.policy = WEIR_POLICY_RAW;
    tap_ok(!write_pack("stale", 0, &err) && !same_bytes("whole", "stale"),
           "other options: started again");
    pack.policy = WEIR_POLICY_AUTO;
    write_pack("stale", 200, &err);
    damage_part("stale.part", 24);
    tap_ok(!write_pack("stale", 0, &err) && same_bytes("whole", "stale"),
           "a damaged .part: started again");
    fd = open(path_of("stale.part"), O_RDWR | O_CREAT, 0600);
    flock(fd, LOCK_EX);
    tap_ok(write_pack("stale", 0, &err) == WEIR_EIO &&
               strstr(err.message, "another weir"),
           "a .part that another process writes: refused");
    close(fd);
    unlink(path_of("stale.part"));
}

/* A row that cannot be scaled is named, not rounded to nonsense. */
static int read_nan(void *ctx, const struct weir_pack_tensor *tensor,
                    uint64_t first, size_t n, void *buffer, const void **data,
                    struct weir_err *err)
{
    int rc = read_rows(ctx, tensor, first, n, buffer, data, err);

    if (!strcmp(tensor->name, "tensor.5") && first == 0)
        ((uint16_t *)buffer)[201] = 0x7fc0;
    return rc;
}

static void test_nan(void)
{
    struct weir_err err;

    unlink(path_of("nan"));
    pack.read = read_nan;
    tap_ok(write_pack("nan", 0, &err) == WEIR_EFORMAT && !exists("nan") &&
               strstr(err.message, "tensor.5: row 1 "),
           "a NaN to be quantised: refused, naming tensor and row");
    pack.read = read_rows;
    unlink(path_of("nan.part"));
}

/* Each file gets its name after all is safe, the first at the end. */
static void test_names(void)
{
    unsigned wrong = 0, early = 0, again = 0;
    struct weir_err err;

    for (unsigned i = 1; i <= stripe.n_parts; i++) {
        unlink(path_of("again"));
        keep_name_at = i;
        early += write_pack("again", 0, &err) != WEIR_EIO || exists("again");
        keep_name_at = 0;
        wrong += write_pack("again", 0, &err) || !same_bytes("whole", "again");
        again += i < stripe.n_parts && n_reads;
    }
    tap_ok(!early && !wrong, "between the names of parts: the same bytes");
    tap_ok(!again, "and nothing is read again");
}

/* A part that is lost, cut or another's while the pack rests */
static void test_lost_part(void)
{
    struct weir_err err;

    for (unsigned i = 0; i < 3; i++) {
        char name[300];
        int wrong = write_pack("stale", 200, &err) != WEIR_EIO;

        snprintf(name, sizeof(name), "%s.part", part_of("stale", 1));
        if (i == 0)
            unlink(name);
        else if (i == 1)
            wrong |= truncate(name, 8192) != 0;
        else
            damage_part("stale.1.part", 10);
        wrong |= write_pack("stale", 0, &err) || !same_bytes("whole", "stale");
        tap_ok(!wrong, "a part that was %s: started again",
               i == 0   ? "lost"
               : i == 1 ? "cut"
                        : "another's");
    }
}

/* Whether the tensors of unit `u` have the tiles of unit `owner`. */
static int has_tiles_of(const struct weir_file *file, uint32_t u,
                        uint32_t owner)
{
    int same = 1;

    for (uint32_t i = 0; i < 4; i++)
        same &= file->tensors[4 * u + i].owner == 4 * owner + i;
    return same;
}

/* All of the above with units that share the tiles of others. */
static void test_sharing(void)
{
    static const struct {
        uint32_t unit, owner;
    } shared[] = {{3, 1}, {4, 1}, {5, 0}, {8, 7}, {11, 2}};
    size_t n = sizeof(shared) / sizeof(shared[0]);
    struct weir_file *file;
    struct weir_err err;
    int right;

    write_pack("stale", 200, &err);
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < 4; k++)
            tensors[4 * shared[i].unit + k].share_back =
                4 * (shared[i].unit - shared[i].owner);
    right = !write_pack("stale", 0, &err);
    test_threads();
    tap_ok(right && same_bytes("whole", "stale"),
           "a .part of tensors that did not share: started again");
    test_failures();
    test_refused_writes();
    test_refused_header();
    right = !weir_file_open_index(path_of("whole"), &file, &err);
    for (size_t i = 0; right && i < n; i++)
        right &= has_tiles_of(file, shared[i].unit, shared[i].owner);
    tap_ok(right && has_tiles_of(file, 7, 7), "tensors share tiles as asked");
    weir_file_close(file);
}

/* All of the above, but that tensors do not share tiles at first */
static void test_all(void)
{
    test_threads();
    test_failures();
    test_refused_writes();
    test_refused_header();
    test_full_disk();
    test_stale_part();
    test_nan();
    if (pack.stripe) {
        test_names();
        test_lost_part();
    }
    test_sharing();
}

int main(void)
{
    static const char *const made[] = {"whole", "threads", "count",    "again",
                                       "full",  "stale",   "nan.part", "nan"};

    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    make_pack();
    test_all();
    for (uint32_t t = 0; t < N_TENSORS; t++)
        tensors[t].share_back = 0;
    pack.stripe = &stripe;
    tap_diag("over three parts");
    test_all();
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
        for (unsigned k = 0; k < stripe.n_parts; k++) {
            unlink(part_of(made[i], k));
            if (snprintf(part_paths[0], sizeof(part_paths[0]), "%s.part",
                         part_of(made[i], k)) > 0)
                unlink(part_paths[0]);
        }
    if (rmdir(folder))
        tap_diag("%s: files are left", folder);
    return tap_done();
}
