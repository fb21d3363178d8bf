/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which products of many tokens a library does instead of ours, by the level of
 * the CPU and the class of the product.  An entry is a name, and stands here
 * only where `weir bench --kernels` found it steady, and more than 10 % faster
 * than ours over the numbers of tokens.  Where there is no entry, or a build or
 * a CPU does not have what is named, ours do it.
 *
 * There is one entry for all numbers of tokens, since a sum must not depend on
 * the tokens beside it; the few of decoding are matmul's for the same reason.
 */
#include <string.h>

#include "kernels/levels.h"

/*
 * Measured with oneDNN 2.6.3 and OpenBLAS 0.3.21: at avx2, on a Zen 3, ours are
 * faster in every class, and sums of OpenBLAS are not steady there.  Nothing
 * was measured at the other levels yet.
 */
const struct weir_gemm_names weir_gemm_table[WEIR_N_LEVELS] = {
    [WEIR_LEVEL_AVX2] = {{NULL}},
};

void weir_gemm_choose(const struct weir_gemm_names *names,
                      enum weir_level level, struct weir_kernels *kernels)
{
    const struct weir_provider *provider;

    for (unsigned class = 0; class < WEIR_N_GEMM_CLASSES; class ++)
        for (unsigned i = 0; (provider = weir_provider(i)); i++)
            if (names->of[class] &&
                !strcmp(provider->gemm->name, names->of[class]) &&
                !weir_provider_missing(provider, level))
                kernels->chosen[class] = provider->gemm;
}
