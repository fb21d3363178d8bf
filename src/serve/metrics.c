/* SPDX-License-Identifier: Apache-2.0 */
/* What has happened, as Prometheus reads it (text exposition format 0.0.4). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "serve/server_parts.h"

/* Collects text; the first error stays. */
struct page {
    struct weir_buf *buf;
    int rc;
    struct weir_err *err;
};

static void __attribute__((format(printf, 2, 3)))
add(struct page *page, const char *fmt, ...)
{
    char text[512];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (!page->rc)
        page->rc = weir_buf_add(page->buf, text, (size_t)n, page->err);
}

static void describe(struct page *page, const char *name, const char *type,
                     const char *help)
{
    add(page, "# HELP weir_%s %s\n# TYPE weir_%s %s\n", name, help, name, type);
}

struct value {
    const char *name, *help;
    uint64_t value;
};

/* What ends in _total only grows. */
static const char *type_of(const char *name)
{
    size_t n = strlen(name);

    return n > 6 && !strcmp(name + n - 6, "_total") ? "counter" : "gauge";
}

/* Up to one without a name */
static void add_values(struct page *page, const struct value *values)
{
    for (; values->name; values++) {
        describe(page, values->name, type_of(values->name), values->help);
        add(page, "weir_%s %" PRIu64 "\n", values->name, values->value);
    }
}

#define ADD_VALUES(page, ...)                                                  \
    add_values(page, (const struct value[]){__VA_ARGS__, {NULL, NULL, 0}})

static void add_seconds(struct page *page, const char *name, const char *help,
                        uint64_t ns)
{
    describe(page, name, "counter", help);
    add(page, "weir_%s %.9f\n", name, (double)ns * 1e-9);
}

static void add_histogram(struct page *page, const char *name, const char *help,
                          const struct weir_histogram *histogram)
{
    uint64_t n = 0;

    describe(page, name, "histogram", help);
    for (int i = 0; i < WEIR_HISTOGRAM_BOUNDS; i++) {
        n += histogram->counts[i];
        add(page, "weir_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
            weir_histogram_bounds[i], n);
    }
    n += histogram->counts[WEIR_HISTOGRAM_BOUNDS];
    add(page, "weir_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, n);
    add(page, "weir_%s_sum %.9f\nweir_%s_count %" PRIu64 "\n", name,
        histogram->sum, name, n);
}

static void add_server(struct page *page, const struct weir_server *server)
{
    describe(page, "responses_total", "counter", "Replies that began.");
    for (int i = 0; i < WEIR_MAX_STATUS; i++)
        if (server->n_status[i])
            add(page, "weir_responses_total{code=\"%d\"} %" PRIu64 "\n", i,
                server->n_status[i]);
    ADD_VALUES(
        page,
        {"calls", "Requests for texts that are under way or wait.",
         server->n_calls},
        {"hangups_total", "Clients that were gone before their answer was.",
         server->n_hangups},
        {"cut_streams_total", "Streams that were cut because nobody read them.",
         server->n_cut},
        {"timeouts_total", "Requests that took longer than --timeout.",
         server->n_timeouts});
}

static void add_runner(struct page *page, const struct weir_runner_stats *stats)
{
    ADD_VALUES(
        page, {"places", "Texts that can be under way.", stats->n_places},
        {"texts_running", "Texts under way.", stats->n_running},
        {"texts_waiting", "Texts that wait for a place.", stats->n_waiting},
        {"texts_ended_total", "Texts that are complete.", stats->n_ended},
        {"texts_cancelled_total", "Texts that nobody waited for any more.",
         stats->n_cancelled},
        {"texts_failed_total", "Texts that ended with an error.",
         stats->n_failed},
        {"steps_total", "Passes over the model.", stats->n_steps},
        {"prompt_tokens_total", "Tokens of prompts that were read.",
         stats->n_prompt_tok},
        {"tokens_total", "Tokens that were written.", stats->n_tok});
    add_histogram(page, "waiting_seconds", "From a request to its place.",
                  &stats->waiting);
    add_histogram(page, "time_to_first_token_seconds",
                  "From a request to its first token.", &stats->first_token);
    add_histogram(page, "time_between_tokens_seconds",
                  "Between two tokens of a text.", &stats->between_tokens);
}

static void add_text_files(struct page *page,
                           const struct weir_text_files_stats *stats)
{
    ADD_VALUES(
        page,
        {"cache_disk_bytes", "Files of prompts in --cache-dir.",
         stats->n_bytes},
        {"cache_disk_bytes_limit", "What they may be: --cache-disk.",
         stats->most_bytes},
        {"cache_disk_texts", "How many there are.", stats->n_files},
        {"cache_disk_loads_total", "Prompts that came back from there.",
         stats->n_loaded},
        {"cache_disk_saves_total", "Prompts that went there.", stats->n_saved},
        {"cache_disk_evictions_total", "Files that made room for others.",
         stats->n_evicted},
        {"cache_disk_errors_total", "Files that could not be read or written.",
         stats->n_failed});
}

static void add_texts(struct page *page, const struct weir_texts_stats *stats)
{
    ADD_VALUES(
        page,
        {"cache_bytes", "Memory of prompts that are kept.", stats->n_bytes},
        {"cache_bytes_limit", "What it may be: --cache-ram.",
         stats->most_bytes},
        {"cache_texts", "Prompts that are kept.", stats->n_texts},
        {"cache_hits_total", "Prompts of which a part was kept.",
         stats->n_hits},
        {"cache_misses_total", "Prompts of which nothing was kept.",
         stats->n_misses},
        {"cache_tokens_total",
         "Tokens of prompts that were kept, and not read again.", stats->n_tok},
        {"cache_evictions_total", "Prompts that made room for others.",
         stats->n_evicted});
    if (stats->files.most_bytes)
        add_text_files(page, &stats->files);
}

static void add_weights(struct page *page,
                        const struct weir_residency_stats *stats)
{
    describe(page, "weights_bytes", "gauge", "Memory that weights have.");
    add(page,
        "weir_weights_bytes{kind=\"pinned\"} %" PRIu64
        "\nweir_weights_bytes{kind=\"cache\"} %" PRIu64
        "\nweir_weights_bytes{kind=\"staging\"} %" PRIu64 "\n",
        stats->pinned_bytes, stats->cache_bytes, stats->staging_bytes);
    ADD_VALUES(
        page, {"drive_read_bytes_total",
               "Weights that were read from the drive; 0 when they are mapped.",
               stats->read_bytes});
    add_seconds(page, "drive_busy_seconds_total",
                "Time in which the drive was read.", stats->read_ns);
    ADD_VALUES(page,
               {"expert_hits_total", "Experts that were wanted and in memory.",
                stats->n_hits},
               {"expert_misses_total",
                "Experts that were wanted and read for it.", stats->n_misses},
               {"expert_evictions_total", "Experts that made room for others.",
                stats->n_evictions});
    add_seconds(page, "tile_waiting_seconds_total",
                "Time that threads waited for tiles.", stats->stall_ns);
}

static void add_used(struct page *page, const struct weir_runner_stats *stats)
{
    describe(page, "weights_used_bytes_total", "counter",
             "Weights that passes used, as they are stored: of a device's "
             "memory, or of RAM, where the drive may have brought them.");
    add(page,
        "weir_weights_used_bytes_total{place=\"device\"} %.0f\n"
        "weir_weights_used_bytes_total{place=\"memory\"} %.0f\n",
        stats->used_bytes[WEIR_IN_DEVICE], stats->used_bytes[WEIR_IN_MEMORY]);
}

/* Under the names that Prometheus has for every process */
static void add_process(struct page *page)
{
    unsigned long long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    char line[128];
    struct stat st;
    char *at;
    int n = 0;

    if (file && fgets(line, sizeof(line), file)) {
        size = strtoull(line, &at, 10);
        resident = size ? strtoull(at, NULL, 10) : 0;
    }
    if (file)
        fclose(file);
    for (int fd = 0; fd < WEIR_SERVER_DESCRIPTORS; fd++)
        n += !fstat(fd, &st);
    add(page,
        "# TYPE process_resident_memory_bytes gauge\n"
        "process_resident_memory_bytes %llu\n"
        "# TYPE process_open_fds gauge\nprocess_open_fds %d\n",
        resident * (unsigned long long)sysconf(_SC_PAGESIZE), n);
}

int weir_metrics_print(struct weir_server *server, struct weir_buf *buf,
                       struct weir_err *err)
{
    struct page page = {buf, 0, err};
    struct weir_runner_stats stats;

    weir_runner_get_stats(server->runner, &stats);
    add_server(&page, server);
    add_runner(&page, &stats);
    add_texts(&page, &stats.texts);
    add_weights(&page, &stats.residency);
    add_used(&page, &stats);
    add_process(&page);
    return page.rc;
}
