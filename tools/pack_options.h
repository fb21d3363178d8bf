/* SPDX-License-Identifier: Apache-2.0 */
/* The options of commands that write a model. */
#ifndef WEIR_TOOLS_PACK_OPTIONS_H
#define WEIR_TOOLS_PACK_OPTIONS_H

#include "model/layout.h"
#include "offload/stripe.h"
#include "tools/cli.h"

struct pack_options {
    struct weir_quant quant;
    enum weir_codec_policy policy;
    uint32_t tile_ceiling;
    unsigned n_threads;
    const char *output;
    const char *folders;      /* to spread it over, or NULL */
    struct weir_stripe parts; /* in these, once they are found */
    uint32_t stripe_bytes;
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

/*
 * Finds the folders of --stripe, if it was given: `output` is then the path of
 * the first part, and the result what a pack takes, else NULL.  Release with
 * pack_options_fini(), also after an error.
 */
int pack_options_stripe(struct pack_options *options, const struct cli *cli,
                        const struct weir_stripe **stripe,
                        struct weir_err *err);
void pack_options_fini(struct pack_options *options);

#endif
