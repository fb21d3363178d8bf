/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks are lists of cells, and equal ones are the same cell, so that places
 * can be compared and sets of them have one order.  A set is closed: it holds
 * nodes that want a byte, and END where the text may end.  That makes an
 * automaton without choices out of one with them, a piece at a time (the
 * construction of Rabin and Scott, 1959).
 */
#include "text/grammar_walk.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/utf8.h"

#define MAX_STATES 8192
#define MAX_CELLS  16384
#define MAX_PLACES 131072
#define MAX_FOUND  4096  /* places in a state; others are left out */
#define SEEN_SLOTS 16384 /* places passed on the way to these, at most half */
#define LONE_SLOTS 1024
#define WAYS_BYTES ((size_t)2 << 20)
#define END        0 /* the place of a text that ends: node 0, no stack */

struct weir_walk_cell {
    uint32_t node, below, depth;
};

struct weir_walk_state {
    uint32_t at, n; /* its places */
};

/* The state of the set that a place makes alone; 0: not known */
struct weir_walk_lone {
    uint64_t place;
    uint32_t state;
};

static uint64_t place_of(uint32_t node, uint32_t stack)
{
    return (uint64_t)node << 32 | stack;
}

/* ---- memory ---- */

static void find_classes(struct weir_walk *walk,
                         const struct weir_grammar *grammar)
{
    unsigned char begins[257] = {0};
    unsigned class = 0;

    for (uint32_t i = 0; i < grammar->n_nodes; i++) {
        const struct weir_grammar_node *node = &grammar->nodes[i];

        if (node->kind == WEIR_NODE_BYTES && node->low <= node->high)
            begins[node->low] = begins[node->high + 1] = 1;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        class += byte && begins[byte];
        walk->classes[byte] = (uint8_t) class;
    }
    walk->n_classes = class + 1;
}

/* Parts of one allocation; without memory it counts. */
static void *take(struct weir_walk *walk, size_t *used, size_t n_bytes)
{
    void *part = walk->memory ? (char *)walk->memory + *used : NULL;

    *used += (n_bytes + 7) & ~(size_t)7;
    return part;
}

static size_t lay_out(struct weir_walk *walk)
{
    size_t used = 0;

    walk->found = take(walk, &used, MAX_FOUND * sizeof(uint64_t));
    walk->todo = take(walk, &used, SEEN_SLOTS * sizeof(uint64_t));
    walk->seen = take(walk, &used, SEEN_SLOTS * sizeof(uint64_t));
    walk->touched = take(walk, &used, SEEN_SLOTS / 2 * sizeof(uint32_t));
    walk->lone = take(walk, &used, LONE_SLOTS * sizeof(*walk->lone));
    walk->places = take(walk, &used, MAX_PLACES * sizeof(uint64_t));
    walk->states = take(walk, &used, MAX_STATES * sizeof(*walk->states));
    walk->cells = take(walk, &used, MAX_CELLS * sizeof(*walk->cells));
    walk->state_slots = take(walk, &used, 2 * MAX_STATES * sizeof(uint32_t));
    walk->cell_slots = take(walk, &used, 2 * MAX_CELLS * sizeof(uint32_t));
    walk->ways = take(walk, &used,
                      (size_t)walk->max_states * (walk->n_classes + 1) *
                          sizeof(uint32_t));
    return used;
}

/* State 0 is the dead one, cell 0 the empty stack. */
static void forget(struct weir_walk *walk)
{
    memset(walk->state_slots, 0, 2 * MAX_STATES * sizeof(uint32_t));
    memset(walk->cell_slots, 0, 2 * MAX_CELLS * sizeof(uint32_t));
    memset(walk->lone, 0, LONE_SLOTS * sizeof(*walk->lone));
    memset(walk->ways, 0, (walk->n_classes + 1) * sizeof(uint32_t));
    walk->states[0] = (struct weir_walk_state){0, 0};
    walk->cells[0] = (struct weir_walk_cell){0, 0, 0};
    walk->n_states = walk->n_cells = 1;
    walk->n_places = 0;
}

/* ---- stacks ---- */

/* The stack with `node` on top; 0 when there is no room. */
static uint32_t push(struct weir_walk *walk, uint32_t node, uint32_t below)
{
    const uint32_t key[2] = {node, below};
    size_t mask = 2 * MAX_CELLS - 1;
    size_t slot = XXH3_64bits(key, sizeof(key)) & mask;
    struct weir_walk_cell *cell;

    for (; walk->cell_slots[slot]; slot = (slot + 1) & mask) {
        cell = &walk->cells[walk->cell_slots[slot]];
        if (cell->node == node && cell->below == below)
            return walk->cell_slots[slot];
    }
    if (walk->n_cells == MAX_CELLS)
        return 0;
    cell = &walk->cells[walk->n_cells];
    *cell = (struct weir_walk_cell){node, below, walk->cells[below].depth + 1};
    walk->cell_slots[slot] = walk->n_cells;
    return walk->n_cells++;
}

/* ---- sets of places ---- */

/* A set that is made: what was found, and what is still to be looked at */
struct closure {
    size_t n_found, n_todo, n_seen;
};

/* Adds a place unless it was there, or no text can end from it. */
static void add_place(struct weir_walk *walk, struct closure *set,
                      uint32_t node, uint32_t stack)
{
    uint64_t place = place_of(node, stack), key = place + 1;
    size_t slot = XXH3_64bits(&place, sizeof(place)) & (SEEN_SLOTS - 1);

    if (walk->nodes[node].need + walk->cells[stack].depth > WEIR_GRAMMAR_DEPTH)
        return;
    for (; walk->seen[slot]; slot = (slot + 1) & (SEEN_SLOTS - 1))
        if (walk->seen[slot] == key)
            return;
    if (set->n_seen == SEEN_SLOTS / 2)
        return;
    walk->seen[slot] = key;
    walk->touched[set->n_seen++] = (uint32_t)slot;
    walk->todo[set->n_todo++] = place;
}

static void expand(struct weir_walk *walk, struct closure *set, uint64_t place)
{
    uint32_t at = (uint32_t)(place >> 32), stack = (uint32_t)place;
    const struct weir_grammar_node *node = &walk->nodes[at];
    const struct weir_walk_cell *cell = &walk->cells[stack];
    uint32_t pushed;

    switch (node->kind) {
    case WEIR_NODE_SPLIT:
        add_place(walk, set, node->next, stack);
        add_place(walk, set, node->other, stack);
        return;
    case WEIR_NODE_CALL:
        pushed = push(walk, node->next, stack);
        if (pushed)
            add_place(walk, set, node->other, pushed);
        return;
    case WEIR_NODE_RETURN:
        if (stack) {
            add_place(walk, set, cell->node, cell->below);
            return;
        }
        break;
    default:
        break;
    }
    if (set->n_found < MAX_FOUND)
        walk->found[set->n_found++] = place;
}

static int compare_places(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The state of the set; WEIR_WALK_DEAD when it is empty or there is no room. */
static uint32_t find_state(struct weir_walk *walk, size_t n)
{
    size_t mask = 2 * MAX_STATES - 1, n_bytes = n * sizeof(uint64_t), slot;
    struct weir_walk_state *state;

    if (n == 0)
        return WEIR_WALK_DEAD;
    qsort(walk->found, n, sizeof(*walk->found), compare_places);
    slot = XXH3_64bits(walk->found, n_bytes) & mask;
    for (; walk->state_slots[slot]; slot = (slot + 1) & mask) {
        state = &walk->states[walk->state_slots[slot]];
        if (state->n == n &&
            !memcmp(walk->places + state->at, walk->found, n_bytes))
            return walk->state_slots[slot];
    }
    if (walk->n_states == walk->max_states || n > MAX_PLACES - walk->n_places)
        return WEIR_WALK_DEAD;
    state = &walk->states[walk->n_states];
    *state = (struct weir_walk_state){walk->n_places, (uint32_t)n};
    memcpy(walk->places + walk->n_places, walk->found, n_bytes);
    walk->n_places += (uint32_t)n;
    memset(walk->ways + (size_t)walk->n_states * (walk->n_classes + 1), 0xff,
           (walk->n_classes + 1) * sizeof(uint32_t));
    walk->state_slots[slot] = walk->n_states;
    return walk->n_states++;
}

static uint32_t close_places(struct weir_walk *walk, struct closure *set)
{
    while (set->n_todo)
        expand(walk, set, walk->todo[--set->n_todo]);
    while (set->n_seen)
        walk->seen[walk->touched[--set->n_seen]] = 0;
    return find_state(walk, set->n_found);
}

/* The characters of a string all lead to one place. */
static uint32_t close_set(struct weir_walk *walk, struct closure *set)
{
    struct weir_walk_lone *lone;
    uint64_t place;

    if (set->n_todo != 1)
        return close_places(walk, set);
    place = walk->todo[0];
    lone = &walk->lone[XXH3_64bits(&place, sizeof(place)) % LONE_SLOTS];
    if (lone->state && lone->place == place) {
        walk->seen[walk->touched[0]] = 0;
        return lone->state;
    }
    *lone = (struct weir_walk_lone){place, close_places(walk, set)};
    return lone->state;
}

uint32_t weir_walk_find(struct weir_walk *walk, uint32_t from, uint8_t byte)
{
    struct weir_walk_state state = walk->states[from];
    struct closure set = {0, 0, 0};
    uint32_t *way =
        &walk->ways[(size_t)from * (walk->n_classes + 1) + walk->classes[byte]];

    if (*way != WEIR_WALK_UNKNOWN)
        return *way;
    for (uint32_t i = 0; i < state.n; i++) {
        uint64_t place = walk->places[state.at + i];
        const struct weir_grammar_node *node = &walk->nodes[place >> 32];

        if (node->kind == WEIR_NODE_BYTES && byte >= node->low &&
            byte <= node->high)
            add_place(walk, &set, node->next, (uint32_t)place);
    }
    *way = close_set(walk, &set);
    return *way;
}

/* ---- plain characters ---- */

struct range {
    uint8_t low, high;
};

/* All from U+0020 on but the quote and the backslash (RFC 8259, section 7), as
 * bytes that may follow each other (RFC 3629, section 4) */
static const struct range plain[][4] = {
    {{' ', '!'}},
    {{'#', '['}},
    {{']', 0x7f}},
    {{0xc2, 0xdf}, {0x80, 0xbf}},
    {{0xe0, 0xe0}, {0xa0, 0xbf}, {0x80, 0xbf}},
    {{0xe1, 0xec}, {0x80, 0xbf}, {0x80, 0xbf}},
    {{0xed, 0xed}, {0x80, 0x9f}, {0x80, 0xbf}},
    {{0xee, 0xef}, {0x80, 0xbf}, {0x80, 0xbf}},
    {{0xf0, 0xf0}, {0x90, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}},
    {{0xf1, 0xf3}, {0x80, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}},
    {{0xf4, 0xf4}, {0x80, 0x8f}, {0x80, 0xbf}, {0x80, 0xbf}},
};

int weir_walk_is_plain(const char *text, size_t n_bytes, size_t *n)
{
    const char *end = text + n_bytes;
    size_t length;

    for (*n = 0; text < end; text += length, ++*n) {
        length = weir_utf8_char(text, (size_t)(end - text));
        if (!length || (unsigned char)*text < ' ' || *text == '"' ||
            *text == '\\')
            return 0;
    }
    return 1;
}

/*
 * Whether all bytes of `ranges`, of which n more follow the first, lead to *to,
 * which the first of all says.  Bytes of a range that lead to the same are
 * followed once.
 */
static int all_lead_to(struct weir_walk *walk, uint32_t from,
                       const struct range *ranges, size_t n, uint32_t *to)
{
    uint32_t last = WEIR_WALK_UNKNOWN, next;

    for (unsigned byte = ranges->low; byte <= ranges->high; byte++) {
        next = weir_walk_step(walk, from, (uint8_t)byte);
        if (next == last)
            continue;
        last = next;
        if (n && next != WEIR_WALK_DEAD) {
            if (!all_lead_to(walk, next, ranges + 1, n - 1, to))
                return 0;
            continue;
        }
        if (*to == WEIR_WALK_UNKNOWN)
            *to = next;
        if (next != *to)
            return 0;
    }
    return 1;
}

uint32_t weir_walk_plain(struct weir_walk *walk, uint32_t state)
{
    uint32_t *way =
        &walk->ways[(size_t)state * (walk->n_classes + 1) + walk->n_classes];
    uint32_t to = WEIR_WALK_UNKNOWN;

    if (*way != WEIR_WALK_UNKNOWN)
        return *way;
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        size_t n = 0;

        while (n < 3 && plain[i][n + 1].high)
            n++;
        if (all_lead_to(walk, state, plain[i], n, &to))
            continue;
        to = WEIR_WALK_MIXED;
        break;
    }
    *way = to;
    return to;
}

/* ---- the whole ---- */

int weir_walk_init(struct weir_walk *walk, const struct weir_grammar *grammar,
                   struct weir_err *err)
{
    struct closure set = {0, 0, 0};
    size_t n_bytes;

    memset(walk, 0, sizeof(*walk));
    walk->nodes = grammar->nodes;
    find_classes(walk, grammar);
    walk->max_states =
        (uint32_t)(WAYS_BYTES / sizeof(uint32_t) / (walk->n_classes + 1));
    if (walk->max_states > MAX_STATES)
        walk->max_states = MAX_STATES;
    n_bytes = lay_out(walk);
    walk->memory = malloc(n_bytes);
    if (!walk->memory)
        return weir_err_nomem(err, n_bytes, "a walk through a grammar");
    lay_out(walk);
    memset(walk->seen, 0, SEEN_SLOTS * sizeof(*walk->seen));
    forget(walk);
    add_place(walk, &set, grammar->start, 0);
    walk->at = close_set(walk, &set);
    return 0;
}

void weir_walk_fini(struct weir_walk *walk)
{
    free(walk->memory);
    memset(walk, 0, sizeof(*walk));
}

/* Moves the stacks that are marked in `todo` to the front; numbers never rise.
 */
static void keep_cells(struct weir_walk *walk, uint32_t n_cells)
{
    walk->todo[0] = 0;
    for (uint32_t i = 1; i < n_cells; i++) {
        struct weir_walk_cell cell = walk->cells[i];

        if (walk->todo[i])
            walk->todo[i] =
                push(walk, cell.node, (uint32_t)walk->todo[cell.below]);
    }
}

int weir_walk_make_room(struct weir_walk *walk)
{
    struct weir_walk_state at = walk->states[walk->at];
    uint32_t n_cells = walk->n_cells;

    if (walk->n_states < walk->max_states / 2 && n_cells < MAX_CELLS / 2 &&
        walk->n_places < MAX_PLACES / 2)
        return 0;
    memset(walk->todo, 0, SEEN_SLOTS * sizeof(*walk->todo));
    memcpy(walk->found, walk->places + at.at, at.n * sizeof(*walk->found));
    for (uint32_t i = 0; i < at.n; i++) {
        uint32_t stack = (uint32_t)walk->found[i];

        for (; stack && !walk->todo[stack]; stack = walk->cells[stack].below)
            walk->todo[stack] = 1;
    }
    forget(walk);
    keep_cells(walk, n_cells);
    for (uint32_t i = 0; i < at.n; i++)
        walk->found[i] =
            place_of((uint32_t)(walk->found[i] >> 32),
                     (uint32_t)walk->todo[(uint32_t)walk->found[i]]);
    walk->at = find_state(walk, at.n);
    walk->n_flushes++;
    return 1;
}

int weir_walk_take(struct weir_walk *walk, const void *text, size_t n_bytes)
{
    const uint8_t *bytes = text;
    uint32_t to;

    weir_walk_make_room(walk);
    to = walk->at;
    for (size_t i = 0; i < n_bytes && to != WEIR_WALK_DEAD; i++)
        to = weir_walk_step(walk, to, bytes[i]);
    if (to == WEIR_WALK_DEAD)
        return 0;
    walk->at = to;
    return 1;
}

int weir_walk_may_end(const struct weir_walk *walk, uint32_t state)
{
    const struct weir_walk_state *s = &walk->states[state];

    return s->n && walk->places[s->at] == END;
}

int weir_walk_must_end(const struct weir_walk *walk, uint32_t state)
{
    return walk->states[state].n == 1 && weir_walk_may_end(walk, state);
}
