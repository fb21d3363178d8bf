/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a reader that serves one drive: a queue for each rank, a thread,
 * and what it reads with.  Functions are those of reader.h, which see.
 */
#ifndef WEIR_OFFLOAD_READER_LANE_H
#define WEIR_OFFLOAD_READER_LANE_H

#include "offload/reader.h"

struct weir_lane_setup {
    enum weir_io io;
    unsigned depth; /* 1 to WEIR_READ_DEPTH_MAX */
    unsigned deadline_ms;
    double most_gbps;                 /* as in struct weir_reader_options */
    const struct weir_region *region; /* may be NULL */
    const struct weir_io_calls *calls;
    const int *fds; /* [n_files] of the reader; outlive the lane */
    unsigned n_files;
};

struct weir_lane;

int weir_lane_new(const struct weir_lane_setup *setup, struct weir_lane **lane,
                  struct weir_err *err);
void weir_lane_free(struct weir_lane *lane);

const char *weir_lane_name(const struct weir_lane *lane);

/* Why it is slower than it could be, or NULL */
const char *weir_lane_note(const struct weir_lane *lane);

void weir_lane_submit(struct weir_lane *lane, struct weir_read *read);
int weir_lane_wait(struct weir_lane *lane, struct weir_read *read);
int weir_lane_has_failed(const struct weir_lane *lane);
void weir_lane_cancel(struct weir_lane *lane, struct weir_read *read);
void weir_lane_raise(struct weir_lane *lane, struct weir_read *read);
void weir_lane_get_stats(struct weir_lane *lane,
                         struct weir_reader_stats *stats);

#endif
