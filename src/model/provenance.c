/* SPDX-License-Identifier: Apache-2.0 */
#include "model/provenance.h"

#include <stdio.h>

int weir_provenance_add(json_t *sources, const char *name, uint64_t n_bytes,
                        XXH128_hash_t sum)
{
    char hex[33];

    snprintf(hex, sizeof(hex), "%016llx%016llx", (unsigned long long)sum.high64,
             (unsigned long long)sum.low64);
    return json_array_append_new(
        sources, json_pack("{s:s, s:I, s:s}", "name", name, "bytes",
                           (json_int_t)n_bytes, "xxh128", hex));
}

static const char *quant_name(const struct weir_quant *quant)
{
    return quant->experts_int8 ? "experts-int8" : "none";
}

static const char *dense_name(const struct weir_quant *quant)
{
    return quant->experts_int8 && quant->dense_mlp_int8 ? "int8" : "kept";
}

int weir_provenance_make(const struct weir_quant *quant,
                         enum weir_codec_policy policy, json_t *sources,
                         json_t *synth, char **text, struct weir_err *err)
{
    static const char *const codecs[] = {"auto", "raw", "zstd"};
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:o*}", "weir", PACKAGE_VERSION,
                  "quant", quant_name(quant), "dense_mlp", dense_name(quant),
                  "codec", codecs[policy], "sources", sources, "synth", synth);

    *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    return *text ? 0 : weir_err_nomem(err, 4096, "the provenance");
}
