/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/runs.h"

#include <string.h>

#include "offload/tiling.h"

/* Goes past tensors without tiles that are left or their own; 0 at the end */
static int find_tensor(struct weir_runs *runs)
{
    const struct weir_tensor *tensor;

    for (; runs->tensor < runs->file->n_tensors;
         runs->tensor++, runs->tile = 0) {
        tensor = &runs->file->tensors[runs->tensor];
        if (tensor->owner == runs->tensor &&
            runs->tile < weir_tiling_n_tiles(tensor))
            return 1;
    }
    return 0;
}

int weir_runs_next(struct weir_runs *runs, struct weir_run *run)
{
    struct weir_tile_record record;
    uint64_t number, pages;

    memset(run, 0, sizeof(*run));
    while (find_tensor(runs)) {
        number = runs->file->tensors[runs->tensor].first_tile + runs->tile;
        weir_file_tile(runs->file, number, &record);
        pages = weir_page_up(record.stored_bytes);
        if (run->n_tiles && (record.file != run->file ||
                             record.offset != run->offset + run->n_bytes ||
                             number != run->first_tile + run->n_tiles ||
                             run->n_bytes + pages > runs->most))
            break;
        if (!run->n_tiles) {
            run->first_tile = number;
            run->tensor = runs->tensor;
            run->file = record.file;
            run->offset = record.offset;
        }
        run->n_tiles++;
        run->n_bytes += pages;
        runs->tile++;
    }
    return run->n_tiles > 0;
}
