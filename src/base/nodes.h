/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that lies near some CPUs and far from others: nodes. */
#ifndef WEIR_BASE_NODES_H
#define WEIR_BASE_NODES_H

#include <stddef.h>

#define WEIR_NODES_MAX  1024
#define WEIR_NODES_BITS (8 * sizeof(unsigned long))

struct weir_nodes {
    unsigned long mask[WEIR_NODES_MAX / WEIR_NODES_BITS];
};

/*
 * Reads a list as Linux writes it, "0-3,8" and a newline perhaps; how many
 * nodes it has, or 0 if it is no such list or has a node above the most.
 */
unsigned weir_nodes_parse(const char *list, struct weir_nodes *nodes);

/*
 * Asks that pages of `data`, aligned to pages and not touched yet, come from
 * all nodes by turns: weights are read by the CPUs of all of them.  Returns the
 * number of nodes, or 1 if there are no others or Linux does not do it; then
 * pages come from wherever they are touched first.
 */
unsigned weir_nodes_spread(void *data, size_t n_bytes);

#endif
