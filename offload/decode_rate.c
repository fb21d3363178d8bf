/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All threads decode the same tile, each into memory of its own, as workers do
 * while they compute: what a core does alone, with all of the cache and the
 * highest clock, is more.
 */
#include "offload/decode_rate.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "offload/codec.h"

#define PIECE    8 /* tiles that a thread decodes at a time */
#define N_PIECES 4 /* for each thread */
#define N_PASSES 5 /* the best of them counts */

struct pass {
    struct weir_coded coded;
    const uint8_t *stored;
    uint8_t *rooms; /* of each worker: a tile, and a workspace */
    size_t room_bytes;
    atomic_int failed;
};

static uint8_t *room_of(const struct pass *pass, unsigned worker)
{
    return pass->rooms + worker * pass->room_bytes;
}

static void decode_piece(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;
    uint8_t *room = room_of(pass, worker);

    (void)item;
    for (int i = 0; i < PIECE; i++)
        if (weir_decode(pass->coded.codec, pass->stored, pass->coded.n_bytes,
                        room, WEIR_TILE_BYTES, room + WEIR_TILE_BYTES))
            pass->failed = 1;
}

/* Sums of four uniform numbers stand for the normal ones of trained weights;
 * the numbers are those of Knuth's MMIX. */
static float draw_weight(uint64_t *seed)
{
    float sum = -2;

    for (int i = 0; i < 4; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(*seed >> 40) / (1 << 24);
    }
    return sum * 0.03f;
}

static void fill_tile(uint8_t *tile, enum weir_codec codec)
{
    union {
        float f;
        uint32_t bits;
    } weight;
    uint64_t seed = 1;

    for (size_t i = 0; i < WEIR_TILE_BYTES; i++) {
        weight.f = draw_weight(&seed);
        if (codec == WEIR_CODEC_ZSTD) {
            tile[i] = (uint8_t)(int8_t)(weight.f * 2000);
            continue;
        }
        tile[i++] = (uint8_t)(weight.bits >> 16);
        tile[i] = (uint8_t)(weight.bits >> 24);
    }
}

static int encode_tile(struct pass *pass, enum weir_codec codec, uint8_t *tile,
                       uint8_t *stored, struct weir_err *err)
{
    struct weir_encoder *encoder;
    int rc = weir_encoder_new(&encoder, err);

    if (rc)
        return rc;
    fill_tile(tile, codec);
    rc = weir_encoder_run(encoder, WEIR_POLICY_ZSTD,
                          codec == WEIR_CODEC_ZSTD ? WEIR_I8 : WEIR_BF16, tile,
                          WEIR_TILE_BYTES, stored, &pass->coded, err);
    weir_encoder_free(encoder);
    pass->stored = stored;
    return rc;
}

static double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double best_rate(struct pass *pass, struct weir_pool *pool)
{
    size_t n_items = (size_t)N_PIECES * weir_pool_n_threads(pool);
    double n_bytes = (double)n_items * PIECE * WEIR_TILE_BYTES;
    double best = 0, seconds;

    for (int i = 0; i < N_PASSES; i++) {
        seconds = seconds_now();
        weir_pool_run(pool, n_items, decode_piece, pass);
        seconds = seconds_now() - seconds;
        if (n_bytes / seconds > best)
            best = n_bytes / seconds;
    }
    return best / weir_pool_n_threads(pool);
}

int weir_decode_rate(struct weir_pool *pool, enum weir_codec codec,
                     double *rate, struct weir_err *err)
{
    unsigned n_threads = weir_pool_n_threads(pool);
    struct pass pass = {0};
    uint8_t *memory;
    size_t n_bytes;
    int rc;

    pass.room_bytes = WEIR_TILE_BYTES + weir_decode_workspace_bytes();
    n_bytes = 2 * WEIR_TILE_BYTES + n_threads * pass.room_bytes;
    memory = aligned_alloc(64, n_bytes);
    if (!memory)
        return weir_err_nomem(err, n_bytes, "tiles to decode");
    pass.rooms = memory + 2 * WEIR_TILE_BYTES;
    for (unsigned i = 0; i < n_threads; i++)
        weir_decode_workspace_init(room_of(&pass, i) + WEIR_TILE_BYTES);
    rc = encode_tile(&pass, codec, memory, memory + WEIR_TILE_BYTES, err);
    if (!rc)
        *rate = best_rate(&pass, pool);
    if (!rc && (pass.failed || pass.coded.codec != codec))
        rc = weir_err_set(err, WEIR_ECORRUPT,
                          "a tile coded as %s does not come back",
                          weir_codec_name(codec));
    free(memory);
    return rc;
}
