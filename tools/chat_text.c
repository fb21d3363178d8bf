/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat_text.h"

#include <string.h>

#include "base/utf8.h"
#include "text/chat.h"

#define THINK "<think>"

int chat_text_open(struct chat_text *text, const weir_model *model,
                   const struct chat_prompt *prompt, struct weir_err *err)
{
    int rc;

    text->model = model;
    text->messages = json_array();
    if (!text->messages)
        return weir_err_nomem(err, 0, "messages");
    rc = chat_prompt_template(prompt, model, &text->template, err);
    if (rc == WEIR_ENOTSUP && !text->template && !prompt->on &&
        !prompt->template)
        rc = 0;
    if (!rc && prompt->system)
        rc = chat_text_set_system(text, prompt->system, err);
    return rc;
}

void chat_text_close(struct chat_text *text)
{
    weir_chat_free(text->template);
    json_decref(text->messages);
}

int chat_text_add(struct chat_text *text, const char *role, const char *content,
                  size_t n_bytes, struct weir_err *err)
{
    return chat_prompt_add(text->messages, role, content, n_bytes, err);
}

static int has_role(const json_t *message, const char *role)
{
    const char *its = json_string_value(json_object_get(message, "role"));

    return its && !strcmp(its, role);
}

int chat_text_ends_with(const struct chat_text *text, const char *role)
{
    size_t n = json_array_size(text->messages);

    return n && has_role(json_array_get(text->messages, n - 1), role);
}

void chat_text_drop(struct chat_text *text)
{
    json_array_remove(text->messages, json_array_size(text->messages) - 1);
}

const char *chat_text_system(const struct chat_text *text)
{
    const json_t *first = json_array_get(text->messages, 0);

    return has_role(first, "system")
               ? json_string_value(json_object_get(first, "content"))
               : NULL;
}

size_t chat_text_count(const struct chat_text *text)
{
    return json_array_size(text->messages) - (chat_text_system(text) != NULL);
}

int chat_text_set_system(struct chat_text *text, const char *content,
                         struct weir_err *err)
{
    size_t n = json_array_size(text->messages);
    int has_one = chat_text_system(text) != NULL, rc = 0;

    if (*content)
        rc = chat_text_add(text, "system", content, strlen(content), err);
    if (rc)
        return rc;
    if (*content && json_array_insert(text->messages, 0,
                                      json_array_get(text->messages, n))) {
        chat_text_drop(text);
        return weir_err_nomem(err, 0, "messages");
    }
    if (*content)
        chat_text_drop(text);
    if (has_one)
        json_array_remove(text->messages, *content ? 1 : 0);
    return 0;
}

void chat_text_clear(struct chat_text *text)
{
    while (chat_text_count(text))
        chat_text_drop(text);
}

/* ---- what the model reads ---- */

static int join(const struct chat_text *text, struct weir_buf *out,
                struct weir_err *err)
{
    const json_t *message, *content;
    int rc = 0;
    size_t i;

    json_array_foreach(text->messages, i, message)
    {
        content = json_object_get(message, "content");
        if (!rc)
            rc = weir_buf_add(out, json_string_value(content),
                              json_string_length(content), err);
    }
    return rc;
}

/* Whether the text ends in the tag, but for white space */
static int ends_in_thought(const struct weir_buf *text)
{
    size_t n = text->n_bytes, n_tag = strlen(THINK);

    while (n && strchr(" \n", text->data[n - 1]))
        n--;
    return n >= n_tag && !memcmp(text->data + n - n_tag, THINK, n_tag);
}

int chat_text_encode(const struct chat_text *text, int32_t **ids, size_t *n_ids,
                     int *thinking, struct weir_err *err)
{
    const struct weir_chat_input input = {.messages = text->messages,
                                          .add_generation_prompt = 1};
    struct weir_buf out = WEIR_BUF(CHAT_TEXT_BYTES);
    int rc;

    if (text->template)
        rc = weir_chat_render_guarded(text->template, text->model->tokenizer,
                                      &input, &out, err);
    else
        rc = join(text, &out, err);
    if (!rc)
        rc = weir_model_encode(
            text->model, out.data ? out.data : "", out.n_bytes,
            text->template ? WEIR_SPECIAL_GUARDED : WEIR_SPECIAL_PARSED, 1, ids,
            n_ids, err);
    *thinking = !rc && text->template && ends_in_thought(&out);
    weir_buf_fini(&out);
    return rc;
}
