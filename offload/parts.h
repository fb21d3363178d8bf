/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files beside the first that a model is spread over: the page that each
 * begins with, and where they are found.
 */
#ifndef WEIR_OFFLOAD_PARTS_H
#define WEIR_OFFLOAD_PARTS_H

#include "offload/file.h"

/*
 * The first page of part `part` > 0 of a file whose tile records and lengths of
 * parts are known.
 */
void weir_part_encode(const struct weir_file *file, unsigned part,
                      uint8_t page[WEIR_FILE_PAGE]);

/*
 * Opens all parts but the first: each is looked for in the folders that
 * WEIR_PARTS names, with a colon between them, where it was written, and beside
 * the first, and must have the length and the first page that belong to it.
 */
int weir_parts_open(struct weir_file *file, struct weir_err *err);

#endif
