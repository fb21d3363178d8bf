/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The components of a tokenizer.json: what each does, and that what is not
 * supported is refused by its name.
 */
#include <stdio.h>
#include <string.h>

#include "tests/tap.h"
#include "tests/unit/tokenizer_check.h"

static void add_text(struct weir_buf *out, const char *text)
{
    weir_buf_add(out, text, strlen(text), NULL);
}

/*
 * A tokenizer.json with the 26 letters, space, metaspace and a few merges.
 * `extra` stands in the model, `rest` behind it.
 */
static struct weir_buf small_json(const char *extra, const char *rest)
{
    struct weir_buf out = WEIR_BUF(1 << 20);
    char entry[64];

    weir_buf_add(&out, "{\"model\": {\"type\": \"BPE\", \"vocab\": {", 36,
                 NULL);
    for (int i = 0; i < 26; i++) {
        int n = snprintf(entry, sizeof(entry), "\"%c\": %d, ", 'a' + i, i);

        weir_buf_add(&out, entry, (size_t)n, NULL);
    }
#define TAIL                                                                   \
    "\" \": 26, \"\xe2\x96\x81\": 27, \"ab\": 28, \"bc\": 29, \"abc\": 30, "   \
    "\"\xe2\x96\x81"                                                           \
    "a\": 31, \"?\": 32, \"a\xe2\x96\x81\": 33, \"cab\": 34}, \"merges\": "    \
    "[[\"a\", "                                                                \
    "\"b\"], \"b c\", [\"ab\", \"c\"], [\"\xe2\x96\x81\", \"a\"], "            \
    "[\"a\", \"\xe2\x96\x81\"]]"
    add_text(&out, TAIL);
    add_text(&out, extra);
    add_text(&out, "}");
    add_text(&out, rest);
    add_text(&out, "}");
    return out;
}

/* A file with the parts is refused with `code`, by a message with `name`. */
static void refused(const char *extra, const char *rest, int code,
                    const char *name)
{
    struct weir_buf json = small_json(extra, rest);
    struct weir_tokenizer *tokenizer;
    struct weir_err err = {0};
    int rc;

    rc =
        weir_tokenizer_parse(json.data, json.n_bytes, "file", &tokenizer, &err);
    tap_ok(rc == code && !tokenizer && strstr(err.message, name), "refused: %s",
           name);
    if (rc != code || !strstr(err.message, name))
        tap_diag("%d %s", rc, err.message);
    weir_tokenizer_free(tokenizer);
    weir_buf_fini(&json);
}

#define ADDED(flags)                                                           \
    ", \"added_tokens\": [{\"id\": 40, \"content\": \"<x>\", " flags "}]"
#define REPLACE(from)                                                          \
    "{\"type\": \"Replace\", \"pattern\": {" from "}, \"content\": \"a\"}"
#define TEMPLATE(items)                                                        \
    ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "    \
    "[" items "], \"special_tokens\": {\"b\": {\"ids\": [1]}}}"
#define TOKEN_B    "{\"SpecialToken\": {\"id\": \"b\"}}"
#define SEQUENCE_A "{\"Sequence\": {\"id\": \"A\"}}"
#define DECODERS(items)                                                        \
    ", \"decoder\": {\"type\": \"Sequence\", \"decoders\": [" items "]}"
#define STRIP(stop)                                                            \
    "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": " stop  \
    "}"

#define TEN(text) text text text text text text text text text text
#define TEN_A                                                                  \
    "{\"type\": \"Replace\", \"pattern\": {\"String\": "                       \
    "\"a\"}, \"content\": \"" TEN("a") "\"}"
#define MILLION_A TEN_A ", " TEN_A ", " TEN_A ", " TEN_A ", " TEN_A ", " TEN_A
#define NORMALIZERS(items)                                                     \
    ", \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [" items "]}"

/* Small files that would take much memory. */
static void check_bombs(void)
{
    struct weir_buf json = small_json("", NORMALIZERS(MILLION_A));
    struct weir_tokenizer *t = tok_parse(json.data, json.n_bytes);
    struct weir_err err = {0};
    int32_t *ids;
    size_t n_ids;
    int rc;

    refused("", ", \"added_tokens\": [{\"id\": 4000000, \"content\": \"<x>\"}]",
            WEIR_ELIMIT, "gaps");
    refused("", DECODERS(MILLION_A), WEIR_ELIMIT, "decoder");
    refused("",
            NORMALIZERS(MILLION_A) ", \"added_tokens\": [{\"id\": 40, "
                                   "\"content\": \"<a>\", \"normalized\": "
                                   "true}]",
            WEIR_ELIMIT, "normalizer");
    rc = t ? weir_tokenizer_encode(t, "a", 1, 0, 0, &ids, &n_ids, &err) : 0;
    tap_ok(rc == WEIR_ELIMIT && strstr(err.message, "normalizer"),
           "a normalizer that makes a million letters of one: %s", err.message);
    weir_tokenizer_free(t);
    weir_buf_fini(&json);
}

static void check_refusals(void)
{
    static const char *const types[] = {"NFC", "NFKC",        "Lowercase",
                                        "Nmt", "Precompiled", "ByteLevel"};
    char rest[256];

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        snprintf(rest, sizeof(rest), ", \"normalizer\": {\"type\": \"%s\"}",
                 types[i]);
        refused("", rest, WEIR_ENOTSUP, types[i]);
        snprintf(rest, sizeof(rest),
                 ", \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": "
                 "[{\"type\": \"%s\"}]}",
                 types[i]);
        refused("", rest, WEIR_ENOTSUP, types[i]);
    }
    refused("", ", \"normalizer\": " REPLACE("\"Regex\": \" \""), WEIR_ENOTSUP,
            "Regex");
    refused("", ", \"normalizer\": " REPLACE("\"String\": \"\""), WEIR_ENOTSUP,
            "empty String");
    refused("", ", \"normalizer\": {}", WEIR_EFORMAT, "normalizers");
    refused("", ", \"pre_tokenizer\": {\"type\": \"ByteLevel\"}", WEIR_ENOTSUP,
            "pre_tokenizer ByteLevel");
    refused("", ", \"pre_tokenizer\": {\"type\": \"Digits\"}", WEIR_ENOTSUP,
            "pre_tokenizer Digits");
    refused("", ", \"pre_tokenizer\": {\"type\": \"Split\"}", WEIR_ENOTSUP,
            "pre_tokenizer Split");
    refused("",
            ", \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": "
            "\"ab\"}",
            WEIR_EFORMAT, "replacement");
    refused("",
            ", \"pre_tokenizer\": {\"type\": \"Metaspace\", "
            "\"prepend_scheme\": \"last\"}",
            WEIR_ENOTSUP, "last");
    refused("", ", \"post_processor\": {\"type\": \"BertProcessing\"}",
            WEIR_ENOTSUP, "BertProcessing");
    refused("", TEMPLATE(SEQUENCE_A ", " TOKEN_B), WEIR_ENOTSUP,
            "behind the text");
    refused("", TEMPLATE(TOKEN_B ", " TOKEN_B ", " SEQUENCE_A), WEIR_ENOTSUP,
            "several tokens");
    refused("", TEMPLATE("{\"SpecialToken\": {\"id\": \"c\"}}, " SEQUENCE_A),
            WEIR_EFORMAT, "special_tokens");
    refused("", ", \"decoder\": {\"type\": \"WordPiece\"}", WEIR_ENOTSUP,
            "WordPiece");
    refused("", DECODERS("{\"type\": \"Fuse\"}, " STRIP("1")), WEIR_ENOTSUP,
            "Strip with stop");
    refused("", DECODERS("{\"type\": \"ByteFallback\"}, " STRIP("0")),
            WEIR_ENOTSUP, "without Fuse");
    refused("", DECODERS("{\"type\": \"Fuse\"}, " REPLACE("\"String\": \"b\"")),
            WEIR_ENOTSUP, "decoder Replace");
    refused("", ADDED("\"lstrip\": true"), WEIR_ENOTSUP, "lstrip");
    refused("", ADDED("\"rstrip\": true"), WEIR_ENOTSUP, "rstrip");
    refused("", ADDED("\"single_word\": true"), WEIR_ENOTSUP, "single_word");
    refused("", ", \"added_tokens\": [{\"id\": 3, \"content\": \"zz\"}]",
            WEIR_EFORMAT, "there twice");
    refused("", ", \"added_tokens\": [{\"id\": 3, \"content\": \"a\"}]",
            WEIR_EFORMAT, "in the vocabulary");
    refused("", ", \"added_tokens\": [{\"id\": 4194304, \"content\": \"x\"}]",
            WEIR_EFORMAT, "below 4194304");
    refused("", ", \"version\": \"2.0\"", WEIR_ENOTSUP, "2.0");
    refused(", \"dropout\": 0.1", "", WEIR_ENOTSUP, "dropout");
    refused(", \"continuing_subword_prefix\": \"##\"", "", WEIR_ENOTSUP,
            "continuing_subword_prefix");
    refused(", \"end_of_word_suffix\": \"</w>\"", "", WEIR_ENOTSUP,
            "end_of_word_suffix");
    refused(", \"unk_token\": \"nope\"", "", WEIR_EFORMAT, "nope");
}

/* One file made of the parts; `check` looks at it. */
static void with_json(const char *extra, const char *rest, const char *name,
                      int (*check)(const struct weir_tokenizer *tokenizer))
{
    struct weir_buf json = small_json(extra, rest);
    struct weir_tokenizer *tokenizer = tok_parse(json.data, json.n_bytes);

    tap_ok(tokenizer && check(tokenizer), "%s", name);
    weir_tokenizer_free(tokenizer);
    weir_buf_fini(&json);
}

static int check_plain(const struct weir_tokenizer *t)
{
    return ENCODES(t, "abc", 1, 1, 30) && ENCODES(t, "bcab", 1, 0, 29, 28) &&
           ENCODES(t, "aXb", 1, 0, 28) && DECODES(t, 1, "ab c", 28, 2);
}

static int check_unknown(const struct weir_tokenizer *t)
{
    return ENCODES(t, "aXYb", 1, 0, 0, 32, 32, 1);
}

static int check_fused(const struct weir_tokenizer *t)
{
    return ENCODES(t, "aXYb?X", 1, 0, 0, 32, 1, 32, 32);
}

static int check_ignore(const struct weir_tokenizer *t)
{
    return ENCODES(t, "cab", 1, 0, 34) && ENCODES(t, "acab", 1, 0, 0, 2, 28);
}

static int check_bos(const struct weir_tokenizer *t)
{
    return weir_tokenizer_bos(t) == 1 && ENCODES(t, "a", 1, 1, 1, 0) &&
           ENCODES(t, "a", 1, 0, 0) && ENCODES(t, "ba", 1, 1, 1, 0) &&
           ENCODES(t, "", 1, 1, 1);
}

static int check_always(const struct weir_tokenizer *t)
{
    return ENCODES(t, "a a<x>b", 1, 0, 31, 31, 40, 27, 1) &&
           ENCODES(t, " a", 1, 0, 31) &&
           ENCODES(t, "ba b", 1, 0, 27, 1, 0, 27, 1) &&
           DECODES(t, 1, "abc", 31, 30 - 1);
}

static int check_first(const struct weir_tokenizer *t)
{
    return ENCODES(t, "a<x>b", 1, 0, 31, 40, 1) &&
           ENCODES(t, "<x>b", 1, 0, 40, 1);
}

static int check_never(const struct weir_tokenizer *t)
{
    return ENCODES(t, "ba a  b", 1, 0, 1, 0, 31, 27, 27, 1);
}

static int check_unsplit(const struct weir_tokenizer *t)
{
    return ENCODES(t, "bca b", 1, 0, 29, 33, 1);
}

static int check_normalized(const struct weir_tokenizer *t)
{
    return ENCODES(t, "bx yb", 1, 0, 1, 40, 1) &&
           ENCODES(t, "bx\xe2\x96\x81yb", 1, 0, 1, 40, 1);
}

static int check_raw(const struct weir_tokenizer *t)
{
    return ENCODES(t, "bx yb", 1, 0, 1, 40, 1) &&
           ENCODES(t, "bx\xe2\x96\x81yb", 1, 0, 1, 23, 27, 24, 1);
}

static int check_special(const struct weir_tokenizer *t)
{
    return ENCODES(t, "<x><xy>a", 1, 0, 40, 41, 0) &&
           ENCODES(t, "<x><xy>a", 0, 0, 23, 41, 0) &&
           DECODES(t, 1, "<x>a<xy>", 40, 0, 41) &&
           DECODES(t, 0, "a<xy>", 40, 0, 41) &&
           ENCODES(t, "<xy>z<xy>", 1, 0, 42, 41) &&
           ENCODES(t, "abc", 0, 0, 0, 1) && ENCODES(t, "abc", 1, 0, 28, 2);
}

static int check_emptied(const struct weir_tokenizer *t)
{
    return tok_encodes(t, "a", 1, 0, NULL, 0) && ENCODES(t, "ca", 1, 0, 29);
}

static int check_strip(const struct weir_tokenizer *t)
{
    return DECODES(t, 1, "ab", 26, 0, 26, 1);
}

#define METASPACE(rest)                                                        \
    ", \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": "         \
    "\"\xe2\x96\x81\"" rest "}, \"decoder\": {\"type\": \"Metaspace\", "       \
    "\"replacement\": \"\xe2\x96\x81\"}"
#define ESCAPE                                                                 \
    ", \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": "     \
    "\" \"}, \"content\": \"\xe2\x96\x81\"}"
#define SOME_TOKENS                                                            \
    ", \"added_tokens\": [{\"id\": 40, \"content\": \"<x>\", \"special\": "    \
    "true}, {\"id\": 41, \"content\": \"<xy>\"}, {\"id\": 42, "                \
    "\"content\": \"<xy>z\"}, {\"id\": 28, \"content\": \"ab\", "              \
    "\"special\": true}, {\"id\": 2, \"content\": \"c\", \"special\": "        \
    "true}], \"decoder\": "                                                    \
    "{\"type\": \"Fuse\"}"

static void check_pipelines(void)
{
    with_json("", "",
              "no pipeline: unknown characters are dropped, pieces "
              "are joined by spaces",
              check_plain);
    with_json(", \"unk_token\": \"?\"", "", "unknown characters one by one",
              check_unknown);
    with_json(", \"unk_token\": \"?\", \"fuse_unk\": true", "",
              "unknown characters fused", check_fused);
    with_json(", \"ignore_merges\": true", "", "ignore_merges", check_ignore);
    with_json("", TEMPLATE(TOKEN_B ", " SEQUENCE_A), "TemplateProcessing",
              check_bos);
    with_json("", METASPACE("") ADDED("\"special\": true"), "Metaspace, always",
              check_always);
    with_json("",
              METASPACE(", \"prepend_scheme\": \"first\"")
                  ADDED("\"special\": true"),
              "Metaspace, first", check_first);
    with_json("",
              METASPACE(", \"prepend_scheme\": \"never\", \"split\": false"),
              "Metaspace, never, not split", check_unsplit);
    with_json("", METASPACE(", \"add_prefix_space\": false, \"split\": false"),
              "Metaspace without add_prefix_space", check_never);
    with_json("",
              ESCAPE ", \"added_tokens\": [{\"id\": 40, \"content\": \"x y\", "
                     "\"normalized\": true}]",
              "an added token that is normalized", check_normalized);
    with_json("",
              ESCAPE ", \"added_tokens\": [{\"id\": 40, \"content\": \"x y\"}]",
              "an added token that is not", check_raw);
    with_json("",
              ", \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": "
              "[{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, "
              "\"content\": \"\"}, {\"type\": \"Prepend\", \"prepend\": "
              "\"b\"}]}",
              "nothing is prepended to nothing", check_emptied);
    with_json("", DECODERS(STRIP("1")), "Strip on every piece", check_strip);
    with_json("", SOME_TOKENS, "special tokens on request", check_special);
}

/*
 * Merges of byte pieces: they may join characters that no piece has side by
 * side.
 */
static void check_byte_merges(void)
{
    struct weir_buf out = WEIR_BUF(1 << 20);
    struct weir_tokenizer *t;
    char entry[64];
    int n;

    add_text(&out, "{\"model\": {\"byte_fallback\": true, \"vocab\": {");
    for (int i = 0; i < 256; i++) {
        n = snprintf(entry, sizeof(entry), "\"<0x%02X>\": %d, ", (unsigned)i,
                     i);
        weir_buf_add(&out, entry, (size_t)n, NULL);
    }
    add_text(&out, "\"<0xA9><0xC3>\": 256}, \"merges\": [[\"<0xA9>\", "
                   "\"<0xC3>\"]]}}");
    t = tok_parse(out.data, out.n_bytes);
    tap_ok(t && ENCODES(t, "\xc3\xa9\xc3\xa9", 1, 0, 0xc3, 256, 0xa9),
           "byte pieces merge across characters");
    weir_tokenizer_free(t);
    weir_buf_fini(&out);
}

int main(void)
{
    check_byte_merges();
    check_pipelines();
    check_refusals();
    check_bombs();
    return tap_done();
}
