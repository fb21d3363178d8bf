/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device table: what a device that computes can do, and the contract of
 * each function.  A GPU fills it in a module that is loaded at run time, the
 * CPU fills it for tests; whoever holds the table cannot tell which.
 *
 * An operation is put on the device's compute stream and runs when all before
 * it have ended.  It takes device pointers, allocates nothing, waits for
 * nothing, and can be captured into a graph: all that differs from token to
 * token (token ids, positions, page tables, which experts) is read from device
 * memory when the operation runs; what is in its struct is fixed when it is
 * captured.  Weights of all kinds may be read earlier: none but copies may
 * write them.  An operation that cannot be done leaves a sticky error, which
 * check() returns; operations after it may or may not have run.
 *
 * Matrices of activations are f32 and row-major, `ld_` is the distance between
 * rows in elements.  Operands do not overlap unless said.  Device pointers come
 * from alloc(), at offsets that are multiples of 16 bytes; weights of 64.
 *
 * Sums are f32, in an order that depends on the shapes of weights, and on what
 * is done with a product, alone: a token gets the same bits alone and beside
 * others, and in every run.  Products of WEIR_DEVICE_ROUNDED terms have an
 * order of their own.  Exact operations agree with the `ref` level of kernels.h
 * to 1e-5 of the 2-norm; where they round to bf16 it is said.
 *
 * One thread at a time uses a device; different devices are independent.
 */
#ifndef WEIR_KERNELS_DEVICE_H
#define WEIR_KERNELS_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Changes with every change of this file that a compiled module would feel. */
#define WEIR_DEVICE_ABI 4

#define WEIR_DEVICE_PAGE     256  /* positions in a page of K or V */
#define WEIR_DEVICE_MATRICES 3    /* that one product may have */
#define WEIR_DEVICE_EXPERTS  1024 /* at most, of which at most */
#define WEIR_DEVICE_TOP      16   /* are chosen by a token */
#define WEIR_DEVICE_CONV     8    /* the widest window */
#define WEIR_DEVICE_FEW      64   /* tokens */

struct weir_device; /* one that is open */
struct weir_device_event;
struct weir_device_graph;

enum weir_device_stream { WEIR_STREAM_COMPUTE, WEIR_STREAM_COPY };

struct weir_device_info {
    char name[64];
    char pci[16];                     /* "0000:17:00.0"; empty: none */
    unsigned cc_major, cc_minor;      /* compute capability; 0: no GPU */
    unsigned n_units;                 /* multiprocessors, or threads */
    uint64_t total_bytes, free_bytes; /* at the time of asking */
};

/*
 * A weight matrix as it lies in a weir file (offload/file.h): rows in row_parts
 * equal parts, a part in groups of tile_rows rows (the last may be shorter),
 * columns in col_blocks (1 or 8) equal blocks; a group of one block is a tile,
 * tiles lie part by part, group by group, block by block.  Tile i begins at
 * data + i * tile_stride, a multiple of 64; a row of it has row_bytes, a
 * multiple of 64, of which those behind its columns are zeros.
 */
struct weir_matrix {
    const void *data;   /* aligned to 64 */
    const float *scale; /* [rows] of an i8 matrix; NULL: ones */
    uint32_t dtype;     /* enum weir_dtype */
    uint32_t rows, cols;
    uint32_t row_parts, col_blocks, tile_rows, row_bytes;
    uint64_t tile_stride;
};

/* What is done with a product */
enum weir_device_out {
    WEIR_OUT_STORE, /* y = product */
    WEIR_OUT_ADD,   /* y += product */
    WEIR_OUT_GATED, /* y = silu(product of matrix 0) * product of matrix 1 */
};

/*
 * How many bf16 terms activations are split into for a product.  EXACT keeps
 * all 24 bits of an f32 (that is no denormal), FINE 16; ROUNDED and FINE are
 * for more than 16 tokens, are summed over columns ascending without regard to
 * column blocks, and become EXACT for 16 tokens or fewer.  ROUNDED agrees with
 * the reference to 1e-2, FINE to 1e-4.
 */
enum weir_device_terms {
    WEIR_DEVICE_ROUNDED = 1,
    WEIR_DEVICE_FINE = 2,
    WEIR_DEVICE_EXACT = 3
};

/*
 * y[m][t][r] = scale[m][r] * (sum over c of W[m][r][c] * a[t][c]) + bias[m][r]
 * for n_mat matrices of equal dtype, cols and col_blocks, which share the
 * activations a:
 *
 *   norm NULL:   a[t][c] = x[t][c]
 *   else:        a[t][c] = x[t][c] * norm[c] * factor[t]
 *                factor[t] = 1 / sqrt(mean of x[t]^2 + eps)
 *
 * A sum over column blocks is the binary tree of block_fold() in kernels.h.
 * GATED: n_mat is 2, of equal rows, to[0].y receives the result.
 */
struct weir_device_matmul {
    uint32_t n_tok;
    uint32_t terms; /* enum weir_device_terms */
    uint32_t n_mat; /* 1 to WEIR_DEVICE_MATRICES */
    uint32_t out;   /* enum weir_device_out */
    const float *x; /* [n_tok][ld_x] */
    size_t ld_x;
    const float *norm; /* [cols], or NULL */
    float eps;
    struct {
        struct weir_matrix w;
        const float *bias; /* [rows], or NULL */
        float *y;          /* [n_tok][ld_y] */
        size_t ld_y;
    } to[WEIR_DEVICE_MATRICES];
};

/* Where one expert lies; their shapes are alike.  gate NULL: not here. */
struct weir_device_expert {
    const void *gate, *up, *down;                    /* as weir_matrix.data */
    const float *gate_scale, *up_scale, *down_scale; /* NULL: ones */
};

/*
 * Which experts the tokens of a step go to, in device memory.  A choice is
 * token * n_top + i; choices are put in order by expert, of one expert by
 * token.
 */
struct weir_device_routing {
    uint32_t *expert; /* [n_tok][n_top], ascending for each token */
    float *prob;      /* [n_tok][n_top] */
    uint32_t *first;  /* [n_experts + 1]: where an expert's begin in order */
    uint32_t *order;  /* [n_tok * n_top]: choices */
    uint32_t *place;  /* [n_tok * n_top]: of each choice in order */
    /*
     * [n_tok * n_top + 1][2]: the expert and the first place of each 16 or
     * fewer choices of one expert; in the last element, how many there are
     */
    uint32_t *group;
};

/*
 * The router: logits[t][e] = W[e] . a[t], a as above, its factors left in
 * `factor`, then softmax over all experts in f32 and the n_top most probable,
 * as route() of kernels.h, and the order of all choices.  Logits are summed in
 * f32.
 */
struct weir_device_route {
    uint32_t n_tok, n_experts, n_top;
    const float *x; /* [n_tok][ld_x] */
    size_t ld_x;
    const float *norm; /* [cols], or NULL: then there are no factors */
    float eps;
    struct weir_matrix w; /* [n_experts][cols], one column block */
    float *factor;        /* [n_tok] */
    float *logits;        /* [n_tok][n_experts], left there */
    struct weir_device_routing to;
};

/*
 * y[t] += sum over the experts e of t, ascending, of
 *         prob[t][e] * down_e(silu(gate_e a[t]) * (up_e a[t]))
 *
 * with a as above, its factors given, for those of them that are here and
 * whose number is from `from` to to - 1.  The sum is made apart from y, or, if
 * in_order, it begins with y and is left there: then operations with ascending
 * ranges, on a y of zeros at first, leave the bits of the sum that one makes
 * apart.  Of WEIR_DEVICE_FEW tokens or fewer products are EXACT, of more FINE
 * at most.
 */
struct weir_device_experts {
    uint32_t n_tok, n_experts, n_top;
    uint32_t from, to, in_order;
    uint32_t terms;
    const float *x; /* [n_tok][ld_x] */
    size_t ld_x;
    const float *norm, *factor;
    struct weir_matrix gate, down; /* shapes; data and scale are not used */
    const struct weir_device_expert *expert; /* device, [n_experts] */
    struct weir_device_routing routing;
    float *y; /* [n_tok][ld_y] */
    size_t ld_y;
};

/*
 * The tokens of one sequence in a step: rows row to row + n_tok - 1 of the
 * activations, and n_past tokens before them.  What the layers remember of it
 * lies in slot `slot` of their arrays.  Runs are read from device memory.
 */
struct weir_device_run {
    uint32_t row, n_tok, n_past, slot;
};

/* Runs of a step, and what they do not exceed */
struct weir_device_runs {
    const struct weir_device_run *run; /* device, [n] */
    uint32_t n, max_tok;               /* max_tok: of one run */
    uint32_t max_pos;                  /* n_past + n_tok of one run */
};

/*
 * As struct weir_conv of kernels.h, silu included.  state is
 * [slot][n_ch][k - 1], k <= WEIR_DEVICE_CONV.
 */
struct weir_device_conv {
    struct weir_device_runs runs;
    uint32_t n_ch, k;
    const float *x;    /* [row][ld_x] */
    const float *w;    /* [n_ch][k] */
    const float *bias; /* [n_ch], or NULL */
    float *state;
    float *y; /* [row][ld_y], not x */
    size_t ld_x, ld_y;
};

/*
 * As struct weir_scan of kernels.h.  b and c of a token are normalised first:
 * b * norm_b / sqrt(mean of b^2 + eps).  state is [slot][n_ch][n_state],
 * n_state is 16.  y may be u.  dt_of, a product, is done first, as part of the
 * operation; it may leave its y, which is dt, as it was.
 */
struct weir_device_scan {
    struct weir_device_runs runs;
    uint32_t n_ch, n_state;
    const float *u;                         /* [row][ld_u] */
    const float *dt;                        /* [row][ld_dt] */
    const struct weir_device_matmul *dt_of; /* NULL: dt is there */
    const float *dt_bias;                   /* [n_ch] */
    const float *a;                         /* [n_ch][n_state] */
    const float *b, *c;           /* [row][ld_bc], before their norms */
    const float *norm_b, *norm_c; /* [n_state] */
    float eps;
    const float *d; /* [n_ch] */
    const float *z; /* [row][ld_z] */
    float *state;
    float *y; /* [row][ld_y] */
    size_t ld_u, ld_dt, ld_bc, ld_z, ld_y;
};

/*
 * Appends K and V of the runs' tokens to their pages, then attends, causally:
 * token t of a run sees positions [0, n_past + t].  Query heads share heads of
 * K and V in groups of neighbours; y = softmax(q.k * scale) v.
 *
 * K and V lie in pages of WEIR_DEVICE_PAGE positions, each [position][n_kv *
 * head_dim] of kv_dtype, f32 or bf16; page i of a sequence is number
 * pages[slot * ld_pages + i] of the pool.  head_dim is at most 256.
 *
 * With max_tok <= 16 everything is f32.  With more, and head_dim 64 or 128, q
 * and the weights of positions are rounded to bf16 (and K and V, where they are
 * f32): 1e-2.
 */
struct weir_device_attention {
    struct weir_device_runs runs;
    uint32_t n_heads, n_kv, head_dim;
    uint32_t kv_dtype;
    float scale;
    const float *q;     /* [row][ld_q], of it [n_heads][head_dim] */
    const float *k, *v; /* [row][ld_kv], of it [n_kv][head_dim] */
    void *k_pool, *v_pool;
    const uint32_t *pages; /* device, [slot][ld_pages] */
    float *y;              /* [row][ld_y], of it [n_heads][head_dim] */
    size_t ld_q, ld_kv, ld_pages, ld_y;
};

/*
 * How a token is chosen; all zeros: the one with the highest score, of equals
 * the first.  Else the top_k highest scores stay; of these, by their weights,
 * the fewest of the highest that have top_p of all; of these, those that have
 * min_p of the highest one's.  Of equals lower ids stay.  Then, in the order of
 * ids, the first token is taken at which the sum of weights passes `share` of
 * all.  A weight is the exp() of a score's distance from the highest one by the
 * temperature, in f32, and is cut to multiples of 2^-31, of which sums are
 * exact.
 */
struct weir_device_draw {
    float temperature;  /* 0: no draw, and none of the others count */
    float top_p, min_p; /* top_p 1: all; min_p 0: all */
    uint32_t top_k;     /* 0: all */
    double share;       /* [0, 1): where the draw falls */
};

/* The most that the operations of a device will have; 0: none of that kind */
struct weir_device_limits {
    uint32_t n_tok;             /* of a step */
    uint32_t rows, cols;        /* of a matrix; those of one product
                                   have together 2 * rows at most */
    uint32_t n_experts, n_top;  /* and */
    uint32_t hidden, inter;     /* rows of down and of gate */
    uint32_t n_heads, head_dim; /* and */
    uint32_t max_pos;           /* of a run of at most 16 tokens */
    uint32_t n_runs;
};

struct weir_device_table {
    uint32_t abi;     /* WEIR_DEVICE_ABI */
    const char *kind; /* "cuda", "host" */

    /* How many there are.  0 and an error that says why when none can be. */
    unsigned (*count)(struct weir_err *err);

    /*
     * Device `ordinal` < count().  *device is allocated; close() waits for what
     * runs and releases it, but not what alloc() gave.
     */
    int (*open)(unsigned ordinal, struct weir_device **device,
                struct weir_err *err);
    void (*close)(struct weir_device *device);
    int (*info)(struct weir_device *device, struct weir_device_info *info,
                struct weir_err *err);

    /*
     * Takes what operations within `limits` need beside their operands; again
     * with others: instead.  Nothing may be running, and graphs captured before
     * are void.  workspace_bytes() says how much that is.
     */
    int (*reserve)(struct weir_device *device,
                   const struct weir_device_limits *limits,
                   struct weir_err *err);
    uint64_t (*workspace_bytes)(const struct weir_device_limits *limits);

    /* Device memory, aligned to 256, undefined; WEIR_ENOMEM */
    int (*alloc)(struct weir_device *device, uint64_t n_bytes, void **data,
                 struct weir_err *err);
    void (*free)(struct weir_device *device, void *data);

    /* Memory of the host that the device copies from and to at full speed */
    int (*pinned_alloc)(struct weir_device *device, size_t n_bytes, void **data,
                        struct weir_err *err);
    void (*pinned_free)(struct weir_device *device, void *data);

    /* The same of memory that is there, whole pages, until unpin() */
    int (*pin)(struct weir_device *device, void *data, size_t n_bytes,
               struct weir_err *err);
    void (*unpin)(struct weir_device *device, void *data);

    /*
     * Copies on a stream; host memory must stay until it has happened.  Of host
     * memory that is not pinned the call may last as long as the copy.  fill()
     * sets bytes.
     */
    void (*to_device)(struct weir_device *device,
                      enum weir_device_stream stream, void *dst,
                      const void *src, size_t n_bytes);
    void (*to_host)(struct weir_device *device, enum weir_device_stream stream,
                    void *dst, const void *src, size_t n_bytes);
    void (*copy)(struct weir_device *device, enum weir_device_stream stream,
                 void *dst, const void *src, size_t n_bytes);
    void (*fill)(struct weir_device *device, enum weir_device_stream stream,
                 void *dst, int byte, size_t n_bytes);

    /*
     * Order between streams: wait() holds a stream until what was on the other
     * one at record() has ended.  is_over() and synchronize() ask and wait on
     * the host; elapsed_ms() is the time between two that are over.
     */
    int (*event_new)(struct weir_device *device,
                     struct weir_device_event **event, struct weir_err *err);
    void (*event_free)(struct weir_device *device,
                       struct weir_device_event *event);
    void (*record)(struct weir_device *device, enum weir_device_stream stream,
                   struct weir_device_event *event);
    void (*wait)(struct weir_device *device, enum weir_device_stream stream,
                 struct weir_device_event *event);
    int (*is_over)(struct weir_device *device, struct weir_device_event *event);
    float (*elapsed_ms)(struct weir_device *device,
                        struct weir_device_event *from,
                        struct weir_device_event *to);

    /*
     * What is put on the compute stream between begin and end is not run but
     * kept; launch() puts all of it on the stream.  Copies within the device
     * and with pinned memory may be among it.
     */
    int (*capture_begin)(struct weir_device *device, struct weir_err *err);
    int (*capture_end)(struct weir_device *device,
                       struct weir_device_graph **graph, struct weir_err *err);
    void (*graph_launch)(struct weir_device *device,
                         struct weir_device_graph *graph);
    void (*graph_free)(struct weir_device *device,
                       struct weir_device_graph *graph);

    /* Waits for both streams; then as check() */
    int (*synchronize)(struct weir_device *device, struct weir_err *err);

    /* 0, or the first error that operations have left, which stays */
    int (*check)(struct weir_device *device, struct weir_err *err);

    void (*matmul)(struct weir_device *device,
                   const struct weir_device_matmul *matmul);
    void (*route)(struct weir_device *device,
                  const struct weir_device_route *route);
    void (*experts)(struct weir_device *device,
                    const struct weir_device_experts *experts);
    void (*conv)(struct weir_device *device,
                 const struct weir_device_conv *conv);
    void (*scan)(struct weir_device *device,
                 const struct weir_device_scan *scan);
    void (*attention)(struct weir_device *device,
                      const struct weir_device_attention *attention);

    /* As rms_norm() of kernels.h; y may be x */
    void (*rms_norm)(struct weir_device *device, const float *x, size_t ld_x,
                     size_t n_tok, size_t n, const float *weight, float eps,
                     float *y, size_t ld_y);

    /* y[t][i] += x[t][i] */
    void (*add)(struct weir_device *device, float *y, size_t ld_y,
                const float *x, size_t ld_x, size_t n_tok, size_t n);

    /*
     * y[t] = row ids[t] of w, widened and scaled; an id that is no row of it
     * gives zeros.  ids are in device memory.
     */
    void (*rows)(struct weir_device *device, const struct weir_matrix *w,
                 const int32_t *ids, size_t n_tok, float *y, size_t ld_y);

    /* y[i] = x[index[i]], rows of n elements; index in device memory */
    void (*gather)(struct weir_device *device, const float *x, size_t ld_x,
                   const uint32_t *index, size_t n_rows, size_t n, float *y,
                   size_t ld_y);

    /*
     * ids[t] is chosen by the scores x[t] [n], as draws[t] has it, which is
     * in device memory; -1 when one of them is NaN or plus infinity, or all are
     * minus infinity.
     */
    void (*choose)(struct weir_device *device, const float *x, size_t ld_x,
                   size_t n_tok, size_t n, const struct weir_device_draw *draws,
                   int32_t *ids);
};

/*
 * What a module exports: its table, or NULL when it was made for another ABI
 * than `abi`.
 */
const struct weir_device_table *weir_device_module(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
