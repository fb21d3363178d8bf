/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/device.h"
#include "model/wait.h"

enum weir_cache memory_cache(const struct cli *cli)
{
    static const enum weir_cache ways[] = {WEIR_CACHE_AUTO, WEIR_CACHE_STORED,
                                           WEIR_CACHE_UNPACKED};

    return ways[cli_choice(cli, "auto|stored|unpacked")];
}

static enum weir_device_choice device_of(const struct cli *cli)
{
    static const enum weir_device_choice choices[] = {
        WEIR_ON_CPU, WEIR_ON_CUDA, WEIR_ON_AUTO, WEIR_ON_HOST};

    return choices[cli_choice(cli, "cpu|cuda|auto|host")];
}

enum weir_cache memory_kept(const struct weir_model *model)
{
    struct weir_residency_stats stats;

    weir_residency_get_stats(model->jamba->residency, &stats);
    return stats.is_unpacked ? WEIR_CACHE_UNPACKED : WEIR_CACHE_STORED;
}

int memory_take(struct weir_model_options *options, const struct cli *cli,
                int option)
{
    static const enum weir_io ways[] = {WEIR_IO_URING, WEIR_IO_PREAD,
                                        WEIR_IO_MMAP};
    const char *name = cli_option_name(option);

    if (!strcmp(name, "ram"))
        options->ram_bytes = cli_size(cli);
    else if (!strcmp(name, "io"))
        options->io = ways[cli_choice(cli, "uring|pread|mmap")];
    else if (!strcmp(name, "scratch"))
        options->scratch = cli->value;
    else if (!strcmp(name, "device"))
        options->device = device_of(cli);
    else if (!strcmp(name, "vram"))
        options->vram_bytes = cli_size(cli);
    else if (!strcmp(name, "place"))
        options->only_device = cli_choice(cli, "auto|card") == 1;
    else if (!strcmp(name, "cache"))
        options->cache = memory_cache(cli);
    else
        return 0;
    return 1;
}

void memory_check_device(const struct weir_model_options *options,
                         const struct cli *cli)
{
    if ((options->vram_bytes || options->only_device) &&
        options->device == WEIR_ON_CPU)
        cli_usage(cli, "%s is of a GPU; ask for one with --device cuda",
                  options->vram_bytes ? "--vram" : "--place");
}

void memory_check(const struct weir_model_options *options,
                  const struct cli *cli)
{
    if (options->ram_bytes && options->io == WEIR_IO_MMAP)
        cli_usage(cli, "--io mmap keeps to no --ram; leave one away");
    if (options->scratch && !options->ram_bytes &&
        (options->io == WEIR_IO_AUTO || options->io == WEIR_IO_MMAP))
        cli_usage(cli, "--scratch is for what a budget has no room for; give "
                       "one with --ram");
    memory_check_device(options, cli);
    if (options->cache && !options->ram_bytes &&
        (options->io == WEIR_IO_AUTO || options->io == WEIR_IO_MMAP))
        cli_usage(cli, "--cache is for weights that are read, not mapped; give "
                       "a budget with --ram");
}

void memory_warn_scratch(const struct weir_model *model, size_t n_tok,
                         const struct cli *cli)
{
    struct weir_scratch_stats bytes;

    weir_wait_count(model->jamba, n_tok, &bytes);
    if (bytes.written_bytes)
        cli_warn(cli,
                 "a pass over %zu tokens writes %.3f GB to the scratch file "
                 "and reads %.3f GB of it; what is written wears a drive",
                 n_tok, (double)bytes.written_bytes / 1e9,
                 (double)bytes.read_bytes / 1e9);
}

void memory_warn(const struct weir_model *model, const struct cli *cli)
{
    const char *note = weir_residency_note(model->jamba->residency);

    if (note)
        cli_warn(cli, "%s", note);
}

static double mib(uint64_t n_bytes)
{
    return (double)n_bytes / (1 << 20);
}

static double gbps(const struct weir_residency_stats *stats)
{
    return stats->read_ns ? (double)stats->read_bytes / (double)stats->read_ns
                          : 0;
}

void memory_print(const struct weir_model *model)
{
    struct weir_residency_stats stats;
    struct weir_scratch_stats scratch;

    weir_residency_get_stats(model->jamba->residency, &stats);
    if (model->jamba->on) {
        const struct weir_device_room *room = &model->jamba->on->room;

        fprintf(stderr, "device    %s, %.2f GB of %.2f GB used\n",
                room->info.name, (double)room->n_taken / 1e9,
                (double)room->n_bytes / 1e9);
    }
    if (!strcmp(stats.io, "mmap")) {
        fprintf(stderr, "weights   mapped\n");
        return;
    }
    fprintf(
        stderr,
        "weights   %.1f MiB pinned%s, %.1f MiB cache, %.1f MiB for reads\n"
        "read      %.1f MiB, %.2f GB/s while reading (%s%s), %" PRIu64
        " tiles by themselves\n"
        "experts   %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64
        " evictions\n"
        "guesses   %" PRIu64 ", %" PRIu64 " right, %.1f MiB for nothing\n"
        "waiting   %" PRIu64 " times for tiles, %.3f s of all threads; the "
        "drive idle for %.3f s\n",
        mib(stats.pinned_bytes), stats.is_unpacked ? " unpacked" : " as stored",
        mib(stats.cache_bytes), mib(stats.staging_bytes), mib(stats.read_bytes),
        gbps(&stats), stats.io, stats.is_direct ? "" : ", page cache",
        stats.n_direct, stats.n_hits, stats.n_misses, stats.n_evictions,
        stats.n_guesses, stats.n_guesses_right, mib(stats.guess_wasted_bytes),
        stats.n_stalls, (double)stats.stall_ns * 1e-9,
        (double)stats.idle_ns * 1e-9);
    weir_scratch_get_stats(model->jamba->scratch, &scratch);
    if (scratch.written_bytes)
        fprintf(stderr, "scratch   %.3f GB written, %.3f GB read\n",
                (double)scratch.written_bytes / 1e9,
                (double)scratch.read_bytes / 1e9);
}

json_t *memory_json(const struct weir_model *model)
{
    struct weir_residency_stats stats;
    struct weir_scratch_stats scratch;

    weir_scratch_get_stats(model->jamba->scratch, &scratch);
    weir_residency_get_stats(model->jamba->residency, &stats);
    return json_pack(
        "{s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, "
        "s:I, "
        "s:I, s:f, s:f, s:I, s:I}",
        "io", stats.io, "direct", stats.is_direct, "cache",
        stats.is_unpacked ? "unpacked" : "stored", "pinned_bytes",
        (json_int_t)stats.pinned_bytes, "cache_bytes",
        (json_int_t)stats.cache_bytes, "staging_bytes",
        (json_int_t)stats.staging_bytes, "read_bytes",
        (json_int_t)stats.read_bytes, "read_s", (double)stats.read_ns * 1e-9,
        "hits", (json_int_t)stats.n_hits, "misses", (json_int_t)stats.n_misses,
        "evictions", (json_int_t)stats.n_evictions, "guesses",
        (json_int_t)stats.n_guesses, "guesses_right",
        (json_int_t)stats.n_guesses_right, "guess_wasted_bytes",
        (json_int_t)stats.guess_wasted_bytes, "stalls",
        (json_int_t)stats.n_stalls, "stall_s", (double)stats.stall_ns * 1e-9,
        "idle_s", (double)stats.idle_ns * 1e-9, "scratch_written_bytes",
        (json_int_t)scratch.written_bytes, "scratch_read_bytes",
        (json_int_t)scratch.read_bytes);
}

/* getrusage() would do, but that it begins with the peak of who started us. */
uint64_t memory_peak(void)
{
    static const char key[] = "VmHWM:";
    FILE *file = fopen("/proc/self/status", "re");
    uint64_t kib = 0;
    char line[256];

    while (file && fgets(line, sizeof(line), file) && !kib)
        if (!strncmp(line, key, sizeof(key) - 1))
            kib = strtoull(line + sizeof(key) - 1, NULL, 10);
    if (file)
        fclose(file);
    return kib << 10;
}
