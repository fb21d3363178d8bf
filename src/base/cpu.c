/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CPU has (cpuid) and what the operating system saves of it when it
 * switches threads (XCR0).  Compiled without flags of any level.
 */
#include "base/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *const names[WEIR_N_LEVELS] = {"ref", "avx2", "avx512",
                                                 "avx512_bf16", "amx"};

const char *weir_level_name(enum weir_level level)
{
    return names[level];
}

int weir_level_choose(enum weir_level *level, struct weir_err *err)
{
    const char *wanted = getenv("WEIR_CPU");
    enum weir_level named = WEIR_LEVEL_REF;

    *level = weir_level_detected();
    if (!wanted || !*wanted)
        return 0;
    while (named < WEIR_N_LEVELS && strcmp(wanted, names[named]))
        named++;
    if (named == WEIR_N_LEVELS)
        return weir_err_set(err, WEIR_EARG,
                            "WEIR_CPU=%s: no such level; it may be ref, avx2, "
                            "avx512, avx512_bf16 or amx",
                            wanted);
    if (named < *level)
        *level = named;
    return 0;
}

#ifdef __x86_64__

#include <cpuid.h>

/* Intel SDM volume 1, 13.1: bits of XCR0 */
#define XCR0_YMM  0x06u /* SSE, AVX */
#define XCR0_ZMM  0xe6u /* those, opmask, upper halves, upper registers */
#define XCR0_TILE 0x60000u

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static struct cpuid read_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid id = {0};

    __get_cpuid_count(leaf, subleaf, &id.eax, &id.ebx, &id.ecx, &id.edx);
    return id;
}

static uint64_t read_xcr0(void)
{
    uint32_t low, high;

    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

/*
 * Linux gives a process the tiles of AMX when it asks for them, as they make
 * what a signal handler finds on its stack 8 KiB larger.
 * Documentation/arch/x86/xstate.rst of Linux.
 */
static int may_use_tiles(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    const long request_permission = 0x1023, tile_data = 18;

    return !syscall(SYS_arch_prctl, request_permission, tile_data);
#else
    return 0;
#endif
}

enum weir_level weir_level_detected(void)
{
    const uint32_t basic = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29;
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const uint32_t amx = 1u << 22 | 1u << 24 | 1u << 25;
    struct cpuid id = read_cpuid(1, 0), features = read_cpuid(7, 0);
    uint64_t saved;

    if (!has(id.ecx, basic)) /* FMA, OSXSAVE, AVX, F16C */
        return WEIR_LEVEL_REF;
    saved = read_xcr0();
    if ((saved & XCR0_YMM) != XCR0_YMM || !has(features.ebx, 1u << 5))
        return WEIR_LEVEL_REF;
    if ((saved & XCR0_ZMM) != XCR0_ZMM || !has(features.ebx, avx512) ||
        !has(features.ecx, 1u << 11)) /* F, DQ, BW, VL, VNNI */
        return WEIR_LEVEL_AVX2;
    if (!has(read_cpuid(7, 1).eax, 1u << 5) || !has(features.ecx, 1u << 1))
        return WEIR_LEVEL_AVX512; /* no BF16 or no VBMI */
    if (!has(features.edx, amx) || (saved & XCR0_TILE) != XCR0_TILE ||
        !may_use_tiles())
        return WEIR_LEVEL_AVX512_BF16;
    return WEIR_LEVEL_AMX;
}

#else

enum weir_level weir_level_detected(void)
{
    return WEIR_LEVEL_REF;
}

#endif
