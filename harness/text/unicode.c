/*
 * unicode.c: see unicode.h. The tables are utf8proc's; what it does not hold (White_Space, the
 * letters that have no letter's category) is written down here.
 */
#include "text/unicode.h"

#include <string.h>
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

struct codes {
    utf8proc_int32_t *v;
    size_t len, cap;
};

static utf8proc_propval_t class_of(utf8proc_int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* Canonical decomposition, marks in the order of the text. */
static void decompose(const char *text, size_t len, struct codes *out)
{
    for (size_t at = 0; at < len;) {
        enum { ROOM = 8 }; // no character has more than four
        utf8proc_int32_t c = -1;
        int boundary = 0;
        at += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                       (utf8proc_ssize_t)(len - at), &c);
        ARRAY_GROW(out->v, out->cap, out->len + ROOM);
        utf8proc_ssize_t n = utf8proc_decompose_char(
            c, out->v + out->len, ROOM, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
        if (n < 0 || n > ROOM)
            BUG("U+%04X has no decomposition: %s", (unsigned)c, utf8proc_errmsg(n));
        out->len += (size_t)n;
    }
}

/* Puts a run of marks into the order of their classes, those of a class as they were. */
static void sort_run(utf8proc_int32_t *run, size_t n)
{
    size_t start[257] = { 0 };
    for (size_t i = 0; i < n; i++)
        start[class_of(run[i]) + 1]++;
    for (size_t k = 0; k < 256; k++)
        start[k + 1] += start[k];
    utf8proc_int32_t *sorted = xmalloc(n * sizeof(*sorted));
    for (size_t i = 0; i < n; i++)
        sorted[start[class_of(run[i])]++] = run[i];
    memcpy(run, sorted, n * sizeof(*sorted));
    free(sorted);
}

static void sort_marks(struct codes *codes)
{
    for (size_t i = 0; i < codes->len; i++) {
        size_t first = i;
        bool sorted = true;
        for (; i < codes->len && class_of(codes->v[i]) > 0; i++)
            sorted &= i == first || class_of(codes->v[i - 1]) <= class_of(codes->v[i]);
        if (!sorted)
            sort_run(codes->v + first, i - first);
    }
}

/*
 * utf8proc_map() does all three steps, but sorts in quadratic time: six minutes for a megabyte of
 * accents.
 */
int unicode_nfc(const char *text, size_t len, struct buf *room, const char **out, size_t *out_len,
                struct buf *err)
{
    *out = text;
    *out_len = len;
    if (is_plainly_normal(text, len))
        return 0;
    struct codes codes = { 0 };
    decompose(text, len, &codes);
    sort_marks(&codes);
    // The text takes the place of the characters; the function wants room for a NUL behind it.
    ARRAY_GROW(codes.v, codes.cap, codes.len + 1);
    utf8proc_ssize_t n =
        utf8proc_reencode(codes.v, (utf8proc_ssize_t)codes.len, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n >= 0) {
        buf_reset(room);
        buf_add(room, codes.v, (size_t)n);
        *out = room->s;
        *out_len = room->len;
    }
    free(codes.v);
    return n >= 0 ? 0 : fail(err, "normalising %zu bytes of text: %s", len, utf8proc_errmsg(n));
}

/* The character at the start of `s`, and its length; -1 where there is none. */
static utf8proc_int32_t first_char(const char *s, size_t len, size_t *size)
{
    utf8proc_int32_t c = -1;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)len, &c);
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
