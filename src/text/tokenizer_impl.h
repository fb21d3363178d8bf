/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of the two kinds of file fill in, and coding uses. */
#ifndef WEIR_TEXT_TOKENIZER_IMPL_H
#define WEIR_TEXT_TOKENIZER_IMPL_H

#include "text/token_text.h"
#include "text/vocab.h"

#define WEIR_TEXT_OPS 32 /* most normalizers or decoders in a file */

/* The most that these make of a token. */
#define WEIR_SHOWN_BYTES (4 * WEIR_PIECE_BYTES)

/* One step of a normalizer, or of a decoder on one piece. */
struct weir_text_op {
    enum weir_text_op_kind {
        WEIR_OP_PREPEND,   /* `content`, unless the text is empty */
        WEIR_OP_REPLACE,   /* every `pattern` by `content` */
        WEIR_OP_STRIP,     /* up to n_start and n_stop times `content` */
        WEIR_OP_METASPACE, /* decoder: `pattern` by a space; with n_start, by
                              nothing in the first piece */
    } kind;
    struct weir_span pattern, content;
    uint32_t n_start, n_stop;
};

struct weir_text_ops {
    struct weir_text_op ops[WEIR_TEXT_OPS];
    size_t n;
};

enum weir_prepend { WEIR_PREPEND_NEVER, WEIR_PREPEND_FIRST, WEIR_PREPEND_ALL };

struct weir_tokenizer {
    struct weir_vocab vocab;
    struct weir_merges merges; /* tokenizer.json: by pair of ids */
    uint32_t *ranks;           /* SentencePiece: by id, lowest first */
    struct weir_joins joins;
    int cuts;              /* joins may be used */
    int32_t byte_ids[256]; /* of the byte pieces, when byte_fallback */
    int byte_fallback;
    int32_t unknown; /* id, or -1 */
    int32_t bos;     /* id, or -1 */
    int fuses_unknown;
    int ignores_merges; /* a text that is a piece is that piece */
    int has_unused;     /* some piece is WEIR_PIECE_UNUSED */

    /* Text on its way in, between the tokens that `raw` finds in it. */
    struct weir_matcher raw;
    struct weir_text_ops normalizers;
    int collapses_spaces;           /* SentencePiece, before the normalizers */
    struct weir_matcher normalized; /* looked for in normalised text */
    int metaspace;                  /* the pre-tokenizer: */
    struct weir_span replacement;
    enum weir_prepend prepend;
    int splits; /* before every replacement */

    /* Text on its way out. */
    int is_sentencepiece;
    int joins_with_space; /* tokenizer.json without a decoder */
    int runs;             /* pieces with a byte are bytes of a run */
    struct weir_span strip;
    uint32_t n_strip; /* times `strip` is removed at the start of the text */
    int strips_first; /* SentencePiece: the first piece loses its space, */
    int strips_more;  /* and so do others until something is visible */
    struct weir_span unknown_shown; /* what stands for a hidden unknown */
    size_t max_shown_bytes;
};

/*
 * The most that may become of `n_bytes` of text.  Files in use make three bytes
 * of a space; one that makes many characters of each, again and again, must not
 * fill the memory.
 */
size_t weir_text_ceiling(size_t n_bytes);

/* Whether it is a byte of a run, of which characters are made */
static inline int weir_piece_is_byte(const struct weir_tokenizer *tokenizer,
                                     const struct weir_piece *piece)
{
    return tokenizer->runs && piece->byte >= 0;
}

/* What any other piece decodes to there */
struct weir_span weir_piece_text(const struct weir_tokenizer *tokenizer,
                                 const struct weir_piece *piece,
                                 struct weir_token_front front, int hidden);

/* Text being normalised; the buffers are used in turn. */
struct weir_scratch {
    struct weir_buf bufs[2];
};

/* `ceiling`: most bytes of the text on its way. */
void weir_scratch_init(struct weir_scratch *scratch, size_t ceiling);
void weir_scratch_fini(struct weir_scratch *scratch);

/*
 * Applies the operations to [*text, *n_bytes], which afterwards names the
 * result: the input itself or a buffer of the scratch.  `first` is for
 * WEIR_OP_METASPACE.
 */
int weir_text_apply(const struct weir_text_ops *ops,
                    const struct weir_vocab *vocab,
                    struct weir_scratch *scratch, int first, const char **text,
                    size_t *n_bytes, struct weir_err *err);

/* Appends an operation; `what` names the file. */
int weir_text_add_op(struct weir_text_ops *ops, const struct weir_text_op *op,
                     const char *what, struct weir_err *err);

/* Replaces every `pattern` [n_pattern > 0] in the text, appending to `out`. */
int weir_text_replace(struct weir_buf *out, const char *text, size_t n_bytes,
                      const char *pattern, size_t n_pattern,
                      const char *content, size_t n_content,
                      struct weir_err *err);

/* The two readers fill a zeroed tokenizer; the caller seals and frees it. */
int weir_tokenizer_read_json(struct weir_tokenizer *tokenizer, const char *data,
                             size_t n_bytes, const char *what,
                             struct weir_err *err);
int weir_tokenizer_read_spm(struct weir_tokenizer *tokenizer, const char *data,
                            size_t n_bytes, const char *what,
                            struct weir_err *err);

#endif
