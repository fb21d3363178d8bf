/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INTERLEAVE 3 /* MPOL_INTERLEAVE; its header comes with libnuma only */

/* A number below WEIR_NODES_MAX at *at, which moves on; -1 if there is none */
static int parse_node(const char **at)
{
    char *end;
    long n;

    if (**at < '0' || **at > '9')
        return -1;
    n = strtol(*at, &end, 10);
    *at = end;
    return n < WEIR_NODES_MAX ? (int)n : -1;
}

static void add_node(struct weir_nodes *nodes, unsigned node)
{
    nodes->mask[node / WEIR_NODES_BITS] |= 1ul << node % WEIR_NODES_BITS;
}

unsigned weir_nodes_parse(const char *list, struct weir_nodes *nodes)
{
    unsigned n = 0;

    memset(nodes, 0, sizeof(*nodes));
    for (int past = -1;; list++) {
        int first = parse_node(&list), last = first;

        if (*list == '-') {
            list++;
            last = parse_node(&list);
        }
        if (first <= past || last < first)
            return 0;
        for (int node = first; node <= last; node++, n++)
            add_node(nodes, (unsigned)node);
        past = last;
        if (*list != ',')
            return *list == '\0' || !strcmp(list, "\n") ? n : 0;
    }
}

/* Linux takes the number of bits to be one more than there are. */
unsigned weir_nodes_spread(void *data, size_t n_bytes)
{
    FILE *file = fopen("/sys/devices/system/node/has_memory", "re");
    struct weir_nodes nodes;
    char list[256];
    unsigned n = 0;

    if (!file)
        return 1;
    if (fgets(list, sizeof(list), file))
        n = weir_nodes_parse(list, &nodes);
    fclose(file);
    if (n < 2 || syscall(SYS_mbind, data, n_bytes, INTERLEAVE, nodes.mask,
                         WEIR_NODES_MAX + 1ul, 0))
        return 1;
    return n;
}
