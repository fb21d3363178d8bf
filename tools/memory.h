/* SPDX-License-Identifier: Apache-2.0 */
/* The options of commands that run a model that say where: --ram, --io,
 * --scratch, --cache, --device, --vram and --place.
 */
#ifndef WEIR_TOOLS_MEMORY_H
#define WEIR_TOOLS_MEMORY_H

#include "engine/session.h"
#include "tools/cli.h"

/* Takes an option that cli_next() found; returns 0 when it is another's. */
int memory_take(struct weir_model_options *options, const struct cli *cli,
                int option);

/* The value of --cache */
enum weir_cache memory_cache(const struct cli *cli);

/* How the weights of a model that is open are kept */
enum weir_cache memory_kept(const struct weir_model *model);

/* Refuses options of a device without one. */
void memory_check_device(const struct weir_model_options *options,
                         const struct cli *cli);

/* Refuses options that do not go together; to be called when all are taken. */
void memory_check(const struct weir_model_options *options,
                  const struct cli *cli);

/* Warns when the model is read slower than it could be. */
void memory_warn(const struct weir_model *model, const struct cli *cli);

/* Warns of what n_tok tokens in one call write to a scratch file, if they do.
 */
void memory_warn_scratch(const struct weir_model *model, size_t n_tok,
                         const struct cli *cli);

/* A line of --stats, or two: what lies where, and what was read. */
void memory_print(const struct weir_model *model);

/* The same as an object; NULL when there is no memory. */
json_t *memory_json(const struct weir_model *model);

/* The most that this process ever had in memory; 0: it cannot be known. */
uint64_t memory_peak(void);

#endif
