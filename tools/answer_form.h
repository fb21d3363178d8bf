/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form that answers must have: options that commands share.  A schema may
 * have what weir-serve(8) says of schemas.
 */
#ifndef WEIR_TOOLS_ANSWER_FORM_H
#define WEIR_TOOLS_ANSWER_FORM_H

#include "engine/session.h"
#include "text/grammar_mask.h"
#include "tools/cli.h"

#define SCHEMA_BYTES (1UL << 20) /* most in a file of --json-schema */

struct answer_form {
    const char *schema;           /* --json-schema: a file, or "-"; else NULL */
    int is_object;                /* --json-object */
    struct weir_grammar *grammar; /* once it is read; NULL: any text will do */
    struct weir_token_tree *tree; /* of a model's vocabulary, or NULL */
};

/* Takes an option that cli_next() found; returns 0 when it is another's. */
int answer_form_take(struct answer_form *form, const struct cli *cli,
                     int option);

/* Nonzero when the schema comes from standard input */
int answer_form_reads_stdin(const struct answer_form *form);

/*
 * Reads what the options name, of which nothing depends on a model.
 * WEIR_EFORMAT for what is no JSON or no schema, WEIR_ENOTSUP for a schema that
 * cannot be held to, WEIR_ELIMIT when it is too large.
 */
int answer_form_read(struct answer_form *form, struct weir_err *err);

/*
 * For answers of this model, which must outlive it.  WEIR_ENOTSUP when it has
 * no tokenizer that a form can be kept with.
 */
int answer_form_open(struct answer_form *form, const weir_model *model,
                     struct weir_err *err);

/* What it takes of a budget, and one answer that is held to it; 0 for none */
uint64_t answer_form_bytes(const struct answer_form *form,
                           const weir_model *model);

/*
 * Holds one answer: *mask is NULL when any text will do.  One of the n_eos ids
 * may come where the answer may end.  Release it with answer_form_end().
 */
int answer_form_begin(const struct answer_form *form, const weir_model *model,
                      const int32_t *eos, uint32_t n_eos,
                      struct weir_mask **mask, struct weir_err *err);
void answer_form_end(struct weir_mask *mask); /* may be NULL */

/* Takes a token of the answer; nonzero when that was the last one. */
int answer_form_ends(struct weir_mask *mask, int32_t id);

/* Until the next model; the grammar stays. */
void answer_form_close(struct answer_form *form);
void answer_form_fini(struct answer_form *form);

#endif
