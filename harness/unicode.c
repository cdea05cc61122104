/*
 * unicode.c: see unicode.h. The tables are utf8proc's; what it does not hold (White_Space, the
 * letters that have no letter's category) is written down here.
 */
#include "unicode.h"

#include <utf8proc.h>

/*
 * Nothing below U+0300 changes in normal form C when it stands among others below U+0300, and
 * U+0300 is the first character whose UTF-8 begins with 0xcc.
 */
static bool is_plainly_normal(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0xcc)
            return false;
    return true;
}

int unicode_nfc(const char *text, size_t len, struct buf *room, const char **out, size_t *out_len,
                struct buf *err)
{
    *out = text;
    *out_len = len;
    if (is_plainly_normal(text, len))
        return 0;
    utf8proc_uint8_t *normal = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len,
                                      &normal, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return fail(err, "normalising %zu bytes of text: %s", len, utf8proc_errmsg(n));
    buf_reset(room);
    buf_add(room, normal, (size_t)n);
    free(normal);
    *out = room->s;
    *out_len = room->len;
    return 0;
}

/* The character at the start of `s`, and its length; -1 where there is none. */
static utf8proc_int32_t first_char(const char *s, size_t len, size_t *size)
{
    utf8proc_int32_t c = -1;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)len, &c);
    *size = n > 0 ? (size_t)n : 0;
    return n > 0 ? c : -1;
}

static utf8proc_int32_t last_char(const char *s, size_t len, size_t *size)
{
    size_t start = len;
    while (start > 0 && ((unsigned char)s[--start] & 0xc0) == 0x80)
        ;
    return first_char(s + start, len - start, size);
}

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

size_t unicode_spaces_at_start(const char *s, size_t len)
{
    size_t at = 0, size;
    while (is_space(first_char(s + at, len - at, &size)))
        at += size;
    return at;
}

size_t unicode_spaces_at_end(const char *s, size_t len)
{
    size_t left = len, size;
    while (is_space(last_char(s, left, &size)))
        left -= size;
    return len - left;
}

static bool is_word(utf8proc_int32_t c)
{
    if (c < 0)
        return false;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        break;
    }
    // The two joiners, and the letters in circles and squares, which are Alphabetic symbols.
    return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
           (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189);
}

bool unicode_starts_with_word(const char *s, size_t len)
{
    size_t size;
    return is_word(first_char(s, len, &size));
}

bool unicode_ends_with_word(const char *s, size_t len)
{
    size_t size;
    return is_word(last_char(s, len, &size));
}
