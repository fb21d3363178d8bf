/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/drives.h"

#include <string.h>
#include <sys/stat.h>

#include "offload/drive.h"

_Static_assert(WEIR_FILES_MAX <= WEIR_READ_FILES_MAX, "a reader reads all");

static uint64_t number_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) ? 0 : st.st_dev;
}

/* The whole is read when the drive is done that takes longest. */
static double rate_of(const struct weir_file *file,
                      const struct weir_drives *drives, const double *gbps)
{
    double seconds[WEIR_FILES_MAX] = {0}, most = 0;

    for (unsigned i = 0; i < drives->n_files; i++) {
        unsigned d = drives->drive_of[i];

        if (gbps[d] <= 0)
            return 0;
        seconds[d] += (double)file->parts[i].n_bytes / (gbps[d] * 1e9);
        if (seconds[d] > most)
            most = seconds[d];
    }
    return (double)weir_file_bytes(file) / (most * 1e9);
}

void weir_drives_get(const struct weir_file *file, struct weir_drives *drives)
{
    struct weir_drive known[WEIR_FILES_MAX];
    uint64_t numbers[WEIR_FILES_MAX];
    double gbps[WEIR_FILES_MAX];

    memset(drives, 0, sizeof(*drives));
    drives->n_files = file->n_parts;
    for (unsigned i = 0; i < file->n_parts; i++) {
        const struct weir_part *part = &file->parts[i];
        uint64_t number = number_of(part->fd);
        unsigned d = 0;

        while (d < drives->n_drives && numbers[d] != number)
            d++;
        if (d == drives->n_drives) {
            numbers[drives->n_drives++] = number;
            weir_drive_get(part->fd, part->n_bytes, &known[d]);
            gbps[d] = known[d].gbps;
            drives->depth += known[d].depth;
            if (known[d].request_bytes > drives->max_request)
                drives->max_request = known[d].request_bytes;
        }
        drives->drive_of[i] = d;
        drives->request_bytes[i] = known[d].request_bytes;
        drives->files[i] =
            (struct weir_read_file){part->path, part->fd, known[d].depth};
    }
    drives->gbps = rate_of(file, drives, gbps);
}
