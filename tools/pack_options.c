/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/pack_options.h"

#include <stdlib.h>
#include <string.h>

/* Small tiles let a small model have many; for tests. */
static uint32_t tile_ceiling(const struct cli *cli)
{
    const char *text = getenv("WEIR_TILE_CEILING");
    struct cli env = *cli;

    if (!text)
        return WEIR_TILE_BYTES;
    env.option = "WEIR_TILE_CEILING";
    env.value = text;
    return (uint32_t)cli_uint(&env, WEIR_ROW_ALIGN, WEIR_TILE_BYTES);
}

void pack_options_init(struct pack_options *options, const struct cli *cli)
{
    memset(options, 0, sizeof(*options));
    options->quant = (struct weir_quant){1, 1};
    options->tile_ceiling = tile_ceiling(cli);
}

int pack_options_take(struct pack_options *options, const struct cli *cli,
                      int option)
{
    const char *name = cli_option_name(option);

    if (!strcmp(name, "output")) {
        options->output = cli->value;
    } else if (!strcmp(name, "quant")) {
        options->quant.experts_int8 = !cli_choice(cli, "experts-int8|none");
    } else if (!strcmp(name, "codec")) {
        options->policy =
            (enum weir_codec_policy)cli_choice(cli, "auto|raw|zstd");
    } else if (!strcmp(name, "dense-mlp")) {
        options->quant.dense_mlp_int8 = !cli_choice(cli, "int8|bf16");
        options->dense_given = 1;
    } else if (!strcmp(name, "threads")) {
        options->n_threads = cli_threads(cli);
    } else if (!strcmp(name, "quiet")) {
        options->quiet = 1;
    } else {
        return 0;
    }
    return 1;
}

void pack_options_check(const struct pack_options *options,
                        const struct cli *cli)
{
    if (!options->output)
        cli_usage(cli, "no output; give -o FILE.weir");
    if (options->dense_given && !options->quant.experts_int8)
        cli_usage(cli, "--dense-mlp goes with --quant experts-int8");
}
