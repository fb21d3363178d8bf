/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a model lies where, and how fast it can be then: a pure function of
 * a machine, a model and a budget.  plan.c has the formulas.
 */
#ifndef WEIR_OFFLOAD_PLAN_H
#define WEIR_OFFLOAD_PLAN_H

#include <stddef.h>

#include "offload/placement.h"
#include "offload/scratch.h"

/* When a pass touches a unit. */
enum weir_plan_kind {
    WEIR_PLAN_TRUNK,  /* each token */
    WEIR_PLAN_HEAD,   /* once, for the last token of a sequence */
    WEIR_PLAN_EXPERT, /* the tokens that choose it among those of its group */
    WEIR_PLAN_ROWS,   /* each token touches a tile or so of it */
};

/*
 * A unit of the file.  Its bytes are those of the tensors that passes ask for;
 * what is read once at the opening and kept counts as kept_bytes.
 */
struct weir_plan_unit {
    enum weir_plan_kind kind;
    unsigned class;        /* of the caller, below WEIR_PLAN_CLASSES */
    unsigned group;        /* of experts: counted from 0, each in one run */
    unsigned stage;        /* a layer: like its neighbours' that run with it */
    uint64_t stored_bytes; /* on the drive */
    uint64_t held_bytes;   /* in RAM: whole pages, with what is kept besides;
                              0: it can only be read tile by tile */
    uint64_t kept_bytes;   /* the same when it is decoded; 0: it is raw */
    uint64_t unpacked_bytes[WEIR_N_CODECS]; /* of its tiles of each codec */
    uint64_t row_bytes; /* WEIR_PLAN_ROWS: stored, that one token touches */
    double share;       /* of tokens that touch it; 1 but for experts */
    double flop;        /* for each token that does */
    double prompt_flop; /* the same of a prompt's on a device; 0: flop */
};

#define WEIR_PLAN_CLASSES 8

struct weir_plan_model {
    const struct weir_plan_unit *units; /* [n_units], as in the file */
    uint32_t n_units;
    uint64_t file_bytes;  /* what a map of it takes */
    uint64_t kept_bytes;  /* index, vectors: in RAM from the opening on */
    uint64_t work_bytes;  /* activations, and the scratch of all workers */
    uint64_t state_bytes; /* of a sequence, whatever its length */
    uint64_t kv_bytes;    /* of each token of a sequence */
    uint64_t wait_bytes;  /* of a token that waits between two layers */
    uint64_t note_bytes;  /* of that, what stays beside a scratch file */
    struct weir_scratch_use scratch;
    double seen_flop;    /* for each token and position that it sees */
    uint32_t chunk_tok;  /* most that go through a unit at once */
    uint32_t step_tok;   /* the same on a device, whose layers are not spans */
    uint32_t beside_tok; /* most that are decoded for which the CPU does what
                            of the trunk a device has no room for */
    unsigned n_top;      /* experts of a group that a token uses */
    uint32_t guess_tok;  /* most in a step whose experts are guessed */
};

struct weir_plan_machine {
    double disk_gbps; /* of all drives together; 0: not known */
    double dram_gbps;
    double gflops;                     /* of all threads, of products */
    double decode_gbps[WEIR_N_CODECS]; /* unpacked, of one thread */
    unsigned n_threads;
    uint64_t ram_bytes; /* available: what a map without a budget can fill */
    /* of a device: its memory, the way to it, its arithmetic */
    double hbm_gbps, pcie_gbps, device_gflops;
};

/* What one core decodes, in GB of unpacked bytes a second, if not measured. */
#define WEIR_PLAN_PLANES_GBPS 5.0
#define WEIR_PLAN_ZSTD_GBPS   1.8

/* Experts that are read before they are chosen, of those that are read at all,
 * where they are guessed */
#define WEIR_PLAN_GUESSED 0.5

struct weir_plan_budget {
    uint64_t ram_bytes;    /* of the whole process; 0: the file is mapped */
    uint64_t fixed_bytes;  /* code, stacks, libraries, a tokenizer */
    uint64_t n_ctx;        /* room for tokens in each sequence */
    uint64_t n_prompt;     /* tokens of the prompt, > 0 */
    uint32_t batch;        /* sequences that decode in step, > 0 */
    int scratch;           /* tokens of a prompt may wait in a scratch file */
    enum weir_cache cache; /* how what stays is kept */
    uint64_t device_bytes; /* of a device, for weights; 0: none computes */
    int only_device;       /* it computes all, also what it has no room for */
};

#define WEIR_PLAN_FIXED_BYTES (64ull << 20)

/* What time goes by */
enum weir_plan_resource {
    WEIR_PLAN_DISK,
    WEIR_PLAN_DRAM,
    WEIR_PLAN_CORES, /* arithmetic and decoding */
    WEIR_PLAN_PCIE,  /* the way to a device */
    WEIR_PLAN_HBM,   /* its memory */
    WEIR_PLAN_GPU,   /* its arithmetic */
    WEIR_PLAN_RESOURCES
};

/* "disk", "dram", "cores", "pcie", "hbm", "gpu"; never NULL. */
const char *weir_plan_resource_name(enum weir_plan_resource resource);

/* Of one token, on average over all that decode in step or over a prompt. */
struct weir_plan_speed {
    double disk_bytes, dram_bytes, decode_bytes, flop;
    double pcie_bytes, hbm_bytes, device_flop;
    double seconds[WEIR_PLAN_RESOURCES];
    enum weir_plan_resource limit; /* takes most of them */
    double tps;                    /* expected (plan_speed.c) */
    double overlap_tps;            /* when all overlap: 1 / the most */
    double serial_tps;             /* when nothing does: 1 / the sum */
};

/* What the RAM is for; the sum is within the budget. */
struct weir_plan_ram {
    uint64_t fixed, kept, work;
    uint64_t state, kv;              /* 0 where a device has them */
    uint64_t prompt;                 /* tokens that wait between two layers */
    uint64_t pinned, cache, staging; /* as weir_placement_make() says */
    uint64_t sum;
};

struct weir_plan_class {
    uint32_t n_units[WEIR_N_PLACES];
    uint64_t bytes[WEIR_N_PLACES]; /* held in RAM; of those streamed: stored */
    double disk_bytes, dram_bytes; /* of a token that is decoded */
};

struct weir_plan {
    uint32_t n_units;
    uint8_t *places; /* [n_units]: enum weir_place */
    int mapped;      /* places are those in the page cache */
    int unpacked;    /* what is pinned is decoded */
    /* of the device, in use: what stays, and what the rest passes through */
    uint64_t device_pinned, device_staging;
    double device_hits; /* of experts that pass, those that are there still */
    struct weir_plan_ram ram;
    double hit_rate;   /* of experts wanted, those in RAM; 1 without any */
    uint64_t span_tok; /* tokens of the prompt that share a pass of reads */
    uint64_t n_passes; /* of reads over the model, for the prompt */
    /* of a span those that are in RAM while others wait in a scratch file, what
     * the prompt moves there, and how large it is; 0: all are */
    uint64_t block_tok;
    struct weir_scratch_stats scratch;
    uint64_t scratch_file_bytes;
    struct weir_plan_class classes[WEIR_PLAN_CLASSES];
    struct weir_plan_speed decode; /* behind the prompt */
    struct weir_plan_speed prompt;
};

/*
 * Places every unit.  Release with weir_plan_fini(), also after an error:
 * WEIR_ELIMIT with the least that would do when the budget is too small,
 * WEIR_EARG when something streams and the speed of the drive is not known.
 *
 * What RAM is left for weights is placed as weir_residency_keep() places it.  A
 * prompt of more than a few tokens wants all experts: it uses what is in the
 * cache and replaces nothing.
 */
int weir_plan_make(struct weir_plan *plan,
                   const struct weir_plan_machine *machine,
                   const struct weir_plan_model *model,
                   const struct weir_plan_budget *budget, struct weir_err *err);
void weir_plan_fini(struct weir_plan *plan);

#endif
