/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/pack_options.h"

#include <stdlib.h>
#include <string.h>

/* Small tiles let a small model have many; for tests, as small stripes do. */
static uint32_t from_environment(const struct cli *cli, const char *name,
                                 uint32_t least, uint32_t usual)
{
    const char *text = getenv(name);
    struct cli env = *cli;

    if (!text)
        return usual;
    env.option = name;
    env.value = text;
    return (uint32_t)cli_uint(&env, least, usual);
}

void pack_options_init(struct pack_options *options, const struct cli *cli)
{
    memset(options, 0, sizeof(*options));
    options->quant = (struct weir_quant){1, 1};
    options->tile_ceiling = from_environment(cli, "WEIR_TILE_CEILING",
                                             WEIR_ROW_ALIGN, WEIR_TILE_BYTES);
    options->stripe_bytes = from_environment(cli, "WEIR_STRIPE_BYTES",
                                             WEIR_FILE_PAGE, WEIR_STRIPE_BYTES);
}

int pack_options_take(struct pack_options *options, const struct cli *cli,
                      int option)
{
    const char *name = cli_option_name(option);

    if (!strcmp(name, "output")) {
        options->output = cli->value;
    } else if (!strcmp(name, "stripe")) {
        options->folders = cli->value;
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

static void warn_of_drives(const struct pack_options *options,
                           const struct cli *cli)
{
    unsigned n = 0;

    for (unsigned i = 0; i < options->parts.n_parts; i++)
        if (weir_stripe_n_sharing(&options->parts, i) > n)
            n = weir_stripe_n_sharing(&options->parts, i);
    if (n > 1)
        cli_warn(cli,
                 "%u of the %u folders are on one drive, which is not faster "
                 "for it; name one folder on each drive",
                 n, options->parts.n_parts);
}

int pack_options_stripe(struct pack_options *options, const struct cli *cli,
                        const struct weir_stripe **stripe, struct weir_err *err)
{
    int rc;

    *stripe = NULL;
    if (!options->folders)
        return 0;
    rc = weir_stripe_init(&options->parts, options->folders, options->output,
                          err);
    if (rc)
        return rc;
    options->parts.n_bytes = options->stripe_bytes;
    options->output = options->parts.parts[0].path;
    warn_of_drives(options, cli);
    *stripe = &options->parts;
    return 0;
}

void pack_options_fini(struct pack_options *options)
{
    weir_stripe_fini(&options->parts);
}
