/* SPDX-License-Identifier: Apache-2.0 */
/* provenance.json: where the weights of a file come from (weir-file(5)). */
#ifndef WEIR_MODEL_PROVENANCE_H
#define WEIR_MODEL_PROVENANCE_H

#include <xxhash.h>

#include "base/json.h"
#include "model/layout.h"

/* Adds a file to the list of sources; not 0 without memory. */
int weir_provenance_add(json_t *sources, const char *name, uint64_t n_bytes,
                        XXH128_hash_t sum);

/*
 * The text of provenance.json.  Takes `sources` and `synth`, what weir synth
 * was asked for, which is NULL of packed weights.  Release with free().
 */
int weir_provenance_make(const struct weir_quant *quant,
                         enum weir_codec_policy policy, json_t *sources,
                         json_t *synth, char **text, struct weir_err *err);

#endif
