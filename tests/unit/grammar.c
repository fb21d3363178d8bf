/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas: which texts they allow, which they do not, what is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/tap.h"
#include "text/grammar_walk.h"

static struct weir_err err;

/* The grammar of a schema as text; NULL when it was refused, see `err`. */
static struct weir_grammar *grammar_of(const char *text)
{
    struct weir_answer_shape shape = {0};
    struct weir_grammar *grammar;
    json_t *schema = json_loads(text, JSON_DECODE_ANY, NULL);

    if (!schema)
        tap_diag("bad test: %s", text);
    shape.schema = schema;
    memset(&err, 0, sizeof(err));
    weir_grammar_new(&shape, &grammar, &err);
    json_decref(schema);
    return grammar;
}

enum { REFUSES, GOES_ON, ACCEPTS };

/* From where the walk is */
static int go(struct weir_walk *walk, const char *text)
{
    for (; *text; text++)
        if (!weir_walk_take(walk, text, 1))
            return REFUSES;
    return weir_walk_may_end(walk, walk->at) ? ACCEPTS : GOES_ON;
}

static int walk(const struct weir_grammar *grammar, const char *text)
{
    struct weir_walk walk;
    int result;

    if (weir_walk_init(&walk, grammar, &err))
        return -1;
    result = go(&walk, text);
    weir_walk_fini(&walk);
    return result;
}

#define MOST 12

struct row {
    const char *schema;
    const char *good[MOST], *bad[MOST]; /* these never become good */
};

static const struct row rows[] = {
    {"true",
     {"1", " null", "[1, {\"a\":[]}]", "{\"a\":\n  true}", "\"x\"", "-0.5e+10"},
     {"  1", "\n1", "01", "1.x", ".5", "+1", "1ex", "nul ", "[1,]", "{a",
      "tru_"}},
    {"{\"type\":\"null\"}", {"null"}, {"nil", "0", "null "}},
    {"{\"type\":\"boolean\"}", {"true", "false"}, {"True", "1"}},
    {"{\"type\":\"integer\"}",
     {"0", "-7", "123456789012345678"},
     {"1.0", "1e3", "00", "1234567890123456789", "\"1\""}},
    {"{\"type\":\"number\"}",
     {"0", "-7", "0.25", "1E-05", "12.5e+99"},
     {"1.e", "1e100", "--1", "NaN"}},
    {"{\"type\":\"integer\",\"minimum\":-9007199254740991,"
     "\"maximum\":9007199254740991}",
     {"0", "-9007199254740991", "9007199254740991", "1000000000000000"},
     {"-0", "9007199254740992", "-9007199254740992", "10000000000000000", "1.0",
      "01"}},
    {"{\"type\":\"integer\",\"exclusiveMinimum\":0}",
     {"1", "999999999999999999"},
     {"0", "-", "1000000000000000000"}},
    {"{\"type\":\"integer\",\"maximum\":1e18,\"minimum\":-1e300}",
     {"-999999999999999999", "999999999999999999"},
     {"1000000000000000000"}},
    {"{\"minimum\":0,\"maximum\":1}",
     {"0", "1", "0.0", "0.25", "0.99999999999999999"},
     {"-", "1.", "2", "0e", "0.999999999999999999", "00"}},
    {"{\"type\":\"string\"}",
     {"\"\"", "\"a b\"", "\"\\n\\u00e9\\\"\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"",
      "\"\\ud83d\\ude00\""},
     {"\"\n", "\"\\x", "\"\\ude00", "\"\\ud83d\\n", "\"\xc3\x28", "\"\xc0",
      "\"\xed\xa0", "\"\xf4\x90", "\"\t", "\"\xff", "a"}},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
      "\"\\ud83d\\ude00\\n\""},
     {"\"a\"", "\"abcd", "\"\""}},
    {"{\"type\":\"string\",\"minLength\":2}",
     {"\"ab\"", "\"abcdefghij\""},
     {"\"\"", "\"a\""}},
    {"{\"enum\":[\"red\",\"reed\",3,null,{\"a\":[1,2]}]}",
     {"\"red\"", "\"reed\"", "3", "null", "{\"a\":[1,2]}"},
     {"\"re\"", "\"reeds", "4", "{\"a\": "}},
    {"{\"enum\":[\"1\",1,2.5],\"type\":[\"integer\",\"null\"]}",
     {"1"},
     {"\"", "2", "n"}},
    {"{\"const\":\"a\\\"\\u00e9\"}",
     {"\"a\\\"\xc3\xa9\""},
     {"\"a\"", "\"a\\\\"}},
    {"{\"type\":[\"string\",\"null\"]}", {"\"\"", "null"}, {"1", "{"}},
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"number\"},"
     "{\"const\":\"x\"}]}",
     {"1", "1.5", "\"x\""},
     {"\"y", "t"}},
    {"{\"type\":\"array\"}",
     {"[]", "[ ]", "[1,\n  \"a\" , null]"},
     {"[,", "{"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,"
     "\"maxItems\":3}",
     {"[1,2]", "[1, 2, 3]"},
     {"[]", "[1]", "[1,2,3,", "[\"", "[1,]"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1}",
     {"[1]", "[1,2,3,4,5,6]"},
     {"[]", "[t"}},
    {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1"}},
    {"{\"items\":false}", {"[]"}, {"[1", "{"}},
    {"{\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":"
     "{\"type\":\"null\"}}",
     {"[]", "[1]", "[1,2]", "[1,2,null,null]"},
     {"[2", "[1,1", "[1,2,3"}},
    {"{\"prefixItems\":[{\"const\":1},{\"const\":2}],\"minItems\":2}",
     {"[1,2]"},
     {"[]", "[1]", "[1,2,"}},
    {"{\"type\":\"object\"}",
     {"{}", "{ }", "{\"a\": {\"b\": []}, \"\": 1}"},
     {"{,", "{\"a\":1,}", "{a", "[", "{\"a\" 1"}},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
     "\"boolean\"},\"c\":{}},\"required\":[\"b\"]}",
     {"{\"b\":true}", "{\"a\":1,\"b\":false}", "{\"b\":true,\"c\":[]}",
      "{\n  \"a\": 1,\n  \"b\": true,\n  \"c\": null\n}"},
     {"{}", "{\"a\":1}", "{\"c", "{\"b\":1", "{\"b\":true,\"a\"",
      "{\"b\":true,}", "{\"b\":true,\"d\"", "{,"}},
    {"{\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":"
     "{\"const\":3}},\"additionalProperties\":false}",
     {"{}", "{\"a\":1}", "{\"b\":2}", "{\"c\":3}", "{\"a\":1,\"c\":3}",
      "{\"b\":2,\"c\":3}"},
     {"{\"b\":2,\"a\"", "{\"d", "{\"a\":1,\"a\""}},
    {"{\"properties\":{\"ab\":{\"const\":1},\"a\\u00e9\":{\"const\":2}},"
     "\"additionalProperties\":{\"type\":\"string\"}}",
     {"{}", "{\"ab\":1}", "{\"x\":\"\"}", "{\"a\":\"\"}", "{\"abc\":\"\"}",
      "{\"a\xc3\xa8\":\"\"}", "{\"a\xc3\xa9\xc3\xa9\":\"\"}", "{\"\":\"\"}",
      "{\"ab\":1,\"a\xc3\xa9\":2,\"b\":\"\",\"c\":\"\"}",
      "{\"a\xc4\xa9\":\"\"}"},
     {"{\"x\":1", "{\"ab\":\"", "{\"a\xc3\xa9\":\"", "{\"a\\u00", "{\"x\n",
      "{\"a\xc3\"", "{\"x\":\"\",\"ab\":1"}},
    {"{\"required\":[\"a\"]}", {"{\"a\":1}", "{\"a\":1,\"b\":2}"}, {"{}"}},
    {"{\"properties\":{},\"required\":[\"x\"]}",
     {"{\"x\":[]}"},
     {"{}", "{\"y", "{\"x\":1,"}},
    {"{\"properties\":{}}", {"{}"}, {"{\"a"}},
    {"{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\","
     "\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":["
     "{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\","
     "\"next\"]}}}",
     {"{\"v\":1,\"next\":null}",
      "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":null}}}"},
     {"{\"v\":1}", "{\"v\":1,\"next\":[", "{\"v\":1,\"next\":{}"}},
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"array\",\"items\":"
     "{\"$ref\":\"#\"}}]}",
     {"1", "[]", "[[[2],3],[]]"},
     {"[\"", "{"}},
    {"{\"anyOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"},{\"const\":7}]}",
     {"7"},
     {"8"}},
    {"{\"$defs\":{\"a/b~c\":{\"const\":5}},\"$ref\":\"#/$defs/a~1b~0c\"}",
     {"5"},
     {"6"}},
    {"{\"title\":\"t\",\"description\":\"d\",\"default\":1,\"examples\":[],"
     "\"$schema\":\"s\",\"type\":\"integer\",\"format\":\"int32\","
     "\"properties\":{\"a\":true}}",
     {"5"},
     {"{"}},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static int check_row(const struct row *row)
{
    struct weir_grammar *grammar = grammar_of(row->schema);
    int good = grammar != NULL;

    if (!grammar)
        tap_diag("%s", err.message);
    for (size_t i = 0; grammar && i < MOST && row->good[i]; i++)
        if (walk(grammar, row->good[i]) != ACCEPTS) {
            tap_diag("is refused: %s", row->good[i]);
            good = 0;
        }
    /* what ends too early is bad when no end follows */
    for (size_t i = 0; grammar && i < MOST && row->bad[i]; i++)
        if (walk(grammar, row->bad[i]) != REFUSES) {
            tap_diag("is allowed: %s", row->bad[i]);
            good = 0;
        }
    weir_grammar_release(grammar);
    return good;
}

static void test_refused(const char *schema, int code, const char *message)
{
    struct weir_grammar *grammar = grammar_of(schema);

    tap_ok(!grammar && err.code == code && strstr(err.message, message),
           "refused: %s", message);
    if (err.code != code || !strstr(err.message, message))
        tap_diag("%s: %d %s", schema, err.code, err.message);
    weir_grammar_release(grammar);
}

static void test_refusals(void)
{
    test_refused("{\"properties\":{\"a/b\":{\"pattern\":\"x\"}}}", WEIR_EARG,
                 "at '/properties/a~1b/pattern': the keyword 'pattern' is not");
    test_refused("{\"type\":\"integer\",\"minimum\":0.5}", WEIR_EARG,
                 "minimum must be a whole number");
    test_refused("{\"type\":\"array\",\"items\":{\"multipleOf\":1}}", WEIR_EARG,
                 "'/items/multipleOf'");
    test_refused("{\"anyOf\":[{\"oneOf\":[]}]}", WEIR_EARG, "'/anyOf/oneOf'");
    test_refused("{\"anyOf\":[{}],\"type\":\"object\"}", WEIR_EARG,
                 "beside anyOf");
    test_refused("{\"enum\":[1],\"minLength\":2}", WEIR_EARG,
                 "beside enum and const");
    test_refused("{\"$ref\":\"#\",\"type\":\"object\"}", WEIR_EARG,
                 "beside $ref");
    test_refused("{\"$ref\":\"http://x\"}", WEIR_EARG, "$ref must be");
    test_refused("{\"$ref\":\"#/$defs/a\"}", WEIR_EARG, "$ref must be");
    test_refused("{\"$ref\":\"#\"}", WEIR_EARG, "no text of at most");
    test_refused("false", WEIR_EARG, "no text of at most");
    test_refused("{\"enum\":[1],\"type\":\"string\"}", WEIR_EARG, "no text");
    test_refused("{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":"
                 "[\"a\"]}",
                 WEIR_EARG, "no text");
    test_refused("{\"type\":\"int\"}", WEIR_EARG, "type must be one or more");
    test_refused("{\"type\":[]}", WEIR_EARG, "type must be one or more");
    test_refused("{\"enum\":[]}", WEIR_EARG, "enum must be");
    test_refused("{\"anyOf\":{}}", WEIR_EARG, "anyOf must be");
    test_refused("{\"properties\":[]}", WEIR_EARG, "properties must be");
    test_refused("{\"required\":[1]}", WEIR_EARG, "required must be");
    test_refused("{\"required\":[\"a\",\"a\"]}", WEIR_EARG, "that differ");
    test_refused("{\"properties\":{\"a\":5}}", WEIR_EARG,
                 "'/properties/a': a schema must be");
    test_refused("{\"minItems\":-1}", WEIR_EARG, "minItems must be");
    test_refused("{\"minItems\":2,\"maxItems\":1}", WEIR_EARG, "is above");
    test_refused("{\"maxLength\":100000}", WEIR_ELIMIT, "maxLength is above");
}

/* 4096 items of 4096 names are more than a grammar may have. */
static void test_too_large(void)
{
    struct weir_buf text = WEIR_BUF(1 << 20);
    char name[64];

    weir_buf_add(&text, "{\"enum\":[0", 10, NULL);
    for (int i = 0; i < 4000; i++) {
        int n = snprintf(name, sizeof(name), ",\"%040d\"", i);

        weir_buf_add(&text, name, (size_t)n, NULL);
    }
    weir_buf_add(&text, "]}", 2, NULL);
    test_refused(text.data, WEIR_ELIMIT, "more than the 131072 states");
    weir_buf_fini(&text);
}

/* A text of many states: the walk forgets and goes on. */
static void test_long_text(void)
{
    struct weir_grammar *grammar =
        grammar_of("{\"type\":\"array\",\"items\":{\"type\":\"string\","
                   "\"maxLength\":4000}}");
    struct weir_walk walk;
    int good;

    good = !weir_walk_init(&walk, grammar, &err);
    good = good && weir_walk_take(&walk, "[", 1);
    for (int i = 0; i < 8 && good; i++) {
        good = weir_walk_take(&walk, "\"", 1);
        for (int k = 0; k < 4000 && good; k++)
            good = weir_walk_take(&walk, i & 1 ? "\xc3\xa9" : "x", 1 + (i & 1));
        good = good && !weir_walk_take(&walk, "x", 1);
        good = good && weir_walk_take(&walk, i < 7 ? "\"," : "\"]", 2);
    }
    tap_ok(good && weir_walk_must_end(&walk, walk.at) && walk.n_flushes > 0,
           "a long text is walked through in little memory");
    tap_diag("%llu times there was no more room",
             (unsigned long long)walk.n_flushes);
    weir_walk_fini(&walk);
    weir_grammar_release(grammar);
}

/* Nesting ends where it must, and what was begun can always be ended. */
static void test_depth(void)
{
    struct weir_grammar *grammar = grammar_of("true");
    struct weir_walk walk;
    int n = 0, good = !weir_walk_init(&walk, grammar, &err);

    while (good && n < 1000 && weir_walk_take(&walk, "[", 1))
        n++;
    tap_ok(n > 30 && n <= WEIR_GRAMMAR_DEPTH + 1, "arrays nest %d deep", n);
    for (int i = 0; i < n; i++)
        good = good && weir_walk_take(&walk, "]", 1);
    tap_ok(good && weir_walk_must_end(&walk, walk.at), "and they all end");
    weir_walk_fini(&walk);
    weir_grammar_release(grammar);
}

/* ---- numbers within bounds ---- */

/* 1 when of the numbers -130 to 130, in quarters, those within are accepted. */
static int holds(const char *schema, int is_integer, double min, double max)
{
    struct weir_grammar *grammar = grammar_of(schema);
    struct weir_walk walk = {0};
    uint32_t start;
    int all = !grammar || !weir_walk_init(&walk, grammar, &err);

    start = walk.at;
    for (int quarters = -520; quarters <= 520; quarters++) {
        double x = quarters / 4.0;
        int is_good = x >= min && x <= max, result;
        char text[32];

        snprintf(text, sizeof(text), "%.15g", x);
        if (is_integer && quarters % 4)
            is_good = 0;
        walk.at = start;
        result = walk.memory ? go(&walk, text) : REFUSES;
        if ((result == ACCEPTS) == is_good)
            continue;
        tap_diag("%s: %s is %s", schema, text, is_good ? "refused" : "taken");
        all = 0;
    }
    all = all && walk.n_flushes == 0; /* which would renumber the start */
    weir_walk_fini(&walk);
    weir_grammar_release(grammar);
    return all;
}

static void test_bounds(void)
{
    static const int bounds[] = {-120, -100, -99, -31, -10, -9, -2,
                                 -1,   0,    1,   2,   8,   9,  10,
                                 11,   42,   99,  100, 109, 120};
    size_t n = sizeof(bounds) / sizeof(bounds[0]);
    char schema[128];
    int all = 1;

    for (size_t i = 0; i < n * n * 8; i++) {
        int is_integer = i & 1, above = i >> 1 & 1, below = i >> 2 & 1;
        int min = bounds[(i >> 3) % n], max = bounds[(i >> 3) / n];

        snprintf(schema, sizeof(schema),
                 "{\"type\":\"%s\",\"%s\":%d,\"%s\":%d}",
                 is_integer ? "integer" : "number",
                 above ? "exclusiveMinimum" : "minimum", min,
                 below ? "exclusiveMaximum" : "maximum", max);
        all &=
            holds(schema, is_integer, min + above * 0.001, max - below * 0.001);
    }
    tap_ok(all, "numbers are held to bounds, as counting has it");
}

/* ---- tools ---- */

static const struct weir_tool_style list = {"<tool_calls>", "</tool_calls>", 1};
static const struct weir_tool_style row = {"<aab>", "</aab>", 0};

static struct weir_grammar *tools_of(const struct weir_tool_style *style,
                                     int must_call, int one_call,
                                     const char *schema)
{
    json_t *tools = json_loads(
        "[{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":"
        "{\"x\":{\"type\":\"integer\",\"multipleOf\":3}},\"required\":[\"x\"]}}"
        ","
        "{\"name\":\"g\"}]",
        0, NULL);
    struct weir_answer_shape shape = {.tools = tools,
                                      .style = style,
                                      .must_call = must_call,
                                      .one_call = one_call};
    json_t *root = schema ? json_loads(schema, 0, NULL) : NULL;
    struct weir_grammar *grammar;

    shape.schema = root;
    if (weir_grammar_new(&shape, &grammar, &err))
        tap_diag("%s", err.message);
    json_decref(tools);
    json_decref(root);
    return grammar;
}

static void check(const char *what, struct weir_grammar *grammar,
                  const char *const *good, const char *const *bad)
{
    int all = grammar != NULL;

    for (; all && *good; good++)
        if (walk(grammar, *good) != ACCEPTS) {
            tap_diag("is refused: %s", *good);
            all = 0;
        }
    for (; all && *bad; bad++)
        if (walk(grammar, *bad) != REFUSES) {
            tap_diag("is allowed: %s", *bad);
            all = 0;
        }
    tap_ok(all, "%s", what);
    weir_grammar_release(grammar);
}

#define F    "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"
#define G    "{\"name\":\"g\",\"arguments\":{}}"
#define T(s) "<tool_calls>" s "</tool_calls>"
#define A(s) "<aab>" s "</aab>"

static void test_tools(void)
{
    static const char *const free_good[] = {
        "",
        "Hello",
        " <tool_call>",
        "<<tool_calls>[" G "]</tool_calls>",
        "Well.\n" T("[\n    " F ",\n    " G "\n]"),
        "\xff<tool",
        NULL};
    static const char *const free_bad[] = {
        "<tool_calls>x",
        "a<tool_calls>[]",
        T("[" G "]") " ",
        T("[" G "]") "<",
        "<tool_calls>[{\"name\": \"h",
        "<tool_calls>[" F "}",
        "<tool_calls>[{\"name\": \"f\", \"arguments\": {}",
        NULL};
    static const char *const must_good[] = {T("[" F "]"),
                                            " " T("[" F "," G "]"), NULL};
    static const char *const must_bad[] = {"Hello", "<tool_calls> <", NULL};
    static const char *const one_bad[] = {"<tool_calls>[" F ",", NULL};
    static const char *const one_good[] = {T("[" F "]"), NULL};
    static const char *const row_good[] = {"",
                                           "aaab",
                                           "<aa<aab",
                                           "x" A("\n" F "\n"),
                                           A(G) "\n" A(F) A(G),
                                           "<a" A(G),
                                           "<aa" A(G),
                                           NULL};
    static const char *const row_bad[] = {"<aab>[", A(F) "x", "<aab><",
                                          A(F) "<aab></", NULL};
    static const char *const both_good[] = {"{\"k\":1}", T("[" G "]"), NULL};
    static const char *const both_bad[] = {"x", "{}", NULL};

    check("a text, or calls in a list", tools_of(&list, 0, 0, NULL), free_good,
          free_bad);
    check("calls alone", tools_of(&list, 1, 0, NULL), must_good, must_bad);
    check("one call", tools_of(&list, 1, 1, NULL), one_good, one_bad);
    check("a text, or calls in a row", tools_of(&row, 0, 0, NULL), row_good,
          row_bad);
    check("one call of a row", tools_of(&row, 0, 1, NULL),
          (const char *const[]){A(F), NULL},
          (const char *const[]){A(F) "\n", A(F) "<", NULL});
    check("JSON, or calls", tools_of(&list, 0, 0, "{\"required\":[\"k\"]}"),
          both_good, both_bad);
}

int main(void)
{
    for (size_t i = 0; i < N_ROWS; i++)
        tap_ok(check_row(&rows[i]), "%s", rows[i].schema);
    test_refusals();
    test_bounds();
    test_too_large();
    test_long_text();
    test_depth();
    test_tools();
    return tap_done();
}
