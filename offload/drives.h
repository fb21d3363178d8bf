/* SPDX-License-Identifier: Apache-2.0 */
/* How the drives that a model lies on like to be read, side by side. */
#ifndef WEIR_OFFLOAD_DRIVES_H
#define WEIR_OFFLOAD_DRIVES_H

#include "offload/file.h"
#include "offload/reader.h"

struct weir_drives {
    unsigned n_files; /* for weir_reader_new(), as the next */
    struct weir_read_file files[WEIR_FILES_MAX];
    size_t request_bytes[WEIR_FILES_MAX]; /* of one read of each file */
    size_t max_request;
    unsigned n_drives, depth; /* of all drives together */
    unsigned drive_of[WEIR_FILES_MAX];
    double gbps; /* of a read of the whole model; 0: not known */
};

/* Measures drives that are not known yet.  All parts of `file` are open. */
void weir_drives_get(const struct weir_file *file, struct weir_drives *drives);

#endif
