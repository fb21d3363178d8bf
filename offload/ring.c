/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/ring.h"

#include <string.h>
#include <sys/mman.h>

#include "base/nodes.h"

static size_t align_up(size_t n)
{
    return (n + WEIR_REGION_ALIGN - 1) / WEIR_REGION_ALIGN * WEIR_REGION_ALIGN;
}

/* A map begins at any page: what lies around the region is never touched. */
int weir_region_init(struct weir_region *region, size_t n_bytes,
                     struct weir_err *err)
{
    memset(region, 0, sizeof(*region));
    if (n_bytes == 0 || n_bytes > SIZE_MAX / 2)
        return weir_err_nomem(err, n_bytes, "buffers of the drive");
    region->n_bytes = align_up(n_bytes);
    region->map_bytes = region->n_bytes + WEIR_REGION_ALIGN;
    region->map = mmap(NULL, region->map_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->map == MAP_FAILED) {
        region->map = NULL;
        return weir_err_nomem(err, n_bytes, "buffers of the drive");
    }
    region->base = (uint8_t *)align_up((size_t)region->map);
    /* refused by kernels without huge pages: then it is slow, not wrong */
    madvise(region->base, region->n_bytes, MADV_HUGEPAGE);
    weir_nodes_spread(region->base, region->n_bytes);
    return 0;
}

void weir_region_fini(struct weir_region *region)
{
    if (region->map)
        munmap(region->map, region->map_bytes);
    memset(region, 0, sizeof(*region));
}
