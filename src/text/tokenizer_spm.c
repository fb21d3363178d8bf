/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.model, SentencePiece's ModelProto.  The numbers below are those of
 * sentencepiece_model.proto; fields that only training uses are passed over.
 *
 * SentencePiece itself never finds a control piece in a text.  Here the caller
 * may ask for that, and then each stretch of text between control pieces is
 * encoded as SentencePiece would encode it alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/protobuf.h"
#include "text/tokenizer_impl.h"
#include "base/utf8.h"

enum {
    MODEL_PIECES = 1,
    MODEL_TRAINER,
    MODEL_NORMALIZER,
    MODEL_DENORMALIZER = 5
};
enum { PIECE_TEXT = 1, PIECE_SCORE, PIECE_TYPE };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_SPACE_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_BOS_ID = 41,
    TRAINER_UNK_SURFACE = 44
};
enum {
    NORMALIZER_NAME = 1,
    NORMALIZER_CHARSMAP,
    NORMALIZER_DUMMY_PREFIX,
    NORMALIZER_EXTRA_SPACES,
    NORMALIZER_ESCAPE_SPACES
};
enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN,
    TYPE_CONTROL,
    TYPE_USER,
    TYPE_UNUSED,
    TYPE_BYTE
};
enum { MODEL_UNIGRAM = 1, MODEL_BPE, MODEL_WORD, MODEL_CHAR };

/* What SentencePiece shows for an unknown piece unless the model says. */
#define UNK_SURFACE " \xe2\x81\x87 "

struct spm_reader {
    struct weir_tokenizer *tokenizer;
    const char *what;
    struct weir_err *err;
    size_t n_pieces;
    float *scores; /* [n_pieces] */
    uint64_t model_type, byte_fallback, space_suffix;
    int64_t bos_id;
    struct weir_proto_field unk_surface, normalizer_name;
    uint64_t dummy_prefix, extra_spaces, escape_spaces;
    int has_charsmap, has_denormalizer;
};

struct spm_piece {
    const char *text;
    size_t n_bytes;
    float score;
    uint64_t type;
};

typedef int field_fn(struct spm_reader *reader, const struct weir_proto *proto,
                     const struct weir_proto_field *field);

/* Calls `read` for each field of the message. */
static int each_field(struct spm_reader *reader, struct weir_proto proto,
                      field_fn *read)
{
    struct weir_proto_field field = {0};
    int rc;

    while ((rc = weir_proto_next(&proto, &field, reader->err)) > 0) {
        rc = read(reader, &proto, &field);
        if (rc)
            return rc;
    }
    return rc;
}

static int get_number(struct spm_reader *reader, const struct weir_proto *proto,
                      const struct weir_proto_field *field, uint64_t *value)
{
    *value = field->value;
    return weir_proto_want(proto, field, WEIR_PROTO_VARINT, reader->err);
}

static int get_bytes(struct spm_reader *reader, const struct weir_proto *proto,
                     const struct weir_proto_field *field,
                     struct weir_proto_field *bytes)
{
    *bytes = *field;
    return weir_proto_want(proto, field, WEIR_PROTO_BYTES, reader->err);
}

static int read_trainer(struct spm_reader *reader,
                        const struct weir_proto *proto,
                        const struct weir_proto_field *field)
{
    uint64_t id;
    int rc;

    switch (field->number) {
    case TRAINER_MODEL_TYPE:
        return get_number(reader, proto, field, &reader->model_type);
    case TRAINER_SPACE_SUFFIX:
        return get_number(reader, proto, field, &reader->space_suffix);
    case TRAINER_BYTE_FALLBACK:
        return get_number(reader, proto, field, &reader->byte_fallback);
    case TRAINER_BOS_ID:
        rc = get_number(reader, proto, field, &id);
        reader->bos_id = (int64_t)id;
        return rc;
    case TRAINER_UNK_SURFACE:
        return get_bytes(reader, proto, field, &reader->unk_surface);
    }
    return 0;
}

static int read_normalizer(struct spm_reader *reader,
                           const struct weir_proto *proto,
                           const struct weir_proto_field *field)
{
    struct weir_proto_field map;
    int rc;

    switch (field->number) {
    case NORMALIZER_NAME:
        return get_bytes(reader, proto, field, &reader->normalizer_name);
    case NORMALIZER_CHARSMAP:
        rc = get_bytes(reader, proto, field, &map);
        reader->has_charsmap = map.n_bytes != 0;
        return rc;
    case NORMALIZER_DUMMY_PREFIX:
        return get_number(reader, proto, field, &reader->dummy_prefix);
    case NORMALIZER_EXTRA_SPACES:
        return get_number(reader, proto, field, &reader->extra_spaces);
    case NORMALIZER_ESCAPE_SPACES:
        return get_number(reader, proto, field, &reader->escape_spaces);
    }
    return 0;
}

static int read_denormalizer(struct spm_reader *reader,
                             const struct weir_proto *proto,
                             const struct weir_proto_field *field)
{
    struct weir_proto_field map;
    int rc;

    if (field->number != NORMALIZER_CHARSMAP)
        return 0;
    rc = get_bytes(reader, proto, field, &map);
    reader->has_denormalizer = map.n_bytes != 0;
    return rc;
}

/* Counts the pieces and reads everything else. */
static int read_settings(struct spm_reader *reader,
                         const struct weir_proto *proto,
                         const struct weir_proto_field *field)
{
    field_fn *read;
    int rc;

    switch (field->number) {
    case MODEL_PIECES:
        reader->n_pieces++;
        return weir_proto_want(proto, field, WEIR_PROTO_BYTES, reader->err);
    case MODEL_TRAINER:
        read = read_trainer;
        break;
    case MODEL_NORMALIZER:
        read = read_normalizer;
        break;
    case MODEL_DENORMALIZER:
        read = read_denormalizer;
        break;
    default:
        return 0;
    }
    rc = weir_proto_want(proto, field, WEIR_PROTO_BYTES, reader->err);
    return rc ? rc : each_field(reader, weir_proto_enter(proto, field), read);
}

static int refuse(const struct spm_reader *reader, const char *feature)
{
    return weir_err_set(reader->err, WEIR_ENOTSUP,
                        "%s: %s is not supported; only SentencePiece BPE "
                        "without character normalization is",
                        reader->what, feature);
}

static int check_settings(const struct spm_reader *reader)
{
    static const char *const types[] = {"?", "unigram", "BPE", "word", "char"};
    const struct weir_proto_field *name = &reader->normalizer_name;

    if (reader->n_pieces == 0)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: neither a tokenizer.json nor a SentencePiece "
                            "model, or one without pieces",
                            reader->what);
    if (reader->n_pieces > WEIR_VOCAB_MAX)
        return weir_err_set(reader->err, WEIR_ELIMIT,
                            "%s: %zu pieces; %lu is the most", reader->what,
                            reader->n_pieces, WEIR_VOCAB_MAX);
    if (reader->model_type != MODEL_BPE)
        return weir_err_set(
            reader->err, WEIR_ENOTSUP,
            "%s: a SentencePiece model of type %s is not supported, only BPE",
            reader->what,
            types[reader->model_type <= MODEL_CHAR ? reader->model_type : 0]);
    if (reader->has_charsmap)
        return weir_err_set(reader->err, WEIR_ENOTSUP,
                            "%s: the normalizer '%.*s' is not supported, only "
                            "identity",
                            reader->what,
                            (int)(name->n_bytes < 64 ? name->n_bytes : 64),
                            name->data ? name->data : "");
    if (reader->has_denormalizer)
        return refuse(reader, "a denormalizer");
    if (reader->space_suffix)
        return refuse(reader, "treat_whitespace_as_suffix");
    return 0;
}

static int read_piece(struct spm_reader *reader, struct weir_proto proto,
                      struct spm_piece *piece)
{
    struct weir_proto_field field = {0}, text = {0};
    uint32_t bits;
    int rc;

    while ((rc = weir_proto_next(&proto, &field, reader->err)) > 0) {
        rc = 0;
        if (field.number == PIECE_TEXT) {
            rc = get_bytes(reader, &proto, &field, &text);
        } else if (field.number == PIECE_SCORE) {
            rc = weir_proto_want(&proto, &field, WEIR_PROTO_FIXED32,
                                 reader->err);
            bits = (uint32_t)field.value;
            memcpy(&piece->score, &bits, sizeof(bits));
        } else if (field.number == PIECE_TYPE) {
            rc = get_number(reader, &proto, &field, &piece->type);
        }
        if (rc)
            return rc;
    }
    piece->text = text.data;
    piece->n_bytes = text.n_bytes;
    return rc;
}

/* <|user|> and the like, not "," or "\n". */
static int looks_like_marker(const struct spm_piece *piece)
{
    return piece->n_bytes > 2 && piece->text[0] == '<' &&
           piece->text[piece->n_bytes - 1] == '>';
}

/* Flags by type; -1 when there is no such type. */
static int piece_flags(const struct spm_piece *piece)
{
    switch (piece->type) {
    case TYPE_NORMAL:
        return WEIR_PIECE_INDEXED;
    case TYPE_UNKNOWN:
        return WEIR_PIECE_SPECIAL | WEIR_PIECE_UNKNOWN;
    case TYPE_CONTROL:
        return WEIR_PIECE_SPECIAL;
    case TYPE_USER:
        return WEIR_PIECE_INDEXED |
               (looks_like_marker(piece) ? WEIR_PIECE_SPECIAL : 0);
    case TYPE_UNUSED:
        return WEIR_PIECE_INDEXED | WEIR_PIECE_UNUSED;
    case TYPE_BYTE:
        return 0;
    }
    return -1;
}

static int add_byte(struct spm_reader *reader, size_t id,
                    const struct spm_piece *piece)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    int byte = weir_byte_of(piece->text, piece->n_bytes);

    if (byte < 0 || tokenizer->byte_ids[byte] >= 0)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: byte piece %zu is malformed or there twice",
                            reader->what, id);
    tokenizer->byte_ids[byte] = (int32_t)id;
    tokenizer->vocab.pieces[id].byte = (int16_t)byte;
    return 0;
}

/* Enters a piece where the encoder looks for its type. */
static int place_piece(struct spm_reader *reader, size_t id,
                       const struct spm_piece *piece)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    struct weir_span text = tokenizer->vocab.pieces[id].text;

    switch (piece->type) {
    case TYPE_UNKNOWN:
        if (tokenizer->unknown >= 0)
            return weir_err_set(reader->err, WEIR_EFORMAT,
                                "%s: two unknown pieces, %d and %zu",
                                reader->what, tokenizer->unknown, id);
        tokenizer->unknown = (int32_t)id;
        /* fall through */
    case TYPE_CONTROL:
        return weir_matcher_add(&tokenizer->raw, text, (uint32_t)id,
                                reader->err);
    case TYPE_USER:
        return weir_matcher_add(&tokenizer->normalized, text, (uint32_t)id,
                                reader->err);
    case TYPE_UNUSED:
        tokenizer->has_unused = 1;
        return 0;
    case TYPE_BYTE:
        return add_byte(reader, id, piece);
    }
    return 0;
}

/* The text that the piece decodes to: a space for each metaspace. */
static int show_piece(struct spm_reader *reader, size_t id,
                      const struct spm_piece *source)
{
    static const char mark[] = WEIR_UTF8_METASPACE;
    struct weir_vocab *vocab = &reader->tokenizer->vocab;
    struct weir_piece *piece = &vocab->pieces[id];
    struct weir_buf out = WEIR_BUF(WEIR_PIECE_BYTES);
    size_t n_mark = sizeof(mark) - 1;
    int rc;

    piece->shown = piece->first = piece->text;
    if (source->type == TYPE_CONTROL || source->type == TYPE_UNKNOWN ||
        !memmem(source->text, source->n_bytes, mark, n_mark))
        return 0;
    rc = weir_text_replace(&out, source->text, source->n_bytes, mark, n_mark,
                           " ", 1, reader->err);
    if (!rc)
        rc = weir_vocab_keep(vocab, out.data, out.n_bytes, &piece->shown,
                             reader->err);
    weir_buf_fini(&out);
    piece->first = piece->shown;
    if (!memcmp(source->text, mark, n_mark)) {
        piece->first.at++;
        piece->first.n_bytes--;
    }
    return rc;
}

static int add_piece(struct spm_reader *reader, size_t id,
                     const struct spm_piece *piece)
{
    int flags = piece_flags(piece), rc;

    if (flags < 0)
        return weir_err_set(reader->err, WEIR_ENOTSUP,
                            "%s: piece %zu has type %llu, which is not known",
                            reader->what, id, (unsigned long long)piece->type);
    if (!isfinite(piece->score))
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: piece %zu has a score that is not finite",
                            reader->what, id);
    reader->scores[id] = piece->score;
    rc = weir_vocab_add(&reader->tokenizer->vocab, id, piece->text,
                        piece->n_bytes, (unsigned)flags, reader->what,
                        reader->err);
    if (!rc)
        rc = show_piece(reader, id, piece);
    return rc ? rc : place_piece(reader, id, piece);
}

static int read_pieces(struct spm_reader *reader, struct weir_proto proto)
{
    struct weir_proto_field field = {0};
    size_t id = 0;
    int rc;

    while ((rc = weir_proto_next(&proto, &field, reader->err)) > 0) {
        struct spm_piece piece = {.type = TYPE_NORMAL};

        if (field.number != MODEL_PIECES)
            continue;
        rc = read_piece(reader, weir_proto_enter(&proto, &field), &piece);
        if (!rc)
            rc = add_piece(reader, id++, &piece);
        if (rc)
            return rc;
    }
    return rc;
}

static int compare_scores(const void *a, const void *b, void *scores)
{
    const float *s = scores;
    float x = s[*(const uint32_t *)a], y = s[*(const uint32_t *)b];

    return x > y ? -1 : x < y;
}

/* Numbers the scores from the highest on; equal ones get the same rank. */
static int rank_pieces(struct spm_reader *reader)
{
    size_t n = reader->n_pieces, n_bytes = n * sizeof(uint32_t);
    uint32_t *order = malloc(n_bytes), *ranks = malloc(n_bytes), rank = 0;

    reader->tokenizer->ranks = ranks;
    if (!order || !ranks) {
        free(order);
        return weir_err_nomem(reader->err, 2 * n_bytes, "ranks of pieces");
    }
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, n, sizeof(*order), compare_scores, reader->scores);
    for (size_t i = 0; i < n; i++) {
        if (i && compare_scores(&order[i - 1], &order[i], reader->scores))
            rank++;
        ranks[order[i]] = rank;
    }
    free(order);
    return 0;
}

static int add_op(struct spm_reader *reader, enum weir_text_op_kind kind,
                  struct weir_span pattern, struct weir_span content)
{
    struct weir_text_op op = {
        .kind = kind, .pattern = pattern, .content = content};

    return weir_text_add_op(&reader->tokenizer->normalizers, &op, reader->what,
                            reader->err);
}

static int set_normalizer(struct spm_reader *reader)
{
    static const char mark[] = WEIR_UTF8_METASPACE;
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    struct weir_span space, escaped;
    int rc;

    rc = weir_vocab_keep(&tokenizer->vocab, " ", 1, &space, reader->err);
    escaped = space;
    if (!rc && reader->escape_spaces)
        rc = weir_vocab_keep(&tokenizer->vocab, mark, sizeof(mark) - 1,
                             &escaped, reader->err);
    if (!rc && reader->dummy_prefix)
        rc = add_op(reader, WEIR_OP_PREPEND, space, escaped);
    if (!rc && reader->escape_spaces)
        rc = add_op(reader, WEIR_OP_REPLACE, space, escaped);
    tokenizer->replacement = escaped;
    tokenizer->collapses_spaces = reader->extra_spaces != 0;
    return rc;
}

static int set_unknown(struct spm_reader *reader)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    const struct weir_proto_field *surface = &reader->unk_surface;
    const char *text = surface->data ? surface->data : UNK_SURFACE;
    size_t n = surface->data ? surface->n_bytes : sizeof(UNK_SURFACE) - 1;

    if (tokenizer->unknown < 0)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: no unknown piece; fetch the file again",
                            reader->what);
    if (n > WEIR_PIECE_BYTES || weir_utf8_valid(text, n) < n)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: unk_surface is too long or not UTF-8",
                            reader->what);
    return weir_vocab_keep(&tokenizer->vocab, text, n,
                           &tokenizer->unknown_shown, reader->err);
}

static int set_bytes(struct spm_reader *reader)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    int n = 0;

    for (int i = 0; i < 256; i++)
        n += tokenizer->byte_ids[i] >= 0;
    tokenizer->byte_fallback = reader->byte_fallback != 0;
    if (n == (tokenizer->byte_fallback ? 256 : 0))
        return 0;
    return weir_err_set(reader->err, WEIR_EFORMAT,
                        "%s: %d byte pieces, and byte_fallback is %s",
                        reader->what, n,
                        tokenizer->byte_fallback ? "true" : "false");
}

/* What the pieces and the settings together mean. */
static int finish(struct spm_reader *reader)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    int rc = set_unknown(reader);

    if (!rc)
        rc = set_bytes(reader);
    if (!rc)
        rc = set_normalizer(reader);
    if (!rc)
        rc = rank_pieces(reader);
    tokenizer->is_sentencepiece = tokenizer->runs = tokenizer->cuts = 1;
    tokenizer->strips_first = reader->dummy_prefix || reader->extra_spaces;
    tokenizer->strips_more = reader->extra_spaces != 0;
    if (reader->bos_id >= 0 && (uint64_t)reader->bos_id < reader->n_pieces &&
        tokenizer->vocab.pieces[reader->bos_id].flags & WEIR_PIECE_SPECIAL)
        tokenizer->bos = (int32_t)reader->bos_id;
    return rc;
}

int weir_tokenizer_read_spm(struct weir_tokenizer *tokenizer, const char *data,
                            size_t n_bytes, const char *what,
                            struct weir_err *err)
{
    struct weir_proto proto = {.data = data, .n_bytes = n_bytes, .what = what};
    struct spm_reader reader = {.tokenizer = tokenizer,
                                .what = what,
                                .err = err,
                                .model_type = MODEL_UNIGRAM,
                                .bos_id = 1,
                                .dummy_prefix = 1,
                                .extra_spaces = 1,
                                .escape_spaces = 1};
    int rc;

    memset(tokenizer->byte_ids, 0xff, sizeof(tokenizer->byte_ids));
    rc = each_field(&reader, proto, read_settings);
    if (!rc)
        rc = check_settings(&reader);
    if (!rc)
        rc = weir_vocab_init(&tokenizer->vocab, reader.n_pieces,
                             weir_text_ceiling(n_bytes), err);
    if (rc)
        return rc;
    reader.scores = calloc(reader.n_pieces, sizeof(*reader.scores));
    rc = reader.scores ? read_pieces(&reader, proto)
                       : weir_err_nomem(err, n_bytes, "scores of pieces");
    if (!rc)
        rc = finish(&reader);
    free(reader.scores);
    return rc;
}
