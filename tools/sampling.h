/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What users say about the choice of tokens and the end of a text: options
 * that commands share.
 */
#ifndef WEIR_TOOLS_SAMPLING_H
#define WEIR_TOOLS_SAMPLING_H

#include "serve/completion.h"
#include "tools/cli.h"

struct sampling {
    struct weir_sampling values;
    unsigned given; /* bit i: an option set field i; the last bit: the seed */
    int32_t eos[WEIR_MAX_EOS]; /* in place of the model's, if any */
    size_t n_eos;
    int ignores_eos;
    struct weir_stop stop;
};

void sampling_init(struct sampling *sampling);

/* Takes an option that cli_next() found; returns 0 when it is another's. */
int sampling_take(struct sampling *sampling, const struct cli *cli, int option);

/*
 * What no option set becomes as the model has it.  Refuses what the model
 * cannot do.
 */
int sampling_settle(struct sampling *sampling, const struct weir_model *model,
                    struct weir_err *err);

/* The same as what holds where the body of a request does not say. */
void sampling_default(const struct sampling *sampling,
                      struct weir_completion_defaults *defaults);

/* Warns of options that have no effect; to be called when all is settled. */
void sampling_warn(const struct sampling *sampling, const struct cli *cli);

/* The ids that end a text, *n of them */
const int32_t *sampling_eos(const struct sampling *sampling,
                            const struct weir_model *model, uint32_t *n);

/* Nonzero when `id` ends a text. */
int sampling_is_eos(const struct sampling *sampling,
                    const struct weir_model *model, int32_t id);

/* Lines of --stats: each value that has an effect, and where it is from. */
void sampling_print(const struct sampling *sampling);

/* The same as an object with all values; NULL when there is no memory. */
json_t *sampling_json(const struct sampling *sampling);

#endif
