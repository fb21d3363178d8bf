/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tile: one byte for the codec, three for the unpacked bytes, then the
 * stored bytes; or, with the high bit of the first byte, a policy, an element
 * type and a tile to encode and decode again.
 *
 * zstd is not instrumented.  So stored and unpacked bytes end where a page
 * begins that nobody may touch.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "offload/codec.h"
#include "tests/fuzz/fuzz.h"

#define ROOM (WEIR_TILE_BYTES + WEIR_FILE_PAGE)

enum { STORED, UNPACKED, N_AREAS };

static uint8_t *area_ends[N_AREAS];
static void *workspace;
static struct weir_encoder *encoder;

static void prepare(void)
{
    for (int i = 0; i < N_AREAS; i++) {
        uint8_t *area = mmap(NULL, ROOM + WEIR_FILE_PAGE, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        FUZZ_CHECK(area != MAP_FAILED &&
                   !mprotect(area, ROOM, PROT_READ | PROT_WRITE));
        area_ends[i] = area + ROOM;
    }
    workspace = aligned_alloc(64, weir_decode_workspace_bytes());
    FUZZ_CHECK(workspace && !weir_encoder_new(&encoder, NULL));
    weir_decode_workspace_init(workspace);
}

/* Decodes into memory full of `fill`; a result depends on nothing but input. */
static int decode(unsigned codec, const uint8_t *stored, size_t stored_bytes,
                  size_t n_bytes, uint8_t fill)
{
    uint8_t *out = area_ends[UNPACKED] - n_bytes;

    memset(out, fill, n_bytes);
    return weir_decode((enum weir_codec)codec, stored, stored_bytes, out,
                       n_bytes, workspace);
}

/* The low bytes of planes stand in the stored bytes as they are. */
static void check_planes(const uint8_t *stored, const uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n / 2; i++)
        FUZZ_CHECK(out[2 * i] == stored[i]);
}

/* Nothing may hide behind what was decoded, not even an empty frame. */
static void check_end(unsigned codec, size_t n_bytes, const uint8_t *data,
                      size_t stored_bytes)
{
    static const uint8_t empty[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0};
    uint8_t *stored = area_ends[STORED] - stored_bytes - sizeof(empty);

    memcpy(stored, data, stored_bytes);
    memcpy(stored + stored_bytes, empty, sizeof(empty));
    FUZZ_CHECK(decode(codec, stored, stored_bytes + sizeof(empty), n_bytes, 0));
}

static void fuzz_decode(unsigned codec, size_t n_bytes, const uint8_t *data,
                        size_t stored_bytes)
{
    uint8_t *stored = area_ends[STORED] - stored_bytes, *first;
    const uint8_t *out = area_ends[UNPACKED] - n_bytes;
    int rc;

    memcpy(stored, data, stored_bytes);
    rc = decode(codec, stored, stored_bytes, n_bytes, 0x55);
    FUZZ_CHECK(rc == 0 || rc == WEIR_ECORRUPT);
    FUZZ_CHECK(!memcmp(stored, data, stored_bytes));
    if (rc)
        return;
    FUZZ_CHECK(codec < WEIR_N_CODECS);
    if (codec == WEIR_CODEC_PLANES)
        check_planes(stored, out, n_bytes);
    else if (codec == WEIR_CODEC_RAW)
        FUZZ_CHECK(n_bytes == stored_bytes && !memcmp(out, data, n_bytes));
    first = malloc(n_bytes + 1);
    memcpy(first, out, n_bytes);
    FUZZ_CHECK(!decode(codec, stored, stored_bytes, n_bytes, 0xaa));
    FUZZ_CHECK(!memcmp(out, first, n_bytes));
    free(first);
    check_end(codec, n_bytes, data, stored_bytes);
}

/* What was encoded decodes to itself, and not when a byte of it is missing. */
static void fuzz_encode(unsigned kind, const uint8_t *tile, size_t n_bytes)
{
    enum weir_dtype dtype = (enum weir_dtype)(kind / 3 % WEIR_N_DTYPES);
    struct weir_coded coded;
    uint8_t *out = malloc(n_bytes + 1), *stored;

    n_bytes -= n_bytes % weir_dtype_bytes(dtype);
    FUZZ_CHECK(!weir_encoder_run(encoder, (enum weir_codec_policy)(kind % 3),
                                 dtype, tile, n_bytes, out, &coded, NULL));
    FUZZ_CHECK(coded.n_bytes <= n_bytes && coded.codec < WEIR_N_CODECS);
    FUZZ_CHECK(coded.codec == WEIR_CODEC_RAW || coded.n_bytes < n_bytes);
    stored = area_ends[STORED] - coded.n_bytes;
    memcpy(stored, out, coded.n_bytes);
    FUZZ_CHECK(!decode(coded.codec, stored, coded.n_bytes, n_bytes, 0x55));
    FUZZ_CHECK(!memcmp(area_ends[UNPACKED] - n_bytes, tile, n_bytes));
    if (coded.n_bytes)
        FUZZ_CHECK(decode(coded.codec, stored, coded.n_bytes - 1, n_bytes, 0));
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    size_t n;

    if (!workspace)
        prepare();
    if (n_bytes < 4 || n_bytes - 4 > WEIR_TILE_BYTES)
        return 0;
    n = (data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16) %
        (WEIR_TILE_BYTES + 1);
    if (data[0] & 0x80)
        fuzz_encode(data[0] & 0x7f, data + 4, n_bytes - 4);
    else
        fuzz_decode(data[0] % 4, n, data + 4, n_bytes - 4);
    return 0;
}
