/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels are made of: instructions that C has no words for, and where
 * things lie.  The numbers of lanes in a fragment are those of the PTX manual,
 * "Matrix Fragments for mma.m16n8k16": g is lane / 4, q is lane % 4.
 */
#ifndef WEIR_KERNELS_CUDA_PARTS_H
#define WEIR_KERNELS_CUDA_PARTS_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/cuda.h"

#define DEVICE static __device__ __forceinline__

#define WARP 32
#define ALL  0xffffffffu

/* Kernels on the stream before this one have ended, and theirs is to be seen */
DEVICE void weir_after_others(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* The next kernel may take up what room this one leaves */
DEVICE void weir_let_next_start(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* n_threads of a block, whole warps, have come here; the others do not. */
DEVICE void meet(uint32_t n_threads)
{
    asm volatile("bar.sync 1, %0;" ::"r"(n_threads) : "memory");
}

/* 16 bytes of global memory to shared memory, the last 16 - n_bytes zeros */
DEVICE void copy_async(uint32_t to, const void *from, uint32_t n_bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(from), "r"(n_bytes)
                 : "memory");
}

DEVICE void copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* All groups have arrived but the `n` youngest, a constant */
#define copy_wait(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* c [16][8] += a [16][16] * b [16][8], bf16 in, f32 out */
DEVICE void mma(float *c, const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),
                   "r"(b[1]));
}

/* Four matrices [8][8] of bf16; a lane gives the address of one row */
DEVICE void load_matrices(uint32_t *r, uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 "
                 "{%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

/* The same turned round */
DEVICE void load_matrices_turned(uint32_t *r, uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
                 "{%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

DEVICE uint4 load_shared(uint32_t address)
{
    uint4 v;

    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(address));
    return v;
}

/*
 * Bytes 0 and 2 of a word, int8, as a pair of bf16.  The low 7 bits on top of
 * 128.0 are 128 to 255; what is taken off is 128, or 256 if the sign bit, which
 * is then the lowest of the exponent, says so.
 */
DEVICE uint32_t widen_even(uint32_t word)
{
    uint32_t up = (word & 0x007f007fu) | 0x43004300u, r;
    uint32_t less = (word & 0x00800080u) | 0xc300c300u;

    asm("{ .reg .b32 one; mov.b32 one, 0x3f803f80;\n"
        "  fma.rn.bf16x2 %0, %1, one, %2; }"
        : "=r"(r)
        : "r"(up), "r"(less));
    return r;
}

/* Bytes 1 and 3 */
DEVICE uint32_t widen_odd(uint32_t word)
{
    return widen_even(word >> 8);
}

DEVICE uint32_t pack_bf16(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);

    return *(uint32_t *)&pair;
}

DEVICE float bf16_bits(uint16_t h)
{
    return __uint_as_float((uint32_t)h << 16);
}

/* An element of a row of any type */
DEVICE float widen_one(uint32_t dtype, const void *row, size_t c)
{
    switch (dtype) {
    case WEIR_F32:
        return ((const float *)row)[c];
    case WEIR_BF16:
        return bf16_bits(((const uint16_t *)row)[c]);
    case WEIR_F16:
        return __half2float(((const __half *)row)[c]);
    default:
        return ((const int8_t *)row)[c];
    }
}

DEVICE float silu(float v)
{
    return v / (1.0f + __expf(-v));
}

DEVICE float softplus(float v)
{
    return v > 20.0f ? v : log1pf(__expf(v));
}

/* The sum over a warp, the same in all lanes */
DEVICE float warp_sum(float v)
{
    for (int i = WARP / 2; i; i /= 2)
        v += __shfl_xor_sync(ALL, v, i);
    return v;
}

/* What the lanes below this one have together */
DEVICE uint32_t sum_below(uint32_t v)
{
    uint32_t sum = v;

    for (uint32_t step = 1; step < WARP; step *= 2) {
        uint32_t before = __shfl_up_sync(ALL, sum, step);

        sum += threadIdx.x % WARP >= step ? before : 0;
    }
    return sum - v;
}

/* Expert e is on the card, and of those whose turn it is. */
DEVICE int is_wanted(const struct weir_device_expert *expert, uint32_t e,
                     uint32_t from, uint32_t to)
{
    return e >= from && e < to && expert[e].gate;
}

/* Bytes before row `row` of block 0 of a matrix */
DEVICE uint64_t row_offset(const struct weir_matrix *w, uint32_t row)
{
    uint32_t part_rows = w->rows / w->row_parts;
    uint32_t groups = (part_rows + w->tile_rows - 1) / w->tile_rows;
    uint32_t in_part = row % part_rows;
    uint32_t group = row / part_rows * groups + in_part / w->tile_rows;

    return (uint64_t)group * w->col_blocks * w->tile_stride +
           (uint64_t)(in_part % w->tile_rows) * w->row_bytes;
}

/* That row of the matrix whose tiles are at `data` */
DEVICE const uint8_t *matrix_row(const struct weir_matrix *w, const void *data,
                                 uint32_t row)
{
    return (const uint8_t *)data + row_offset(w, row);
}

/*
 * 1 / sqrt(mean of x^2 + eps), by one warp and for all lanes, of a row that is
 * not long
 */
DEVICE float row_factor(const float *x, uint32_t n, float eps, uint32_t lane)
{
    float sum[8] = {0};
    uint32_t c = lane;

    for (; c < n; c += 8 * WARP)
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (c + i * WARP < n)
                sum[i] += x[c + i * WARP] * x[c + i * WARP];
#pragma unroll
    for (int half = 4; half; half /= 2)
#pragma unroll
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return 1.0f / sqrtf(warp_sum(sum[0]) / (float)n + eps);
}

/*
 * The same of a long one: NORM_LANES sums of squares, of elements that lie
 * NORM_LANES apart, by however many threads, whole warps; then the sums of 32
 * neighbours among them, which all threads of a block may add up when they have
 * met.
 */
#define NORM_LANES 512
#define NORM_SUMS  (NORM_LANES / WARP)

DEVICE void put_squares(const float *x, uint32_t n, uint32_t thread,
                        uint32_t n_threads, float *sums)
{
    for (uint32_t lane = thread; lane < NORM_LANES; lane += n_threads) {
        float sum = 0.0f;

#pragma unroll 8
        for (uint32_t i = lane; i < n; i += NORM_LANES)
            sum = __fmaf_rn(x[i], x[i], sum);
        sum = warp_sum(sum);
        if (lane % WARP == 0)
            sums[lane / WARP] = sum;
    }
}

DEVICE float norm_of(const float *sums, uint32_t n, float eps)
{
    float sum = 0.0f;

#pragma unroll
    for (int i = 0; i < NORM_SUMS; i++)
        sum += sums[i];
    return 1.0f / sqrtf(sum / (float)n + eps);
}

/*
 * The same of a row that a product left, in the order in which that adds up:
 * 32 neighbours, four such sums, and of these every 32nd in a lane.  In memory
 * are the sums of 32.
 */
DEVICE float sum_squares(const float *squares)
{
    return (squares[0] + squares[1]) + (squares[2] + squares[3]);
}

/* sum: of a lane */
DEVICE float factor_of_sums(float sum, uint32_t n, float eps)
{
    return 1.0f / sqrtf(warp_sum(sum) / (float)n + eps);
}

#endif
