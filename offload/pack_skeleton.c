/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/pack_state.h"
#include "offload/checksum.h"

#include <stdlib.h>
#include <zstd.h>

uint8_t *weir_packer_tile(struct weir_packer *packer, uint64_t tile)
{
    return packer->index + weir_index_tiles_at(&packer->file) +
           tile * WEIR_TILE_RECORD_BYTES;
}

uint64_t weir_packer_source_bytes(const struct weir_packer *packer,
                                  uint32_t tensor)
{
    const struct weir_pack_tensor *source = &packer->pack->tensors[tensor];
    const struct weir_tensor *cut = &packer->file.tensors[tensor];

    if (source->is_scales || source->share_back)
        return 0;
    return cut->rows * cut->cols * weir_dtype_bytes(source->src_dtype);
}

static int lay_tensor(struct weir_packer *packer, uint32_t i,
                      struct weir_err *err)
{
    const struct weir_pack_tensor *from = &packer->pack->tensors[i];
    struct weir_tensor *to = &packer->file.tensors[i];

    to->name = from->name;
    to->dtype = from->dtype;
    to->n_dims = from->n_dims;
    memcpy(to->shape, from->shape, sizeof(to->shape));
    to->scale_tensor = WEIR_NO_TENSOR;
    to->first_tile = packer->file.n_tiles;
    to->owner = i - from->share_back;
    packer->file.aliased |= from->share_back != 0;
    weir_tiling_cut(to, from->split, packer->pack->tile_ceiling);
    packer->file.n_tiles += weir_tiling_n_tiles(to);
    packer->total_bytes += weir_packer_source_bytes(packer, i);
    if (weir_tiling_row_bytes(to) > WEIR_ROW_BYTES)
        return weir_err_set(
            err, WEIR_ELIMIT, "%s: a row of %llu bytes; a tile holds %d",
            from->name, (unsigned long long)weir_tiling_row_bytes(to),
            WEIR_ROW_BYTES);
    return 0;
}

/* Int8 tensors of a unit use the scales at its head, one after another. */
static void lay_unit(struct weir_packer *packer, uint32_t u)
{
    const struct weir_pack_unit *unit = &packer->pack->units[u];
    uint32_t used = 0;

    packer->file.units[u] =
        (struct weir_unit){unit->name, unit->first_tensor, unit->n_tensors};
    packer->units[u].scales_tensor = WEIR_NO_TENSOR;
    for (uint32_t i = 0; i < unit->n_tensors; i++) {
        uint32_t t = unit->first_tensor + i;
        struct weir_tensor *tensor = &packer->file.tensors[t];

        if (tensor->owner == t)
            packer->units[u].bands_left += weir_tiling_n_groups(tensor);
        if (packer->pack->tensors[t].is_scales)
            packer->units[u].scales_tensor = t;
        if (tensor->dtype != WEIR_I8)
            continue;
        tensor->scale_tensor = packer->units[u].scales_tensor;
        tensor->scale_first = used;
        used += (uint32_t)tensor->rows;
    }
}

/* Blobs follow the index, each at a page; tiles follow the blobs. */
static void lay_blobs(struct weir_packer *packer)
{
    const struct weir_pack_blob *from = packer->pack->blobs;
    uint64_t at;

    for (uint32_t i = 0; i < packer->file.n_blobs; i++)
        packer->file.blobs[i].name = from[i].name;
    packer->index_bytes = weir_index_bytes(&packer->file);
    at = weir_page_up(WEIR_FILE_PAGE + packer->index_bytes);
    for (uint32_t i = 0; i < packer->file.n_blobs; i++) {
        struct weir_blob *to = &packer->file.blobs[i];

        to->offset = at;
        to->n_bytes = from[i].n_bytes;
        to->xxh3 = weir_checksum(from[i].data, from[i].n_bytes);
        at = weir_page_up(at + to->n_bytes);
    }
    packer->data_at = at;
}

int weir_packer_lay(struct weir_packer *packer, struct weir_err *err)
{
    const struct weir_pack *pack = packer->pack;
    struct weir_file *file = &packer->file;
    int rc;

    file->n_parts = packer->n_parts = pack->stripe ? pack->stripe->n_parts : 1;
    for (uint32_t i = 1; i < file->n_parts; i++)
        file->parts[i].recorded = pack->stripe->parts[i].recorded;
    packer->part_unit = UINT32_MAX;
    file->n_tensors = pack->n_tensors;
    file->n_units = pack->n_units;
    file->n_blobs = pack->n_blobs;
    file->tensors = calloc(pack->n_tensors + 1u, sizeof(*file->tensors));
    file->units = calloc(pack->n_units + 1u, sizeof(*file->units));
    file->blobs = calloc(pack->n_blobs + 1u, sizeof(*file->blobs));
    packer->units = calloc(pack->n_units + 1u, sizeof(*packer->units));
    if (!file->tensors || !file->units || !file->blobs || !packer->units)
        return weir_err_nomem(err, pack->n_tensors * sizeof(*file->tensors),
                              "the index");
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        rc = lay_tensor(packer, i, err);
        if (rc)
            return rc;
    }
    for (uint32_t i = 0; i < pack->n_units; i++)
        lay_unit(packer, i);
    lay_blobs(packer);
    packer->index = calloc(1, packer->index_bytes);
    if (!packer->index)
        return weir_err_nomem(err, packer->index_bytes, "the index");
    file->tile_records = weir_packer_tile(packer, 0);
    weir_index_encode(file, packer->index);
    packer->identity = XXH3_64bits_withSeed(
        packer->index, packer->index_bytes,
        (uint64_t)ZSTD_versionNumber() << 8 | (uint64_t)pack->policy);
    if (file->n_parts > 1)
        packer->identity = XXH3_64bits_withSeed(&pack->stripe->n_bytes,
                                                sizeof(pack->stripe->n_bytes),
                                                packer->identity);
    for (uint32_t i = 0; file->aliased && i < file->n_tensors; i++)
        packer->identity = XXH3_64bits_withSeed(&file->tensors[i].owner,
                                                sizeof(file->tensors[i].owner),
                                                packer->identity);
    return 0;
}
