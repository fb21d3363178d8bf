/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vector exponentials against double precision, over operands of every
 * exponent and both signs, in units in the last place of an f32, which below
 * its smallest normal number are all 2^-149.
 */
#include <float.h>

#include "tests/kernels/exps.h"
#include "tests/kernels/levels.h"

#define N      (1u << 16) /* the upper 16 bits of an f32 */
#define FAR    1e9
#define ROUNDS 16

static double softplus(double v)
{
    return v > 20 ? v : log1p(exp(v));
}

/* Where an f32 cannot hold e^-v the quotient is by infinity. */
static double silu_of_f32(double v)
{
    return exp(-v) > FLT_MAX ? v / INFINITY : silu(v);
}

static double ulps(float y, double want)
{
    float nearest = (float)want;
    int e;

    if (isnan(want))
        return isnan(y) ? 0 : FAR;
    if (isinf(nearest))
        return y == nearest ? 0 : fabsf(y) == FLT_MAX && want * y > 0 ? 1 : FAR;
    if (!isfinite(y))
        return fabsf(nearest) == FLT_MAX && want * y > 0 ? 1 : FAR;
    frexp(want, &e);
    return fabs(y - want) * ldexp(1, 24 - (e > -125 ? e : -125));
}

/* Random bits below the upper 16, but all zeros and all ones at first */
static void fill_round(float *x, unsigned round)
{
    for (uint32_t i = 0; i < N; i++) {
        uint32_t bits = i << 16;

        any();
        bits |= round == 0 ? 0 : round == 1 ? 0xffff : (uint32_t)(seed >> 48);
        memcpy(x + i, &bits, sizeof(bits));
    }
}

static void check_one(const char *level, const char *name, double bound,
                      void (*run)(const float *x, float *y, size_t n),
                      double (*exact)(double x))
{
    static float x[N], y[N];
    double worst = 0, d;
    float at = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        fill_round(x, round);
        run(x, y, N);
        for (uint32_t i = 0; i < N; i++) {
            d = ulps(y[i], exact(x[i]));
            if (d > worst)
                at = x[i];
            worst = worst_of(worst, d);
        }
    }
    tap_ok(worst <= bound, "%s %s: %.2f ulp away at %a", level, name, worst,
           at);
}

const struct exps *exps_of(enum weir_level level)
{
#ifdef WEIR_HAVE_AVX2
    if (level == WEIR_LEVEL_AVX2)
        return &exps_avx2;
#endif
#ifdef WEIR_HAVE_AVX512
    if (level == WEIR_LEVEL_AVX512)
        return &exps_avx512;
#endif
    (void)level;
    return NULL;
}

void check_exp(const struct levels *levels)
{
    const struct exps *exps = exps_of(levels->level);

    if (!exps)
        return;
    check_one(levels->name, "exp2", 1.1, exps->exp2, exp2);
    check_one(levels->name, "exp", 1.1, exps->exp, exp);
    check_one(levels->name, "silu", 3, exps->silu, silu_of_f32);
    check_one(levels->name, "softplus", 3, exps->softplus, softplus);
}
