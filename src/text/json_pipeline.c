/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tokenizer.json says about text on its way to and from the model:
 * normalizer, pre_tokenizer, post_processor and decoder.  Each is null, one
 * component, or a Sequence of components.
 */
#include <string.h>

#include "text/tokenizer_json.h"
#include "base/utf8.h"

#define MAX_DEPTH 8 /* Sequences within Sequences */

typedef int component_fn(struct weir_json_reader *reader, const json_t *object,
                         const char *type);

static int refuse(const struct weir_json_reader *reader, const char *section,
                  const char *feature)
{
    return weir_err_set(reader->err, WEIR_ENOTSUP,
                        "%s: %s %s is not supported; use a file without it, "
                        "or the tokenizer.model",
                        reader->what, section, feature);
}

static int malformed(const struct weir_json_reader *reader, const char *part)
{
    return weir_err_set(reader->err, WEIR_EFORMAT,
                        "%s: %s is malformed; fetch the file again",
                        reader->what, part);
}

static int read_component(struct weir_json_reader *reader, const json_t *object,
                          const char *list_key, component_fn *read,
                          unsigned depth);

static int read_list(struct weir_json_reader *reader, const json_t *list,
                     const char *list_key, component_fn *read, unsigned depth)
{
    const json_t *item;
    size_t i;
    int rc;

    if (!json_is_array(list))
        return malformed(reader, list_key);
    if (depth == MAX_DEPTH)
        return weir_err_set(reader->err, WEIR_ELIMIT,
                            "%s: %s nested deeper than %d", reader->what,
                            list_key, MAX_DEPTH);
    json_array_foreach(list, i, item)
    {
        rc = read_component(reader, item, list_key, read, depth + 1);
        if (rc)
            return rc;
    }
    return 0;
}

/* Calls `read` for the component, or for each in a Sequence. */
static int read_component(struct weir_json_reader *reader, const json_t *object,
                          const char *list_key, component_fn *read,
                          unsigned depth)
{
    const char *type = NULL;
    int rc;

    if (!object || json_is_null(object))
        return 0;
    rc = weir_json_get_string(object, "type", reader->what, &type, reader->err);
    if (rc)
        return rc;
    if (!type)
        return malformed(reader, list_key);
    if (strcmp(type, "Sequence"))
        return read(reader, object, type);
    return read_list(reader, json_object_get(object, list_key), list_key, read,
                     depth);
}

/* Copies the string at `key`, which must be there, into the arena. */
static int keep_string(struct weir_json_reader *reader, const json_t *object,
                       const char *key, struct weir_span *span)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_string(value))
        return malformed(reader, key);
    if (json_string_length(value) > WEIR_PIECE_BYTES)
        return weir_err_set(reader->err, WEIR_ELIMIT,
                            "%s: %s has more than %d bytes", reader->what, key,
                            WEIR_PIECE_BYTES);
    return weir_vocab_keep(&reader->tokenizer->vocab, json_string_value(value),
                           json_string_length(value), span, reader->err);
}

/* The same for a string of one character; `def` where the key is absent. */
static int keep_char(struct weir_json_reader *reader, const json_t *object,
                     const char *key, const char *def, struct weir_span *span)
{
    const struct weir_vocab *vocab = &reader->tokenizer->vocab;
    int rc;

    if (def && !json_object_get(object, key))
        return weir_vocab_keep(&reader->tokenizer->vocab, def, strlen(def),
                               span, reader->err);
    rc = keep_string(reader, object, key, span);
    if (rc)
        return rc;
    if (span->n_bytes == 0 || weir_utf8_length((unsigned char)*weir_vocab_at(
                                  vocab, *span)) != span->n_bytes)
        return malformed(reader, key);
    return 0;
}

/* {"pattern": {"String": ...}, "content": ...} */
static int read_replace(struct weir_json_reader *reader, const json_t *object,
                        const char *section, struct weir_text_ops *ops)
{
    const json_t *pattern = json_object_get(object, "pattern");
    struct weir_text_op op = {.kind = WEIR_OP_REPLACE};
    int rc;

    if (json_object_get(pattern, "Regex"))
        return refuse(reader, section, "Replace with a Regex");
    rc = keep_string(reader, pattern, "String", &op.pattern);
    if (!rc)
        rc = keep_string(reader, object, "content", &op.content);
    if (rc)
        return rc;
    if (op.pattern.n_bytes == 0)
        return refuse(reader, section, "Replace of an empty String");
    return weir_text_add_op(ops, &op, reader->what, reader->err);
}

static int read_normalizer(struct weir_json_reader *reader,
                           const json_t *object, const char *type)
{
    struct weir_text_ops *ops = &reader->tokenizer->normalizers;
    struct weir_text_op op = {.kind = WEIR_OP_PREPEND};
    int rc;

    if (!strcmp(type, "Replace"))
        return read_replace(reader, object, "normalizer", ops);
    if (strcmp(type, "Prepend"))
        return refuse(reader, "normalizer", type);
    rc = keep_string(reader, object, "prepend", &op.content);
    return rc ? rc : weir_text_add_op(ops, &op, reader->what, reader->err);
}

int weir_json_read_normalizer(struct weir_json_reader *reader,
                              const json_t *root)
{
    return read_component(reader, json_object_get(root, "normalizer"),
                          "normalizers", read_normalizer, 0);
}

/*
 * prepend_scheme, "always" unless the file says otherwise.  Files from before
 * it existed have add_prefix_space alone.
 */
static int read_prepend_scheme(struct weir_json_reader *reader,
                               const json_t *object, enum weir_prepend *prepend)
{
    static const char *const names[] = {"never", "first", "always"};
    const char *scheme = NULL;
    int prefix = 1, rc;

    rc = weir_json_get_bool(object, "add_prefix_space", reader->what, &prefix,
                            reader->err);
    if (!rc)
        rc = weir_json_get_string(object, "prepend_scheme", reader->what,
                                  &scheme, reader->err);
    if (rc)
        return rc;
    if (!scheme)
        scheme = prefix ? "always" : "never";
    if (!prefix && strcmp(scheme, "never"))
        return malformed(reader, "Metaspace with add_prefix_space false and "
                                 "another prepend_scheme");
    for (unsigned i = 0; i < 3; i++)
        if (!strcmp(scheme, names[i])) {
            *prepend = (enum weir_prepend)i;
            return 0;
        }
    return refuse(reader, "Metaspace with prepend_scheme", scheme);
}

static int read_pre_tokenizer(struct weir_json_reader *reader,
                              const json_t *object, const char *type)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    int rc;

    if (strcmp(type, "Metaspace"))
        return refuse(reader, "pre_tokenizer", type);
    if (tokenizer->metaspace)
        return refuse(reader, "pre_tokenizer", "Metaspace, twice,");
    tokenizer->metaspace = tokenizer->splits = 1;
    rc = keep_char(reader, object, "replacement", WEIR_UTF8_METASPACE,
                   &tokenizer->replacement);
    if (!rc)
        rc = weir_json_get_bool(object, "split", reader->what,
                                &tokenizer->splits, reader->err);
    return rc ? rc : read_prepend_scheme(reader, object, &tokenizer->prepend);
}

int weir_json_read_pre_tokenizer(struct weir_json_reader *reader,
                                 const json_t *root)
{
    return read_component(reader, json_object_get(root, "pre_tokenizer"),
                          "pretokenizers", read_pre_tokenizer, 0);
}

/* {"SpecialToken": {"id": NAME}} before the text: its one id is the BOS. */
static int read_template_token(struct weir_json_reader *reader,
                               const json_t *object, const json_t *token)
{
    const json_t *specials = json_object_get(object, "special_tokens");
    const json_t *entry, *ids;
    const char *name = NULL;
    json_int_t id;
    int rc;

    rc = weir_json_get_string(token, "id", reader->what, &name, reader->err);
    if (rc)
        return rc;
    entry = name ? json_object_get(specials, name) : NULL;
    ids = json_object_get(entry, "ids");
    if (!json_is_array(ids))
        return malformed(reader, "special_tokens of TemplateProcessing");
    if (json_array_size(ids) != 1 || reader->tokenizer->bos >= 0)
        return refuse(reader, "post_processor",
                      "TemplateProcessing with several tokens before the "
                      "text");
    id = json_integer_value(json_array_get(ids, 0));
    if (!json_is_integer(json_array_get(ids, 0)) || id < 0 ||
        (size_t)id >= reader->tokenizer->vocab.n ||
        !reader->tokenizer->vocab.pieces[id].flags)
        return malformed(reader, "special_tokens of TemplateProcessing");
    reader->tokenizer->bos = (int32_t)id;
    return 0;
}

static int read_post_processor(struct weir_json_reader *reader,
                               const json_t *object, const char *type)
{
    const json_t *single = json_object_get(object, "single"), *item, *token;
    int after = 0, rc;
    size_t i;

    if (strcmp(type, "TemplateProcessing"))
        return refuse(reader, "post_processor", type);
    if (!json_is_array(single))
        return malformed(reader, "single of TemplateProcessing");
    json_array_foreach(single, i, item)
    {
        token = json_object_get(item, "SpecialToken");
        if (after)
            return refuse(reader, "post_processor",
                          "TemplateProcessing with something behind the "
                          "text");
        after = json_object_get(item, "Sequence") != NULL;
        if (!token && !after)
            return malformed(reader, "single of TemplateProcessing");
        rc = token ? read_template_token(reader, object, token) : 0;
        if (rc)
            return rc;
    }
    return after ? 0 : malformed(reader, "single of TemplateProcessing");
}

int weir_json_read_post_processor(struct weir_json_reader *reader,
                                  const json_t *root)
{
    return read_component(reader, json_object_get(root, "post_processor"),
                          "processors", read_post_processor, 0);
}

static int read_strip(struct weir_json_reader *reader, const json_t *object)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    struct weir_text_op op = {.kind = WEIR_OP_STRIP};
    int64_t start = 0, stop = 0;
    int rc;

    rc = keep_char(reader, object, "content", NULL, &op.content);
    if (!rc)
        rc = weir_json_get_int(object, "start", reader->what, 0, INT32_MAX,
                               &start, reader->err);
    if (!rc)
        rc = weir_json_get_int(object, "stop", reader->what, 0, INT32_MAX,
                               &stop, reader->err);
    if (rc)
        return rc;
    op.n_start = (uint32_t)start;
    op.n_stop = (uint32_t)stop;
    if (!reader->has_fuse && !reader->has_byte_fallback)
        return weir_text_add_op(&reader->decoders, &op, reader->what,
                                reader->err);
    if (!reader->has_fuse)
        return refuse(reader, "decoder",
                      "Strip behind ByteFallback without "
                      "Fuse");
    if (stop)
        return refuse(reader, "decoder", "Strip with stop behind Fuse");
    if (reader->has_strip)
        return refuse(reader, "decoder", "Strip, twice behind Fuse,");
    reader->has_strip = 1;
    tokenizer->strip = op.content;
    tokenizer->n_strip = op.n_start;
    return 0;
}

static int read_metaspace(struct weir_json_reader *reader, const json_t *object)
{
    struct weir_text_op op = {.kind = WEIR_OP_METASPACE};
    enum weir_prepend prepend;
    int rc;

    rc = keep_char(reader, object, "replacement", WEIR_UTF8_METASPACE,
                   &op.pattern);
    if (!rc)
        rc = read_prepend_scheme(reader, object, &prepend);
    if (rc)
        return rc;
    op.n_start = prepend != WEIR_PREPEND_NEVER;
    return weir_text_add_op(&reader->decoders, &op, reader->what, reader->err);
}

static int read_decoder(struct weir_json_reader *reader, const json_t *object,
                        const char *type)
{
    int on_pieces = !reader->has_fuse && !reader->has_byte_fallback;

    if (!strcmp(type, "Strip"))
        return read_strip(reader, object);
    if (!strcmp(type, "Fuse")) {
        reader->has_fuse = 1;
        return 0;
    }
    if (!strcmp(type, "ByteFallback") && on_pieces) {
        reader->has_byte_fallback = 1;
        return 0;
    }
    if (!strcmp(type, "Replace") && on_pieces)
        return read_replace(reader, object, "decoder", &reader->decoders);
    if (!strcmp(type, "Metaspace") && on_pieces)
        return read_metaspace(reader, object);
    if (!strcmp(type, "ByteFallback") || !strcmp(type, "Replace") ||
        !strcmp(type, "Metaspace"))
        return refuse(reader, "behind ByteFallback or Fuse the decoder", type);
    return refuse(reader, "decoder", type);
}

int weir_json_apply(struct weir_json_reader *reader,
                    const struct weir_text_ops *ops,
                    struct weir_scratch *scratch, int first,
                    struct weir_span from, const char *part,
                    struct weir_span *span)
{
    struct weir_vocab *vocab = &reader->tokenizer->vocab;
    const char *text = weir_vocab_at(vocab, from);
    size_t n_bytes = from.n_bytes;
    int rc;

    rc = weir_text_apply(ops, vocab, scratch, first, &text, &n_bytes,
                         reader->err);
    if (!rc)
        rc = weir_vocab_keep(vocab, text, n_bytes, span, reader->err);
    if (rc == WEIR_ELIMIT)
        rc = weir_err_set(reader->err, rc,
                          "%s: its %s makes too much text of a token; fetch "
                          "the file again",
                          reader->what, part);
    return rc;
}

/* What the piece decodes to, as the first of a text or not. */
static int show_piece(struct weir_json_reader *reader,
                      struct weir_scratch *scratch,
                      const struct weir_piece *piece, int first,
                      struct weir_span *span)
{
    return weir_json_apply(reader, &reader->decoders, scratch, first,
                           piece->text, "decoder", span);
}

static int show_pieces(struct weir_json_reader *reader,
                       struct weir_scratch *scratch)
{
    struct weir_vocab *vocab = &reader->tokenizer->vocab;
    int depends_on_place = 0, rc = 0;

    for (size_t i = 0; i < reader->decoders.n; i++)
        depends_on_place |= reader->decoders.ops[i].kind == WEIR_OP_METASPACE;
    for (size_t i = 0; !rc && i < vocab->n; i++) {
        struct weir_piece *piece = &vocab->pieces[i];

        rc = show_piece(reader, scratch, piece, 0, &piece->shown);
        piece->first = piece->shown;
        if (!rc && depends_on_place)
            rc = show_piece(reader, scratch, piece, 1, &piece->first);
        if (!rc && reader->has_byte_fallback)
            piece->byte = (int16_t)weir_byte_of(
                weir_vocab_at(vocab, piece->shown), piece->shown.n_bytes);
    }
    return rc;
}

int weir_json_read_decoder(struct weir_json_reader *reader, const json_t *root)
{
    const json_t *decoder = json_object_get(root, "decoder");
    struct weir_scratch scratch;
    int rc;

    rc = read_component(reader, decoder, "decoders", read_decoder, 0);
    if (rc)
        return rc;
    reader->tokenizer->runs = reader->has_byte_fallback;
    reader->tokenizer->joins_with_space = !decoder || json_is_null(decoder);
    weir_scratch_init(&scratch, WEIR_SHOWN_BYTES);
    rc = show_pieces(reader, &scratch);
    weir_scratch_fini(&scratch);
    return rc;
}
