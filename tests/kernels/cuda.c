/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda: the comparison, as TAP.  cuda --bench: a table of speeds at the shapes
 * of Jamba Mini.  The module is the one in the build folder, or the file that
 * WEIR_CUDA_MODULE names.
 */
#include "tests/kernels/cuda.h"

#include <dlfcn.h>
#include <stdio.h>

#define GUARD    256
#define MARK     0xa5
#define MAX_HELD 4096

const struct weir_device_table *gpu;
struct weir_device *card;

static struct {
    void *data;
    size_t n_bytes; /* 0: memory of the host */
} held[MAX_HELD];
static unsigned n_held;

static void die(const char *what)
{
    printf("Bail out! %s\n", what);
    exit(99);
}

static void keep(void *data, size_t n_bytes)
{
    if (!data || n_held == MAX_HELD)
        die("no memory to test with");
    held[n_held].data = data;
    held[n_held++].n_bytes = n_bytes;
}

void *hold(size_t n_bytes)
{
    void *data = calloc(1, n_bytes ? n_bytes : 1);

    keep(data, 0);
    return data;
}

float *random_floats(size_t n)
{
    float *x = hold(n * sizeof(*x));

    fill(x, n);
    return x;
}

void *on_card(const void *data, size_t n_bytes)
{
    size_t inside = (n_bytes + GUARD - 1) / GUARD * GUARD;
    uint8_t *all = malloc(inside + 2 * GUARD);
    struct weir_err err;
    void *place;

    if (!all || gpu->alloc(card, inside + 2 * GUARD, &place, &err))
        die("no memory on the GPU");
    memset(all, MARK, inside + 2 * GUARD);
    memset(all + GUARD, 0xff, n_bytes);
    if (data)
        memcpy(all + GUARD, data, n_bytes);
    gpu->to_device(card, WEIR_STREAM_COMPUTE, place, all, inside + 2 * GUARD);
    if (gpu->synchronize(card, &err))
        die(err.message);
    free(all);
    keep(place, n_bytes);
    return (uint8_t *)place + GUARD;
}

float *floats_on_card(const float *x, size_t n)
{
    return on_card(x, n * sizeof(*x));
}

void *from_card(const void *data, size_t n_bytes)
{
    void *copy = hold(n_bytes);
    struct weir_err err;

    gpu->to_host(card, WEIR_STREAM_COMPUTE, copy, data, n_bytes);
    if (gpu->synchronize(card, &err))
        die(err.message);
    return copy;
}

static int guards_stand(const uint8_t *place, size_t n_bytes)
{
    size_t inside = (n_bytes + GUARD - 1) / GUARD * GUARD, bad = 0;
    uint8_t *all = malloc(inside + 2 * GUARD);
    struct weir_err err;

    if (!all)
        die("no memory to test with");
    gpu->to_host(card, WEIR_STREAM_COMPUTE, all, place, inside + 2 * GUARD);
    if (gpu->synchronize(card, &err))
        die(err.message);
    for (size_t i = 0; i < inside + 2 * GUARD; i++)
        if (i < GUARD || i >= GUARD + n_bytes)
            bad += all[i] != MARK;
    free(all);
    return !bad;
}

int card_is_clean(void)
{
    struct weir_err err;
    int clean = !gpu->synchronize(card, &err);

    if (!clean)
        die(err.message);
    while (n_held) {
        n_held--;
        if (!held[n_held].n_bytes) {
            free(held[n_held].data);
            continue;
        }
        clean &= guards_stand(held[n_held].data, held[n_held].n_bytes);
        gpu->free(card, held[n_held].data);
    }
    return clean;
}

static uint64_t n_tiles(const struct weir_matrix *w)
{
    uint32_t part = w->rows / w->row_parts;

    return (uint64_t)(part + w->tile_rows - 1) / w->tile_rows * w->row_parts *
           w->col_blocks;
}

static void random_element(enum weir_dtype dtype, uint8_t *at)
{
    float f = any();
    uint16_t h = weir_f32_to_bf16(f);

    if (dtype == WEIR_F16)
        h = (uint16_t)(seed >> 40 & 0xbfff);
    if (dtype == WEIR_I8)
        *(int8_t *)at = (int8_t)(127.9f * f);
    else
        memcpy(at, dtype == WEIR_F32 ? (void *)&f : &h,
               weir_dtype_bytes(dtype));
}

static uint8_t *tile_row(const struct weir_matrix *w, uint64_t row)
{
    uint32_t part = w->rows / w->row_parts;
    uint64_t groups = (part + w->tile_rows - 1) / w->tile_rows;
    uint64_t group = row / part * groups + row % part / w->tile_rows;

    return (uint8_t *)w->data + group * w->col_blocks * w->tile_stride +
           row % part % w->tile_rows * w->row_bytes;
}

void random_matrix(struct both *w, enum weir_dtype dtype, uint32_t rows,
                   uint32_t cols, uint32_t row_parts, uint32_t col_blocks,
                   uint32_t tile_rows)
{
    size_t size = weir_dtype_bytes(dtype), n = cols / col_blocks, n_bytes;
    struct weir_matrix *m = &w->host;
    float *scale = hold(rows * sizeof(*scale));

    *m = (struct weir_matrix){.dtype = dtype,
                              .rows = rows,
                              .cols = cols,
                              .row_parts = row_parts,
                              .col_blocks = col_blocks,
                              .tile_rows = tile_rows,
                              .row_bytes =
                                  (uint32_t)((n * size + 63) / 64 * 64)};
    m->tile_stride = (uint64_t)tile_rows * m->row_bytes + 64;
    n_bytes = n_tiles(m) * m->tile_stride;
    m->data = hold(n_bytes);
    memset((void *)m->data, 0xff, n_bytes);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t b = 0; b < col_blocks; b++) {
            uint8_t *at = tile_row(m, r) + b * m->tile_stride;

            memset(at, 0, m->row_bytes);
            for (size_t c = 0; c < n; c++)
                random_element(dtype, at + c * size);
        }
    for (uint32_t r = 0; r < rows; r++)
        scale[r] = 0.01f + 0.001f * (float)(r % 7);
    m->scale = dtype == WEIR_I8 ? scale : NULL;
    w->card = *m;
    w->card.data = on_card(m->data, n_bytes);
    w->card.scale = m->scale ? floats_on_card(scale, rows) : NULL;
}

static void ref_row(const struct weir_matrix *w, uint32_t r, const float *x,
                    size_t ld_x, size_t n_tok, const float *bias, float *y,
                    size_t ld_y)
{
    size_t n = w->cols / w->col_blocks;
    float *partial = malloc(WEIR_MAX_PARTIALS * n_tok * sizeof(*partial));

    for (uint32_t b = 0; b < w->col_blocks; b++) {
        struct weir_tile tile = {tile_row(w, r) + b * w->tile_stride, w->dtype,
                                 1, n, w->row_bytes};

        weir_kernels_ref.matmul(&tile, x + b * n, ld_x, n_tok,
                                partial + weir_partial_of(b) * n_tok, 1);
        weir_kernels_ref.block_fold(partial, n_tok, n_tok, b);
    }
    weir_kernels_ref.scale_bias(partial, 1, n_tok, 1,
                                w->scale ? w->scale + r : NULL,
                                bias ? bias + r : NULL, y + r, ld_y);
    free(partial);
}

void ref_product(const struct weir_matrix *w, const float *x, size_t ld_x,
                 size_t n_tok, const float *bias, float *y, size_t ld_y)
{
    for (uint32_t r = 0; r < w->rows; r++)
        ref_row(w, r, x, ld_x, n_tok, bias, y, ld_y);
}

#define N_TIMES 7

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double card_time(void (*run)(void *ctx, unsigned i), void *ctx, unsigned n)
{
    struct weir_device_event *from, *to;
    struct weir_device_graph *graph;
    double times[N_TIMES];
    struct weir_err err;

    if (gpu->event_new(card, &from, &err) || gpu->event_new(card, &to, &err) ||
        gpu->capture_begin(card, &err))
        die(err.message);
    for (unsigned i = 0; i < n; i++)
        run(ctx, i);
    if (gpu->capture_end(card, &graph, &err))
        die(err.message);
    gpu->graph_launch(card, graph);
    for (unsigned i = 0; i < N_TIMES; i++) {
        gpu->record(card, WEIR_STREAM_COMPUTE, from);
        gpu->graph_launch(card, graph);
        gpu->record(card, WEIR_STREAM_COMPUTE, to);
        if (gpu->synchronize(card, &err))
            die(err.message);
        times[i] = gpu->elapsed_ms(card, from, to) * 1e-3 / n;
    }
    qsort(times, N_TIMES, sizeof(times[0]), by_value);
    gpu->graph_free(card, graph);
    gpu->event_free(card, from);
    gpu->event_free(card, to);
    return times[N_TIMES / 2];
}

static void load(struct weir_err *err)
{
    const struct weir_device_table *(*module)(uint32_t);
    const char *path = getenv("WEIR_CUDA_MODULE");
    void *library = dlopen(path ? path : "./.libs/weir-cuda.so", RTLD_NOW);

    if (!library) {
        printf("Bail out! %s\n", dlerror());
        exit(99);
    }
    *(void **)&module = dlsym(library, "weir_device_module");
    gpu = module ? module(WEIR_DEVICE_ABI) : NULL;
    if (!gpu)
        die("the module is not one of this weir");
    if (module(WEIR_DEVICE_ABI + 1))
        die("the module takes any ABI for its own");
    if (!gpu->count(err))
        tap_skip_all("there is no GPU here that can be used");
}

int main(int argc, char **argv)
{
    struct weir_err err = {0};
    struct weir_device_info info;

    load(&err);
    if (gpu->open(0, &card, &err) || gpu->info(card, &info, &err))
        die(err.message);
    printf("# %s, %s, compute capability %u.%u, %u units, %.1f GB\n", info.name,
           info.pci, info.cc_major, info.cc_minor, info.n_units,
           (double)info.total_bytes / 1e9);
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        bench();
        gpu->close(card);
        return 0;
    }
    check_rows();
    check_choose();
    check_products();
    check_many();
    check_experts();
    check_left();
    check_sequence();
    check_attention();
    gpu->close(card);
    return tap_done();
}
