/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench_kernels_print.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/json.h"

#define FASTER 1.1 /* than the kernel that the table has */

static const char *const uses[] = {"coarse", "fine", "f32"};

#define N_USES (sizeof(uses) / sizeof(uses[0]))

/* The fastest that could serve a use instead of i and is FASTER; NULL: none */
static const char *beaten_by(const struct kernels_cell *cell, unsigned i)
{
    double most = cell->rate[i] * FASTER;
    const char *name = NULL;
    unsigned use = 0;

    if (!cell->serves[i])
        return NULL;
    while (!(cell->serves[i] >> use & 1))
        use++;
    for (unsigned k = 0; k < cell->n_contenders; k++)
        if (cell->contenders[k].precision >= use &&
            cell->contenders[k].steady && cell->rate[k] > most) {
            most = cell->rate[k];
            name = cell->contenders[k].name;
        }
    return name;
}

static double gbps(const struct kernels_cell *cell, unsigned i)
{
    return cell->rate[i] * (double)cell->tile_bytes / 1e9;
}

static double gflops(const struct kernels_cell *cell, unsigned i)
{
    return cell->rate[i] * 2 *
           (double)(cell->tile_rows * cell->tile_cols * cell->n_tok) / 1e9;
}

static double share(const struct kernels_cell *cell, unsigned i)
{
    return (cell->few ? gbps(cell, i) : gflops(cell, i)) * 1e9 / cell->bound;
}

static json_t *real(const struct contender *of, double value)
{
    return of->missing ? json_null() : json_real(value);
}

static json_t *served(const struct kernels_cell *cell, unsigned i)
{
    json_t *list = json_array();

    for (unsigned use = 0; use < N_USES; use++)
        if (cell->serves[i] >> use & 1)
            json_array_append_new(list, json_string(uses[use]));
    return list;
}

static json_t *row_json(const struct kernels_cell *cell, unsigned i)
{
    const struct contender *of = &cell->contenders[i];

    return json_pack(
        "{s:s, s:s?, s:b, s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:s, "
        "s:f, "
        "s:o, s:s, s:o, s:s?}",
        "kernel", of->name, "missing", of->missing, "steady", of->steady,
        "cpu_level", cell->cpu_level, "threads", (json_int_t)cell->threads,
        "weights", weir_dtype_name(cell->dtype), "matrix", cell->matrix,
        "tile_rows", (json_int_t)cell->tile_rows, "tile_cols",
        (json_int_t)cell->tile_cols, "tokens", (json_int_t)cell->n_tok, "gbps",
        real(of, gbps(cell, i)), "gflops", real(of, gflops(cell, i)),
        "bound_by", cell->few ? "dram" : "flops", "bound", cell->bound / 1e9,
        "share", real(of, share(cell, i)), "precision", uses[of->precision],
        "serves", served(cell, i), "faster", beaten_by(cell, i));
}

static int print_json(const struct kernels_cell *cell, unsigned i,
                      const char *before, struct weir_err *err)
{
    json_t *root = row_json(cell, i);
    int rc;

    if (!root)
        return weir_err_nomem(err, sizeof(*cell), "JSON");
    fputs(before, stdout);
    rc = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}

static void print_number(const struct contender *of, double value)
{
    if (of->missing)
        putchar(',');
    else
        printf("%.17g,", value);
}

static void print_csv(const struct kernels_cell *cell, unsigned i)
{
    const struct contender *of = &cell->contenders[i];
    const char *faster = beaten_by(cell, i), *plus = "";

    printf("%s,%s,%d,%s,%u,%s,%s,%zu,%zu,%zu,", of->name,
           of->missing ? of->missing : "", of->steady, cell->cpu_level,
           cell->threads, weir_dtype_name(cell->dtype), cell->matrix,
           cell->tile_rows, cell->tile_cols, cell->n_tok);
    print_number(of, gbps(cell, i));
    print_number(of, gflops(cell, i));
    printf("%s,%.17g,", cell->few ? "dram" : "flops", cell->bound / 1e9);
    print_number(of, share(cell, i));
    printf("%s,", uses[of->precision]);
    for (unsigned use = 0; use < N_USES; use++)
        if (cell->serves[i] >> use & 1) {
            printf("%s%s", plus, uses[use]);
            plus = "+";
        }
    printf(",%s\n", faster ? faster : "");
}

static void print_md_head(const struct kernels_cell *cell)
{
    printf("| weights | matrix | tile | tokens | %s, %u thread%s |",
           cell->few ? "read GB/s" : "peak GFLOP/s", cell->threads,
           cell->threads > 1 ? "s" : "");
    for (unsigned i = 0; i < cell->n_contenders; i++)
        printf(" %s, %s |", cell->contenders[i].name,
               uses[cell->contenders[i].precision]);
    fputs("\n| --- | --- | --- | ---: | ---: |", stdout);
    for (unsigned i = 0; i < cell->n_contenders; i++)
        fputs(" ---: |", stdout);
    putchar('\n');
}

static void print_md(const struct kernels_cell *cell)
{
    printf("| %s | %s | %zu x %zu | %zu | %.1f |", weir_dtype_name(cell->dtype),
           cell->matrix, cell->tile_rows, cell->tile_cols, cell->n_tok,
           cell->bound / 1e9);
    for (unsigned i = 0; i < cell->n_contenders; i++)
        if (cell->contenders[i].missing)
            printf(" %s |", cell->contenders[i].missing);
        else
            printf(" %.1f, %.0f %%%s%s%s |",
                   cell->few ? gbps(cell, i) : gflops(cell, i),
                   100 * share(cell, i), cell->serves[i] ? " *" : "",
                   cell->contenders[i].steady ? "" : " (~)",
                   beaten_by(cell, i) ? " (!)" : "");
    putchar('\n');
}

static void print_head(const struct bench_print *print,
                       const struct kernels_cell *cell)
{
    if (print->form == BENCH_CSV && !print->n_rows)
        puts("kernel,missing,steady,cpu_level,threads,weights,matrix,tile_rows,"
             "tile_cols,tokens,gbps,gflops,bound_by,bound,share,precision,"
             "serves,faster");
    if (print->form != BENCH_MD || !cell->first)
        return;
    if (print->n_rows)
        putchar('\n');
    print_md_head(cell);
}

int kernels_print_cell(struct bench_print *print,
                       const struct kernels_cell *cell, struct weir_err *err)
{
    static const char *const between[] = {
        [BENCH_JSON] = ",\n", [BENCH_JSONL] = "\n"};
    int rc = 0;

    print_head(print, cell);
    for (unsigned i = 0; i < cell->n_contenders && !rc; i++) {
        int first = print->n_rows++ == 0;

        if (print->form == BENCH_CSV)
            print_csv(cell, i);
        else if (print->form != BENCH_MD)
            rc = print_json(cell, i,
                            !first                      ? between[print->form]
                            : print->form == BENCH_JSON ? "["
                                                        : "",
                            err);
        print->places |= !cell->contenders[i].steady;
        print->unsteady |= beaten_by(cell, i) != NULL;
    }
    if (print->form == BENCH_MD)
        print_md(cell);
    fflush(stdout);
    return rc;
}

void kernels_print_end(const struct bench_print *print)
{
    if (print->form == BENCH_JSON)
        putchar(']');
    if (print->form == BENCH_JSON || print->form == BENCH_JSONL)
        putchar('\n');
    if (print->form != BENCH_MD)
        return;
    puts("\n* is what products are done with");
    if (print->places)
        puts("(~) sums depend on the place of a token or row: of no use");
    if (print->unsteady)
        puts("(!) another that is exact enough does more than 10 % better");
}
