/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a text stands in its grammar.  A state is the set of all places, each a
 * node with a stack of nodes to return to, at which the text so far may be.
 * States, and where each byte leads from them, are found when they are asked
 * for first, and kept until there is no room.
 */
#ifndef WEIR_TEXT_GRAMMAR_WALK_H
#define WEIR_TEXT_GRAMMAR_WALK_H

#include "text/grammar.h"

/* What a walk takes at most, its masks not counted */
#define WEIR_WALK_BYTES ((size_t)5 << 20)

#define WEIR_WALK_DEAD 0 /* the state of a text that cannot be */

struct weir_walk_cell;
struct weir_walk_state;
struct weir_walk_lone;

struct weir_walk {
    const struct weir_grammar_node *nodes;
    uint8_t classes[256]; /* bytes of a class are the same to all nodes */
    unsigned n_classes;
    uint32_t *ways; /* [state][n_classes + 1]; the last: of any plain one */
    struct weir_walk_state *states; /* [max_states], all in one allocation */
    struct weir_walk_cell *cells;   /* of stacks */
    uint64_t *places;               /* of all states: node and stack */
    uint32_t *state_slots, *cell_slots;
    uint64_t *found, *todo; /* of the state that is made */
    uint64_t *seen;         /* a table, of which these slots are taken: */
    uint32_t *touched;
    struct weir_walk_lone *lone; /* where single places led lately */
    uint32_t n_states, max_states, n_cells, n_places;
    uint32_t at; /* the state of the text so far */
    uint64_t n_flushes;
    void *memory;
};

/* Takes all memory; a text begins.  `grammar` must outlive it. */
int weir_walk_init(struct weir_walk *walk, const struct weir_grammar *grammar,
                   struct weir_err *err);
void weir_walk_fini(struct weir_walk *walk);

/*
 * The state that follows: WEIR_WALK_DEAD where the byte may not come.  It may
 * not either when there is no room for it, which weir_walk_make_room() sees to.
 */
uint32_t weir_walk_find(struct weir_walk *walk, uint32_t state, uint8_t byte);

#define WEIR_WALK_UNKNOWN UINT32_MAX

static inline uint32_t weir_walk_step(struct weir_walk *walk, uint32_t state,
                                      uint8_t byte)
{
    uint32_t to =
        walk->ways[(size_t)state * (walk->n_classes + 1) + walk->classes[byte]];

    return to == WEIR_WALK_UNKNOWN ? weir_walk_find(walk, state, byte) : to;
}

#define WEIR_WALK_MIXED (UINT32_MAX - 1)

/*
 * Whether all of a text, *n characters, are of those that a string of JSON has
 * as they are: U+0020 and up but for the quote and the backslash.
 */
int weir_walk_is_plain(const char *text, size_t n_bytes, size_t *n);

/*
 * The state that follows each of these characters, WEIR_WALK_DEAD too, or
 * WEIR_WALK_MIXED where it is not the same for all.
 */
uint32_t weir_walk_plain(struct weir_walk *walk, uint32_t state);

/*
 * When more than half of the room is taken all states but walk->at are
 * forgotten, which then has another number: 1.
 */
int weir_walk_make_room(struct weir_walk *walk);

/* The text goes on; 0, and nothing happened, when it may not. */
int weir_walk_take(struct weir_walk *walk, const void *text, size_t n_bytes);

/* Whether the text may end here; whether nothing may follow */
int weir_walk_may_end(const struct weir_walk *walk, uint32_t state);
int weir_walk_must_end(const struct weir_walk *walk, uint32_t state);

#endif
