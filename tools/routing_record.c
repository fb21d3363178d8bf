/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/routing_record.h"

#include <stdlib.h>
#include <string.h>

int routing_record_init(struct routing_record *record,
                        const struct weir_jamba *jamba, const char *path,
                        size_t max_tok, struct weir_err *err)
{
    struct weir_routing_shape shape;
    size_t n_bytes;
    int rc = weir_routing_get_shape(&jamba->config, &shape, err);

    if (rc)
        return rc;
    record->jamba = jamba;
    record->max_tok = max_tok;
    for (uint32_t i = 0; i < shape.n_moe; i++)
        record->place[shape.layers[i]] = i;
    n_bytes = max_tok * shape.n_choices * sizeof(*record->experts);
    record->experts = malloc(n_bytes);
    if (!record->experts)
        return weir_err_nomem(err, n_bytes, "the experts of a window");
    memset(record->experts, 1, n_bytes); /* so that a budget counts it */
    return weir_routing_create(&record->file, path, &shape, err);
}

void routing_record_see(struct routing_record *record, uint32_t layer,
                        const float *values, size_t n_tok, size_t width)
{
    const struct weir_routing_shape *shape = &record->file.shape;
    size_t k = shape->n_top, place = record->place[layer];
    uint32_t expert[WEIR_MAX_EXPERTS];
    float prob[WEIR_MAX_EXPERTS];
    uint16_t *to;

    for (size_t t = 0; t < n_tok && record->n_seen[layer] < record->max_tok;
         t++) {
        record->jamba->kernels.route(values + t * width, width, 1, width, k,
                                     expert, prob);
        to = record->experts + record->n_seen[layer]++ * shape->n_choices;
        for (size_t i = 0; i < k; i++)
            to[place * k + i] = (uint16_t)expert[i];
    }
}

int routing_record_end_pass(struct routing_record *record, size_t n_tok,
                            int follows, struct weir_err *err)
{
    size_t n_choices = record->file.shape.n_choices;
    int rc = 0;

    memset(record->n_seen, 0, sizeof(record->n_seen));
    for (size_t t = 0; t < n_tok && !rc; t++)
        rc = weir_routing_add(&record->file,
                              t || follows ? 0 : WEIR_ROUTING_BEGINS,
                              record->experts + t * n_choices, err);
    return rc;
}

int routing_record_commit(struct routing_record *record, struct weir_err *err)
{
    return weir_routing_commit(&record->file, err);
}

void routing_record_fini(struct routing_record *record)
{
    weir_routing_close(&record->file);
    free(record->experts);
    record->experts = NULL;
}
