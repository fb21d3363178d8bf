/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What templates know of characters beyond ASCII, from the Unicode Character
 * Database: the case of the Latin, Greek, Cyrillic and Armenian letters that
 * are in use, and roughly what is a letter and what can be printed.  The C
 * library would know more, but not on each system, nor again after it lacked
 * memory once.
 */
#include "text/jinja_render.h"

/* Letters in pairs, or with `by` not 1, as far apart as it says */
static const struct cased {
    uint16_t first, last; /* of the capital letters */
    uint16_t by;          /* to the small one; 1: every second is capital */
} cased[] = {
    {0x00c0, 0x00d6, 32}, {0x00d8, 0x00de, 32}, {0x0100, 0x012e, 1},
    {0x0132, 0x0136, 1},  {0x0139, 0x0147, 1},  {0x014a, 0x0176, 1},
    {0x0179, 0x017d, 1},  {0x01a0, 0x01a4, 1},  {0x01af, 0x01af, 1},
    {0x01cd, 0x01db, 1},  {0x01de, 0x01ee, 1},  {0x01f8, 0x021e, 1},
    {0x0222, 0x0232, 1},  {0x0386, 0x0386, 38}, {0x0388, 0x038a, 37},
    {0x038c, 0x038c, 64}, {0x038e, 0x038f, 63}, {0x0391, 0x03a1, 32},
    {0x03a3, 0x03ab, 32}, {0x0400, 0x040f, 80}, {0x0410, 0x042f, 32},
    {0x0460, 0x0480, 1},  {0x048a, 0x04be, 1},  {0x04c1, 0x04cd, 1},
    {0x04d0, 0x052e, 1},  {0x0531, 0x0556, 48}, {0x1e00, 0x1e94, 1},
    {0x1ea0, 0x1efe, 1},  {0xff21, 0xff3a, 32},
};

struct range {
    uint32_t first, last;
};

/* Characters that are no letters */
static const struct range others[] = {
    {0x0080, 0x00a9},   {0x00ab, 0x00b4},   {0x00b6, 0x00b9},
    {0x00bb, 0x00bf},   {0x00d7, 0x00d7},   {0x00f7, 0x00f7},
    {0x02c2, 0x02c5},   {0x02d2, 0x02df},   {0x0300, 0x036f},
    {0x0375, 0x0375},   {0x037e, 0x037e},   {0x0384, 0x0385},
    {0x0387, 0x0387},   {0x0483, 0x0489},   {0x055a, 0x055f},
    {0x0589, 0x05cf},   {0x0600, 0x061f},   {0x064b, 0x066d},
    {0x06d4, 0x06d4},   {0x0964, 0x0970},   {0x1680, 0x1680},
    {0x2000, 0x2070},   {0x2074, 0x207e},   {0x2080, 0x208f},
    {0x20a0, 0x2101},   {0x2190, 0x2bff},   {0x2e00, 0x2fff},
    {0x3000, 0x3004},   {0x3007, 0x3030},   {0x3200, 0x33ff},
    {0xd800, 0xf8ff},   {0xfd3e, 0xfd4f},   {0xfdd0, 0xfdef},
    {0xfe00, 0xfe6f},   {0xfeff, 0xff20},   {0xff3b, 0xff40},
    {0xff5b, 0xff65},   {0xffe0, 0xffff},   {0x1d000, 0x1d3ff},
    {0x1f000, 0x1fbff}, {0xe0000, 0x10ffff}};

/* Characters that can not be seen: controls, formats, those of nobody */
static const struct range hidden[] = {
    {0x0080, 0x009f},   {0x00ad, 0x00ad}, {0x0600, 0x0605}, {0x061c, 0x061c},
    {0x06dd, 0x06dd},   {0x070f, 0x070f}, {0x180e, 0x180e}, {0x200b, 0x200f},
    {0x202a, 0x202e},   {0x2060, 0x206f}, {0xd800, 0xf8ff}, {0xfdd0, 0xfdef},
    {0xfeff, 0xfeff},   {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe00ff},
    {0xe01f0, 0x10ffff}};

static int is_within(uint32_t c, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return 1;
    return 0;
}

/* Where the capital and the small letter of `c` lie; 0: it has no case. */
static int find_pair(uint32_t c, uint32_t *capital, uint32_t *small)
{
    for (size_t i = 0; i < sizeof(cased) / sizeof(cased[0]); i++) {
        const struct cased *row = &cased[i];
        uint32_t by = row->by;

        if (c < row->first || c > row->last + by)
            continue;
        if (by == 1)
            *capital = row->first + ((c - row->first) & ~1u);
        else if (c <= row->last)
            *capital = c;
        else if (c >= row->first + by)
            *capital = c - by;
        else
            continue;
        *small = *capital + by;
        return 1;
    }
    return 0;
}

static uint32_t other_case(uint32_t c, int to_capital)
{
    uint32_t capital, small;

    if (c == 0xff || c == 0x178)
        return to_capital ? 0x178 : 0xff;
    if (c == 0xb5) /* the micro sign */
        return to_capital ? 0x39c : c;
    if (c == 0x3c2) /* sigma at the end of a word */
        return to_capital ? 0x3a3 : c;
    if (c == 0x131) /* without a dot */
        return to_capital ? 'I' : c;
    if (c == 0x1e9e)
        return to_capital ? c : 0xdf;
    if (!find_pair(c, &capital, &small))
        return c;
    return to_capital ? capital : small;
}

uint32_t weir_char_case(uint32_t c, enum weir_case to)
{
    const int to_capital = to != WEIR_LOWER;

    if (c >= 0x80)
        return other_case(c, to_capital);
    if (to_capital)
        return c >= 'a' && c <= 'z' ? c - 32 : c;
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static int is_letter(uint32_t c)
{
    if (c < 0x80)
        return (c | 32) >= 'a' && (c | 32) <= 'z';
    return !is_within(c, others, sizeof(others) / sizeof(others[0]));
}

static int is_printable(uint32_t c)
{
    if (c < 0x80)
        return c >= 0x20 && c < 0x7f;
    return !weir_char_is_space(c) &&
           !is_within(c, hidden, sizeof(hidden) / sizeof(hidden[0]));
}

int weir_char_is(uint32_t c, enum weir_char_class class)
{
    switch (class) {
    case WEIR_ALPHA:
        return is_letter(c);
    case WEIR_DIGIT:
        return c >= '0' && c <= '9';
    case WEIR_IS_UPPER:
        return weir_char_case(c, WEIR_LOWER) != c;
    case WEIR_IS_LOWER:
        return weir_char_case(c, WEIR_UPPER) != c || c == 0xdf;
    default:
        return is_printable(c);
    }
}
