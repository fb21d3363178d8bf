/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/tools.h"

#include <stdio.h>
#include <string.h>

#include "serve/tool_calls.h"

/* The first that stands in a template is how its model writes calls. */
static const struct weir_tool_style styles[] = {
    {"<tool_calls>", "</tool_calls>", 1}, /* Jamba */
    {"<tool_call>", "</tool_call>", 0},   /* Hermes, Qwen and others */
};

static int wrong(struct weir_fault *fault, const char *key, const char *wanted)
{
    return weir_fault_set(fault, WEIR_EARG, key, "invalid_value",
                          "%s must be %s", key, wanted);
}

static int is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && !strcmp(json_string_value(value), text);
}

/* ---- response_format ---- */

int weir_tools_take_format(struct weir_completion *to, const char *key,
                           const json_t *value, struct weir_fault *fault)
{
    const json_t *type = json_object_get(value, "type");
    const json_t *json = json_object_get(value, "json_schema");

    to->schema = NULL;
    to->wants_object = is_text(type, "json_object");
    if (to->wants_object || is_text(type, "text"))
        return 0;
    if (!is_text(type, "json_schema"))
        return wrong(fault, key,
                     "{\"type\": \"text\"}, {\"type\": \"json_object\"}, or "
                     "{\"type\": \"json_schema\", \"json_schema\": "
                     "{\"schema\": ...}}");
    to->schema = json_object_get(json, "schema");
    if (!json_is_object(to->schema))
        return wrong(fault, key,
                     "given with a schema, an object, at "
                     "json_schema.schema");
    return 0;
}

/* ---- tools ---- */

static int is_name(const json_t *value)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    const char *name = json_string_value(value);
    size_t n = json_string_length(value);

    return n && n <= WEIR_TOOL_NAME_BYTES && strspn(name, letters) == n;
}

static const json_t *function_of(const json_t *tools, size_t i)
{
    return json_object_get(json_array_get(tools, i), "function");
}

static const json_t *find_tool(const json_t *tools, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (is_text(json_object_get(function_of(tools, i), "name"), name))
            return function_of(tools, i);
    return NULL;
}

static int check_tool(const json_t *tools, size_t i, const char *key,
                      struct weir_fault *fault)
{
    const json_t *tool = json_array_get(tools, i);
    const json_t *function = function_of(tools, i);
    const json_t *name = json_object_get(function, "name");
    const json_t *parameters = json_object_get(function, "parameters");
    const char *wanted = NULL;

    if (!is_text(json_object_get(tool, "type"), "function") ||
        !json_is_object(function))
        wanted = "{\"type\": \"function\", \"function\": {...}}";
    else if (!is_name(name))
        wanted = "given a name of 1 to 64 letters, digits, _, - and .";
    else if (find_tool(tools, i, json_string_value(name)))
        wanted = "given a name that no other has";
    else if (parameters && !json_is_object(parameters))
        wanted = "given parameters that are an object, a schema";
    if (!wanted)
        return 0;
    return weir_fault_set(fault, WEIR_EARG, key, "invalid_value",
                          "tool %zu must be %s", i, wanted);
}

int weir_tools_take(struct weir_completion *to, const char *key,
                    const json_t *value, struct weir_fault *fault)
{
    size_t n = json_array_size(value);
    int rc = 0;

    if (!json_is_array(value) || n > WEIR_MAX_TOOLS)
        return wrong(fault, key, "an array of at most 128 tools");
    for (size_t i = 0; i < n && !rc; i++)
        rc = check_tool(value, i, key, fault);
    to->tools = n ? value : NULL;
    return rc;
}

int weir_tools_take_choice(struct weir_completion *to, const char *key,
                           const json_t *value, struct weir_fault *fault)
{
    static const char *const words[] = {
        [WEIR_TOOLS_AUTO] = "auto",
        [WEIR_TOOLS_NONE] = "none",
        [WEIR_TOOLS_REQUIRED] = "required",
    };
    const json_t *name =
        json_object_get(json_object_get(value, "function"), "name");

    for (int i = 0; i < 3; i++)
        if (is_text(value, words[i])) {
            to->tool_choice = i;
            return 0;
        }
    if (!is_text(json_object_get(value, "type"), "function") ||
        !json_is_string(name))
        return wrong(fault, key,
                     "\"none\", \"auto\", \"required\", or {\"type\": "
                     "\"function\", \"function\": {\"name\": ...}}");
    to->tool_choice = WEIR_TOOLS_REQUIRED;
    to->tool_name = json_string_value(name);
    return 0;
}

/* ---- the whole ---- */

static int find_style(struct weir_completion *completion,
                      const struct weir_chat *chat, struct weir_fault *fault)
{
    for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++)
        if (chat && weir_chat_has(chat, styles[i].begin)) {
            completion->style = &styles[i];
            return 0;
        }
    return weir_fault_set(fault, WEIR_EARG, "tools", "unsupported_value",
                          "the model's chat template does not say how tools "
                          "are called");
}

/* The tools that may be called, without what a template wants around them */
static json_t *list_tools(const struct weir_completion *completion)
{
    const char *name = completion->tool_name;
    json_t *list = json_array();

    for (size_t i = 0; i < json_array_size(completion->tools) && list; i++) {
        const json_t *function = function_of(completion->tools, i);

        if (!name || is_text(json_object_get(function, "name"), name))
            list = weir_openai_add(list, json_incref((json_t *)function));
    }
    return list;
}

static int settle_tools(struct weir_completion *completion,
                        const struct weir_chat *chat, struct weir_fault *fault)
{
    const char *name = completion->tool_name;

    if (completion->tool_choice == WEIR_TOOLS_NONE)
        completion->tools = NULL;
    if (completion->tool_choice == WEIR_TOOLS_REQUIRED && !completion->tools)
        return wrong(fault, "tool_choice", "\"none\" where there are no tools");
    if (name &&
        !find_tool(completion->tools, json_array_size(completion->tools), name))
        return weir_fault_set(fault, WEIR_EARG, "tool_choice", "invalid_value",
                              "there is no tool '%.64s' among the tools", name);
    return completion->tools ? find_style(completion, chat, fault) : 0;
}

int weir_tools_settle(struct weir_completion *completion,
                      const struct weir_chat *chat, struct weir_fault *fault)
{
    struct weir_answer_shape shape = {.schema = completion->schema};
    json_t *object = NULL, *tools = NULL;
    int rc = settle_tools(completion, chat, fault);

    if (rc || (!completion->tools && !completion->schema &&
               !completion->wants_object))
        return rc;
    if (completion->wants_object)
        shape.schema = object = json_pack("{s:s}", "type", "object");
    if (completion->tools)
        shape.tools = tools = list_tools(completion);
    shape.style = completion->style;
    shape.must_call = completion->tool_choice == WEIR_TOOLS_REQUIRED;
    shape.one_call = completion->one_call || completion->tool_name;
    if ((completion->wants_object && !object) || (completion->tools && !tools))
        rc = weir_err_nomem(&fault->err, 1024, "tools");
    if (!rc)
        rc = weir_grammar_new(&shape, &completion->grammar, &fault->err);
    json_decref(object);
    json_decref(tools);
    if (rc) {
        snprintf(fault->param, sizeof(fault->param), "%s",
                 completion->schema ? "response_format" : "tools");
        fault->code = rc == WEIR_ENOMEM ? NULL : "invalid_value";
    }
    return rc;
}
