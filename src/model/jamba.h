/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass of a Jamba model over tokens that continue a state. */
#ifndef WEIR_MODEL_JAMBA_H
#define WEIR_MODEL_JAMBA_H

#include <pthread.h>

#include "base/pool.h"
#include "kernels/kernels.h"
#include "model/bind.h"
#include "model/budget.h"
#include "model/state.h"
#include "model/work.h"
#include "offload/residency.h"
#include "offload/scratch.h"

struct weir_device_draw;
struct weir_device_table;
struct weir_on_device;

struct weir_jamba_options {
    unsigned n_threads; /* 0: all CPUs */
    enum weir_io io;
    uint64_t ram_bytes;                /* as in weir_model_options */
    uint64_t weight_bytes;             /* of it for weights; 0: what is left */
    const struct weir_io_calls *calls; /* NULL: the system's */
    unsigned deadline_ms;              /* of a read; 0: the usual */
    double most_gbps;                  /* of the drive; 0: what it gives */
    size_t span_tok;     /* tokens that pass a layer together; 0: the usual */
    const char *scratch; /* as in weir_model_options, as the next */
    enum weir_cache cache;
    const struct weir_device_table *device; /* that computes; NULL: the CPU */
    uint64_t vram_bytes;                    /* of it; 0: what is free */
    int only_device;                        /* as in weir_model_options */
    const struct weir_scratch_calls *scratch_calls; /* NULL: the system's */
    size_t block_tok; /* with span_tok: those of it that are in memory */
};

struct weir_jamba {
    struct weir_file *file;
    struct weir_residency *residency;
    struct weir_pool *pool;
    struct weir_kernels kernels;
    struct weir_config config;
    struct weir_bind bind;
    struct weir_work work;
    char *scratch_path;           /* NULL: nothing is written */
    struct weir_scratch *scratch; /* NULL: not needed */
    const struct weir_scratch_calls *scratch_calls;
    struct weir_on_device *on; /* where the model is; NULL: the CPU computes */
    pthread_mutex_t lock;      /* held by the pass that uses pool and work */
    struct weir_budget budget; /* under the lock */
};

/*
 * Opens the packed model at `path`.  *jamba is allocated; release with
 * weir_jamba_close().
 */
int weir_jamba_open(const char *path, const struct weir_jamba_options *options,
                    struct weir_jamba **jamba, struct weir_err *err);
void weir_jamba_close(struct weir_jamba *jamba);

/*
 * The state of a sequence of up to n_ctx tokens, in memory or on the device, of
 * n_texts alike if it is the first.  Release with weir_jamba_end(), also after
 * an error.
 */
int weir_jamba_begin(struct weir_jamba *jamba, size_t n_ctx,
                     enum weir_dtype kv_dtype, unsigned n_texts,
                     struct weir_state *state, struct weir_err *err);
void weir_jamba_end(struct weir_jamba *jamba, struct weir_state *state);

/* weir_state_go_back(), wherever it lies; a device knows the start only. */
void weir_jamba_go_back(struct weir_jamba *jamba, struct weir_state *state,
                        const struct weir_snapshot *snapshot);

/* What an observer is shown, [n_tok][width] f32. */
enum weir_view {
    WEIR_VIEW_HIDDEN, /* residual stream before layer `layer`; layer n_layers:
                         after the last layer and the final norm */
    WEIR_VIEW_ROUTER, /* router logits of MoE layer `layer` */
    WEIR_VIEW_LOGITS, /* the scores of every token's successor; layer n_layers
                       */
};

/*
 * Is called with a few tokens at a time, those of a view in order and without
 * gaps.  A code that is not 0 ends the pass.  `values` last for the call only.
 */
struct weir_observer {
    unsigned views; /* 1 << enum weir_view, of those that it wants */
    int (*see)(void *ctx, enum weir_view view, uint32_t layer,
               const float *values, size_t n_tok, size_t width,
               struct weir_err *err);
    void *ctx;
    /*
     * NULL, or is told now and then that of n_tok tokens of the call n_done are
     * through, where one that is halfway through the layers counts half;
     * unless it returns 0 the pass ends with WEIR_ESTOPPED
     */
    int (*progress)(void *ctx, size_t n_done, size_t n_tok);
};

/* Tells an observer (may be NULL) of progress. */
int weir_observer_tell(const struct weir_observer *observer, size_t n_done,
                       size_t n_tok, struct weir_err *err);

/* Tokens that follow those in `state` */
struct weir_sequence {
    struct weir_state *state;
    const int32_t *ids; /* [n_ids] */
    size_t n_ids;       /* > 0 */
    float *logits; /* [n_vocab]: scores of the next token; NULL: not wanted */
    int prompt;    /* computed as one, however few they are */
    /*
     * On a device, NULL or how the next token is chosen (kernels/device.h), and
     * where its id goes
     */
    const struct weir_device_draw *draw;
    int32_t *next;
    /*
     * What the Mamba layers are to be kept of behind some of the tokens,
     * ascending; n_tok counts those in the state before, too
     */
    const struct weir_snapshot *snapshots;
    size_t n_snapshots;
};

static inline int weir_sequence_is_prompt(const struct weir_sequence *sequence)
{
    return sequence->prompt || sequence->n_ids >= WEIR_PROMPT_TOK;
}

/* WEIR_EARG for what weir_jamba_forward() would refuse; 0: it will run. */
int weir_jamba_check(const struct weir_jamba *jamba,
                     const struct weir_sequence *sequences, size_t n,
                     struct weir_err *err);

/*
 * Runs the tokens of n sequences, whose states differ, together: the weights
 * are wanted once for all of them, or as often as there are tokens for the room
 * that is set aside for them (work.h).  `observer` may be NULL; it sees the
 * tokens of one sequence behind those of the one before.
 *
 * Bits depend neither on the other sequences nor on the number of threads, nor
 * on snapshots, nor on how a caller cuts a text into calls but for what is a
 * prompt: WEIR_PROMPT_TOK tokens or more, and what is said to be one.
 * WEIR_EARG, and nothing has happened, for an id that is not in the vocabulary,
 * for more tokens than there is room for and for a state that is there twice;
 * after any other error the states are spoiled and have no more tokens than
 * before: they can be freed, or go back.  Any thread; passes wait for each
 * other.
 */
int weir_jamba_forward(struct weir_jamba *jamba,
                       const struct weir_sequence *sequences, size_t n,
                       const struct weir_observer *observer,
                       struct weir_err *err);

#endif
