/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/plan_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "model/plan_model.h"

static const char *const place_names[] = {"pinned", "cached", "streamed",
                                          "device"};

/* What is called what; an entry is a line of text or a key of JSON. */
struct amount {
    const char *key, *text;
    uint64_t n_bytes;
};

#define N_AMOUNTS 9

static void list_amounts(const struct weir_plan_ram *ram,
                         struct amount list[N_AMOUNTS])
{
    const struct amount amounts[N_AMOUNTS] = {
        {"pinned", "pinned weights", ram->pinned},
        {"cache", "cached weights", ram->cache},
        {"kv", "KV cache", ram->kv},
        {"state", "Mamba state", ram->state},
        {"prompt", "tokens of a prompt between two layers", ram->prompt},
        {"work", "working memory", ram->work},
        {"staging", "weights that pass through", ram->staging},
        {"kept", "index, vectors, scales", ram->kept},
        {"fixed", "the program", ram->fixed},
    };

    for (int i = 0; i < N_AMOUNTS; i++)
        list[i] = amounts[i];
}

static double gb(double n_bytes)
{
    return n_bytes / 1e9;
}

/* ---- text ---- */

static void print_head(const struct plan_print *print)
{
    const struct weir_plan_machine *machine = print->machine;
    const struct weir_file *file = print->file;

    printf("model      %s, %.2f GB\n", file->path,
           gb((double)weir_file_bytes(file)));
    if (file->aliased)
        puts("aliased    layers share their tiles in the file; planned as if "
             "each had its own");
    printf("machine    %u threads, %.4g GFLOP/s, DRAM %.4g GB/s",
           machine->n_threads, machine->gflops, machine->dram_gbps);
    if (machine->disk_gbps > 0)
        printf(", drive %.4g GB/s", machine->disk_gbps);
    if (print->budget->device_bytes)
        printf("\nGPU        %.4g GFLOP/s, HBM %.4g GB/s, PCIe %.4g GB/s, "
               "%.2f GB for weights",
               machine->device_gflops, machine->hbm_gbps, machine->pcie_gbps,
               gb((double)print->budget->device_bytes));
    if (print->plan->mapped)
        printf("\nbudget     none: the file is mapped, and %.2f GB are there "
               "for its pages\n",
               gb((double)machine->ram_bytes));
    else
        printf("\nbudget     %.2f GB of RAM; weights that stay there are kept "
               "%s\n",
               gb((double)print->budget->ram_bytes),
               print->plan->unpacked ? "unpacked"
                                     : "as stored, which takes less to read");
}

static void print_classes(const struct weir_plan *plan)
{
    int n_places = plan->device_pinned ? WEIR_N_PLACES : WEIR_ON_DEVICE;

    printf("\n%-9s %14s %14s %14s", "GB of", "pinned", "cached", "streamed");
    if (n_places == WEIR_N_PLACES)
        printf(" %14s", "on the GPU");
    printf(" %11s %11s\n", "drive/token", "DRAM/token");
    for (int i = 0; i < WEIR_N_PARTS; i++) {
        const struct weir_plan_class *class = &plan->classes[i];

        if (!class->n_units[0] && !class->n_units[1] && !class->n_units[2] &&
            !class->n_units[WEIR_ON_DEVICE])
            continue;
        printf("%-9s", weir_plan_part_name(i));
        for (int p = 0; p < n_places; p++) {
            if (class->n_units[p])
                printf(" %4u: %8.3f", class->n_units[p],
                       gb((double)class->bytes[p]));
            else
                printf(" %14s", "-");
        }
        printf(" %11.4f %11.4f\n", gb(class->disk_bytes),
               gb(class->dram_bytes));
    }
    if (plan->hit_rate < 1)
        printf("of the experts that a token wants, %.1f %% are in RAM\n",
               100 * plan->hit_rate);
}

static void print_ram(const struct weir_plan *plan)
{
    struct amount list[N_AMOUNTS];

    list_amounts(&plan->ram, list);
    printf("\nRAM        %10.3f GB\n", gb((double)plan->ram.sum));
    for (int i = 0; i < N_AMOUNTS; i++)
        if (list[i].n_bytes)
            printf("           %10.3f GB %s\n", gb((double)list[i].n_bytes),
                   list[i].text);
}

static void print_speed(const struct weir_plan_speed *speed, const char *name)
{
    printf("\n%-10s %.4g tokens/s, limited by %s; %.4g when all overlaps, %.4g "
           "when nothing does\n",
           name, speed->tps, weir_plan_resource_name(speed->limit),
           speed->overlap_tps, speed->serial_tps);
    printf("           drive %10.4f GB a token      %9.4f s\n"
           "           DRAM  %10.4f GB              %9.4f s\n"
           "           cores %10.4f GFLOP           %9.4f s",
           gb(speed->disk_bytes), speed->seconds[WEIR_PLAN_DISK],
           gb(speed->dram_bytes), speed->seconds[WEIR_PLAN_DRAM],
           speed->flop / 1e9, speed->seconds[WEIR_PLAN_CORES]);
    if (speed->decode_bytes > 0)
        printf(", with %.4f GB to decode", gb(speed->decode_bytes));
    putchar('\n');
    if (speed->hbm_bytes > 0)
        printf("           PCIe  %10.4f GB              %9.4f s\n"
               "           HBM   %10.4f GB              %9.4f s\n"
               "           GPU   %10.4f GFLOP           %9.4f s\n",
               gb(speed->pcie_bytes), speed->seconds[WEIR_PLAN_PCIE],
               gb(speed->hbm_bytes), speed->seconds[WEIR_PLAN_HBM],
               speed->device_flop / 1e9, speed->seconds[WEIR_PLAN_GPU]);
}

/* Written for a prompt: enough of it that a drive is known by it */
#define WEARS 1e9

/* What a drive is sold for is counted in terabytes written. */
static double prompts_per_tb(const struct weir_plan *plan)
{
    return 1e12 / (double)plan->scratch.written_bytes;
}

/* Of the prompt, without what its scratch file moves */
static double weights_read(const struct plan_print *print)
{
    const struct weir_plan *plan = print->plan;

    return plan->prompt.disk_bytes * (double)print->budget->n_prompt -
           (double)plan->scratch.read_bytes -
           (double)plan->scratch.written_bytes;
}

static void print_way(const struct plan_print *print)
{
    const struct weir_plan *plan = print->plan;
    double written = (double)plan->scratch.written_bytes;

    if (plan->n_passes > 1)
        printf("           span by span of %" PRIu64 " tokens, each through "
               "all layers; --scratch would read the weights once\n",
               plan->span_tok);
    else if (!plan->block_tok)
        puts("           layer by layer, all tokens together; their hidden "
             "states wait in RAM, as f32");
    if (!plan->block_tok)
        return;
    printf("           layer by layer, %" PRIu64 " tokens in RAM at a time; "
           "the hidden states of all wait in a file, as f32\n"
           "scratch    %10.3f GB are written, %.3f GB read, in a file of %.3f "
           "GB\n",
           plan->block_tok, gb(written), gb((double)plan->scratch.read_bytes),
           gb((double)plan->scratch_file_bytes));
    if (written >= WEARS)
        printf("           warning: what is written wears the drive: %.3g such "
               "prompts write a terabyte\n",
               prompts_per_tb(plan));
}

void plan_print_text(const struct plan_print *print)
{
    const struct weir_plan_budget *budget = print->budget;
    const struct weir_plan *plan = print->plan;

    print_head(print);
    print_classes(plan);
    print_ram(plan);
    print_speed(&plan->decode, "decoding");
    if (budget->batch > 1)
        printf("           %u texts in step, together\n", budget->batch);
    print_speed(&plan->prompt, "prompt");
    printf("           %" PRIu64 " tokens in %.4g s", budget->n_prompt,
           (double)budget->n_prompt / plan->prompt.tps);
    if (plan->prompt.disk_bytes > 0)
        printf(", reading %.2f GB in %" PRIu64 " pass%s",
               gb(weights_read(print)), plan->n_passes,
               plan->n_passes == 1 ? "" : "es");
    putchar('\n');
    print_way(print);
}

/* ---- JSON ---- */

static json_t *machine_json(const struct weir_plan_machine *machine)
{
    return json_pack(
        "{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "threads",
        (int)machine->n_threads, "disk_gbps", machine->disk_gbps, "dram_gbps",
        machine->dram_gbps, "gflops", machine->gflops, "planes_gbps",
        machine->decode_gbps[WEIR_CODEC_PLANES], "zstd_gbps",
        machine->decode_gbps[WEIR_CODEC_ZSTD], "hbm_gbps", machine->hbm_gbps,
        "pcie_gbps", machine->pcie_gbps, "device_gflops",
        machine->device_gflops, "ram_bytes", (json_int_t)machine->ram_bytes);
}

static json_t *budget_json(const struct plan_print *print)
{
    const struct weir_plan_budget *budget = print->budget;

    return json_pack("{s:I, s:I, s:I, s:I, s:i, s:s, s:s}", "ram_bytes",
                     (json_int_t)budget->ram_bytes, "device_bytes",
                     (json_int_t)budget->device_bytes, "n_ctx",
                     (json_int_t)budget->n_ctx, "n_prompt",
                     (json_int_t)budget->n_prompt, "batch", (int)budget->batch,
                     "kv", print->kv, "cache",
                     print->plan->unpacked ? "unpacked" : "stored");
}

static json_t *ram_json(const struct weir_plan_ram *ram)
{
    struct amount list[N_AMOUNTS];
    json_t *root = json_pack("{s:I}", "sum", (json_int_t)ram->sum);

    list_amounts(ram, list);
    for (int i = 0; i < N_AMOUNTS; i++)
        json_object_set_new(root, list[i].key,
                            json_integer((json_int_t)list[i].n_bytes));
    return root;
}

static json_t *class_json(const struct weir_plan_class *class, int part)
{
    json_t *root = json_pack(
        "{s:s, s:f, s:f}", "class", weir_plan_part_name(part), "disk_bytes",
        class->disk_bytes, "dram_bytes", class->dram_bytes);

    for (int p = 0; p < WEIR_N_PLACES; p++)
        json_object_set_new(root, place_names[p],
                            json_pack("{s:I, s:I}", "units",
                                      (json_int_t) class->n_units[p], "bytes",
                                      (json_int_t) class->bytes[p]));
    return root;
}

static json_t *classes_json(const struct weir_plan *plan)
{
    json_t *list = json_array();

    for (int i = 0; i < WEIR_N_PARTS; i++)
        json_array_append_new(list, class_json(&plan->classes[i], i));
    return list;
}

static json_t *speed_json(const struct weir_plan_speed *speed)
{
    json_t *seconds = json_object();

    for (int i = 0; i < WEIR_PLAN_RESOURCES; i++)
        json_object_set_new(seconds, weir_plan_resource_name(i),
                            json_real(speed->seconds[i]));
    return json_pack(
        "{s:f, s:f, s:f, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "tps",
        speed->tps, "overlap_tps", speed->overlap_tps, "serial_tps",
        speed->serial_tps, "limit", weir_plan_resource_name(speed->limit),
        "disk_bytes", speed->disk_bytes, "dram_bytes", speed->dram_bytes,
        "decode_bytes", speed->decode_bytes, "flop", speed->flop, "pcie_bytes",
        speed->pcie_bytes, "hbm_bytes", speed->hbm_bytes, "device_flop",
        speed->device_flop, "seconds", seconds);
}

/* How the prompt goes: NULL when there is no memory */
static json_t *way_json(const struct plan_print *print)
{
    const struct weir_plan *plan = print->plan;
    json_t *root = json_pack("{s:s, s:s, s:s, s:f}", "order",
                             plan->n_passes > 1 ? "spans" : "layers", "hidden",
                             plan->block_tok ? "scratch" : "ram", "hidden_type",
                             "f32", "weights_read_bytes", weights_read(print));

    if (root && plan->block_tok)
        json_object_set_new(
            root, "scratch",
            json_pack("{s:I, s:I, s:I, s:I, s:f}", "file_bytes",
                      (json_int_t)plan->scratch_file_bytes, "written_bytes",
                      (json_int_t)plan->scratch.written_bytes, "read_bytes",
                      (json_int_t)plan->scratch.read_bytes, "block_tok",
                      (json_int_t)plan->block_tok, "prompts_per_tb",
                      prompts_per_tb(plan)));
    return root;
}

int plan_print_json(const struct plan_print *print, struct weir_err *err)
{
    const struct weir_plan *plan = print->plan;
    json_t *root = json_pack(
        "{s:I, s:b, s:b, s:o, s:o, s:o, s:f, s:I, s:I, s:o, s:o, s:o, s:o}",
        "model_bytes", (json_int_t)weir_file_bytes(print->file), "aliased",
        print->file->aliased, "mapped", plan->mapped, "machine",
        machine_json(print->machine), "budget", budget_json(print), "ram",
        ram_json(&plan->ram), "hit_rate", plan->hit_rate, "span_tok",
        (json_int_t)plan->span_tok, "passes", (json_int_t)plan->n_passes,
        "classes", classes_json(plan), "decode", speed_json(&plan->decode),
        "prompt", speed_json(&plan->prompt), "way", way_json(print));
    int rc;

    if (!root)
        return weir_err_nomem(err, sizeof(*plan), "JSON");
    rc = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    putchar('\n');
    json_decref(root);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}
