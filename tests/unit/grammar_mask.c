/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks, against each token by itself; and texts that are written at random
 * within them, which must be JSON of their schema as a validator of this test's
 * own sees it.  Schemas are random too.
 */
#include "text/grammar_mask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/tap.h"
#include "text/sampler.h"
#include "text/tokenizer_impl.h"

#define EOS 2

static struct weir_tokenizer *tokenizer;
static struct weir_token_tree *tree;
static struct weir_err err;
static size_t n_vocab; /* more than there are tokens */
static uint64_t seed = 1;

static unsigned random_below(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static int chance(unsigned percent)
{
    return random_below(100) < percent;
}

/* ---- a validator ---- */

static const json_t *root_schema;
static int n_refs; /* since the value is the same: more lead nowhere */

static int is_valid(const json_t *schema, const json_t *value);

static int has_type(const char *type, const json_t *value)
{
    if (!strcmp(type, "integer"))
        return json_is_integer(value);
    if (!strcmp(type, "number"))
        return json_is_number(value);
    if (!strcmp(type, "boolean"))
        return json_is_boolean(value);
    if (!strcmp(type, "null"))
        return json_is_null(value);
    if (!strcmp(type, "string"))
        return json_is_string(value);
    return !strcmp(type, "array") ? json_is_array(value)
                                  : json_is_object(value);
}

static int fits_type(const json_t *type, const json_t *value)
{
    int fits = !type;

    if (json_is_string(type))
        fits = has_type(json_string_value(type), value);
    for (size_t i = 0; i < json_array_size(type); i++)
        fits |= has_type(json_string_value(json_array_get(type, i)), value);
    return fits;
}

static size_t n_chars(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

/* A limit that is not there is met. */
static int is_within(const json_t *schema, const char *min, const char *max,
                     size_t n)
{
    const json_t *low = json_object_get(schema, min);
    const json_t *high = json_object_get(schema, max);

    return (!low || (json_int_t)n >= json_integer_value(low)) &&
           (!high || (json_int_t)n <= json_integer_value(high));
}

static int fits_object(const json_t *schema, const json_t *value)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required");
    const json_t *others = json_object_get(schema, "additionalProperties");
    const char *name;
    json_t *member;
    int fits = 1;

    for (size_t i = 0; i < json_array_size(required); i++)
        fits &= !!json_object_get(
            value, json_string_value(json_array_get(required, i)));
    json_object_foreach((json_t *)value, name, member)
    {
        const json_t *own = json_object_get(properties, name);

        fits &= is_valid(own ? own : others, member);
    }
    return fits;
}

static int fits_array(const json_t *schema, const json_t *value)
{
    const json_t *prefix = json_object_get(schema, "prefixItems");
    size_t n = json_array_size(prefix);
    int fits =
        is_within(schema, "minItems", "maxItems", json_array_size(value));

    for (size_t i = 0; i < json_array_size(value); i++)
        fits &= is_valid(i < n ? json_array_get(prefix, i)
                               : json_object_get(schema, "items"),
                         json_array_get(value, i));
    return fits;
}

static int valid_reference(const json_t *value)
{
    int is_it;

    if (n_refs == 6)
        return 0;
    n_refs++;
    is_it = is_valid(root_schema, value);
    n_refs--;
    return is_it;
}

static int fits_inside(const json_t *schema, const json_t *value)
{
    int before = n_refs, fits;

    n_refs = 0;
    fits = json_is_array(value) ? fits_array(schema, value)
                                : fits_object(schema, value);
    n_refs = before;
    return fits;
}

/* NULL: anything */
static int is_valid(const json_t *schema, const json_t *value)
{
    const json_t *list = json_object_get(schema, "anyOf");
    const json_t *values = json_object_get(schema, "enum");
    const json_t *constant = json_object_get(schema, "const");
    int any = !list, in = !values;

    if (!schema || json_is_true(schema))
        return 1;
    if (json_is_false(schema))
        return 0;
    if (json_object_get(schema, "$ref"))
        return valid_reference(value);
    for (size_t i = 0; i < json_array_size(list); i++)
        any |= is_valid(json_array_get(list, i), value);
    for (size_t i = 0; i < json_array_size(values); i++)
        in |= json_equal(json_array_get(values, i), value);
    if (!any || !in || (constant && !json_equal(constant, value)) ||
        !fits_type(json_object_get(schema, "type"), value))
        return 0;
    if (json_is_string(value))
        return is_within(schema, "minLength", "maxLength",
                         n_chars(json_string_value(value)));
    return (!json_is_array(value) && !json_is_object(value)) ||
           fits_inside(schema, value);
}

/* ---- random schemas ---- */

static json_t *random_schema(int depth);

static void set_limits(json_t *schema, const char *min, const char *max)
{
    unsigned low = random_below(4);

    if (chance(40))
        json_object_set_new(schema, min, json_integer(low));
    if (chance(70))
        json_object_set_new(schema, max, json_integer(low + random_below(4)));
}

static const char *const names[] = {"a",  "ab",       "abc", "b\"c",
                                    "\n", "\xc3\xa9", "x y", ""};

static json_t *random_object(int depth)
{
    json_t *schema = json_pack("{s:s}", "type", "object");
    json_t *properties = json_object(), *required = json_array();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (chance(35))
            json_object_set_new(properties, names[i], random_schema(depth - 1));
        if (chance(json_object_get(properties, names[i]) ? 40 : 5))
            json_array_append_new(required, json_string(names[i]));
    }
    json_object_set_new(schema, "properties", properties);
    json_object_set_new(schema, "required", required);
    if (chance(40))
        json_object_set_new(schema, "additionalProperties",
                            random_schema(depth - 1));
    return schema;
}

static json_t *random_array(int depth)
{
    json_t *schema = json_pack("{s:s}", "type", "array");
    json_t *prefix;

    set_limits(schema, "minItems", "maxItems");
    if (chance(70))
        json_object_set_new(schema, "items", random_schema(depth - 1));
    if (chance(70))
        return schema;
    prefix = json_array();
    json_array_append_new(prefix, random_schema(depth - 1));
    json_array_append_new(prefix, random_schema(depth - 1));
    json_object_set_new(schema, "prefixItems", prefix);
    return schema;
}

static json_t *random_leaf(void)
{
    static const char *const types[] = {"string", "integer", "number",
                                        "boolean", "null"};
    json_t *schema;

    switch (random_below(4)) {
    case 0:
        return json_pack("{s:[s,s,i,b,n,{s:[i]}]}", "enum", "on", "once", 3, 1,
                         "k", 1);
    case 1:
        return json_pack("{s:s}", "const", "c\"\\\xf0\x9f\x98\x80");
    case 2:
        schema = json_pack("{s:s}", "type", "string");
        set_limits(schema, "minLength", "maxLength");
        return schema;
    default:
        return json_pack("{s:[s,s]}", "type", types[random_below(5)],
                         types[random_below(5)]);
    }
}

static json_t *random_schema(int depth)
{
    if (depth <= 0 || chance(20))
        return random_leaf();
    switch (random_below(6)) {
    case 0:
        return json_pack("{s:[o,o]}", "anyOf", random_schema(depth - 1),
                         random_schema(depth - 1));
    case 1:
        return json_pack("{s:[{s:s},{s:s}]}", "anyOf", "$ref", "#", "type",
                         "null");
    case 2:
    case 3:
        return random_array(depth);
    case 4:
        return chance(30) ? json_true() : random_object(depth);
    default:
        return random_object(depth);
    }
}

/* ---- each token by itself ---- */

/* The bytes of a token, from the text that the file has for it */
static size_t bytes_of(size_t id, char *out)
{
    const struct weir_piece *piece = &tokenizer->vocab.pieces[id];
    const char *text = weir_vocab_at(&tokenizer->vocab, piece->text);
    size_t n = 0;
    int byte = weir_byte_of(text, piece->text.n_bytes);

    if (byte >= 0) {
        *out = (char)byte;
        return 1;
    }
    for (size_t i = 0; i < piece->text.n_bytes; i++)
        if (!memcmp(text + i, "\xe2\x96\x81", 3)) {
            out[n++] = ' ';
            i += 2;
        } else {
            out[n++] = text[i];
        }
    return n;
}

static int may_come(struct weir_walk *walk, size_t id)
{
    char bytes[WEIR_PIECE_BYTES];
    uint32_t state = walk->at;
    size_t n;

    if (id == EOS)
        return weir_walk_may_end(walk, state);
    if (id >= tokenizer->vocab.n ||
        !(tokenizer->vocab.pieces[id].flags & WEIR_PIECE_PRESENT) ||
        tokenizer->vocab.pieces[id].flags & WEIR_PIECE_SPECIAL)
        return 0;
    n = bytes_of(id, bytes);
    for (size_t i = 0; i < n; i++)
        state = weir_walk_find(walk, state, (uint8_t)bytes[i]);
    return n && state != WEIR_WALK_DEAD;
}

static int compare_mask(const uint64_t *mask, struct weir_walk *walk)
{
    int same = 1;

    for (size_t id = 0; id < 64 * ((n_vocab + 63) / 64); id++) {
        int bit = mask[id / 64] >> id % 64 & 1;

        if (bit != may_come(walk, id) && same)
            tap_diag("token %zu is %d", id, bit);
        same &= bit == may_come(walk, id);
    }
    return same;
}

/* A token that may come; marks of JSON more often, so that texts end. */
static int32_t draw(const uint64_t *mask)
{
    static int32_t ids[1 << 17], marks[1 << 17];
    size_t n = 0, n_marks = 0;
    char bytes[WEIR_PIECE_BYTES];

    for (size_t id = 0; id < n_vocab; id++) {
        if (!(mask[id / 64] >> id % 64 & 1))
            continue;
        ids[n++] = (int32_t)id;
        if (id == EOS ||
            (bytes_of(id, bytes) == 1 && strchr("\"]},:", bytes[0])))
            marks[n_marks++] = (int32_t)id;
    }
    if (n == 0)
        return -1;
    if (n_marks && chance(60))
        return marks[random_below((unsigned)n_marks)];
    return ids[random_below((unsigned)n)];
}

/* Writes a text; 1 when it has ended, 0 when not by then, -1 on a fault. */
static int write_text(struct weir_grammar *grammar, int compares,
                      struct weir_buf *text)
{
    const int32_t eos = EOS;
    struct weir_mask mask;
    struct weir_walk walk;
    char bytes[WEIR_PIECE_BYTES];
    int rc = weir_mask_init(&mask, tree, grammar, &eos, 1, n_vocab, &err);

    rc = rc ? rc : weir_walk_init(&walk, grammar, &err);
    for (int i = 0; i < 1500 && !rc; i++) {
        const uint64_t *bits = weir_mask_next(&mask);
        int32_t id = draw(bits);
        size_t n = id < 0 || id == EOS ? 0 : bytes_of((size_t)id, bytes);

        if (id < 0 || (compares && i < 40 && !compare_mask(bits, &walk)))
            rc = -1;
        else if (id == EOS || weir_mask_must_end(&mask))
            rc = 1;
        else if (!weir_mask_take(&mask, id) || !weir_walk_take(&walk, bytes, n))
            rc = -1;
        else if (weir_buf_add(text, bytes, n, &err))
            rc = -1;
        if (rc == 0 && weir_mask_must_end(&mask))
            rc = 1;
    }
    weir_mask_fini(&mask);
    weir_walk_fini(&walk);
    return rc;
}

static int check_text(const json_t *schema, const struct weir_buf *text)
{
    json_error_t error;
    json_t *value = json_loadb(text->data ? text->data : "", text->n_bytes,
                               JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    int good;

    root_schema = schema;
    good = value && is_valid(schema, value);
    if (!good) {
        char *shown = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);

        tap_diag("%s: %.400s: %s", value ? "not valid" : error.text,
                 text->data ? text->data : "", shown);
        free(shown);
    }
    json_decref(value);
    return good;
}

static void test_random_schemas(void)
{
    int n_schemas = 0, n_ended = 0, n_open = 0, good = 1;

    for (int i = 0; i < 400 && good; i++) {
        json_t *schema = random_schema(3);
        struct weir_answer_shape shape = {.schema = schema};
        struct weir_grammar *grammar;

        if (weir_grammar_new(&shape, &grammar, &err)) {
            good &= strstr(err.message, "no text") != NULL;
        } else {
            n_schemas++;
            for (int k = 0; k < 3 && good; k++) {
                struct weir_buf text = WEIR_BUF(1 << 20);
                int rc = write_text(grammar, k == 0 && i % 8 == 0, &text);

                good &= rc >= 0;
                n_ended += rc > 0;
                n_open += rc == 0;
                if (rc > 0)
                    good &= check_text(schema, &text);
                weir_buf_fini(&text);
            }
        }
        weir_grammar_release(grammar);
        json_decref(schema);
    }
    tap_diag("%d schemas, %d texts, %d were cut", n_schemas, n_ended, n_open);
    tap_ok(good && n_schemas > 300 && n_ended > 600,
           "random texts within masks are JSON of their random schemas");
}

/* ---- more of masks ---- */

static void test_tags(void)
{
    static const struct weir_tool_style style = {"<tool_calls>",
                                                 "</tool_calls>", 1};
    static const char call[] = "[{\"name\": \"f\", \"arguments\": {}}]";
    const int32_t eos = EOS;
    json_t *tools = json_pack("[{s:s}]", "name", "f");
    struct weir_answer_shape shape = {.tools = tools, .style = &style};
    struct weir_grammar *grammar;
    struct weir_mask mask;
    const uint64_t *bits;
    int32_t *ids;
    size_t n;
    int good;

    weir_grammar_new(&shape, &grammar, &err);
    weir_mask_init(&mask, tree, grammar, &eos, 1, n_vocab, &err);
    bits = weir_mask_next(&mask);
    good = bits[0] >> 12 & 1 && bits[0] >> EOS & 1 && bits[0] >> 13 & 1 &&
           !(bits[0] >> 4 & 1) && !(bits[0] >> 14 & 1);
    tap_ok(good, "a tag may come as a special token, and the end; no other");
    tap_ok(weir_mask_shows(&mask, 12) && weir_mask_shows(&mask, 13) &&
               !weir_mask_shows(&mask, 14) && !weir_mask_shows(&mask, -1),
           "tags are shown");
    good = weir_mask_take(&mask, 12);
    weir_tokenizer_encode(tokenizer, call, strlen(call), 0, 0, &ids, &n, &err);
    for (size_t i = 0; i < n; i++) {
        bits = weir_mask_next(&mask);
        good &= !(bits[0] >> EOS & 1) && !(bits[0] >> 12 & 1);
        good &= bits[ids[i] / 64] >> ids[i] % 64 & 1;
        good &= weir_mask_take(&mask, ids[i]);
    }
    bits = weir_mask_next(&mask);
    tap_ok(good && bits[0] >> 13 & 1 && weir_mask_take(&mask, 13) &&
               weir_mask_must_end(&mask),
           "what tokens write between them is held to the tools");
    free(ids);
    weir_mask_fini(&mask);
    weir_grammar_release(grammar);
    json_decref(tools);
}

/* No bias and no penalty brings back what may not come. */
static void test_sampler(void)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    const float scores[] = {50, 1, 2, 3, -80};
    const uint64_t mask = 1 << 1 | 1 << 4;
    struct weir_sampler sampler;
    int n_seen[5] = {0}, good;

    sampling.repetition_penalty = 100;
    sampling.biases[0] = (struct weir_logit_bias){0, 100};
    sampling.n_biases = 1;
    weir_sampler_init(&sampler, &sampling, 5, &err);
    weir_sampler_see_answer(&sampler, 1);
    good = weir_sampler_next_of(&sampler, scores, &mask) == 1;
    weir_sampler_fini(&sampler);
    sampling.temperature = 100;
    sampling.top_k = 4;
    weir_sampler_init(&sampler, &sampling, 5, &err);
    for (int i = 0; i < 300; i++)
        n_seen[weir_sampler_next_of(&sampler, scores, &mask)]++;
    good &= n_seen[1] > 100 && n_seen[4] > 30 && n_seen[1] + n_seen[4] == 300;
    tap_ok(good, "the sampler takes a mask before all else");
    weir_sampler_fini(&sampler);
}

int main(void)
{
    const char *srcdir = getenv("srcdir");
    struct weir_buf file = WEIR_BUF(1 << 24);
    char path[4096];

    snprintf(path, sizeof(path), "%s/demo/model/tokenizer.json",
             srcdir ? srcdir : ".");
    if (weir_buf_add_file(&file, path, &err) ||
        weir_tokenizer_parse(file.data, file.n_bytes, path, &tokenizer, &err) ||
        weir_token_tree_new(tokenizer, &tree, &err)) {
        tap_diag("%s", err.message);
        return 1;
    }
    n_vocab = weir_tokenizer_n_vocab(tokenizer) + 7;
    test_tags();
    test_sampler();
    test_random_schemas();
    weir_token_tree_free(tree);
    weir_tokenizer_free(tokenizer);
    weir_buf_fini(&file);
    return tap_done();
}
