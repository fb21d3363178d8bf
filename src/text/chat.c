/* SPDX-License-Identifier: Apache-2.0 */
#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "offload/file.h"
#include "text/tokenizer.h"

#define MAX_LEVELS 100 /* of what messages hold */

struct weir_chat {
    struct weir_jinja *plain;
    struct weir_jinja *with_tools; /* or NULL */
    json_t *tokens;                /* an object of strings */
};

static const char config_name[] = "tokenizer_config.json";
static const char template_name[] = "chat_template.jinja";

/* ---- special tokens ---- */

/* A token is a string, or an object with its content. */
static json_t *token_text(const json_t *token)
{
    return json_is_object(token) ? json_object_get(token, "content")
                                 : (json_t *)token;
}

/* Those of `config` that are not there yet */
static int take_tokens(json_t *tokens, const json_t *config,
                       struct weir_err *err)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token",
                                        "sep_token", "pad_token", "cls_token",
                                        "mask_token"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *text = token_text(json_object_get(config, names[i]));

        if (!json_is_string(text) || json_object_get(tokens, names[i]))
            continue;
        if (json_object_set(tokens, names[i], text))
            return weir_err_nomem(err, json_string_length(text), config_name);
    }
    return 0;
}

/* *json is NULL, without an error, when there is no such file. */
static int read_json(const struct weir_file *file, const char *name,
                     json_t **json, struct weir_err *err)
{
    char *text;
    size_t n_bytes;
    int rc = weir_file_read_blob(file, name, &text, &n_bytes, err);

    *json = NULL;
    if (!rc && text)
        rc = weir_json_parse(text, n_bytes, name, json, err);
    free(text);
    return rc;
}

static int read_tokens(struct weir_chat *chat, const struct weir_file *file,
                       const json_t *config, struct weir_err *err)
{
    json_t *map = NULL;
    int rc = read_json(file, "special_tokens_map.json", &map, err);

    if (!rc)
        rc = take_tokens(chat->tokens, config, err);
    if (!rc)
        rc = take_tokens(chat->tokens, map, err);
    json_decref(map);
    return rc;
}

/* ---- templates ---- */

static int parse_text(const json_t *text, const char *what,
                      struct weir_jinja **jinja, struct weir_err *err)
{
    if (!json_is_string(text))
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: chat_template must be a string, or a list of "
                            "objects with name and template",
                            config_name);
    return weir_jinja_parse(json_string_value(text), json_string_length(text),
                            what, jinja, err);
}

/* One of the list; names that nothing here asks for are passed over. */
static int take_named(struct weir_chat *chat, const json_t *item,
                      struct weir_err *err)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    const json_t *text = json_object_get(item, "template");

    if (name && !strcmp(name, "default") && !chat->plain)
        return parse_text(text, "chat_template", &chat->plain, err);
    if (name && !strcmp(name, "tool_use") && !chat->with_tools)
        return parse_text(text, "chat_template(tool_use)", &chat->with_tools,
                          err);
    return name ? 0 : parse_text(NULL, NULL, NULL, err);
}

static int take_config(struct weir_chat *chat, const json_t *config,
                       struct weir_err *err)
{
    const json_t *value = json_object_get(config, "chat_template");
    int rc = 0;

    if (!value || json_is_null(value))
        return 0;
    if (!json_is_array(value))
        return parse_text(value, "chat_template", &chat->plain, err);
    for (size_t i = 0; i < json_array_size(value) && !rc; i++)
        rc = take_named(chat, json_array_get(value, i), err);
    if (!rc && !chat->plain)
        rc = weir_err_set(err, WEIR_ENOTSUP,
                          "%s: chat_template has none with the name default; "
                          "give a template of its own",
                          config_name);
    return rc;
}

static int chat_new(struct weir_chat **chat, struct weir_err *err)
{
    *chat = calloc(1, sizeof(**chat));
    if (*chat)
        (*chat)->tokens = json_object();
    if (*chat && (*chat)->tokens)
        return 0;
    free(*chat);
    *chat = NULL;
    return weir_err_nomem(err, sizeof(**chat), "a chat template");
}

void weir_chat_free(struct weir_chat *chat)
{
    if (!chat)
        return;
    weir_jinja_free(chat->plain);
    weir_jinja_free(chat->with_tools);
    json_decref(chat->tokens);
    free(chat);
}

/* Without a template, or after an error, there is no chat. */
static int settle(struct weir_chat **chat, int rc)
{
    if (!rc && (*chat)->plain)
        return 0;
    weir_chat_free(*chat);
    *chat = NULL;
    return rc;
}

static int read_template(struct weir_chat *chat, const struct weir_file *file,
                         const json_t *config, struct weir_err *err)
{
    char *text;
    size_t n_bytes;
    int rc = weir_file_read_blob(file, template_name, &text, &n_bytes, err);

    if (!rc)
        rc = text ? weir_jinja_parse(text, n_bytes, template_name, &chat->plain,
                                     err)
                  : take_config(chat, config, err);
    free(text);
    return rc;
}

int weir_chat_from_file(const struct weir_file *file, struct weir_chat **chat,
                        struct weir_err *err)
{
    json_t *config = NULL;
    int rc = chat_new(chat, err);

    if (rc)
        return rc;
    rc = read_json(file, config_name, &config, err);
    if (!rc)
        rc = read_template(*chat, file, config, err);
    if (!rc)
        rc = read_tokens(*chat, file, config, err);
    json_decref(config);
    return settle(chat, rc);
}

int weir_chat_from_text(const char *text, size_t n_bytes, const char *what,
                        const struct weir_file *file, struct weir_chat **chat,
                        struct weir_err *err)
{
    json_t *config = NULL;
    int rc = chat_new(chat, err);

    if (rc)
        return rc;
    rc = weir_jinja_parse(text, n_bytes, what, &(*chat)->plain, err);
    if (!rc && file)
        rc = read_json(file, config_name, &config, err);
    if (!rc && file)
        rc = read_tokens(*chat, file, config, err);
    json_decref(config);
    return settle(chat, rc);
}

int weir_chat_check(const struct weir_buf *chat_template,
                    const struct weir_buf *tokenizer_config,
                    struct weir_err *err)
{
    struct weir_chat *chat;
    json_t *config = NULL;
    int rc = chat_new(&chat, err);

    if (rc)
        return rc;
    if (chat_template)
        rc = weir_jinja_parse(chat_template->data ? chat_template->data : "",
                              chat_template->n_bytes, template_name,
                              &chat->plain, err);
    else if (tokenizer_config)
        rc = weir_json_parse(
            tokenizer_config->data ? tokenizer_config->data : "",
            tokenizer_config->n_bytes, config_name, &config, err);
    if (!rc && !chat_template)
        rc = take_config(chat, config, err);
    json_decref(config);
    weir_chat_free(chat);
    return rc;
}

/* ---- guarding ---- */

struct guard {
    const struct weir_tokenizer *tokenizer;
    struct weir_err *err;
    unsigned depth;
};

static int guard_value(struct guard *guard, const json_t *json, json_t **out);

static int guard_text(struct guard *guard, const json_t *json, json_t **out)
{
    struct weir_buf text = WEIR_BUF(WEIR_TEXT_BYTES);
    int rc = weir_tokenizer_guard(guard->tokenizer, json_string_value(json),
                                  json_string_length(json), &text, guard->err);

    if (!rc)
        *out = json_stringn_nocheck(text.data ? text.data : "", text.n_bytes);
    if (!rc && !*out)
        rc = weir_err_nomem(guard->err, text.n_bytes, "messages");
    weir_buf_fini(&text);
    return rc;
}

static int guard_items(struct guard *guard, const json_t *json, json_t *list)
{
    json_t *item;
    int rc = 0;

    for (size_t i = 0; i < json_array_size(json) && !rc; i++) {
        rc = guard_value(guard, json_array_get(json, i), &item);
        if (!rc && json_array_append_new(list, item))
            rc = weir_err_nomem(guard->err, sizeof(item), "messages");
    }
    return rc;
}

/* Keys stay: a template looks for them. */
static int guard_members(struct guard *guard, const json_t *json,
                         json_t *object)
{
    json_t *member, *made;
    const char *key;
    int rc = 0;

    json_object_foreach((json_t *)json, key, member)
    {
        rc = guard_value(guard, member, &made);
        if (!rc && json_object_set_new_nocheck(object, key, made))
            rc = weir_err_nomem(guard->err, sizeof(made), "messages");
        if (rc)
            break;
    }
    return rc;
}

/* A copy, in which every string is guarded; release it. */
static int guard_value(struct guard *guard, const json_t *json, json_t **out)
{
    int rc;

    *out = NULL;
    if (json_is_string(json))
        return guard_text(guard, json, out);
    if (!json_is_array(json) && !json_is_object(json)) {
        *out = json_incref((json_t *)json);
        return 0;
    }
    if (guard->depth == MAX_LEVELS)
        return weir_err_set(guard->err, WEIR_ELIMIT,
                            "messages nested deeper than %d levels",
                            MAX_LEVELS);
    *out = json_is_array(json) ? json_array() : json_object();
    if (!*out)
        return weir_err_nomem(guard->err, sizeof(**out), "messages");
    guard->depth++;
    rc = json_is_array(json) ? guard_items(guard, json, *out)
                             : guard_members(guard, json, *out);
    guard->depth--;
    if (!rc)
        return 0;
    json_decref(*out);
    *out = NULL;
    return rc;
}

/* json_copy() does not look whether there was memory for each member. */
static int guard_member(struct guard *guard, const char *key, json_t *member,
                        json_t *message)
{
    json_t *made = NULL;
    int rc = 0;

    if (!strcmp(key, "content") || !strcmp(key, "name"))
        rc = guard_value(guard, member, &made);
    else
        made = json_incref(member);
    if (!rc && json_object_set_new_nocheck(message, key, made))
        rc = weir_err_nomem(guard->err, sizeof(made), "messages");
    return rc;
}

static int guard_message(struct guard *guard, const json_t *message,
                         json_t **out)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    const char *key;
    json_t *member;
    int rc = 0;

    if (!json_is_object(message) || (role && !strcmp(role, "assistant"))) {
        *out = json_incref((json_t *)message);
        return 0;
    }
    *out = json_object();
    if (!*out)
        return weir_err_nomem(guard->err, sizeof(**out), "messages");
    json_object_foreach((json_t *)message, key, member)
    {
        rc = guard_member(guard, key, member, *out);
        if (rc)
            break;
    }
    if (!rc)
        return 0;
    json_decref(*out);
    *out = NULL;
    return rc;
}

static int guard_messages(struct guard *guard, const json_t *messages,
                          json_t **out)
{
    json_t *message;
    int rc = 0;

    *out = json_array();
    if (!*out)
        return weir_err_nomem(guard->err, sizeof(**out), "messages");
    for (size_t i = 0; i < json_array_size(messages) && !rc; i++) {
        rc = guard_message(guard, json_array_get(messages, i), &message);
        if (!rc && json_array_append_new(*out, message))
            rc = weir_err_nomem(guard->err, sizeof(message), "messages");
    }
    return rc;
}

/* ---- rendering ---- */

int weir_chat_has(const struct weir_chat *chat, const char *text)
{
    return weir_jinja_has(chat->with_tools ? chat->with_tools : chat->plain,
                          text);
}

/* What is not given is None, but for what the template is not to be told. */
static int put_input(json_t *object, const struct weir_chat_input *input)
{
    const struct {
        const char *name;
        const json_t *value;
    } given[] = {{"messages", input->messages},
                 {"tools", input->tools},
                 {"documents", input->documents}};
    int bad = 0;

    for (size_t i = 0; i < 3 && !bad; i++) {
        json_t *value = (json_t *)given[i].value;

        bad =
            json_object_set(object, given[i].name, value ? value : json_null());
    }
    if (!bad && input->add_generation_prompt >= 0)
        bad = json_object_set_new(object, "add_generation_prompt",
                                  json_boolean(input->add_generation_prompt));
    return bad;
}

int weir_chat_render(const struct weir_chat *chat,
                     const struct weir_chat_input *input, struct weir_buf *out,
                     struct weir_err *err)
{
    json_t *object = json_object();
    const json_t *variables[] = {chat->tokens, input->extra, object};
    const struct weir_jinja *jinja = chat->with_tools &&
                                             json_is_array(input->tools) &&
                                             json_array_size(input->tools)
                                         ? chat->with_tools
                                         : chat->plain;
    int rc;

    if (!object || put_input(object, input))
        rc = weir_err_nomem(err, sizeof(*input), "messages");
    else
        rc = weir_jinja_render(jinja, variables, 3, input->now, out, err);
    json_decref(object);
    return rc;
}

int weir_chat_render_guarded(const struct weir_chat *chat,
                             const struct weir_tokenizer *tokenizer,
                             const struct weir_chat_input *input,
                             struct weir_buf *out, struct weir_err *err)
{
    struct guard guard = {.tokenizer = tokenizer, .err = err};
    struct weir_chat_input guarded = *input;
    json_t *messages = NULL, *documents = NULL, *tools = NULL;
    int rc = 0;

    if (json_is_array(input->messages)) {
        rc = guard_messages(&guard, input->messages, &messages);
        guarded.messages = messages;
    }
    if (!rc && input->documents) {
        rc = guard_value(&guard, input->documents, &documents);
        guarded.documents = documents;
    }
    if (!rc && input->tools) {
        rc = guard_value(&guard, input->tools, &tools);
        guarded.tools = tools;
    }
    if (!rc)
        rc = weir_chat_render(chat, &guarded, out, err);
    json_decref(messages);
    json_decref(documents);
    json_decref(tools);
    return rc;
}
