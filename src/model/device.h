/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Jamba model that lies in the memory of a device as a whole, and its forward
 * pass there: the layers of jamba.c as operations that are put on the device
 * one behind the other, without waiting for any.
 */
#ifndef WEIR_MODEL_DEVICE_H
#define WEIR_MODEL_DEVICE_H

#include "model/jamba.h"
#include "offload/device.h"

/* Most tokens that pass all layers together, and sequences among them */
#define WEIR_DEVICE_STEP_TOK 4096
#define WEIR_DEVICE_RUNS     512

/* Steps of up to so many tokens are kept as graphs, and how many of those */
#define WEIR_DEVICE_GRAPH_TOK 64
#define WEIR_DEVICE_GRAPHS    8

/* What attention or Mamba layers remember of all sequences */
struct weir_device_layer {
    float *conv, *scan;    /* [slot][n_inner][d_conv - 1 or n_state] */
    void *k_pool, *v_pool; /* pages of WEIR_DEVICE_PAGE positions */
    struct weir_device_expert *experts; /* [n_experts] of a MoE layer */
};

/* A step of decoding that is put on the device again and again */
struct weir_device_kept {
    uint32_t n_tok, n_runs, n_ends, max_pos;
    struct weir_device_graph *graph;
};

/* What the sequences share */
struct weir_device_states {
    size_t n_slots, n_pages, ld_pages; /* ld_pages: of one sequence, at most */
    enum weir_dtype kv_dtype;
    uint8_t *used;  /* [n_slots] */
    uint32_t *free; /* [n_pages]: pages, of which n_free are free */
    size_t n_free;
    uint32_t *pages; /* [n_slots][ld_pages], of the host */
    uint32_t *at;    /* the same, of the device */
};

struct weir_on_device {
    struct weir_jamba *jamba;
    struct weir_device_room room;
    const uint8_t **tensors; /* [n_tensors]: where they lie; NULL: vectors */
    float *arena;            /* the vectors of jamba->bind */
    struct weir_device_layer *layers;
    struct weir_device_states states;

    /* work: [step_tok][...] */
    size_t step_tok;
    float *hidden, *factor, *xz, *u, *dt, *p, *q, *heads, *k, *v, *gated;
    float *router;
    struct weir_device_routing routing;
    float *ends, *logits; /* [WEIR_DEVICE_RUNS][n_hidden], [HEAD_TOK][n_vocab]*/

    /* what a step is told: of the device, and where it is written before */
    struct weir_device_told {
        int32_t *ids;
        struct weir_device_run *runs;
        uint32_t *ends; /* rows whose scores are wanted */
        void *data;     /* all of them, n_bytes */
        size_t n_bytes;
    } told, telling;
    float *seen; /* of the host: scores, or what an observer is shown */
    struct weir_device_kept kept[WEIR_DEVICE_GRAPHS];
    unsigned n_kept;
};

/*
 * Opens device 0 of the table and brings all weights of the model, which is
 * open and whose lock the caller holds or nobody needs, there.  n_bytes as in
 * weir_device_room_open(); WEIR_ELIMIT with the numbers when they do not fit.
 * *out is allocated; release with weir_on_device_free().
 */
int weir_on_device_new(struct weir_jamba *jamba,
                       const struct weir_device_table *table, uint64_t n_bytes,
                       struct weir_on_device **out, struct weir_err *err);
void weir_on_device_free(struct weir_on_device *on);

/*
 * Room for n_texts sequences that have n_tok tokens in all, each n_ctx at most;
 * once.  WEIR_ELIMIT with the numbers.
 */
int weir_on_device_make_room(struct weir_on_device *on, size_t n_texts,
                             size_t n_tok, enum weir_dtype kv_dtype,
                             struct weir_err *err);

/* A sequence's part of it; the number of the slot, or an error */
int weir_on_device_take_slot(struct weir_on_device *on, size_t n_ctx,
                             enum weir_dtype kv_dtype, uint32_t *slot,
                             struct weir_err *err);

/* As it was when it was taken */
void weir_on_device_clear_slot(struct weir_on_device *on, uint32_t slot);
void weir_on_device_give_slot(struct weir_on_device *on, uint32_t slot);

/* What it takes of the device for n_texts sequences of n_tok tokens in all */
uint64_t weir_on_device_state_bytes(const struct weir_config *config,
                                    size_t n_texts, size_t n_tok,
                                    enum weir_dtype kv_dtype);

/* weir_jamba_forward() once its arguments are checked, under its lock */
int weir_on_device_forward(struct weir_on_device *on,
                           const struct weir_sequence *sequences, size_t n,
                           const struct weir_observer *observer,
                           struct weir_err *err);

#endif
