/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens on cards of the Hopper generation (compute capability
 * 9.0), whose matrix units take a whole warp group of 4 warps and read
 * activations from shared memory by themselves.  Weights are their first
 * operand and go through registers, where int8 becomes bf16 once for all tokens
 * of the tile.  A warp group has 64 rows, a warp 16 of them and all tokens.
 * PTX manual, "Asynchronous Warpgroup Level Matrix Instructions".
 */
#include "kernels/cuda/gemm_parts.h"

/*
 * What the unit wants to know of 128 tokens' activations in shared memory: the
 * address, 1024 bytes from 8 tokens to the next, the exchange of pieces.
 */
DEVICE uint64_t describe(uint32_t address)
{
    return (uint64_t)(address >> 4 & 0x3fff) | 1ull << 16 |
           (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#define R(c) "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])

/* c [64][128] += a [64][16] * b [16][128], under way until unit_wait() */
DEVICE void unit_multiply(float (*c)[4], const uint32_t *a, uint64_t b)
{
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "
        "%30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
        "%46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
        "%62, %63}, "
        "{%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
        : R(c[0]), R(c[1]), R(c[2]), R(c[3]), R(c[4]), R(c[5]), R(c[6]),
          R(c[7]), R(c[8]), R(c[9]), R(c[10]), R(c[11]), R(c[12]), R(c[13]),
          R(c[14]), R(c[15])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* c [64][256] += a [64][16] * b [16][256], the same */
DEVICE void unit_multiply_wide(float (*c)[4], const uint32_t *a, uint64_t b)
{
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, "
        "%15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "
        "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, "
        "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, "
        "%54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, "
        "%67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, "
        "%93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, "
        "%105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, "
        "%116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "
        "%127}, "
        "{%128, %129, %130, %131}, %132, 1, 1, 1, 0;"
        : R(c[0]), R(c[1]), R(c[2]), R(c[3]), R(c[4]), R(c[5]), R(c[6]),
          R(c[7]), R(c[8]), R(c[9]), R(c[10]), R(c[11]), R(c[12]), R(c[13]),
          R(c[14]), R(c[15]), R(c[16]), R(c[17]), R(c[18]), R(c[19]), R(c[20]),
          R(c[21]), R(c[22]), R(c[23]), R(c[24]), R(c[25]), R(c[26]), R(c[27]),
          R(c[28]), R(c[29]), R(c[30]), R(c[31])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* What registers and shared memory hold is there for the unit */
DEVICE void unit_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void unit_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* What was committed has ended but for the `n` youngest, a constant */
#define unit_wait(n)                                                           \
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory")

/* Copies that have arrived in shared memory are for the unit to see. */
DEVICE void unit_show_copies(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#else

DEVICE void unit_multiply(float (*c)[4], const uint32_t *a, uint64_t b)
{
}

DEVICE void unit_fence(void)
{
}

DEVICE void unit_multiply_wide(float (*c)[4], const uint32_t *a, uint64_t b)
{
}

DEVICE void unit_commit(void)
{
}

#define unit_wait(n)

DEVICE void unit_show_copies(void)
{
}

#endif

/* A warp's 16 rows of a stage, 64 columns, as fragments */
DEVICE void load_i8(uint32_t (*a)[4], uint32_t stage, uint32_t row)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;
    uint32_t at = stage + (row + g) * W_BYTES(WEIR_I8) + q * 16;
    uint4 up = load_shared(at);
    uint4 down = load_shared(at + 8 * W_BYTES(WEIR_I8));
    const uint32_t u[4] = {up.x, up.y, up.z, up.w};
    const uint32_t d[4] = {down.x, down.y, down.z, down.w};

#pragma unroll
    for (int j = 0; j < 4; j++) {
        a[j][0] = widen_even(u[j]);
        a[j][1] = widen_even(d[j]);
        a[j][2] = widen_odd(u[j]);
        a[j][3] = widen_odd(d[j]);
    }
}

DEVICE void load_bf16(uint32_t (*a)[4], uint32_t stage, uint32_t row)
{
    uint32_t lane = threadIdx.x % WARP, r = row + lane % 16;

#pragma unroll
    for (int j = 0; j < 4; j++)
        load_matrices(a[j], stage + r * W_BYTES(WEIR_BF16) +
                                ((j * 2 + lane / 16) ^ (r & 7)) * 16);
}

/* Stages of a ring, which takes up to 200 KiB */
#define STAGES(dtype, n_tok) ((200 << 10) / STAGE_BYTES(dtype, n_tok))

/* copy_wait() of a number that only inlining makes a constant */
DEVICE void wait_copies(int n)
{
    switch (n) {
    case 1:
        copy_wait(1);
        break;
    case 2:
        copy_wait(2);
        break;
    case 3:
        copy_wait(3);
        break;
    case 5:
        copy_wait(5);
        break;
    default:
        copy_wait(0);
    }
}

/* What the threads of a tile go through */
struct way {
    uint32_t stage, next, end; /* in the ring: now, to be filled; behind it */
    uint32_t ring, row;
    struct feed feed;
};

DEVICE uint32_t after(const struct way *way, uint32_t stage, uint32_t bytes)
{
    stage += bytes;
    return stage == way->end ? way->ring : stage;
}

/*
 * One stage.  The unit is still at the one before while weights become
 * fragments, so `a` is another one's in turn; the slot that is filled again is
 * that of the stage before that, which all warps have seen ended.
 */
DEVICE void multiply_stage(const struct gemm *p, uint32_t dtype, int tile_tok,
                           struct way *way, uint32_t (*a)[4], float (*c)[4])
{
    uint32_t bytes = STAGE_BYTES(dtype, tile_tok);
    uint32_t xs = way->stage + TILE_ROWS * W_BYTES(dtype);

    wait_copies(STAGES(dtype, tile_tok) - 3);
    unit_show_copies();
    __syncthreads();
    if (dtype == WEIR_I8)
        load_i8(a, way->stage, way->row);
    else
        load_bf16(a, way->stage, way->row);
    unit_fence();
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (tile_tok == 256)
            unit_multiply_wide(c, a[j], describe(xs + j * 32));
        else
            unit_multiply(c, a[j], describe(xs + j * 32));
    unit_commit();
    feed_next(p, dtype, tile_tok / 32, way->next, &way->feed);
    way->stage = after(way, way->stage, bytes);
    way->next = after(way, way->next, bytes);
    unit_wait(1);
}

DEVICE void way_start(const struct gemm *p, uint32_t dtype, int tile_tok,
                      const struct span *span, struct way *way)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t bytes = STAGE_BYTES(dtype, tile_tok);

    way->ring = way->stage = way->next = shared_address(shared);
    way->end = way->ring + STAGES(dtype, tile_tok) * bytes;
    way->row = threadIdx.x / WARP * 16;
    feed_start(p, span, dtype, tile_tok / 32, &way->feed);
}

DEVICE void multiply_tile(const struct gemm *p, uint32_t dtype, int tile_tok)
{
    float c[32][4] = {{0}};
    uint32_t a[2][4][4], n_steps;
    struct finish finish;
    struct span span;
    struct way way;

    weir_let_next_start();
    weir_after_others();
    if (!find_span(p, tile_tok, &span))
        return;
    way_start(p, dtype, tile_tok, &span, &way);
    n_steps = way.feed.n_left;
#pragma unroll
    for (int i = 0; i < STAGES(dtype, tile_tok) - 2; i++) {
        feed_next(p, dtype, tile_tok / 32, way.next, &way.feed);
        way.next += STAGE_BYTES(dtype, tile_tok);
    }
    for (uint32_t i = 0; i < n_steps; i += 2) {
        multiply_stage(p, dtype, tile_tok, &way, a[0], c);
        if (i + 1 == n_steps)
            break;
        multiply_stage(p, dtype, tile_tok, &way, a[1], c);
    }
    unit_wait(0);
    finish = finish_rows(p, &span, way.row);
#pragma unroll
    for (int i = 0; i < tile_tok / 8; i++)
        put_fragment(p, &span, &finish, i * 8, c[i]);
}

#define KERNEL(name, dtype, tile_tok)                                          \
    static __global__ void __launch_bounds__(THREADS, 1)                       \
        name(const __grid_constant__ struct gemm gemm)                         \
    {                                                                          \
        multiply_tile(&gemm, dtype, tile_tok);                                 \
    }
KERNEL(hopper_i8_128, WEIR_I8, 128)
KERNEL(hopper_i8_256, WEIR_I8, 256)
KERNEL(hopper_bf16_128, WEIR_BF16, 128)
KERNEL(hopper_bf16_256, WEIR_BF16, 256)

/* Of so many tokens, as struct gemm_kernel */
#define ENTRY(n)                                                               \
    {                                                                          \
        n, (const void *)hopper_i8_##n, (const void *)hopper_bf16_##n,         \
            STAGES(WEIR_I8, n) * STAGE_BYTES(WEIR_I8, n),                      \
            STAGES(WEIR_BF16, n) * STAGE_BYTES(WEIR_BF16, n)                   \
    }

const struct gemm_kernel *weir_cuda_hopper_gemm(
    const struct weir_device *device)
{
    static const struct gemm_kernel kernels[GEMM_KERNELS] = {
        ENTRY(128),
        ENTRY(128),
        ENTRY(256),
    };

#ifdef WEIR_CUDA_HOPPER
    return device->cc_major == 9 ? kernels : NULL;
#else
    (void)device;
    (void)kernels;
    return NULL;
#endif
}
