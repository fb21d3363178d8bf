/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a model would lie and how fast it would be: only the index of the file
 * is read.  What the command line does not say of the machine is measured.
 */
#include "model/device.h"
#include "tools/cli.h"
#include "tools/forecast.h"
#include "tools/memory.h"
#include "tools/plan_print.h"

#define CTX_DEFAULT    4096
#define PROMPT_DEFAULT 512
#define MAX_BATCH      65536

struct plan_args {
    struct cli cli;
    const char *model;
    struct weir_plan_machine machine; /* zeros: not given */
    struct weir_plan_budget budget;
    enum weir_dtype kv;
    const char *scratch;          /* a place for it; NULL: none */
    struct weir_model_options on; /* --device, --vram and --place of it */
    int json;
};

static void take_option(struct plan_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_plan_ram:
        args->budget.ram_bytes = cli_size(cli);
        break;
    case OPT_plan_ctx:
        args->budget.n_ctx = cli_uint(cli, 1, INT32_MAX);
        break;
    case OPT_plan_batch:
        args->budget.batch = (uint32_t)cli_uint(cli, 1, MAX_BATCH);
        break;
    case OPT_plan_kv:
        args->kv = cli_choice(cli, "f32|bf16") ? WEIR_BF16 : WEIR_F32;
        break;
    case OPT_plan_scratch:
        args->scratch = cli->value;
        args->budget.scratch = 1;
        break;
    case OPT_plan_cache:
        args->budget.cache = memory_cache(cli);
        break;
    case OPT_plan_n_prompt:
        args->budget.n_prompt = cli_uint(cli, 1, INT32_MAX);
        break;
    case OPT_plan_disk_gbps:
        args->machine.disk_gbps = cli_rate(cli);
        break;
    case OPT_plan_dram_gbps:
        args->machine.dram_gbps = cli_rate(cli);
        break;
    case OPT_plan_gflops:
        args->machine.gflops = cli_rate(cli);
        break;
    case OPT_plan_device:
    case OPT_plan_vram:
    case OPT_plan_place:
        memory_take(&args->on, cli, option);
        break;
    case OPT_plan_hbm_gbps:
        args->machine.hbm_gbps = cli_rate(cli);
        break;
    case OPT_plan_pcie_gbps:
        args->machine.pcie_gbps = cli_rate(cli);
        break;
    case OPT_plan_gpu_gflops:
        args->machine.device_gflops = cli_rate(cli);
        break;
    case OPT_plan_threads:
        args->machine.n_threads = cli_threads(cli);
        break;
    case OPT_plan_json:
        args->json = 1;
        break;
    default:
        cli_keep_argument(cli, &args->model, "model");
    }
}

static void parse(struct plan_args *args, int argc, char **argv)
{
    const struct cli *cli = &args->cli;
    struct weir_plan_budget *budget = &args->budget;
    int option;

    args->kv = WEIR_BF16;
    forecast_init(&args->machine, budget);
    budget->n_prompt = PROMPT_DEFAULT;
    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    if (!args->model)
        cli_usage(cli, "no model given");
    if (args->on.vram_bytes && args->on.device == WEIR_ON_CPU)
        args->on.device = WEIR_ON_CUDA;
    memory_check_device(&args->on, cli);
    if (args->on.device != WEIR_ON_CPU && !args->on.vram_bytes)
        cli_usage(cli, "say how much memory the GPU has, with --vram");
    if (!budget->n_ctx)
        budget->n_ctx =
            budget->n_prompt > CTX_DEFAULT ? budget->n_prompt : CTX_DEFAULT;
    if (budget->n_ctx < budget->n_prompt)
        cli_usage(cli,
                  "a context of --ctx %llu has no room for a prompt of %llu",
                  (unsigned long long)budget->n_ctx,
                  (unsigned long long)budget->n_prompt);
}

/* Without a budget: a map where all of it fits, else what is free. */
static int make(struct plan_args *args, const struct weir_file *file,
                const struct weir_config *config, struct weir_plan *plan,
                struct weir_err *err)
{
    int rc = forecast_make(plan, &args->machine, &args->budget, file, config,
                           args->kv, err);

    if (args->budget.ram_bytes || (!rc && plan->decode.disk_bytes == 0))
        return rc;
    weir_plan_fini(plan);
    args->budget.ram_bytes = args->machine.ram_bytes;
    return forecast_make(plan, &args->machine, &args->budget, file, config,
                         args->kv, err);
}

/* Would the drive take it? */
static int check_room(const struct plan_args *args,
                      const struct weir_plan *plan, struct weir_err *err)
{
    uint64_t room;
    int rc;

    if (!plan->scratch_file_bytes)
        return 0;
    rc = weir_scratch_find_room(args->scratch, &room, err);
    if (rc || plan->scratch_file_bytes <= room)
        return rc;
    return weir_err_set(err, WEIR_ELIMIT,
                        "%s: has room for %.3f GB, and the scratch file of a "
                        "prompt of %llu tokens takes %.3f; name another place, "
                        "allow more memory, or a shorter prompt",
                        args->scratch, (double)room / 1e9,
                        (unsigned long long)args->budget.n_prompt,
                        (double)plan->scratch_file_bytes / 1e9);
}

/* What a GPU has left for weights, and how fast it is */
static int take_device(struct plan_args *args, const struct weir_file *file,
                       const struct weir_config *config, struct weir_err *err)
{
    struct weir_plan_budget *budget = &args->budget;
    struct weir_err why;

    budget->only_device = args->on.only_device;
    budget->device_bytes =
        weir_on_device_weight_room(config, args->on.vram_bytes, budget->batch,
                                   budget->batch * budget->n_ctx, args->kv);
    if (!budget->device_bytes)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: --vram %.2f GB has no room for what the GPU "
                            "works in; give more, or a shorter --ctx",
                            file->path, (double)args->on.vram_bytes / 1e9);
    if (!forecast_measure_device(&args->machine, args->on.device, &why))
        return 0;
    return weir_err_set(err, WEIR_EARG,
                        "no GPU to measure (%.200s); say what it does with "
                        "--hbm-gbps, --pcie-gbps and --gpu-gflops",
                        why.message);
}

static int plan_file(struct plan_args *args, const struct weir_file *file,
                     struct weir_err *err)
{
    struct weir_plan plan = {0};
    struct weir_config config;
    const struct plan_print print = {file, &plan, &args->machine, &args->budget,
                                     args->kv == WEIR_F32 ? "f32" : "bf16"};
    int rc = weir_config_read(file, &config, err);

    if (rc)
        return rc;
    if (args->on.vram_bytes)
        rc = take_device(args, file, &config, err);
    if (rc)
        return rc;
    forecast_know_drive(&args->machine, file);
    rc = forecast_measure_alone(&args->machine, 0, err);
    forecast_know_ram(&args->machine);
    if (!rc)
        rc = make(args, file, &config, &plan, err);
    if (!rc)
        rc = check_room(args, &plan, err);
    if (!rc && args->json)
        rc = plan_print_json(&print, err);
    else if (!rc)
        plan_print_text(&print);
    weir_plan_fini(&plan);
    return rc;
}

static int run(int argc, char **argv)
{
    struct plan_args args = {0};
    struct weir_file *file;
    struct weir_err err;
    int rc, status;

    parse(&args, argc, argv);
    rc = weir_file_open(args.model, &file, &err);
    if (!rc)
        rc = plan_file(&args, file, &err);
    status = rc ? cli_fail(&args.cli, &err) : cli_finish(&args.cli);
    weir_file_close(file);
    return status;
}

const struct command cmd_plan = {"plan", run};
