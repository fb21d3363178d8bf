/* SPDX-License-Identifier: Apache-2.0 */
/* A timeline as a picture. */
#ifndef WEIR_TOOLS_TRACE_SVG_H
#define WEIR_TOOLS_TRACE_SVG_H

#include <stdio.h>

#include "tools/trace_read.h"

/*
 * Writes an SVG, WIDTH pixels wide: where the time went in a bar and a list, a
 * lane for each thread and one for the drive over the time, and a bar for each
 * layer.  Whether all was written, ferror() knows.
 */
void trace_draw(const struct trace *trace, FILE *file);

#endif
