/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libweir: run Jamba models from a tiled weight file.
 *
 * Functions that can fail return 0 or a negative enum weir_code and, when
 * `err` is not NULL, leave in it one line for a person: what happened, where,
 * and what to do.  The library never prints, never exits and touches neither
 * locale nor signals.  A weir_model may be shared by threads; a weir_session
 * belongs to one thread at a time.
 */
#ifndef WEIR_H
#define WEIR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum weir_code {
    WEIR_OK = 0,
    WEIR_EARG = -1,     /* an argument is wrong */
    WEIR_EIO = -2,      /* the operating system refused or failed */
    WEIR_ENOMEM = -3,   /* out of memory */
    WEIR_EFORMAT = -4,  /* a file is malformed */
    WEIR_ECORRUPT = -5, /* a checksum does not match */
    WEIR_ENOTSUP = -6,  /* well formed, but not supported */
    WEIR_ELIMIT = -7,   /* larger than a stated limit */
    WEIR_ESTOPPED = -8, /* the caller wanted no more of it */
};

struct weir_err {
    int code;        /* enum weir_code */
    uint64_t offset; /* byte offset in the file named by message, or 0 */
    char message[480];
};

/* The version of the library, "MAJOR.MINOR.PATCH". */
const char *weir_version(void);

typedef struct weir_model weir_model;
typedef struct weir_session weir_session;

/* How the K and V of attention layers are kept. */
enum weir_kv { WEIR_KV_BF16 = 0, WEIR_KV_F32 = 1 };

/* How the weights come from the drive. */
enum weir_io {
    WEIR_IO_AUTO = 0,  /* mapped without a budget; else io_uring if allowed */
    WEIR_IO_URING = 1, /* read around the page cache with io_uring */
    WEIR_IO_PREAD = 2, /* the same with threads */
    WEIR_IO_MMAP = 3,  /* mapped: the system decides what stays in memory */
};

/* How weights that stay in memory under a budget are kept. */
enum weir_cache {
    WEIR_CACHE_AUTO = 0,   /* unpacked, or stored where that is faster */
    WEIR_CACHE_STORED = 1, /* as in the file: more fit, each use decodes */
    WEIR_CACHE_UNPACKED = 2,
};

/* What computes. */
enum weir_device_choice {
    WEIR_ON_CPU = 0,
    WEIR_ON_CUDA = 1, /* an NVIDIA GPU, and what it does not hold as below */
    WEIR_ON_AUTO = 2, /* such a GPU if there is one, else the CPU */
    WEIR_ON_HOST = 3, /* the CPU as such a device: slow, to test with */
};

struct weir_model_options {
    unsigned n_threads; /* 0: one per CPU that this process may use */
    enum weir_io io;
    /*
     * Memory that this process may use, all in all: code, weights, sessions.
     * The weights get what the first session leaves.  0: no budget, or for
     * WEIR_IO_URING and WEIR_IO_PREAD what leaves the machine, and its
     * cgroup, usable.
     */
    uint64_t ram_bytes;
    /*
     * NULL, or a folder, or a new name in one, for a scratch file: under a
     * budget the tokens of a prompt that do not fit into memory wait there
     * between two layers, so that the weights are still read once for all of
     * them.  It has no name once it is open.  Without it nothing is written.
     */
    const char *scratch;
    enum weir_cache cache; /* of use with a budget only */
    enum weir_device_choice device;
    uint64_t vram_bytes; /* of the GPU, all in all; 0: what is free there */
    /*
     * 0: what the GPU does not hold is computed by the CPU, but for prompts; 1:
     * weights that it does not hold are always copied there
     */
    int only_device;
};

/*
 * Opens the packed model at `path` (weir-file(5)).  `options` may be NULL.
 * The model must outlive its sessions.  Release with weir_model_close().
 * WEIR_EARG for a budget together with WEIR_IO_MMAP, which cannot keep to it.
 */
int weir_model_open(const char *path, const struct weir_model_options *options,
                    weir_model **model, struct weir_err *err);
void weir_model_close(weir_model *model);

/* Number of token ids; logits have this many entries. */
size_t weir_model_n_vocab(const weir_model *model);

/* Nonzero when `id` ends a text (the model may name several such ids). */
int weir_model_is_eos(const weir_model *model, int32_t id);

/*
 * Encodes `n_bytes` of text.  With `special`, pieces such as <|eom|> in the
 * text become their ids; without, they are plain text (use this for untrusted
 * input).  With `bos`, the begin-of-text id is put first when the model's
 * tokenizer asks for one.  *ids is allocated; release it with free().
 * WEIR_ENOTSUP when the model was packed without a tokenizer.
 */
int weir_model_encode(const weir_model *model, const char *text, size_t n_bytes,
                      int special, int bos, int32_t **ids, size_t *n_ids,
                      struct weir_err *err);

struct weir_session_options {
    size_t n_ctx;    /* most tokens that the session will hold, > 0 */
    enum weir_kv kv; /* WEIR_KV_BF16 unless set */
    /*
     * NULL, or is called by weir_session_eval() and weir_session_prefix() now
     * and then, by its own thread: of n_tok tokens as many as n_done have been
     * done.  Unless it returns 0 the call ends with WEIR_ESTOPPED.
     */
    int (*progress)(void *ctx, size_t n_done, size_t n_tok);
    void *progress_ctx;
    /*
     * Most memory for places that the session can go back to.  Each takes what
     * a session of no tokens takes, and scores: 17 MiB for Jamba Mini, 75 for
     * Large.  0, or less than one takes: it can go back to its start only.
     */
    uint64_t snapshot_bytes;
};

/*
 * One token timeline.  All memory for n_ctx tokens is taken here.  WEIR_ELIMIT,
 * with the numbers, when that is more than the model's budget leaves.
 */
int weir_session_new(weir_model *model,
                     const struct weir_session_options *options,
                     weir_session **session, struct weir_err *err);
void weir_session_free(weir_session *session);

/* Tokens evaluated so far, less those that were gone back behind. */
size_t weir_session_n_tok(const weir_session *session);

/*
 * Appends `n_ids` tokens (> 0).  `logits` [n_vocab], f32, receives the scores
 * of the token that follows the last one; NULL when they are not wanted.
 * 32 tokens or more are computed as a prompt, with other roundings than those
 * of single tokens.  After WEIR_EARG nothing has happened; after another error
 * the session must be freed, or go back.
 */
int weir_session_eval(weir_session *session, const int32_t *ids, size_t n_ids,
                      float *logits, struct weir_err *err);

/* Tokens for one of several sessions, as weir_session_eval() has them */
struct weir_eval {
    weir_session *session;
    const int32_t *ids;
    size_t n_ids;
    float *logits;
    /*
     * Nonzero: they end the text of a turn, as in weir_session_prefix(), and
     * the session can go back to where they begin and end.
     */
    int turn;
};

#define WEIR_MAX_EVALS 512

/*
 * The same for n <= WEIR_MAX_EVALS different sessions of one model together,
 * which wants the weights once for all of them.  Each gets the logits that it
 * would get alone.  After an error all of them must be freed, or go back, but
 * for WEIR_EARG: then nothing has happened.
 */
int weir_session_eval_many(const struct weir_eval *evals, size_t n,
                           struct weir_err *err);

/*
 * Goes back to the last place from which the text `ids` can be gone on with: to
 * where the session is, if the text begins with all that it holds, or else to a
 * snapshot or to its start; 0 ids lead there.  Returns how many tokens of the
 * text are then held; if these are all of them, `logits` (may be NULL) receives
 * the scores.  What is left out is lost, with the snapshots behind it.
 *
 * Snapshots, if there is room for any, are taken where turns begin and end, at
 * each 4096th token, and up to 64 tokens before the end of a turn's text.  With
 * no room left those inside turns go first, of them or of the others the one
 * with the fewest tokens between its neighbours; the last end of a turn stays.
 */
size_t weir_session_rewind(weir_session *session, const int32_t *ids,
                           size_t n_ids, float *logits);

/*
 * Makes the text `ids` (> 0 tokens) all that the session holds: goes back as
 * weir_session_rewind() does and evaluates the rest, as a turn.  `logits` as in
 * weir_session_eval(); *n_kept (may be NULL) tokens were not computed again.
 * After WEIR_EARG it has gone back, and no more.
 *
 * A turn's tokens are computed as a prompt if the whole text has 32 tokens or
 * more, and else as single ones.  Tokens that are kept have the bits with which
 * they were computed: if that was as part of a turn, or one by one, the scores
 * are those of a session that computes the same tokens so and never went back.
 */
int weir_session_prefix(weir_session *session, const int32_t *ids, size_t n_ids,
                        float *logits, size_t *n_kept, struct weir_err *err);

/*
 * Writes all that the session holds to the file `path` (weir-session(5)), by
 * way of path.part: what was there stays until the new file is whole, and for
 * good after an error.  WEIR_EARG when there is nothing to save.
 */
int weir_session_save(const weir_session *session, const char *path,
                      struct weir_err *err);

/*
 * Takes over what weir_session_save() wrote: in place of what the session held,
 * with as many of the snapshots as it has room for.  WEIR_EARG for a file of
 * another model or type of KV cache, WEIR_ELIMIT for one of more tokens than it
 * has room for, WEIR_EFORMAT and WEIR_ECORRUPT for one that is damaged.  After
 * an error the session holds what it held, or nothing, and is of use.
 */
int weir_session_load(weir_session *session, const char *path,
                      struct weir_err *err);

/*
 * Turns the next id into text that can be printed at once: bytes of a
 * character that is not complete yet are held back until it is.  *text points
 * into the session and stays valid until its next call; *n_bytes may be 0.
 * Call with id < 0 at the end to get what is still held back.
 */
int weir_session_decode(weir_session *session, int32_t id, const char **text,
                        size_t *n_bytes, struct weir_err *err);

/*
 * A process that maps models and must survive a model file that shrinks while
 * it is mapped calls this from its own SIGBUS handler with the faulting
 * address.  Returns 1 when the address belonged to a mapped model: the page
 * now reads as zeros, the running call will end with WEIR_EIO, and the handler
 * should return.  Returns 0 otherwise.  Async-signal-safe on Linux.
 */
int weir_sigbus_repair(void *address);

#ifdef __cplusplus
}
#endif
#endif
