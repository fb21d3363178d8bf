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

/* What registers and shared memory hold is there for the unit */
DEVICE void unit_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void unit_wait(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;\n"
                 "wgmma.wait_group.sync.aligned 0;" ::
                     : "memory");
}

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

DEVICE void unit_wait(void)
{
}

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

DEVICE void multiply_tile(const struct gemm *p, uint32_t dtype, int tile_tok)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t ring = shared_address(shared), row = threadIdx.x / WARP * 16;
    uint32_t bytes = STAGE_BYTES(dtype, tile_tok), n_steps;
    int n_x = tile_tok / 32;
    float c[32][4] = {{0}};
    struct finish finish;
    struct span span;
    struct feed feed;

    weir_let_next_start();
    weir_after_others();
    if (!find_span(p, tile_tok, &span))
        return;
    feed_start(p, &span, dtype, n_x, &feed);
    n_steps = feed.n_left;
#pragma unroll
    for (int i = 0; i < RING - 1; i++)
        feed_next(p, dtype, n_x, ring + i * bytes, &feed);
    for (uint32_t i = 0; i < n_steps; i++) {
        uint32_t stage = ring + i % RING * bytes, a[4][4];
        uint32_t xs = stage + TILE_ROWS * W_BYTES(dtype);

        copy_wait(RING - 2);
        unit_show_copies();
        __syncthreads();
        if (dtype == WEIR_I8)
            load_i8(a, stage, row);
        else
            load_bf16(a, stage, row);
        unit_fence();
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int half = 0; half < tile_tok / 128; half++)
                unit_multiply(c + half * 16, a[j],
                              describe(xs + half * 128 * X_BYTES + j * 32));
        feed_next(p, dtype, n_x, ring + (i + RING - 1) % RING * bytes, &feed);
        unit_wait();
    }
    finish = finish_rows(p, &span, row);
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

const struct gemm_kernel *weir_cuda_hopper_gemm(
    const struct weir_device *device)
{
    static const struct gemm_kernel kernels[GEMM_KERNELS] = {
        {128, (const void *)hopper_i8_128, (const void *)hopper_bf16_128},
        {128, (const void *)hopper_i8_128, (const void *)hopper_bf16_128},
        {256, (const void *)hopper_i8_256, (const void *)hopper_bf16_256},
    };

#ifdef WEIR_CUDA_HOPPER
    return device->cc_major == 9 ? kernels : NULL;
#else
    (void)device;
    (void)kernels;
    return NULL;
#endif
}
