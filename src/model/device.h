/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Jamba model that is computed by a device, and its forward pass there: the
 * layers of jamba.c as operations that are put on the device one behind the
 * other, without waiting for any as long as all weights lie there.  What does
 * not fit is brought when its turn comes (device_slots.c), or computed by the
 * CPU (device_experts.c, device_beside.c).
 */
#ifndef WEIR_MODEL_DEVICE_H
#define WEIR_MODEL_DEVICE_H

#include "model/jamba.h"
#include "offload/device.h"

/* Most tokens that pass all layers together, and sequences among them */
#define WEIR_DEVICE_STEP_TOK 4096
#define WEIR_DEVICE_RUNS     512

/* Of a device without much memory they are fewer, but not less than so many */
#define WEIR_DEVICE_LEAST_TOK 256

/* Most experts that are brought before they are computed with */
#define WEIR_DEVICE_GROUP 64

/*
 * Most tokens for which the CPU computes what does not fit of the trunk: more
 * of them take it longer than the copies take
 */
#define WEIR_DEVICE_BESIDE_TOK 16

/* Steps of up to so many tokens are kept as graphs, and how many of those */
#define WEIR_DEVICE_GRAPH_TOK 64
#define WEIR_DEVICE_GRAPHS    8

/* What attention or Mamba layers remember of all sequences */
struct weir_device_layer {
    float *conv, *scan;    /* [slot][n_inner][d_conv - 1 or n_state] */
    void *k_pool, *v_pool; /* pages of WEIR_DEVICE_PAGE positions */

    /* of a MoE layer, [n_experts]: those that stay, also those that pass, and
     * these on the host */
    struct weir_device_expert *experts, *brought, *entries;
};

/* A unit's place among those that pass (device_slots.c) */
struct weir_device_slot {
    uint32_t unit;
    uint8_t *data;
    int held;      /* something will be computed with it */
    uint64_t last; /* when it was wanted */
    struct weir_device_event *arrived, *used;
};

struct weir_device_slots {
    struct weir_device_slot *slots;
    uint32_t n;
    uint64_t now, n_brought;
};

/*
 * A step of decoding that is put on the device again and again: all of it, or
 * what lies between two layers whose experts the CPU has some of
 */
struct weir_device_kept {
    uint32_t n_tok, n_runs, n_ends, max_pos;
    int draws;
    struct weir_device_graph **graphs; /* [n_layers + 1]: by the first layer */
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

/* What a unit is for */
enum weir_device_kind {
    WEIR_DEVICE_TRUNK,
    WEIR_DEVICE_ROUTER, /* of it, that of a layer of experts */
    WEIR_DEVICE_EXPERT
};

struct weir_device_way; /* of weights to the device (device_way.c) */

struct weir_on_device {
    struct weir_jamba *jamba;
    int only_device; /* the CPU computes none of it */
    struct weir_device_room room;
    const uint8_t **tensors; /* [n_tensors]: where they lie; NULL: vectors */
    float *arena;            /* the vectors of jamba->bind */
    struct weir_device_layer *layers;
    struct weir_device_states states;

    /* where weights are (device_place.c) */
    int has_all_experts, is_whole; /* all stay on the device */
    uint64_t weight_room;          /* what they could take */
    uint8_t *places;    /* [n_units]: enum weir_place, of the device */
    uint8_t *kinds;     /* [n_units]: enum weir_device_kind */
    uint32_t rows_unit; /* the embedding, if only rows of it are used */
    uint32_t *passing;  /* [n_passing]: units of the trunk that pass */
    uint32_t n_passing, next_passing;
    struct weir_device_slots trunk, experts;
    struct weir_device_expert *entries; /* of all layers */
    struct weir_device_way *way;        /* NULL when nothing passes */

    /* what the CPU does beside: [WEIR_CHUNK_TOK][...], known to the device */
    struct {
        uint32_t *expert;
        float *prob, *hidden, *sum;
        float *in, *out; /* of products with the trunk, [WEIR_CHUNK_TOK][...] */
    } beside;
    struct weir_device_event *asked;

    /* work: [step_tok][...] */
    size_t step_tok;
    float *hidden, *factor, *xz, *u, *dt, *p, *q, *heads, *k, *v, *gated;
    float *router, *sum;
    struct weir_device_routing routing;
    float *ends, *logits; /* [WEIR_DEVICE_RUNS][n_hidden], [HEAD_TOK][n_vocab]*/
    int32_t *next, *seen_next; /* [WEIR_DEVICE_RUNS]: chosen; of the host */

    /* what a step is told: of the device, and where it is written before */
    struct weir_device_told {
        int32_t *ids;
        struct weir_device_run *runs;
        struct weir_device_draw *draws; /* of the ends, if any is chosen by */
        uint32_t *ends;                 /* rows whose scores are wanted */
        void *data;                     /* all of them, n_bytes */
        size_t n_bytes;
    } told, telling;
    float *seen; /* of the host: scores, or what an observer is shown */
    struct weir_device_kept kept[WEIR_DEVICE_GRAPHS];
    unsigned n_kept;
};

/*
 * Opens device 0 of the table for the model, which is open.  n_bytes as in
 * weir_device_room_open(); WEIR_ELIMIT with the numbers when what it works in
 * does not fit.  only_device: it computes all, also what does not fit.  *out is
 * allocated; release with weir_on_device_free().
 */
int weir_on_device_new(struct weir_jamba *jamba,
                       const struct weir_device_table *table, uint64_t n_bytes,
                       int only_device, struct weir_on_device **out,
                       struct weir_err *err);
void weir_on_device_free(struct weir_on_device *on);

/*
 * Room for n_texts sequences that have n_tok tokens in all, each n_ctx at most;
 * once.  The weights get what is left, and those that stay are brought there.
 * WEIR_ELIMIT with the numbers; after an error it is as before.
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

/*
 * What a device of which vram_bytes may be used would have left for weights, if
 * products work in what they take on an NVIDIA GPU.  0: nothing.
 */
uint64_t weir_on_device_weight_room(const struct weir_config *config,
                                    uint64_t vram_bytes, size_t n_texts,
                                    size_t n_tok, enum weir_dtype kv_dtype);

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
