/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as RFC 3629 defines it: no surrogates, no overlong forms. */
#ifndef WEIR_BASE_UTF8_H
#define WEIR_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define WEIR_UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define WEIR_UTF8_METASPACE   "\xe2\x96\x81" /* U+2581, a space in pieces */

/* Bytes of the character that begins with `lead`, or 0 when none does. */
static inline size_t weir_utf8_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Whether `second` may follow `lead`. */
static inline int weir_utf8_follows(unsigned char lead, unsigned char second)
{
    unsigned char low = 0x80, high = 0xbf;

    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    return second >= low && second <= high;
}

/*
 * How many of the `n` > 0 bytes at `p` agree with one character, at most its
 * length, which goes to *length (0: nothing begins so).
 */
static inline size_t weir_utf8_agree(const void *p, size_t n, size_t *length)
{
    const unsigned char *s = p;
    size_t i = 1;

    *length = weir_utf8_length(s[0]);
    if (*length == 0)
        return 0;
    if (*length > 1 && n > 1 && !weir_utf8_follows(s[0], s[1]))
        return 1;
    while (i < *length && i < n && (s[i] & 0xc0) == 0x80)
        i++;
    return i;
}

/* Bytes of the valid character at `p` [n > 0], or 0. */
static inline size_t weir_utf8_char(const void *p, size_t n)
{
    size_t length;

    return weir_utf8_agree(p, n, &length) == length ? length : 0;
}

/* Whether the `n` > 0 bytes at `p` begin a character and do not end it. */
static inline int weir_utf8_unfinished(const void *p, size_t n)
{
    size_t length, agreed = weir_utf8_agree(p, n, &length);

    return agreed == n && agreed < length;
}

/* How many of the `n` bytes at `p` are valid, whole characters. */
static inline size_t weir_utf8_valid(const void *p, size_t n)
{
    const unsigned char *s = p;
    size_t at = 0, length;

    while (at < n) {
        length = s[at] < 0x80 ? 1 : weir_utf8_char(s + at, n - at);
        if (length == 0)
            break;
        at += length;
    }
    return at;
}

/* The code point of the valid character at `p`; its length is known. */
static inline uint32_t weir_utf8_decode(const void *p, size_t length)
{
    const unsigned char *s = p;
    uint32_t c = length == 1 ? s[0] : s[0] & (0x7fu >> length);

    for (size_t i = 1; i < length; i++)
        c = c << 6 | (s[i] & 0x3f);
    return c;
}

/* Puts the code point, at most U+10FFFF, at `p` [4]; its length. */
static inline size_t weir_utf8_encode(uint32_t c, char *p)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = n - 1; i; i--, c >>= 6)
        p[i] = (char)(0x80 | (c & 0x3f));
    p[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
    return n;
}

#endif
