/* SPDX-License-Identifier: Apache-2.0 */
/* Methods that cut strings and put them together. */
#include "base/utf8.h"
#include "text/jinja_render.h"

static int add_text(struct weir_render *render, struct weir_list *list,
                    const char *bytes, size_t n)
{
    const struct weir_value item = weir_string(bytes, n);
    int rc = weir_render_step(render, 1 + n / 64);

    return rc ? rc : weir_list_add(render, list, &item);
}

static void turn_round(struct weir_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        struct weir_value item = list->items[i];

        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = item;
    }
}

/* Words; what is left behind the last cut keeps its end. */
static int split_words(struct weir_render *render, struct weir_text text,
                       int64_t most, struct weir_list *list)
{
    int rc = 0;
    size_t n, length;

    while (!rc) {
        n = weir_text_space(text);
        text = (struct weir_text){text.bytes + n, text.n - n};
        if (!text.n)
            break;
        if (most-- == 0)
            return add_text(render, list, text.bytes, text.n);
        for (n = 0; n < text.n; n += length) {
            length = weir_utf8_length((unsigned char)text.bytes[n]);
            if (weir_char_is_space(weir_utf8_decode(text.bytes + n, length)))
                break;
        }
        rc = add_text(render, list, text.bytes, n);
        text = (struct weir_text){text.bytes + n, text.n - n};
    }
    return rc;
}

static int rsplit_words(struct weir_render *render, struct weir_text text,
                        int64_t most, struct weir_list *list)
{
    size_t end, at;
    int rc = 0;

    while (!rc) {
        text.n -= weir_text_space_behind(text);
        if (!text.n)
            break;
        if (most-- == 0) {
            rc = add_text(render, list, text.bytes, text.n);
            break;
        }
        for (end = at = text.n; at; end = at) {
            do
                at--;
            while (at && ((unsigned char)text.bytes[at] & 0xc0) == 0x80);
            if (weir_char_is_space(weir_utf8_decode(text.bytes + at, end - at)))
                break;
            end = at;
        }
        rc = add_text(render, list, text.bytes + end, text.n - end);
        text.n = end;
    }
    turn_round(list);
    return rc;
}

static int split_at(struct weir_render *render, struct weir_text text,
                    struct weir_text mark, int64_t most, struct weir_list *list)
{
    size_t from = 0;
    int64_t at;
    int rc = 0;

    while (!rc && most-- != 0) {
        at = weir_text_find(text, mark, from);
        if (at < 0)
            break;
        rc = add_text(render, list, text.bytes + from, (size_t)at - from);
        from = (size_t)at + mark.n;
    }
    return rc ? rc : add_text(render, list, text.bytes + from, text.n - from);
}

static int rsplit_at(struct weir_render *render, struct weir_text text,
                     struct weir_text mark, int64_t most,
                     struct weir_list *list)
{
    int64_t at;
    int rc = weir_render_step(render, text.n / 4 * (mark.n / 64 + 1));

    while (!rc && most-- != 0) {
        at = weir_text_find_last(text, mark);
        if (at < 0)
            break;
        rc = add_text(render, list, text.bytes + at + mark.n,
                      text.n - (size_t)at - mark.n);
        text.n = (size_t)at;
    }
    if (!rc)
        rc = add_text(render, list, text.bytes, text.n);
    turn_round(list);
    return rc;
}

static int split(struct weir_call *call, int from_end, struct weir_value *out)
{
    struct weir_render *render = call->render;
    struct weir_text text = call->self.text, mark;
    int64_t most;
    int rc = weir_call_text(call, 0, NULL, &mark);

    if (!rc)
        rc = weir_call_whole(call, 1, -1, &most);
    if (!rc && mark.bytes && !mark.n)
        rc = weir_render_fail(render, "split at an empty string");
    if (!rc)
        rc = weir_value_make(render, WEIR_LIST, out);
    if (rc)
        return rc;
    if (mark.bytes)
        return (from_end ? rsplit_at : split_at)(render, text, mark, most,
                                                 out->list);
    return (from_end ? rsplit_words : split_words)(render, text, most,
                                                   out->list);
}

int weir_method_split(struct weir_call *call, struct weir_value *out)
{
    return split(call, 0, out);
}

int weir_method_rsplit(struct weir_call *call, struct weir_value *out)
{
    return split(call, 1, out);
}

int weir_method_splitlines(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text = call->self.text;
    const int keeps = weir_value_truth(&call->args[0]);
    size_t from = 0, n;
    int rc = weir_value_make(call->render, WEIR_LIST, out);

    for (size_t at = 0; at < text.n && !rc;) {
        n = weir_text_line_end(text, at);
        if (n) {
            rc = add_text(call->render, out->list, text.bytes + from,
                          at - from + (keeps ? n : 0));
            from = at + n;
        }
        at += n ? n : weir_utf8_length((unsigned char)text.bytes[at]);
    }
    if (!rc && from < text.n)
        rc =
            add_text(call->render, out->list, text.bytes + from, text.n - from);
    return rc;
}

static int parted(struct weir_call *call, int from_end, struct weir_value *out)
{
    struct weir_text text = call->self.text, mark;
    struct weir_value made;
    int64_t at;
    int rc = weir_call_text(call, 0, "", &mark);

    if (!rc && !mark.n)
        rc = weir_render_fail(call->render, "partition at an empty string");
    if (!rc)
        rc = weir_render_step(call->render, text.n / 4 * (mark.n / 64 + 1));
    if (!rc)
        rc = weir_value_make(call->render, WEIR_TUPLE, &made);
    if (rc)
        return rc;
    at = from_end ? weir_text_find_last(text, mark)
                  : weir_text_find(text, mark, 0);
    if (at < 0) {
        at = from_end ? 0 : (int64_t)text.n;
        mark.n = 0;
    }
    rc = add_text(call->render, made.list, text.bytes, (size_t)at);
    if (!rc)
        rc = add_text(call->render, made.list, mark.bytes, mark.n);
    if (!rc)
        rc = add_text(call->render, made.list, text.bytes + at + mark.n,
                      text.n - (size_t)at - mark.n);
    *out = made;
    return rc;
}

int weir_method_partition(struct weir_call *call, struct weir_value *out)
{
    return parted(call, 0, out);
}

int weir_method_rpartition(struct weir_call *call, struct weir_value *out)
{
    return parted(call, 1, out);
}

int weir_method_join(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    size_t mark = render->out->n_bytes;
    struct weir_list items;
    int rc = weir_value_items(render, &call->args[0], &items);

    for (size_t i = 0; i < items.n && !rc; i++) {
        if (items.items[i].kind != WEIR_STRING)
            return weir_render_fail(render,
                                    "join of a %s; use the filter join, or "
                                    "convert it",
                                    weir_value_type(&items.items[i]));
        if (i)
            rc = weir_render_put_text(render, call->self.text);
        if (!rc)
            rc = weir_render_put_text(render, items.items[i].text);
    }
    return rc ? rc : weir_render_capture(render, mark, out);
}
