/* SPDX-License-Identifier: Apache-2.0 */
/* The table of libraries for products of many tokens, and what it does. */
#include <string.h>

#include "kernels/levels.h"
#include "tests/tap.h"

static const char *const known[] = {"onednn", "onednn_fine", "onednn_f32",
                                    "openblas"};

static int is_known(const char *name)
{
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (!strcmp(known[i], name))
            return 1;
    return 0;
}

/* Whether a kernel may do the products of a class */
static int is_enough(const struct weir_gemm *gemm, enum weir_gemm_class class)
{
    switch (class) {
    case WEIR_GEMM_WIDE:
        return gemm->act == WEIR_F32;
    case WEIR_GEMM_I8_FINE:
    case WEIR_GEMM_BF16_FINE:
        return gemm->act == WEIR_F32 || gemm->terms > 1;
    default:
        return 1;
    }
}

static void check_names(void)
{
    const struct weir_provider *provider;
    int good = 1;

    for (unsigned i = 0; (provider = weir_provider(i)); i++)
        good &= is_known(provider->gemm->name);
    tap_ok(good, "the names of this build's libraries are known");
    good = 1;
    for (unsigned level = 0; level < WEIR_N_LEVELS; level++)
        for (unsigned c = 0; c < WEIR_N_GEMM_CLASSES; c++)
            good &= !weir_gemm_table[level].of[c] ||
                    is_known(weir_gemm_table[level].of[c]);
    tap_ok(good, "so are those of the table");
}

static void check_precision(enum weir_level level)
{
    struct weir_kernels kernels;
    int good = 1;

    weir_kernels_at(level, &kernels);
    for (unsigned c = 0; c < WEIR_N_GEMM_CLASSES; c++)
        good &= !kernels.chosen[c] || is_enough(kernels.chosen[c], c);
    tap_ok(good, "%s: what is chosen keeps enough of activations",
           weir_level_name(level));
}

static const struct weir_gemm *gemm_of(const struct weir_kernels *kernels,
                                       enum weir_gemm_class class)
{
    static const enum weir_dtype dtypes[] = {WEIR_I8, WEIR_I8, WEIR_BF16,
                                             WEIR_BF16, WEIR_F32};

    return weir_gemm_for(kernels, dtypes[class],
                         class == WEIR_GEMM_I8_FINE ||
                             class == WEIR_GEMM_BF16_FINE);
}

/* An entry changes its class alone, and nothing where it cannot be had. */
static void check_choice(const char *name, enum weir_level level,
                         const struct weir_gemm *want)
{
    struct weir_kernels own, kernels;
    int good = 1;

    weir_kernels_at(level, &own);
    memset(own.chosen, 0, sizeof(own.chosen));
    for (unsigned c = 0; c < WEIR_N_GEMM_CLASSES; c++) {
        struct weir_gemm_names names = {{NULL}};

        names.of[c] = name;
        kernels = own;
        weir_gemm_choose(&names, level, &kernels);
        for (unsigned k = 0; k < WEIR_N_GEMM_CLASSES; k++)
            good &= gemm_of(&kernels, k) ==
                    (k == c && want ? want : gemm_of(&own, k));
    }
    tap_ok(good, "%s at %s: %s", name, weir_level_name(level),
           want ? "its class, and no other" : "nothing");
}

int main(void)
{
    enum weir_level level = weir_level_detected();
    const struct weir_provider *provider;

    check_names();
    for (unsigned i = 0; i <= level; i++)
        check_precision(i);
    for (unsigned i = 0; (provider = weir_provider(i)); i++) {
        check_choice(provider->gemm->name, WEIR_LEVEL_REF, NULL);
        check_choice(provider->gemm->name, level,
                     weir_provider_missing(provider, level) ? NULL
                                                            : provider->gemm);
    }
    check_choice("mkl", level, NULL);
    return tap_done();
}
