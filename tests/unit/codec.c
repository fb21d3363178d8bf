/* SPDX-License-Identifier: Apache-2.0 */
/* What is coded comes back, whatever its length. */
#include "offload/codec.h"

#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

#define MOST (WEIR_TILE_BYTES + 64)

static uint8_t tile[MOST], stored[MOST], out[MOST + 1];

/* Low bytes of any kind, high bytes of a few, as in the weights of a model */
static void fill_tile(void)
{
    uint32_t word = 1;

    for (size_t i = 0; i < MOST; i++) {
        word = word * 1664525 + 1013904223;
        tile[i] = (uint8_t)(i % 2 ? 0x3c + (word >> 29) : word >> 24);
    }
}

static int comes_back(struct weir_encoder *encoder, void *workspace,
                      size_t n_bytes)
{
    struct weir_coded coded;
    int rc = weir_encoder_run(encoder, WEIR_POLICY_AUTO, WEIR_BF16, tile,
                              n_bytes, stored, &coded, NULL);

    memset(out, 0xa5, sizeof(out));
    return !rc && coded.codec == WEIR_CODEC_PLANES &&
           !weir_decode(coded.codec, stored, coded.n_bytes, out, n_bytes,
                        workspace) &&
           !memcmp(out, tile, n_bytes) && out[n_bytes] == 0xa5;
}

static void test_lengths(struct weir_encoder *encoder, void *workspace)
{
    unsigned n = 0, n_good = 0;

    for (size_t n_bytes = 4096; n_bytes <= 4096 + 128; n_bytes += 2, n++)
        n_good += comes_back(encoder, workspace, n_bytes) != 0;
    tap_ok(n_good == n, "of %u lengths %u come back", n, n_good);
    tap_ok(comes_back(encoder, workspace, WEIR_TILE_BYTES), "a whole tile");
    tap_ok(comes_back(encoder, workspace, WEIR_TILE_BYTES - 2),
           "one that lacks an element");
}

int main(void)
{
    void *workspace = aligned_alloc(64, weir_decode_workspace_bytes());
    struct weir_encoder *encoder = NULL;

    fill_tile();
    if (!workspace || weir_encoder_new(&encoder, NULL)) {
        tap_ok(0, "there is memory");
    } else {
        weir_decode_workspace_init(workspace);
        test_lengths(encoder, workspace);
    }
    weir_encoder_free(encoder);
    free(workspace);
    return tap_done();
}
