/* SPDX-License-Identifier: Apache-2.0 */
/* What `weir inspect --routing` prints. */
#ifndef WEIR_TOOLS_INSPECT_ROUTING_H
#define WEIR_TOOLS_INSPECT_ROUTING_H

#include "base/err.h"

/*
 * Prints what the routing trace at `path` says: skew, reuse, and what caches
 * would hit; as one JSON object with `json`.
 */
int inspect_routing(const char *path, int json, struct weir_err *err);

#endif
