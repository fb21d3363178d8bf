/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/answer_form.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int answer_form_take(struct answer_form *form, const struct cli *cli,
                     int option)
{
    const char *name = cli_option_name(option);

    if (!strcmp(name, "json-schema"))
        form->schema = cli->value;
    else if (!strcmp(name, "json-object"))
        form->is_object = 1;
    else
        return 0;
    if (form->schema && form->is_object)
        cli_usage(cli, "--json-schema and --json-object exclude each other");
    return 1;
}

int answer_form_reads_stdin(const struct answer_form *form)
{
    return form->schema && !strcmp(form->schema, "-");
}

static int read_schema(const struct answer_form *form, const char *what,
                       json_t **schema, struct weir_err *err)
{
    struct weir_buf text = WEIR_BUF(SCHEMA_BYTES);
    int rc = cli_read(form->schema, &text, err);

    if (!rc)
        rc = weir_json_parse(text.data ? text.data : "", text.n_bytes, what,
                             schema, err);
    weir_buf_fini(&text);
    return rc;
}

/* The grammar says where in the schema; here is which file, and the cure. */
static int make_grammar(struct answer_form *form, const char *what,
                        const json_t *schema, struct weir_err *err)
{
    const struct weir_answer_shape shape = {.schema = schema};
    struct weir_err why;
    int rc = weir_grammar_new(&shape, &form->grammar, &why);

    if (!rc || rc == WEIR_ENOMEM) {
        *err = why;
        return rc;
    }
    return weir_err_set(err, rc == WEIR_EARG ? WEIR_ENOTSUP : rc,
                        "%s: %s; weir-serve(8) says what a schema may have",
                        what, why.message);
}

int answer_form_read(struct answer_form *form, struct weir_err *err)
{
    const char *what =
        answer_form_reads_stdin(form) ? "standard input" : form->schema;
    json_t *schema = NULL;
    int rc = 0;

    if (!form->schema && !form->is_object)
        return 0;
    if (form->schema)
        rc = read_schema(form, what, &schema, err);
    else
        schema = json_pack("{s:s}", "type", "object");
    if (!rc && !schema)
        rc = weir_err_nomem(err, 0, "a schema");
    if (!rc)
        rc = make_grammar(form, what, schema, err);
    json_decref(schema);
    return rc;
}

int answer_form_open(struct answer_form *form, const weir_model *model,
                     struct weir_err *err)
{
    if (!form->grammar)
        return 0;
    if (!model->tokenizer)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "%s: was packed without a tokenizer, so that "
                            "answers cannot be held to a form; leave "
                            "--json-schema and --json-object away",
                            model->jamba->file->path);
    return weir_token_tree_new(model->tokenizer, &form->tree, err);
}

uint64_t answer_form_bytes(const struct answer_form *form,
                           const weir_model *model)
{
    if (!form->grammar)
        return 0;
    return form->grammar->n_nodes * sizeof(*form->grammar->nodes) +
           WEIR_WALK_BYTES +
           (WEIR_TOKEN_TREE_BYTES + WEIR_MASKS / 8) * weir_model_n_vocab(model);
}

int answer_form_begin(const struct answer_form *form, const weir_model *model,
                      const int32_t *eos, uint32_t n_eos,
                      struct weir_mask **out, struct weir_err *err)
{
    struct weir_mask *mask;
    int rc;

    *out = NULL;
    if (!form->grammar)
        return 0;
    mask = calloc(1, sizeof(*mask));
    if (!mask)
        return weir_err_nomem(err, sizeof(*mask), "a mask");
    rc = weir_mask_init(mask, form->tree, form->grammar, eos, n_eos,
                        weir_model_n_vocab(model), err);
    if (rc)
        answer_form_end(mask);
    else
        *out = mask;
    return rc;
}

void answer_form_end(struct weir_mask *mask)
{
    if (mask)
        weir_mask_fini(mask);
    free(mask);
}

int answer_form_ends(struct weir_mask *mask, int32_t id)
{
    return mask && weir_mask_take(mask, id) && weir_mask_must_end(mask);
}

void answer_form_close(struct answer_form *form)
{
    weir_token_tree_free(form->tree);
    form->tree = NULL;
}

void answer_form_fini(struct answer_form *form)
{
    answer_form_close(form);
    weir_grammar_release(form->grammar);
    form->grammar = NULL;
}
