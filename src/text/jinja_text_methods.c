/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of strings, but for those that cut them. */
#include "base/utf8.h"
#include "text/jinja_render.h"

static int give(struct weir_text text, struct weir_value *out)
{
    *out = weir_string(text.bytes, text.n);
    return 0;
}

/* ---- strings: case ---- */

static int method_upper(struct weir_call *call, struct weir_value *out)
{
    return weir_text_cased(call->render, call->self.text, WEIR_UPPER, out);
}

static int method_lower(struct weir_call *call, struct weir_value *out)
{
    return weir_text_cased(call->render, call->self.text, WEIR_LOWER, out);
}

static int method_capitalize(struct weir_call *call, struct weir_value *out)
{
    return weir_text_capitalized(call->render, call->self.text, out);
}

/* title: a letter behind what is no letter; swapcase: each */
static int recase(struct weir_call *call, int is_title, struct weir_value *out)
{
    struct weir_render *render = call->render;
    struct weir_text text = call->self.text;
    size_t mark = render->out->n_bytes, n;
    int rc = 0, in_word = 0, up;

    for (size_t at = 0; at < text.n && !rc; at += n) {
        uint32_t c;

        n = weir_utf8_length((unsigned char)text.bytes[at]);
        c = weir_utf8_decode(text.bytes + at, n);
        up = is_title ? !in_word : weir_char_is(c, WEIR_IS_LOWER);
        in_word =
            weir_char_is(c, WEIR_IS_LOWER) || weir_char_is(c, WEIR_IS_UPPER);
        rc = weir_put_cased(render, c,
                            !up        ? WEIR_LOWER
                            : is_title ? WEIR_TITLE
                                       : WEIR_UPPER);
    }
    return rc ? rc : weir_render_capture(render, mark, out);
}

static int method_title(struct weir_call *call, struct weir_value *out)
{
    return recase(call, 1, out);
}

static int method_swapcase(struct weir_call *call, struct weir_value *out)
{
    return recase(call, 0, out);
}

/* ---- strings: ends ---- */

static int strip(struct weir_call *call, int sides, struct weir_value *out)
{
    struct weir_text set;
    int rc = weir_call_text(call, 0, NULL, &set);

    if (!rc)
        rc = weir_render_step(call->render,
                              call->self.text.n / 16 * (set.n / 64 + 1));
    return rc ? rc : give(weir_text_strip(call->self.text, set, sides), out);
}

static int method_strip(struct weir_call *call, struct weir_value *out)
{
    return strip(call, 3, out);
}

static int method_lstrip(struct weir_call *call, struct weir_value *out)
{
    return strip(call, 1, out);
}

static int method_rstrip(struct weir_call *call, struct weir_value *out)
{
    return strip(call, 2, out);
}

static int has_end(struct weir_text text, struct weir_text end, int at_start)
{
    return end.n <= text.n &&
           !memcmp(at_start ? text.bytes : text.bytes + text.n - end.n,
                   end.bytes, end.n);
}

/* The argument may be a tuple of strings. */
static int ends_with(struct weir_call *call, int at_start,
                     struct weir_value *out)
{
    const struct weir_value *value = &call->args[0];
    const struct weir_value *items = value;
    size_t n = 1;
    int found = 0;

    if (value->kind == WEIR_TUPLE) {
        items = value->list->items;
        n = value->list->n;
    }
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind != WEIR_STRING)
            return weir_render_fail(call->render,
                                    "startswith and endswith want a string or "
                                    "a tuple of them, not a %s",
                                    weir_value_type(&items[i]));
        found |= has_end(call->self.text, items[i].text, at_start);
    }
    *out = weir_bool(found);
    return 0;
}

static int method_startswith(struct weir_call *call, struct weir_value *out)
{
    return ends_with(call, 1, out);
}

static int method_endswith(struct weir_call *call, struct weir_value *out)
{
    return ends_with(call, 0, out);
}

static int method_removeprefix(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text = call->self.text, end = {NULL, 0};
    int rc = weir_call_text(call, 0, "", &end);

    if (!rc && has_end(text, end, 1))
        text = (struct weir_text){text.bytes + end.n, text.n - end.n};
    return rc ? rc : give(text, out);
}

static int method_removesuffix(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text = call->self.text, end = {NULL, 0};
    int rc = weir_call_text(call, 0, "", &end);

    if (!rc && has_end(text, end, 0))
        text.n -= end.n;
    return rc ? rc : give(text, out);
}

/* ---- strings: finding ---- */

/* The part between the characters `start` and `end`, and where it begins */
static int part(struct weir_call *call, struct weir_text *text, int64_t *start)
{
    const int64_t n = (int64_t)weir_text_count(*text);
    int64_t from, to;
    size_t at;
    int rc = weir_call_whole(call, 1, 0, &from);

    if (!rc)
        rc = weir_call_whole(call, 2, n, &to);
    if (rc)
        return rc;
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
    to = to < 0 ? (to + n < 0 ? 0 : to + n) : to > n ? n : to;
    *start = from;
    if (from > to) {
        *start = -1;
        return 0;
    }
    at = weir_text_offset(*text, (size_t)from);
    *text = (struct weir_text){text->bytes + at, text->n - at};
    text->n = weir_text_offset(*text, (size_t)(to - from));
    return 0;
}

static int search(struct weir_call *call, int from_end, int must,
                  struct weir_value *out)
{
    struct weir_text text = call->self.text, what;
    int64_t start, at = -1;
    int rc = weir_call_text(call, 0, "", &what);

    if (!rc)
        rc = weir_render_step(call->render, from_end
                                                ? text.n / 4 * (what.n / 64 + 1)
                                                : text.n / 64);
    if (!rc)
        rc = part(call, &text, &start);
    if (rc)
        return rc;
    if (start >= 0)
        at = from_end ? weir_text_find_last(text, what)
                      : weir_text_find(text, what, 0);
    if (at < 0 && must)
        return weir_render_fail(call->render, "index: the string is not in "
                                              "there; use find");
    if (at >= 0)
        at = start + (int64_t)weir_text_count(
                         (struct weir_text){text.bytes, (size_t)at});
    *out = weir_int(at);
    return 0;
}

static int method_find(struct weir_call *call, struct weir_value *out)
{
    return search(call, 0, 0, out);
}

static int method_rfind(struct weir_call *call, struct weir_value *out)
{
    return search(call, 1, 0, out);
}

static int method_index(struct weir_call *call, struct weir_value *out)
{
    return search(call, 0, 1, out);
}

static int method_rindex(struct weir_call *call, struct weir_value *out)
{
    return search(call, 1, 1, out);
}

static int method_count(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text = call->self.text, what;
    int64_t start, n = 0, at = 0;
    int rc = weir_call_text(call, 0, "", &what);

    if (!rc)
        rc = part(call, &text, &start);
    if (!rc)
        rc = weir_render_step(call->render, text.n / 64);
    if (rc)
        return rc;
    if (start >= 0 && !what.n)
        n = (int64_t)weir_text_count(text) + 1;
    while (start >= 0 && what.n) {
        at = weir_text_find(text, what, (size_t)at);
        if (at < 0)
            break;
        n++;
        at += (int64_t)what.n;
    }
    *out = weir_int(n);
    return 0;
}

static int method_replace(struct weir_call *call, struct weir_value *out)
{
    struct weir_text what, with;
    int64_t most;
    int rc = weir_call_text(call, 0, "", &what);

    if (!rc)
        rc = weir_call_text(call, 1, "", &with);
    if (!rc)
        rc = weir_call_whole(call, 2, -1, &most);
    return rc ? rc
              : weir_text_replaced(call->render, call->self.text, what, with,
                                   most, out);
}

/* ---- strings: what they are made of ---- */

enum made_of { OF_ALPHA, OF_DIGIT, OF_ALNUM, OF_SPACE, OF_UPPER, OF_LOWER };

static int made_of(struct weir_call *call, enum made_of what,
                   struct weir_value *out)
{
    struct weir_render *render = call->render;
    struct weir_text text = call->self.text;
    int all = text.n > 0, any_case = 0;
    size_t n;

    for (size_t at = 0; at < text.n && all; at += n) {
        uint32_t c;
        int upper, lower, alpha, digit;

        n = weir_utf8_length((unsigned char)text.bytes[at]);
        c = weir_utf8_decode(text.bytes + at, n);
        upper = weir_char_is(c, WEIR_IS_UPPER);
        lower = weir_char_is(c, WEIR_IS_LOWER);
        alpha = weir_char_is(c, WEIR_ALPHA);
        digit = weir_char_is(c, WEIR_DIGIT);
        any_case |= upper | lower;
        all = what == OF_ALPHA   ? alpha
              : what == OF_DIGIT ? digit
              : what == OF_ALNUM ? alpha || digit
              : what == OF_SPACE ? weir_char_is_space(c)
              : what == OF_UPPER ? !lower
                                 : !upper;
    }
    if (what == OF_UPPER || what == OF_LOWER)
        all = all && any_case;
    *out = weir_bool(all);
    return weir_render_step(render, text.n / 2);
}

static int method_isalpha(struct weir_call *call, struct weir_value *out)
{
    return made_of(call, OF_ALPHA, out);
}

static int method_isdigit(struct weir_call *call, struct weir_value *out)
{
    return made_of(call, OF_DIGIT, out);
}

static int method_isalnum(struct weir_call *call, struct weir_value *out)
{
    return made_of(call, OF_ALNUM, out);
}

static int method_isspace(struct weir_call *call, struct weir_value *out)
{
    return made_of(call, OF_SPACE, out);
}

static int method_isupper(struct weir_call *call, struct weir_value *out)
{
    return made_of(call, OF_UPPER, out);
}

static int method_islower(struct weir_call *call, struct weir_value *out)
{
    return made_of(call, OF_LOWER, out);
}

/* ---- strings: width ---- */

static int put_fill(struct weir_render *render, struct weir_text fill,
                    int64_t n)
{
    int rc = 0;

    for (; n > 0 && !rc; n--)
        rc = weir_render_put_text(render, fill);
    return rc;
}

/* `left` of the fill stands before the text. */
static int padded(struct weir_call *call, int64_t left, int64_t all,
                  struct weir_text fill, struct weir_value *out)
{
    struct weir_render *render = call->render;
    size_t mark = render->out->n_bytes;
    int rc = put_fill(render, fill, left);

    if (!rc)
        rc = weir_render_put_text(render, call->self.text);
    if (!rc)
        rc = put_fill(render, fill, all - left);
    return rc ? rc : weir_render_capture(render, mark, out);
}

/* How many characters are missing to the width, and what they are */
static int missing(struct weir_call *call, int64_t *n, struct weir_text *fill)
{
    int rc = weir_call_whole(call, 0, 0, n);

    if (!rc)
        rc = weir_call_text(call, 1, " ", fill);
    if (!rc && weir_text_count(*fill) != 1)
        rc = weir_render_fail(call->render, "a fill that is not one character");
    *n -= (int64_t)weir_text_count(call->self.text);
    if (*n < 0)
        *n = 0;
    return rc;
}

static int method_ljust(struct weir_call *call, struct weir_value *out)
{
    struct weir_text fill;
    int64_t n;
    int rc = missing(call, &n, &fill);

    return rc ? rc : padded(call, 0, n, fill, out);
}

static int method_rjust(struct weir_call *call, struct weir_value *out)
{
    struct weir_text fill;
    int64_t n;
    int rc = missing(call, &n, &fill);

    return rc ? rc : padded(call, n, n, fill, out);
}

/* Python gives the odd one to the left when the width is odd. */
static int method_center(struct weir_call *call, struct weir_value *out)
{
    struct weir_text fill;
    int64_t n;
    int rc = missing(call, &n, &fill);

    if (rc)
        return rc;
    return padded(call, n / 2 + (n & call->args[0].integer & 1), n, fill, out);
}

static int method_zfill(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    struct weir_text text = call->self.text;
    size_t mark = render->out->n_bytes;
    int64_t width, n = (int64_t)weir_text_count(text);
    int rc = weir_call_whole(call, 0, 0, &width);
    int has_sign = text.n && (text.bytes[0] == '-' || text.bytes[0] == '+');

    if (!rc && has_sign)
        rc = weir_render_put(render, text.bytes, 1);
    if (!rc)
        rc = put_fill(render, (struct weir_text){"0", 1}, width - n);
    if (!rc)
        rc = weir_render_put(render, text.bytes + has_sign,
                             text.n - (size_t)has_sign);
    return rc ? rc : weir_render_capture(render, mark, out);
}

const struct weir_builtin weir_string_methods[] = {
    {"upper", "", 0, method_upper},
    {"lower", "", 0, method_lower},
    {"casefold", "", 0, method_lower},
    {"capitalize", "", 0, method_capitalize},
    {"title", "", 0, method_title},
    {"swapcase", "", 0, method_swapcase},
    {"strip", "chars", 0, method_strip},
    {"lstrip", "chars", 0, method_lstrip},
    {"rstrip", "chars", 0, method_rstrip},
    {"startswith", "prefix", 1, method_startswith},
    {"endswith", "suffix", 1, method_endswith},
    {"removeprefix", "prefix", 1, method_removeprefix},
    {"removesuffix", "suffix", 1, method_removesuffix},
    {"find", "sub start end", 1, method_find},
    {"rfind", "sub start end", 1, method_rfind},
    {"index", "sub start end", 1, method_index},
    {"rindex", "sub start end", 1, method_rindex},
    {"count", "sub start end", 1, method_count},
    {"replace", "old new count", 2, method_replace},
    {"split", "sep maxsplit", 0, weir_method_split},
    {"rsplit", "sep maxsplit", 0, weir_method_rsplit},
    {"splitlines", "keepends", 0, weir_method_splitlines},
    {"partition", "sep", 1, weir_method_partition},
    {"rpartition", "sep", 1, weir_method_rpartition},
    {"join", "iterable", 1, weir_method_join},
    {"isalpha", "", 0, method_isalpha},
    {"isdigit", "", 0, method_isdigit},
    {"isdecimal", "", 0, method_isdigit},
    {"isnumeric", "", 0, method_isdigit},
    {"isalnum", "", 0, method_isalnum},
    {"isspace", "", 0, method_isspace},
    {"isupper", "", 0, method_isupper},
    {"islower", "", 0, method_islower},
    {"ljust", "width fillchar", 1, method_ljust},
    {"rjust", "width fillchar", 1, method_rjust},
    {"center", "width fillchar", 1, method_center},
    {"zfill", "width", 1, method_zfill},
    {NULL, NULL, 0, NULL},
};
