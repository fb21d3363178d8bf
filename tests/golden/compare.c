/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/golden/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/tap.h"

#define FILE_BYTES (64UL << 20)

void *values_of(const struct weir_checkpoint *from, const char *name, size_t *n)
{
    int64_t tensor = weir_checkpoint_find(from, name);
    const struct weir_source *source;
    struct weir_err err;
    void *values;

    *n = 0;
    if (tensor < 0)
        return NULL;
    source = &from->tensors[tensor];
    values = malloc(source->n_bytes);
    if (values && weir_pread_all(from->files[source->file].fd, values,
                                 source->n_bytes, source->offset, name, &err)) {
        tap_diag("%s", err.message);
        free(values);
        return NULL;
    }
    *n = source->n_bytes / 4;
    return values;
}

static double distance(const float *a, const float *b, size_t n)
{
    double far = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        far += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return isfinite(far) && norm > 0 ? sqrt(far / norm) : HUGE_VAL;
}

double tensor_distance(const struct weir_checkpoint *a, const char *name,
                       const struct weir_checkpoint *b, const char *golden)
{
    size_t n_a, n_b;
    float *x = values_of(a, name, &n_a), *y = values_of(b, golden, &n_b);
    double far = x && y && n_a == n_b ? distance(x, y, n_a) : HUGE_VAL;

    free(x);
    free(y);
    return far;
}

int same_tensor(const struct weir_checkpoint *a,
                const struct weir_checkpoint *b, const char *name)
{
    size_t n_a, n_b;
    void *x = values_of(a, name, &n_a), *y = values_of(b, name, &n_b);
    int same = x && y && n_a == n_b && !memcmp(x, y, 4 * n_a);

    free(x);
    free(y);
    return same;
}

int same_files(const char *a, const char *b)
{
    struct weir_buf x = WEIR_BUF(FILE_BYTES), y = WEIR_BUF(FILE_BYTES);
    struct weir_err err;
    int same = 0;

    if (weir_buf_add_file(&x, a, &err) || weir_buf_add_file(&y, b, &err))
        tap_diag("%s", err.message);
    else
        same = x.n_bytes == y.n_bytes && !memcmp(x.data, y.data, x.n_bytes);
    weir_buf_fini(&x);
    weir_buf_fini(&y);
    return same;
}
