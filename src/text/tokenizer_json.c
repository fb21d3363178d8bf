/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.json: the vocabulary, the merges and the added tokens.  What
 * happens around them stands in json_pipeline.c.
 *
 * "truncation" and "padding" are not read: they say how a training script
 * wants to cut and fill batches, and a caller who wants all ids of a text has
 * no use for either.
 */
#include "text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

#define MOST_GAPS 4096 /* beside four for each token */

static int unsupported(const struct weir_json_reader *reader,
                       const char *feature)
{
    return weir_err_set(reader->err, WEIR_ENOTSUP,
                        "%s: %s is not supported; use a tokenizer.json with "
                        "plain BPE, or the tokenizer.model",
                        reader->what, feature);
}

static int malformed(const struct weir_json_reader *reader, const char *part)
{
    return weir_err_set(reader->err, WEIR_EFORMAT,
                        "%s: %s is missing or malformed; fetch the file again",
                        reader->what, part);
}

/* Refuses a key of the model that is neither absent nor null nor "". */
static int want_empty(const struct weir_json_reader *reader,
                      const json_t *model, const char *key)
{
    const char *text = "";
    int rc;

    rc = weir_json_get_string(model, key, reader->what, &text, reader->err);
    if (rc)
        return rc;
    return *text ? unsupported(reader, key) : 0;
}

static int check_model(const struct weir_json_reader *reader,
                       const json_t *model)
{
    const char *type = "BPE";
    double dropout = 0;
    int rc;

    if (!json_is_object(model))
        return malformed(reader, "model");
    rc = weir_json_get_string(model, "type", reader->what, &type, reader->err);
    if (rc)
        return rc;
    if (strcmp(type, "BPE"))
        return weir_err_set(reader->err, WEIR_ENOTSUP,
                            "%s: a model of type %s is not supported, only BPE",
                            reader->what, type);
    rc = weir_json_get_real(model, "dropout", reader->what, 0, 1, &dropout,
                            reader->err);
    if (rc)
        return rc;
    if (dropout > 0)
        return unsupported(reader, "dropout");
    rc = want_empty(reader, model, "continuing_subword_prefix");
    return rc ? rc : want_empty(reader, model, "end_of_word_suffix");
}

static int check_id(const struct weir_json_reader *reader, const json_t *value,
                    size_t *n)
{
    json_int_t id = json_integer_value(value);

    if (!json_is_integer(value) || id < 0 || id >= (json_int_t)WEIR_VOCAB_MAX)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: a token id is not a whole number below %lu",
                            reader->what, WEIR_VOCAB_MAX);
    if ((size_t)id >= *n)
        *n = (size_t)id + 1;
    return 0;
}

/* One more than the largest id in the vocabulary and the added tokens. */
static int count_ids(const struct weir_json_reader *reader, const json_t *vocab,
                     const json_t *added, size_t *n)
{
    size_t n_tokens = json_object_size(vocab) + json_array_size(added), i;
    const json_t *value;
    const char *text;
    int rc = 0;

    *n = 0;
    json_object_foreach((json_t *)vocab, text, value)
    {
        rc = check_id(reader, value, n);
        if (rc)
            return rc;
    }
    json_array_foreach(added, i, value)
    {
        rc = check_id(reader, json_object_get(value, "id"), n);
        if (rc)
            return rc;
    }
    if (*n > MOST_GAPS + 4 * n_tokens)
        return weir_err_set(
            reader->err, WEIR_ELIMIT,
            "%s: token ids up to %zu for %zu tokens; weir takes "
            "no vocabulary with so many gaps",
            reader->what, *n - 1, n_tokens);
    return *n ? 0 : malformed(reader, "model.vocab");
}

static int read_vocab(struct weir_json_reader *reader, const json_t *vocab,
                      size_t n)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    const json_t *value;
    const char *text;
    int rc = weir_vocab_init(&tokenizer->vocab, n,
                             weir_text_ceiling(reader->n_bytes), reader->err);

    if (rc)
        return rc;
    json_object_foreach((json_t *)vocab, text, value)
    {
        rc = weir_vocab_add(
            &tokenizer->vocab, (size_t)json_integer_value(value), text,
            strlen(text), WEIR_PIECE_INDEXED, reader->what, reader->err);
        if (rc)
            return rc;
    }
    return 0;
}

/* The number of byte pieces, which byte_ids then names. */
static int find_bytes(struct weir_tokenizer *tokenizer)
{
    static const char digits[] = "0123456789ABCDEF";
    char name[] = "<0x00>";
    int n = 0;

    for (int i = 0; i < 256; i++) {
        name[3] = digits[i >> 4];
        name[4] = digits[i & 15];
        tokenizer->byte_ids[i] = weir_vocab_find(&tokenizer->vocab, name, 6);
        n += tokenizer->byte_ids[i] >= 0;
    }
    return n;
}

static int read_unknown(struct weir_json_reader *reader, const json_t *model)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    const char *text = NULL;
    int rc;

    rc = weir_json_get_string(model, "unk_token", reader->what, &text,
                              reader->err);
    if (rc || !text)
        return rc;
    tokenizer->unknown = weir_vocab_find(&tokenizer->vocab, text, strlen(text));
    if (tokenizer->unknown < 0 && !tokenizer->byte_fallback)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: unk_token '%s' is not in the vocabulary",
                            reader->what, text);
    return 0;
}

static int read_flags(struct weir_json_reader *reader, const json_t *model)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    int n, rc;

    rc = weir_json_get_bool(model, "byte_fallback", reader->what,
                            &tokenizer->byte_fallback, reader->err);
    if (!rc)
        rc = weir_json_get_bool(model, "fuse_unk", reader->what,
                                &tokenizer->fuses_unknown, reader->err);
    if (!rc)
        rc = weir_json_get_bool(model, "ignore_merges", reader->what,
                                &tokenizer->ignores_merges, reader->err);
    if (rc)
        return rc;
    n = find_bytes(tokenizer);
    if (tokenizer->byte_fallback && n != 0 && n != 256)
        return weir_err_set(reader->err, WEIR_ENOTSUP,
                            "%s: byte_fallback with only %d of the 256 byte "
                            "tokens is not supported",
                            reader->what, n);
    tokenizer->byte_fallback &= n == 256;
    return 0;
}

/* The two texts of a merge: ["a", "b"] or "a b". */
static int split_merge(const json_t *value, const char *parts[2], size_t n[2])
{
    const char *space;

    if (json_is_array(value) && json_array_size(value) == 2) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *part = json_array_get(value, i);

            if (!json_is_string(part))
                return -1;
            parts[i] = json_string_value(part);
            n[i] = json_string_length(part);
        }
        return 0;
    }
    parts[0] = json_string_value(value);
    space = parts[0] ? strchr(parts[0], ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return -1;
    parts[1] = space + 1;
    n[0] = (size_t)(space - parts[0]);
    n[1] = strlen(parts[1]);
    return 0;
}

/* Byte pieces and the unknown one stand for text that they do not spell. */
static int spells_itself(const struct weir_tokenizer *tokenizer, int32_t id)
{
    struct weir_span text = tokenizer->vocab.pieces[id].text;

    return id != tokenizer->unknown &&
           weir_byte_of(weir_vocab_at(&tokenizer->vocab, text), text.n_bytes) <
               0;
}

static int read_merge(struct weir_json_reader *reader, const json_t *value,
                      size_t rank)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    const struct weir_vocab *vocab = &tokenizer->vocab;
    char joint[2 * WEIR_PIECE_BYTES];
    const char *parts[2];
    struct weir_merge merge;
    int32_t left, right, id = -1;
    size_t n[2];

    if (split_merge(value, parts, n))
        return malformed(reader, "a merge");
    left = weir_vocab_find(vocab, parts[0], n[0]);
    right = weir_vocab_find(vocab, parts[1], n[1]);
    if (left >= 0 && right >= 0) {
        memcpy(joint, parts[0], n[0]);
        memcpy(joint + n[0], parts[1], n[1]);
        id = weir_vocab_find(vocab, joint, n[0] + n[1]);
    }
    if (id < 0)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: merge %zu names a token that is not in the "
                            "vocabulary",
                            reader->what, rank);
    if (vocab->pieces[id].flags & WEIR_PIECE_SPECIAL)
        return 0;
    if (!spells_itself(tokenizer, left) || !spells_itself(tokenizer, right))
        tokenizer->cuts = 0;
    merge.left = (uint32_t)left;
    merge.right = (uint32_t)right;
    merge.rank = (uint32_t)rank;
    merge.id = (uint32_t)id;
    weir_merges_put(&tokenizer->merges, &merge);
    return 0;
}

static int read_merges(struct weir_json_reader *reader, const json_t *merges)
{
    const json_t *value;
    size_t rank;
    int rc;

    if (!json_is_array(merges))
        return malformed(reader, "model.merges");
    if (json_array_size(merges) > WEIR_MERGES_MAX)
        return weir_err_set(reader->err, WEIR_ELIMIT,
                            "%s: %zu merges; %lu is the most", reader->what,
                            json_array_size(merges), WEIR_MERGES_MAX);
    rc = weir_merges_init(&reader->tokenizer->merges, json_array_size(merges),
                          reader->err);
    if (rc)
        return rc;
    reader->tokenizer->cuts = 1;
    json_array_foreach(merges, rank, value)
    {
        rc = read_merge(reader, value, rank);
        if (rc)
            return rc;
    }
    return 0;
}

/* The added token must be a new id, or one that the vocabulary calls so. */
static int place_token(struct weir_json_reader *reader, size_t id,
                       const char *content, size_t n_bytes)
{
    struct weir_vocab *vocab = &reader->tokenizer->vocab;
    int32_t known = weir_vocab_find(vocab, content, n_bytes);

    if (known >= 0 && (size_t)known != id)
        return weir_err_set(reader->err, WEIR_EFORMAT,
                            "%s: added token '%s' has id %zu, but %d in the "
                            "vocabulary",
                            reader->what, content, id, known);
    if (known >= 0)
        return 0;
    return weir_vocab_add(vocab, id, content, n_bytes, 0, reader->what,
                          reader->err);
}

struct token_flags {
    int special, normalized, single_word, lstrip, rstrip;
};

static int read_token_flags(struct weir_json_reader *reader,
                            const json_t *token, struct token_flags *flags)
{
    const struct {
        const char *key;
        int *value;
    } all[] = {{"special", &flags->special},
               {"normalized", &flags->normalized},
               {"single_word", &flags->single_word},
               {"lstrip", &flags->lstrip},
               {"rstrip", &flags->rstrip}};
    int rc = 0;

    memset(flags, 0, sizeof(*flags));
    for (size_t i = 0; !rc && i < sizeof(all) / sizeof(all[0]); i++)
        rc = weir_json_get_bool(token, all[i].key, reader->what, all[i].value,
                                reader->err);
    if (rc)
        return rc;
    if (flags->single_word)
        return unsupported(reader, "an added token with single_word");
    if (flags->lstrip)
        return unsupported(reader, "an added token with lstrip");
    return flags->rstrip ? unsupported(reader, "an added token with rstrip")
                         : 0;
}

static int read_token(struct weir_json_reader *reader, const json_t *token)
{
    struct weir_vocab *vocab = &reader->tokenizer->vocab;
    const json_t *content = json_object_get(token, "content");
    size_t id = (size_t)json_integer_value(json_object_get(token, "id"));
    struct token_flags flags;
    int rc;

    if (!json_is_string(content))
        return malformed(reader, "an added token");
    rc = read_token_flags(reader, token, &flags);
    if (!rc)
        rc = place_token(reader, id, json_string_value(content),
                         json_string_length(content));
    if (rc)
        return rc;
    if (flags.special)
        vocab->pieces[id].flags |= WEIR_PIECE_SPECIAL;
    return weir_matcher_add(flags.normalized ? &reader->tokenizer->normalized
                                             : &reader->tokenizer->raw,
                            vocab->pieces[id].text, (uint32_t)id, reader->err);
}

static int read_tokens(struct weir_json_reader *reader, const json_t *added)
{
    const json_t *token;
    size_t i;
    int rc;

    json_array_foreach(added, i, token)
    {
        rc = read_token(reader, token);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_model(struct weir_json_reader *reader, const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    const json_t *added = json_object_get(root, "added_tokens");
    const json_t *vocab = json_object_get(model, "vocab");
    size_t n;
    int rc = check_model(reader, model);

    if (rc)
        return rc;
    if (!json_is_object(vocab))
        return malformed(reader, "model.vocab");
    if (added && !json_is_array(added))
        return malformed(reader, "added_tokens");
    rc = count_ids(reader, vocab, added, &n);
    if (!rc)
        rc = read_vocab(reader, vocab, n);
    if (!rc)
        rc = read_tokens(reader, added);
    if (!rc)
        rc = read_flags(reader, model);
    if (!rc)
        rc = read_unknown(reader, model);
    return rc ? rc : read_merges(reader, json_object_get(model, "merges"));
}

/*
 * The tokens that are looked for in normalised text are normalised themselves.
 */
static int normalize_tokens(struct weir_json_reader *reader)
{
    struct weir_tokenizer *tokenizer = reader->tokenizer;
    struct weir_matcher *matcher = &tokenizer->normalized;
    struct weir_scratch scratch;
    int rc = 0;

    weir_scratch_init(&scratch, WEIR_SHOWN_BYTES);
    for (size_t i = 0; !rc && i < matcher->n; i++) {
        struct weir_span *span = &matcher->entries[i].text;

        rc = weir_json_apply(reader, &tokenizer->normalizers, &scratch, 0,
                             *span, "normalizer", span);
        if (!rc && span->n_bytes == 0)
            rc = unsupported(reader, "an added token that normalizes to "
                                     "nothing");
    }
    weir_scratch_fini(&scratch);
    return rc;
}

static int read_root(struct weir_json_reader *reader, const json_t *root)
{
    const char *version = "1.0";
    int rc;

    rc = weir_json_get_string(root, "version", reader->what, &version,
                              reader->err);
    if (rc)
        return rc;
    if (strcmp(version, "1.0"))
        return weir_err_set(reader->err, WEIR_ENOTSUP,
                            "%s: version '%s' is not supported, only 1.0",
                            reader->what, version);
    rc = read_model(reader, root);
    if (!rc)
        rc = weir_json_read_normalizer(reader, root);
    if (!rc)
        rc = normalize_tokens(reader);
    if (!rc)
        rc = weir_json_read_pre_tokenizer(reader, root);
    if (!rc)
        rc = weir_json_read_post_processor(reader, root);
    return rc ? rc : weir_json_read_decoder(reader, root);
}

int weir_tokenizer_read_json(struct weir_tokenizer *tokenizer, const char *data,
                             size_t n_bytes, const char *what,
                             struct weir_err *err)
{
    struct weir_json_reader reader = {
        .tokenizer = tokenizer, .what = what, .n_bytes = n_bytes, .err = err};
    json_t *root;
    int rc;

    rc = weir_json_parse(data, n_bytes, what, &root, err);
    if (rc)
        return rc;
    rc = read_root(&reader, root);
    json_decref(root);
    return rc;
}
