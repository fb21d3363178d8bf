/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (64u << 10)

struct weir_arena_block {
    struct weir_arena_block *before;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

/* Room for half as much again: what grows at its end is copied seldom. */
static int add_block(struct weir_arena *arena, size_t n_bytes,
                     struct weir_err *err)
{
    size_t left = arena->ceiling - arena->n_bytes, size = n_bytes + n_bytes / 2;
    struct weir_arena_block *block;

    if (size < BLOCK_BYTES)
        size = BLOCK_BYTES;
    if (size > left)
        size = left;
    if (n_bytes > left)
        return weir_err_set(err, WEIR_ELIMIT,
                            "more than the %zu bytes of memory that are "
                            "allowed here",
                            arena->ceiling);
    block = malloc(sizeof(*block) + size);
    if (!block)
        return weir_err_nomem(err, size, "an arena");
    *block = (struct weir_arena_block){.before = arena->last, .size = size};
    arena->last = block;
    arena->n_bytes += size;
    return 0;
}

void *weir_arena_take(struct weir_arena *arena, size_t n_bytes,
                      struct weir_err *err)
{
    const size_t mask = alignof(max_align_t) - 1;
    struct weir_arena_block *block = arena->last;
    size_t from = block ? (block->used + mask) & ~mask : 0;

    if (!block || from > block->size || n_bytes > block->size - from) {
        if (add_block(arena, n_bytes, err))
            return NULL;
        block = arena->last;
        from = 0;
    }
    block->used = from + n_bytes;
    return memset(block->bytes + from, 0, n_bytes);
}

int weir_arena_extend(struct weir_arena *arena, const char *end, size_t n_more)
{
    struct weir_arena_block *block = arena->last;

    if (!block || end != block->bytes + block->used ||
        n_more > block->size - block->used)
        return 0;
    block->used += n_more;
    return 1;
}

void weir_arena_fini(struct weir_arena *arena)
{
    struct weir_arena_block *block;

    while ((block = arena->last)) {
        arena->last = block->before;
        free(block);
    }
    arena->n_bytes = 0;
}
