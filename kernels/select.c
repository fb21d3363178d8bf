/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "kernels/cpu/providers.h"
#include "kernels/cpu/tables.h"
#include "kernels/levels.h"

#define MAX_TABLES 8 /* families of a level that this build has */

static const struct weir_kernels *const levels[][MAX_TABLES + 1] = {
    [WEIR_LEVEL_REF] = {&weir_kernels_ref},
    [WEIR_LEVEL_AVX2] = {WEIR_TABLES_AVX2},
    [WEIR_LEVEL_AVX512] = {WEIR_TABLES_AVX512},
    [WEIR_LEVEL_AVX512_BF16] = {WEIR_TABLES_AVX512_BF16},
    [WEIR_LEVEL_AMX] = {WEIR_TABLES_AMX},
};

int weir_level_compiled(enum weir_level level)
{
    return levels[level][0] != NULL;
}

void weir_kernels_at(enum weir_level level, struct weir_kernels *kernels)
{
    const struct weir_kernels *const *table;

    memset(kernels, 0, sizeof(*kernels));
    for (unsigned i = 0; i <= level; i++)
        for (table = levels[i]; *table; table++) {
#define LAY_OVER(operation)                                                    \
    if ((*table)->operation)                                                   \
        kernels->operation = (*table)->operation;
            WEIR_KERNELS(LAY_OVER)
#undef LAY_OVER
        }
    weir_gemm_choose(&weir_gemm_table[level], level, kernels);
}

const char *weir_kernels_operation(enum weir_level level, unsigned i,
                                   enum weir_level *server)
{
    static const char *const names[] = {
#define NAME(operation) #operation,
        WEIR_KERNELS(NAME)
#undef NAME
    };
    struct weir_kernels here, below;
    int same = 1;

    if (i >= sizeof(names) / sizeof(names[0]))
        return NULL;
    *server = level;
    weir_kernels_at(level, &here);
    while (*server > WEIR_LEVEL_REF) {
        weir_kernels_at(*server - 1, &below);
#define COMPARE(operation)                                                     \
    if (!strcmp(names[i], #operation))                                         \
        same = here.operation == below.operation;
        WEIR_KERNELS(COMPARE)
#undef COMPARE
        if (!same)
            break;
        --*server;
    }
    return names[i];
}

int weir_kernels_select(struct weir_kernels *kernels, struct weir_err *err)
{
    enum weir_level level;
    int rc = weir_level_choose(&level, err);

    if (!rc)
        weir_kernels_at(level, kernels);
    return rc;
}

const struct weir_provider *weir_provider(unsigned i)
{
    static const struct weir_provider *const all[] = {
        WEIR_PROVIDERS_ONEDNN WEIR_PROVIDERS_ONEDNN_F32 WEIR_PROVIDERS_OPENBLAS
            NULL};

    return i < sizeof(all) / sizeof(all[0]) ? all[i] : NULL;
}

const char *weir_provider_missing(const struct weir_provider *provider,
                                  enum weir_level level)
{
    if (provider->level > weir_level_detected())
        return "not on this CPU";
    return provider->level > level ? "not at this level" : provider->missing();
}
