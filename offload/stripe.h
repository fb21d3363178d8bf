/* SPDX-License-Identifier: Apache-2.0 */
/* The names that the parts of a model get in the folders of several drives. */
#ifndef WEIR_OFFLOAD_STRIPE_H
#define WEIR_OFFLOAD_STRIPE_H

#include "offload/pack.h"

/*
 * For a model called `output` in `folders`, 1 to WEIR_FILES_MAX with a comma
 * between them: the first part goes to the first folder under that name, part K
 * to the next one with `.K' behind it.  `output` is a name alone, or a path
 * whose folder is the first; WEIR_EARG when it is not.  Release with
 * weir_stripe_fini(), also after an error.
 */
int weir_stripe_init(struct weir_stripe *stripe, const char *folders,
                     const char *output, struct weir_err *err);
void weir_stripe_fini(struct weir_stripe *stripe);

/* Parts that lie on one drive with part `number`, itself among them */
unsigned weir_stripe_n_sharing(const struct weir_stripe *stripe,
                               unsigned number);

#endif
