/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "tools/bench_stream.h"

/* A column of CSV and a key of JSON: a text, a number or, if `real`, another */
struct value {
    const char *key, *text;
    int is_real;
    double real;
    uint64_t whole;
};

#define REAL(key)                                                              \
    {                                                                          \
#key, NULL, 1, row->key, 0                                             \
    }
#define WHOLE(key)                                                             \
    {                                                                          \
#key, NULL, 0, 0, row->key                                             \
    }
#define TEXT(key)                                                              \
    {                                                                          \
#key, row->key, 0, 0, 0                                                \
    }

#define N_VALUES 20

static void list_values(const struct stream_row *row,
                        struct value list[N_VALUES])
{
    const struct value values[N_VALUES] = {
        WHOLE(ram_bytes),
        WHOLE(model_bytes),
        WHOLE(peak_rss_bytes),
        REAL(drive_gbps),
        REAL(drive_idle_gbps),
        REAL(read_gbps_disk),
        REAL(share_of_drive),
        REAL(drive_busy),
        WHOLE(bytes_read),
        WHOLE(hits),
        WHOLE(misses),
        WHOLE(evictions),
        WHOLE(guesses),
        WHOLE(guesses_right),
        REAL(wait_share),
        REAL(stall_share),
        REAL(plan_tps),
        TEXT(plan_by),
        TEXT(io),
        TEXT(cache),
    };

    for (int i = 0; i < N_VALUES; i++)
        list[i] = values[i];
}

void stream_print_csv_head(void)
{
    static const struct stream_row none;
    struct value list[N_VALUES];

    list_values(&none, list);
    for (int i = 0; i < N_VALUES; i++)
        printf(",%s", list[i].key);
}

void stream_print_csv(const struct stream_row *row)
{
    struct value list[N_VALUES];

    list_values(row, list);
    for (int i = 0; i < N_VALUES; i++)
        if (list[i].text)
            printf(",%s", list[i].text);
        else if (list[i].is_real)
            printf(",%.17g", list[i].real);
        else
            printf(",%" PRIu64, list[i].whole);
}

int stream_add_json(json_t *root, const struct stream_row *row)
{
    struct value list[N_VALUES];
    int bad = 0;

    list_values(row, list);
    for (int i = 0; i < N_VALUES; i++)
        bad |= json_object_set_new(
            root, list[i].key,
            list[i].text      ? json_string(list[i].text)
            : list[i].is_real ? json_real(list[i].real)
                              : json_integer((json_int_t)list[i].whole));
    return bad;
}

void stream_print_md_head(void)
{
    fputs(" plan | drive GB/s | idle | read GB/s | of drive | busy | read GB "
          "| hits, misses, evictions | guesses | waiting | stalled | RAM GB "
          "| peak GB | of GB | io | cache |",
          stdout);
}

void stream_print_md_rule(void)
{
    fputs(
        " ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: "
        "| ---: | ---: | ---: | ---: | --- | --- |",
        stdout);
}

void stream_print_md(const struct stream_row *row)
{
    printf(" %.2f, %s | %.2f | %.2f | %.2f | %.1f %% | %.1f %% | %.2f "
           "| %" PRIu64 ", %" PRIu64 ", %" PRIu64 " | %" PRIu64 " of %" PRIu64
           " | %.1f %% | %.1f %% | %.2f | %.2f | %.2f | %s | %s |",
           row->plan_tps, row->plan_by, row->drive_gbps, row->drive_idle_gbps,
           row->read_gbps_disk, 100 * row->share_of_drive,
           100 * row->drive_busy, (double)row->bytes_read / 1e9, row->hits,
           row->misses, row->evictions, row->guesses_right, row->guesses,
           100 * row->wait_share, 100 * row->stall_share,
           (double)row->ram_bytes / 1e9, (double)row->peak_rss_bytes / 1e9,
           (double)row->model_bytes / 1e9, row->io, row->cache);
}
