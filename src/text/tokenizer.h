/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to token ids and back, as a model's tokenizer.json (BPE of the
 * tokenizers library) or tokenizer.model (SentencePiece BPE) says.  A file
 * that asks for something not built here is refused by the name of that thing.
 *
 * Text is UTF-8; NUL is a character like any other.  Text that is not UTF-8 is
 * refused (WEIR_EFORMAT, err->offset is the first bad byte), because neither
 * reference implementation can represent it.
 *
 * Special tokens are, in a tokenizer.json, the added tokens marked special; in
 * a tokenizer.model, the control pieces, the unknown piece and those user
 * defined pieces that look like a marker, <...>.  Text becomes a special token
 * only when the caller asks for it; other added tokens and user defined pieces
 * are always found.
 *
 * A tokenizer is constant once parsed and may be shared by threads.
 */
#ifndef WEIR_TEXT_TOKENIZER_H
#define WEIR_TEXT_TOKENIZER_H

#include "base/buf.h"

struct weir_file;
struct weir_tokenizer;

#define WEIR_TEXT_BYTES      (1UL << 30)   /* most text that one call encodes */
#define WEIR_TOKENIZER_BYTES (256UL << 20) /* most in a tokenizer file */

/*
 * Reads a tokenizer file of `n_bytes`: JSON when its first byte that is not
 * white space is '{', else SentencePiece.  `what` names it in messages.
 * Release *tokenizer with weir_tokenizer_free().
 */
int weir_tokenizer_parse(const char *data, size_t n_bytes, const char *what,
                         struct weir_tokenizer **tokenizer,
                         struct weir_err *err);

/*
 * The tokenizer that a packed model carries: its blob tokenizer.json, else
 * tokenizer.model.  *tokenizer is NULL, without an error, when it has neither.
 */
int weir_tokenizer_from_file(const struct weir_file *file,
                             struct weir_tokenizer **tokenizer,
                             struct weir_err *err);

void weir_tokenizer_free(struct weir_tokenizer *tokenizer);

/* One more than the largest id. */
size_t weir_tokenizer_n_vocab(const struct weir_tokenizer *tokenizer);

/* 1 when `id` is a token: a vocabulary may have gaps. */
int weir_tokenizer_has(const struct weir_tokenizer *tokenizer, int32_t id);

/* The id that the file puts before a text, or -1. */
int32_t weir_tokenizer_bos(const struct weir_tokenizer *tokenizer);

/*
 * A character that stands for nothing (U+FDD0 is set aside for such uses).  In
 * a text that is encoded with WEIR_SPECIAL_GUARDED it parts what would else be
 * a special token, and is then left out.
 */
#define WEIR_TEXT_GUARD "\xef\xb7\x90"

enum weir_special {
    WEIR_SPECIAL_PLAIN = 0,  /* special tokens are text like any other */
    WEIR_SPECIAL_PARSED = 1, /* they become their ids */
    WEIR_SPECIAL_GUARDED = 2 /* the same, less the guards */
};

/*
 * Appends the text with guards in each special token in it, and in what could
 * be the beginning of one at its end; its own guards are left out.
 */
int weir_tokenizer_guard(const struct weir_tokenizer *tokenizer,
                         const char *text, size_t n_bytes, struct weir_buf *out,
                         struct weir_err *err);

/*
 * Encodes `n_bytes` (at most WEIR_TEXT_BYTES) of text in O(n log n).  With
 * `special` (an enum weir_special, or 1), special tokens in the text become
 * their ids; without, they are plain text.  With `bos`, the id of
 * weir_tokenizer_bos() comes first, unless the text itself begins with it. *ids
 * is allocated; release it with free(). It is NULL only after an error.
 */
int weir_tokenizer_encode(const struct weir_tokenizer *tokenizer,
                          const char *text, size_t n_bytes, int special,
                          int bos, int32_t **ids, size_t *n_ids,
                          struct weir_err *err);

/*
 * Decodes `n_ids` ids; special tokens are shown or left out.  *text is
 * allocated (release it with free()) and has a NUL behind its n_bytes.  An id
 * that is not in the vocabulary is WEIR_EARG.
 */
int weir_tokenizer_decode(const struct weir_tokenizer *tokenizer,
                          const int32_t *ids, size_t n_ids, int special_shown,
                          char **text, size_t *n_bytes, struct weir_err *err);

/*
 * Decoding id by id.  What has come out so far is always whole characters, and
 * all of it together is what weir_tokenizer_decode() gives.  Bytes that can no
 * longer become a character come out as U+FFFD, as the reference of the file's
 * kind does it: SentencePiece replaces each byte that is not part of a
 * character, so here at most 3 bytes are held back; the tokenizers library
 * replaces every byte of a run of byte tokens when any of them is bad, so here
 * the run is held back until it ends (or reaches WEIR_RUN_BYTES).
 *
 * The tokenizer must outlive it.  One thread at a time.
 */
#define WEIR_RUN_BYTES 4096

struct weir_detokenizer {
    const struct weir_tokenizer *tokenizer;
    char *out; /* what the last call gave */
    size_t n_out;
    unsigned char *held; /* [WEIR_RUN_BYTES] bytes without a character yet */
    size_t n_held;
    size_t n_pieces;  /* since the start of the text */
    uint32_t n_strip; /* characters that may still be stripped from it */
    int strips_piece; /* SentencePiece: the next piece may lose its space */
    int stripped;     /* the last piece did */
    int visible;      /* something has come out */
};

/* Takes all memory that decoding will need. */
int weir_detokenizer_init(struct weir_detokenizer *detokenizer,
                          const struct weir_tokenizer *tokenizer,
                          struct weir_err *err);
void weir_detokenizer_fini(struct weir_detokenizer *detokenizer);

/*
 * Adds an id.  *text stays valid until the next call and has no NUL behind it;
 * *n_bytes may be 0.  WEIR_EARG, and nothing changes, when the id is not in
 * the vocabulary.  Does not allocate.
 */
int weir_detokenizer_push(struct weir_detokenizer *detokenizer, int32_t id,
                          int special_shown, const char **text, size_t *n_bytes,
                          struct weir_err *err);

/* Ends the text: gives what is held back, and makes ready for another text. */
void weir_detokenizer_finish(struct weir_detokenizer *detokenizer,
                             const char **text, size_t *n_bytes);

#endif
