/* SPDX-License-Identifier: Apache-2.0 */
/* Reads that wait, under the reader's lock. */
#ifndef WEIR_OFFLOAD_READER_QUEUE_H
#define WEIR_OFFLOAD_READER_QUEUE_H

#include "offload/reader.h"

struct weir_reads {
    struct weir_read *head, **tail;
};

static inline void weir_reads_init(struct weir_reads *reads)
{
    reads->head = NULL;
    reads->tail = &reads->head;
}

static inline void weir_reads_put_first(struct weir_reads *reads,
                                        struct weir_read *read)
{
    read->next = reads->head;
    reads->head = read;
    if (!read->next)
        reads->tail = &read->next;
}

static inline void weir_reads_put_last(struct weir_reads *reads,
                                       struct weir_read *read)
{
    read->next = NULL;
    *reads->tail = read;
    reads->tail = &read->next;
}

/* It is there. */
static inline void weir_reads_take_out(struct weir_reads *reads,
                                       struct weir_read *read)
{
    struct weir_read **at = &reads->head;

    while (*at != read)
        at = &(*at)->next;
    *at = read->next;
    if (reads->tail == &read->next)
        reads->tail = at;
}

#endif
