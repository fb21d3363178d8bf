/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens on cards of the Hopper generation (compute capability
 * 9.0), whose matrix units take a whole warp group of 4 warps and read
 * activations from shared memory by themselves.  Weights are their first
 * operand and go through registers, where int8 becomes bf16 once for all tokens
 * of the tile.  A warp group has 64 rows, a warp 16 of them and all tokens.
 * PTX manual, "Asynchronous Warpgroup Level Matrix Instructions".
 *
 * Two warp groups multiply, and one brings what they need: activations, which
 * are packed as the units want them, as one copy for a stage, weights as many.
 * Each stage of the ring has a barrier that says that it is full and one that
 * says that it may be filled again.  Of terms of the same columns only the
 * first brings weights: they stay in registers for the next ones.
 */
#include "kernels/cuda/gemm_parts.h"

#define GROUP     128 /* threads */
#define TILE_TOK  256
#define N_BARRIER 8 /* more than stages */

/* The ring: activations of a stage, weights behind them */
#define STAGES(dtype) ((dtype) == WEIR_I8 ? 5 : 4)
#define SHARED(dtype) (STAGES(dtype) * STAGE_BYTES(dtype, TILE_TOK))
#define X_STAGE       (TILE_TOK * X_BYTES)

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/*
 * What the unit wants to know of tokens' activations in shared memory: the
 * address, 1024 bytes from 8 tokens to the next, the exchange of pieces.
 */
DEVICE uint64_t describe(uint32_t address)
{
    return (uint64_t)(address >> 4 & 0x3fff) | 1ull << 16 |
           (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

#define R(c) "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])
#define R8(c)                                                                  \
    R((c)[0]), R((c)[1]), R((c)[2]), R((c)[3]), R((c)[4]), R((c)[5]),          \
        R((c)[6]), R((c)[7])

/* Operands of tiles of so many tokens */
#define OF_64                                                                  \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "                       \
    "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "                       \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define OF_128                                                                 \
    OF_64 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "               \
          "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "                 \
          "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "                 \
          "%62, %63"
#define OF_192                                                                 \
    OF_128 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, "              \
           "%74, %75, %76, %77, %78, %79, %80, %81, %82, %83, "                \
           "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, "                \
           "%94, %95"
#define OF_256                                                                 \
    OF_192 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, "              \
           "%105, %106, %107, %108, %109, %110, %111, %112, %113, "            \
           "%114, %115, %116, %117, %118, %119, %120, %121, %122, "            \
           "%123, %124, %125, %126, %127"

/* c [64][n] += a [64][16] * b [16][n], under way until unit_wait() */
#define UNIT(n, a0, a1, a2, a3, b0, ...)                                       \
    DEVICE void unit_##n(float(*c)[4], const uint32_t *a, uint64_t b)          \
    {                                                                          \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #n                    \
                     "k16.f32.bf16.bf16 {" OF_##n                              \
                     "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b0      \
                     ", 1, 1, 1, 0;"                                           \
                     : __VA_ARGS__                                             \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));    \
    }
UNIT(64, 32, 33, 34, 35, 36, R8(c))
UNIT(128, 64, 65, 66, 67, 68, R8(c), R8(c + 8))
UNIT(192, 96, 97, 98, 99, 100, R8(c), R8(c + 8), R8(c + 16))
UNIT(256, 128, 129, 130, 131, 132, R8(c), R8(c + 8), R8(c + 16), R8(c + 24))

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

/* Registers of a thread of the group from now on, a constant */
#define take_registers(n)                                                      \
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n))
#define leave_registers(n)                                                     \
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n))

/* ---- barriers in shared memory, by their address ---- */

DEVICE void barrier_init(uint32_t barrier, uint32_t n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier),
                 "r"(n)
                 : "memory");
}

/* All barriers are there for copies to see */
DEVICE void barrier_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

DEVICE void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier)
                 : "memory");
}

/* The same when the thread's copies of 16 bytes have arrived */
DEVICE void barrier_arrive_with_copies(uint32_t barrier)
{
    asm volatile(
        "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier)
        : "memory");
}

/* The barrier waits for n_bytes of copy_bulk(), too. */
DEVICE void barrier_expect(uint32_t barrier, uint32_t n_bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
        "r"(n_bytes)
        : "memory");
}

DEVICE void copy_bulk(uint32_t to, const void *from, uint32_t n_bytes,
                      uint32_t barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx"
                 "::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(n_bytes), "r"(barrier)
                 : "memory");
}

/* Until the barrier has ended its phase of that parity */
DEVICE void barrier_wait(uint32_t barrier, uint32_t parity)
{
    asm volatile("{ .reg .pred done;\n"
                 "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], "
                 "%1;\n"
                 "@!done bra again; }" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

/* A warp's 16 rows of a stage, 64 columns, as fragments */
DEVICE void load_i8(uint32_t (*a)[4], uint32_t w, uint32_t row)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;
    uint32_t at = w + (row + g) * W_BYTES(WEIR_I8) + q * 16;
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

DEVICE void load_bf16(uint32_t (*a)[4], uint32_t w, uint32_t row)
{
    uint32_t lane = threadIdx.x % WARP, r = row + lane % 16;

#pragma unroll
    for (int j = 0; j < 4; j++)
        load_matrices(a[j], w + r * W_BYTES(WEIR_BF16) +
                                ((j * 2 + lane / 16) ^ (r & 7)) * 16);
}

/* ---- the ring ---- */

struct ring {
    uint32_t data, full, empty; /* addresses; barriers have 8 bytes */
    uint32_t slot, parity;
};

DEVICE uint8_t *ring_data(void)
{
    extern __shared__ __align__(1024) uint8_t shared[];

    return shared;
}

DEVICE void ring_step(uint32_t dtype, struct ring *ring)
{
    if (++ring->slot < STAGES(dtype))
        return;
    ring->slot = 0;
    ring->parity ^= 1;
}

DEVICE uint32_t ring_stage(uint32_t dtype, const struct ring *ring)
{
    return ring->data + ring->slot * STAGE_BYTES(dtype, TILE_TOK);
}

/* By the group that brings: a stage after the other */
DEVICE void bring(const struct gemm *p, uint32_t dtype, const struct span *span,
                  struct ring *ring)
{
    uint32_t thread = threadIdx.x % GROUP, n_bytes = (span->n + 7) / 8 * 1024;
    struct feed feed;

    feed_start(p, span, dtype, GROUP, thread, &feed);
    for (; feed.n_left; feed_step(p, &feed)) {
        uint32_t stage = ring_stage(dtype, ring), full = ring->full;

        full += ring->slot * 8;
        barrier_wait(ring->empty + ring->slot * 8, ring->parity ^ 1);
        if (thread == 0) {
            barrier_expect(full, n_bytes);
            copy_bulk(stage, feed.x, n_bytes, full);
        }
        if (feed.term == 0)
            feed_weights(p, dtype, GROUP, thread, stage + X_STAGE, &feed);
        barrier_arrive_with_copies(full);
        ring_step(dtype, ring);
    }
    copy_commit();
    copy_wait(0);
}

/*
 * One stage, with weights of its own or those of the one before.  The unit is
 * still at that one while weights become fragments, so `a` is another one's in
 * turn; it may be filled again when the unit has come to this one.
 */
DEVICE void multiply_stage(uint32_t dtype, int n_tok, uint32_t row,
                           int is_first, int has_weights, struct ring *ring,
                           uint32_t (*a)[4], float (*c)[4])
{
    uint32_t stage = ring_stage(dtype, ring), slot = ring->slot;

    barrier_wait(ring->full + slot * 8, ring->parity);
    if (has_weights && dtype == WEIR_I8)
        load_i8(a, stage + X_STAGE, row);
    else if (has_weights)
        load_bf16(a, stage + X_STAGE, row);
    unit_fence();
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint64_t b = describe(stage + j * 32);

        if (n_tok == 64)
            unit_64(c, a[j], b);
        else if (n_tok == 128)
            unit_128(c, a[j], b);
        else if (n_tok == 192)
            unit_192(c, a[j], b);
        else
            unit_256(c, a[j], b);
    }
    unit_commit();
    ring_step(dtype, ring);
    unit_wait(1);
    slot = slot ? slot - 1 : STAGES(dtype) - 1;
    if (!is_first && threadIdx.x % WARP == 0)
        barrier_arrive(ring->empty + slot * 8);
}

/* The unit is not at these any more: nothing may be done with them before. */
DEVICE void unit_leave(int nt, float (*c)[4])
{
#pragma unroll
    for (int i = 0; i < nt; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            asm volatile("" : "+f"(c[i][j])::"memory");
}

/* By the groups that multiply */
DEVICE void multiply(const struct gemm *p, uint32_t dtype, int n_tok,
                     const struct span *span, struct ring *ring)
{
    uint32_t row = threadIdx.x / WARP * 16, a[2][4][4];
    uint32_t n_terms = p->shape.terms, n_steps = n_stages(p) / n_terms;
    float c[32][4];

#pragma unroll
    for (int i = 0; i < n_tok / 8; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            c[i][j] = 0.0f;
    unit_leave(n_tok / 8, c);
    for (uint32_t i = 0; i < n_steps; i += 2) {
        multiply_stage(dtype, n_tok, row, i == 0, 1, ring, a[0], c);
        for (uint32_t k = 1; k < n_terms; k++)
            multiply_stage(dtype, n_tok, row, 0, 0, ring, a[0], c);
        if (i + 1 == n_steps)
            break;
        multiply_stage(dtype, n_tok, row, 0, 1, ring, a[1], c);
        for (uint32_t k = 1; k < n_terms; k++)
            multiply_stage(dtype, n_tok, row, 0, 0, ring, a[1], c);
    }
    unit_wait(0);
    unit_leave(n_tok / 8, c);
    meet(2 * GROUP); /* the ring is free */
    put_results(
        p, span, row, 0, n_tok / 8, c,
        (float *)(ring_data() + threadIdx.x / WARP * RESULT_BYTES(TILE_TOK)));
}

DEVICE void ring_start(uint32_t dtype, struct ring *ring)
{
    __shared__ __align__(8) uint64_t barriers[2][N_BARRIER];

    ring->data = shared_address(ring_data());
    ring->full = shared_address(barriers[0]);
    ring->empty = shared_address(barriers[1]);
    ring->slot = ring->parity = 0;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES(dtype); i++) {
            barrier_init(ring->full + i * 8, GROUP + 1);
            barrier_init(ring->empty + i * 8, 2 * GROUP / WARP);
        }
        barrier_fence();
    }
    __syncthreads();
}

DEVICE void multiply_tile(const struct gemm *p, uint32_t dtype)
{
    struct span span;
    struct ring ring;

    weir_let_next_start();
    ring_start(dtype, &ring);
    weir_after_others();
    if (!find_span(p, &span))
        return;
    if (threadIdx.x >= 2 * GROUP) {
        leave_registers(56);
        bring(p, dtype, &span, &ring);
        return;
    }
    take_registers(224);
    if (span.n <= 64)
        multiply(p, dtype, 64, &span, &ring);
    else if (span.n <= 128)
        multiply(p, dtype, 128, &span, &ring);
    else if (span.n <= 192)
        multiply(p, dtype, 192, &span, &ring);
    else
        multiply(p, dtype, 256, &span, &ring);
}

#else

DEVICE void multiply_tile(const struct gemm *p, uint32_t dtype)
{
}

#endif

#define KERNEL(name, dtype)                                                    \
    static __global__ void __launch_bounds__(3 * GROUP, 1)                     \
        name(const __grid_constant__ struct gemm gemm)                         \
    {                                                                          \
        multiply_tile(&gemm, dtype);                                           \
    }
KERNEL(hopper_i8, WEIR_I8)
KERNEL(hopper_bf16, WEIR_BF16)

/* A tile of at most so many tokens, as struct gemm_kernel */
#define ENTRY(n)                                                               \
    {                                                                          \
        n, 64, 3 * GROUP, (const void *)hopper_i8, (const void *)hopper_bf16,  \
            SHARED(WEIR_I8), SHARED(WEIR_BF16)                                 \
    }

const struct gemm_kernel *weir_cuda_hopper_gemm(
    const struct weir_device *device)
{
    static const struct gemm_kernel kernels[GEMM_KERNELS] = {
        ENTRY(64), ENTRY(128), ENTRY(192), ENTRY(256)};

#ifdef WEIR_CUDA_HOPPER
    return device->cc_major == 9 ? kernels : NULL;
#else
    (void)device;
    (void)kernels;
    return NULL;
#endif
}
