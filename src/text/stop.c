/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each string is searched by itself as Knuth, Morris and Pratt (1977) do it.
 * How much of a string the text ends in is then also how much must be held
 * back for its sake.
 */
#include "text/stop.h"

#include <string.h>

#include "base/utf8.h"

void weir_stop_init(struct weir_stop *stop)
{
    memset(stop, 0, sizeof(*stop));
    stop->met = -1;
}

/* How much of the string a text ends in that ended in n bytes of it, after
 * another byte */
static size_t advance(const struct weir_stop_string *string, size_t n,
                      char byte)
{
    while (n && string->text[n] != byte)
        n = string->border[n - 1];
    return n + (string->text[n] == byte);
}

int weir_stop_add(struct weir_stop *stop, const char *text, size_t n_bytes,
                  struct weir_err *err)
{
    struct weir_stop_string *string = &stop->strings[stop->n_strings];

    if (stop->n_strings == WEIR_MAX_STOPS)
        return weir_err_set(err, WEIR_EARG, "at most %d stop strings",
                            WEIR_MAX_STOPS);
    if (n_bytes == 0 || n_bytes > WEIR_STOP_BYTES)
        return weir_err_set(err, WEIR_EARG,
                            "a stop string must have 1 to %d bytes, not %zu",
                            WEIR_STOP_BYTES, n_bytes);
    if (weir_utf8_valid(text, n_bytes) < n_bytes)
        return weir_err_set(err, WEIR_EARG, "a stop string must be UTF-8");
    memcpy(string->text, text, n_bytes);
    string->n_bytes = n_bytes;
    for (size_t i = 1; i < n_bytes; i++)
        string->border[i] =
            (unsigned char)advance(string, string->border[i - 1], text[i]);
    stop->n_strings++;
    return 0;
}

/* Feeds a byte to all strings; returns the longest complete one, or -1. */
static int feed(struct weir_stop *stop, char byte)
{
    size_t longest = 0;
    int met = -1;

    for (size_t i = 0; i < stop->n_strings; i++) {
        struct weir_stop_string *string = &stop->strings[i];

        string->n_matched = advance(string, string->n_matched, byte);
        if (string->n_matched == string->n_bytes && string->n_bytes > longest) {
            longest = string->n_bytes;
            met = (int)i;
        }
    }
    return met;
}

static size_t most_matched(const struct weir_stop *stop)
{
    size_t most = 0;

    for (size_t i = 0; i < stop->n_strings; i++)
        if (stop->strings[i].n_matched > most)
            most = stop->strings[i].n_matched;
    return most;
}

/*
 * Of what is held and `text` behind it, gives all but the last n_kept bytes,
 * which are held from now on.
 */
static void give(struct weir_stop *stop, const char *text, size_t n_bytes,
                 size_t n_kept, struct weir_stop_out *out)
{
    const char *held = stop->held[stop->at];
    char *kept = stop->held[!stop->at];
    size_t n_given = stop->n_held + n_bytes - n_kept;
    size_t n_first = n_given < stop->n_held ? n_given : stop->n_held;
    size_t n_again = stop->n_held - n_first;

    *out = (struct weir_stop_out){{held, text}, {n_first, n_given - n_first}};
    memcpy(kept, held + n_first, n_again);
    memcpy(kept + n_again, text + n_bytes - (n_kept - n_again),
           n_kept - n_again);
    stop->n_held = n_kept;
    stop->at = !stop->at;
}

int weir_stop_push(struct weir_stop *stop, const char *text, size_t n_bytes,
                   struct weir_stop_out *out)
{
    *out = (struct weir_stop_out){{text, text}, {0, 0}};
    for (size_t i = 0; stop->met < 0 && i < n_bytes; i++) {
        stop->met = feed(stop, text[i]);
        if (stop->met >= 0)
            give(stop, text, i + 1, stop->strings[stop->met].n_bytes, out);
    }
    if (stop->met >= 0)
        return 1;
    give(stop, text, n_bytes, most_matched(stop), out);
    return 0;
}

void weir_stop_finish(struct weir_stop *stop, struct weir_stop_out *out)
{
    *out = (struct weir_stop_out){{"", ""}, {0, 0}};
    if (stop->met < 0)
        give(stop, "", 0, 0, out);
}
