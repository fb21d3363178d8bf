/* SPDX-License-Identifier: Apache-2.0 */
/* The options of commands that write a model. */
#ifndef WEIR_TOOLS_PACK_OPTIONS_H
#define WEIR_TOOLS_PACK_OPTIONS_H

#include "model/layout.h"
#include "tools/cli.h"

struct pack_options {
    struct weir_quant quant;
    enum weir_codec_policy policy;
    uint32_t tile_ceiling;
    unsigned n_threads;
    const char *output;
    int quiet;
    int dense_given; /* --dense-mlp was */
};

void pack_options_init(struct pack_options *options, const struct cli *cli);

/* Takes the current option, or returns 0 when it is none of these. */
int pack_options_take(struct pack_options *options, const struct cli *cli,
                      int option);

/* Exits when there is no output or when options contradict each other. */
void pack_options_check(const struct pack_options *options,
                        const struct cli *cli);

#endif
