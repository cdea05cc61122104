/*
 * bpe_cut.c: where a pre-token with byte_fallback, which may be a whole text, can be cut so that
 * its parts have the ids that they have in the whole. Parts are words as a rule, and words come
 * again.
 *
 * A merge makes one token of two neighbours. The last character of the left one, as it is written,
 * and the first of the right one are neighbours in the text too, unless one of them is of a
 * "<0x0A>". So between two characters that no merge of the file has there, none ever reaches
 * across: neither side's merges hang on the other's. The pairs of all merges are kept in a table.
 * Where a half begins or ends with "<0x0A>", which no usual file has, nothing is cut at all.
 */
#include "text/bpe_impl.h"

#include <string.h>

enum { BYTE_LEN = 6 }; /* "<0x0A>" */

/* The bytes of a character as a number. That of a merge's is never 0: JSON holds no NUL here. */
static uint64_t char_number(const char *s, size_t len)
{
    uint64_t number = 0;
    for (size_t i = 0; i < len; i++)
        number = number << 8 | (unsigned char)s[i];
    return number;
}

/* The pair's slot, or the free slot where it would go. */
static uint64_t *slot_of(const struct bpe *b, uint64_t pair)
{
    uint64_t hash = pair * 0x9e3779b97f4a7c15u;
    for (size_t i = (hash >> 32) & b->joins_mask;; i = (i + 1) & b->joins_mask)
        if (b->joins[i] == 0 || b->joins[i] == pair)
            return &b->joins[i];
}

void bpe_cut_init(struct bpe *b, size_t merges)
{
    size_t slots = 16;
    while (slots < 2 * merges)
        slots *= 2;
    b->joins = xcalloc(slots, sizeof(*b->joins));
    b->joins_mask = slots - 1;
}

static bool is_byte(const char *s)
{
    return memcmp(s, "<0x", 3) == 0 && s[BYTE_LEN - 1] == '>';
}

void bpe_cut_merge(struct bpe *b, const char *left, size_t left_len, const char *right,
                   size_t right_len)
{
    if ((left_len >= BYTE_LEN && is_byte(left + left_len - BYTE_LEN)) ||
        (right_len >= BYTE_LEN && is_byte(right)))
        b->whole_pieces = true;
    size_t last = left_len;
    while (last > 0 && ((unsigned char)left[--last] & 0xc0) == 0x80)
        ;
    uint64_t pair =
        char_number(left + last, left_len - last) << 32 | char_number(right, bpe_char_len(right));
    *slot_of(b, pair) = pair;
}

size_t bpe_cut(const struct bpe *b, const char *s, size_t len)
{
    if (b->whole_pieces)
        return len;
    size_t at = bpe_char_len(s);
    uint64_t left = char_number(s, at);
    while (at < len) {
        size_t n = bpe_char_len(s + at);
        uint64_t right = char_number(s + at, n), pair = left << 32 | right;
        if (pair == 0 || *slot_of(b, pair) != pair)
            return at;
        left = right;
        at += n;
    }
    return len;
}
