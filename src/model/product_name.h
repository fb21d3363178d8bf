/* SPDX-License-Identifier: Apache-2.0 */
/* What a product is called in a timeline. */
#ifndef WEIR_MODEL_PRODUCT_NAME_H
#define WEIR_MODEL_PRODUCT_NAME_H

/*
 * A constant for the name of a matrix in the file; the first of those that are
 * multiplied side by side stands for all.  "product" for one it does not know.
 */
const char *weir_product_name(const char *tensor);

#endif
