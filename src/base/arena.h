/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for many small things that are released together, with a ceiling. */
#ifndef WEIR_BASE_ARENA_H
#define WEIR_BASE_ARENA_H

#include "base/err.h"

struct weir_arena {
    struct weir_arena_block *last; /* of a list; allocated */
    size_t n_bytes;                /* in all blocks */
    size_t ceiling;                /* most bytes in all blocks */
};

#define WEIR_ARENA(limit)                                                      \
    {                                                                          \
        .ceiling = (limit)                                                     \
    }

/*
 * `n_bytes` of zeros, aligned for any type.  NULL with the error: WEIR_ELIMIT
 * past the ceiling, WEIR_ENOMEM without memory.
 */
void *weir_arena_take(struct weir_arena *arena, size_t n_bytes,
                      struct weir_err *err);

/*
 * 1 when the `n_more` bytes from `end` on are now taken too: `end` is where
 * what was taken last ends, and there was room behind it.  They may hold
 * anything.  0, and nothing happened, if not.
 */
int weir_arena_extend(struct weir_arena *arena, const char *end, size_t n_more);

void weir_arena_fini(struct weir_arena *arena);

#endif
