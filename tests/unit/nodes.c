/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of nodes as Linux writes them, and what is no such list. */
#include "base/nodes.h"

#include <string.h>
#include <sys/mman.h>

#include "tests/tap.h"

static void good(const char *list, const char *name, unsigned n,
                 unsigned long first, unsigned long second)
{
    struct weir_nodes nodes;
    unsigned got = weir_nodes_parse(list, &nodes);

    tap_ok(got == n && nodes.mask[0] == first && nodes.mask[1] == second,
           "%s has %u nodes", name, n);
}

static void bad(const char *list, const char *name)
{
    struct weir_nodes nodes;

    tap_ok(weir_nodes_parse(list, &nodes) == 0, "%s is no list", name);
}

int main(void)
{
    size_t n_bytes = 1u << 20;
    char *data = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    good("0\n", "0", 1, 1, 0);
    good("0-3\n", "0-3", 4, 0xf, 0);
    good("0-1,4,6-7", "0-1,4,6-7", 5, 0xd3, 0);
    good("63-64", "63-64", 2, 1ul << 63, 1);
    good("1023", "1023", 1, 0, 0);
    bad("", "nothing");
    bad("\n", "an empty line");
    bad("0-", "0-");
    bad("0,", "0,");
    bad("0 1", "0 1");
    bad("3-1", "3-1");
    bad("1,1", "1,1");
    bad("-1", "-1");
    bad("1024", "1024");
    bad("99999999999999999999", "a large number");
    if (data == MAP_FAILED)
        return 99;
    tap_ok(weir_nodes_spread(data, n_bytes) >= 1, "memory is spread");
    memset(data, 1, n_bytes);
    tap_ok(!memchr(data, 0, n_bytes), "memory that is spread can be used");
    return tap_done();
}
