/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schema, a NUL, and bytes that a text goes on with where it may.  Of every
 * state that is reached an end can be reached too, and plain characters lead
 * where it is said that all of them do.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "text/grammar_walk.h"

/* A byte that may come next, from `from` on */
static int next_byte(struct weir_walk *walk, uint8_t from)
{
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)(from + i);

        if (weir_walk_step(walk, walk->at, byte) != WEIR_WALK_DEAD)
            return byte;
    }
    return -1;
}

static void check_plain(struct weir_walk *walk)
{
    static const char *const some[] = {
        " ", "a", "\x7f", "\xc3\xa9", "\xe4\xb8\x96", "\xf4\x8f\xbf\xbf"};
    uint32_t plain = weir_walk_plain(walk, walk->at);

    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        uint32_t to = walk->at;

        for (const char *at = some[i]; *at; at++)
            to = weir_walk_step(walk, to, (uint8_t)*at);
        FUZZ_CHECK(plain == WEIR_WALK_MIXED || plain == to);
    }
}

static void walk_on(const struct weir_grammar *grammar, const uint8_t *data,
                    size_t n_bytes)
{
    struct weir_walk walk;
    struct weir_err err;

    if (weir_walk_init(&walk, grammar, &err))
        return;
    for (size_t i = 0; i < n_bytes && i < 2000; i++) {
        uint32_t before = walk.at;
        int byte;

        weir_walk_make_room(&walk);
        check_plain(&walk);
        byte = next_byte(&walk, data[i]);
        FUZZ_CHECK(byte >= 0 || weir_walk_must_end(&walk, walk.at));
        if (byte < 0)
            break;
        before = weir_walk_step(&walk, walk.at, (uint8_t)byte);
        FUZZ_CHECK(weir_walk_take(&walk, &(uint8_t){(uint8_t)byte}, 1));
        FUZZ_CHECK(before == walk.at || walk.n_flushes);
    }
    weir_walk_fini(&walk);
}

static void try_shape(const struct weir_answer_shape *shape,
                      const uint8_t *data, size_t n_bytes)
{
    struct weir_grammar *grammar;
    struct weir_err err;
    int rc = weir_grammar_new(shape, &grammar, &err);

    if (rc) {
        fuzz_check_refused(rc, &err);
        FUZZ_CHECK(rc == WEIR_EARG || rc == WEIR_ELIMIT);
        FUZZ_CHECK(!grammar);
        return;
    }
    walk_on(grammar, data, n_bytes);
    weir_grammar_release(grammar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const struct weir_tool_style styles[] = {
        {"<tool_calls>", "</tool_calls>", 1}, {"<aab>", "</aab>", 0}};
    const uint8_t *end = n_bytes ? memchr(data, 0, n_bytes) : NULL;
    size_t n = end ? (size_t)(end - data) : n_bytes;
    size_t rest = end ? n_bytes - n - 1 : 0;
    json_t *schema, *tools;

    if (weir_json_parse((const char *)data, n, "the schema", &schema, NULL))
        return 0;
    tools = json_pack("[{s:s, s:O}]", "name", "f", "parameters", schema);
    try_shape(&(struct weir_answer_shape){.schema = schema},
              data + n_bytes - rest, rest);
    if (tools)
        for (int i = 0; i < 8; i++)
            try_shape(&(struct weir_answer_shape){.tools = tools,
                                                  .style = &styles[i & 1],
                                                  .must_call = i >> 1 & 1,
                                                  .one_call = i >> 2 & 1},
                      data + n_bytes - rest, rest);
    json_decref(tools);
    json_decref(schema);
    return 0;
}
