/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the cores decode compressed tiles */
#ifndef WEIR_OFFLOAD_DECODE_RATE_H
#define WEIR_OFFLOAD_DECODE_RATE_H

#include "base/pool.h"
#include "offload/file.h"

/*
 * Unpacked bytes in a second, for each thread of the pool while all of them
 * decode weights that look trained: the best of some.  WEIR_ENOMEM.
 */
int weir_decode_rate(struct weir_pool *pool, enum weir_codec codec,
                     double *rate, struct weir_err *err);

#endif
