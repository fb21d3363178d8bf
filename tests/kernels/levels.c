/* SPDX-License-Identifier: Apache-2.0 */
/*
 * levels: the comparison, as TAP.  levels --bench: a table of speeds of every
 * level that this machine runs, beside the reference's.
 */
#include "tests/kernels/levels.h"

#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_GUARDED 64
#define N_TIMES     9

static struct {
    void *start;
    size_t n_bytes;
} guarded[MAX_GUARDED];
static unsigned n_guarded;

void *guard_alloc(size_t n_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inside = (n_bytes + page - 1) / page * page, all = inside + 2 * page;
    char *start = mmap(NULL, all, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED || n_guarded == MAX_GUARDED ||
        mprotect(start, page, PROT_NONE) ||
        mprotect(start + page + inside, page, PROT_NONE)) {
        perror("guarded memory");
        exit(99);
    }
    guarded[n_guarded].start = start;
    guarded[n_guarded++].n_bytes = all;
    return start + page + inside - n_bytes;
}

void guard_free_all(void)
{
    while (n_guarded) {
        n_guarded--;
        munmap(guarded[n_guarded].start, guarded[n_guarded].n_bytes);
    }
}

float *guard_floats(size_t n)
{
    float *x = guard_alloc(n * sizeof(*x));

    fill(x, n);
    return x;
}

float *guard_copy(const float *x, size_t n)
{
    float *y = guard_alloc(n * sizeof(*y));

    memcpy(y, x, n * sizeof(*y));
    return y;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_time(void (*run)(void *ctx, const struct weir_kernels *kernels),
                  void *ctx, const struct weir_kernels *kernels)
{
    double times[N_TIMES], start = seconds();
    size_t n = 1;

    run(ctx, kernels);
    while (seconds() - start < 0.02) {
        run(ctx, kernels);
        n++;
    }
    for (unsigned i = 0; i < N_TIMES; i++) {
        start = seconds();
        for (size_t call = 0; call < n; call++)
            run(ctx, kernels);
        times[i] = (seconds() - start) / (double)n;
    }
    qsort(times, N_TIMES, sizeof(times[0]), by_value);
    return times[N_TIMES / 2];
}

void bench_print(const char *what, double fast_s, double ref_s, double n_bytes)
{
    printf("  %-34s %10.2f us %10.2f us %7.2f x %8.2f GB/s\n", what,
           fast_s * 1e6, ref_s * 1e6, ref_s / fast_s, n_bytes / fast_s / 1e9);
}

static void visit(enum weir_level level, int bench)
{
    struct levels levels = {.level = level, .name = weir_level_name(level)};

    weir_kernels_at(level, &levels.fast);
    weir_kernels_at(WEIR_LEVEL_REF, &levels.ref);
    if (bench) {
        printf("%-36s %13s %13s %9s %13s\n", levels.name, "this level",
               "reference", "faster", "bytes");
        bench_matmul(&levels);
        bench_gemm(&levels);
        bench_rows(&levels);
        bench_attention(&levels);
        bench_scan(&levels);
        bench_conv(&levels);
        return;
    }
    check_probe(&levels);
    if (level == WEIR_LEVEL_REF)
        return;
    check_exp(&levels);
    check_matmul(&levels);
    check_gemm(&levels);
    check_rows(&levels);
    check_attention(&levels);
    check_scan(&levels);
    check_conv(&levels);
}

int main(int argc, char **argv)
{
    int bench = argc > 1 && !strcmp(argv[1], "--bench");

    for (int i = bench ? WEIR_LEVEL_AVX2 : WEIR_LEVEL_REF; i < WEIR_N_LEVELS;
         i++) {
        if (!weir_level_compiled(i))
            continue;
        if (i <= (int)weir_level_detected())
            visit(i, bench);
        else if (!bench)
            tap_skip("this machine has no %s", weir_level_name(i));
    }
    return bench ? 0 : tap_done();
}
