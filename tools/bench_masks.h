/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir bench has more with --json-schema: how long it takes to say which
 * tokens may come.  weir-bench(1) has the keys.
 */
#ifndef WEIR_TOOLS_BENCH_MASKS_H
#define WEIR_TOOLS_BENCH_MASKS_H

#include "base/json.h"
#include "tools/answer_form.h"

/* The columns of a row; those of masks are there for decoding only */
struct masks_row {
    double grammar_ms, token_tree_ms;
    size_t n; /* masks made; 0: a prompt */
    double us_median, us_p99, us_max;
    size_t n_texts;
};

struct masks {
    struct answer_form *form; /* the caller's */
    struct masks_row row;
};

/* Does nothing, as the rest does, when the form is any text. */
int masks_read(struct masks *masks, struct answer_form *form,
               struct weir_err *err);

/* A model has its own tree; close it before the model. */
int masks_open(struct masks *masks, const weir_model *model,
               struct weir_err *err);
void masks_close(struct masks *masks);

/*
 * Goes on with the session by n > 0 tokens of texts that are held to the form:
 * `id` and n - 1 of those that the model's scores and fixed random numbers
 * choose.  Fills the row.
 */
int masks_measure(struct masks *masks, weir_session *session,
                  const weir_model *model, int32_t id, size_t n,
                  struct weir_err *err);

/* Further columns of a table, of CSV, and keys of an object */
void masks_print_md_head(void);
void masks_print_md_rule(void);
void masks_print_md(const struct masks_row *row);
void masks_print_csv_head(void);
void masks_print_csv(const struct masks_row *row);
int masks_add_json(json_t *root, const struct masks_row *row);

#endif
