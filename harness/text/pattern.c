/*
 * pattern.c: see pattern.h. One pass over the pattern with an allow-list: it is short because it
 * knows only what the patterns of real tokenizers are made of.
 */
#include "text/pattern.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

struct scan {
    const char *start, *p;
    struct buf *out, *err;
};

/* Names the next `len` bytes, and the rest of the last character among them. */
static int refuse(const struct scan *sc, size_t len)
{
    while (((unsigned char)sc->p[len] & 0xc0) == 0x80)
        len++;
    return fail(sc->err, "'%.*s' at byte %zu is not supported", (int)len, sc->p,
                (size_t)(sc->p - sc->start));
}

static void copy(struct scan *sc, size_t len)
{
    buf_add(sc->out, sc->p, len);
    sc->p += len;
}

/* General categories mean the same in both; scripts and Perl's names do not. */
static bool is_category(const char *name, size_t len)
{
    static const char *const names[] = { "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc",
                                         "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
                                         "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So",
                                         "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return true;
    return false;
}

static int property(struct scan *sc)
{
    const char *end = sc->p[2] == '{' ? strchr(sc->p, '}') : NULL;
    if (!end)
        return refuse(sc, 2);
    size_t len = (size_t)(end - sc->p) + 1;
    if (!is_category(sc->p + 3, len - 4))
        return refuse(sc, len);
    copy(sc, len);
    return 0;
}

/* Both inside and outside of a class. */
static int escape(struct scan *sc)
{
    static const struct {
        char c;
        const char *to;
    } rewritten[] = {
        // PCRE2's own \s has U+180E too, which ceased to be a space in Unicode 6.3.
        { 's', "\\p{White_Space}" },
        { 'S', "\\P{White_Space}" },
        { 'd', "\\p{Nd}" },
        { 'D', "\\P{Nd}" },
    };
    char c = sc->p[1];
    for (size_t i = 0; i < ARRAY_LEN(rewritten); i++) {
        if (rewritten[i].c == c) {
            buf_adds(sc->out, rewritten[i].to);
            sc->p += 2;
            return 0;
        }
    }
    if (c == 'p' || c == 'P')
        return property(sc);
    if (c != 'r' && c != 'n' && c != 't' && !ispunct((unsigned char)c))
        return refuse(sc, c ? 2 : 1);
    copy(sc, 2);
    return 0;
}

static int class(struct scan *sc)
{
    size_t open = sc->p[1] == '^' ? 2 : 1;
    if (sc->p[open] == ']')
        return refuse(sc, open + 1);
    copy(sc, open);
    while (*sc->p != ']') {
        if (*sc->p == '\0')
            return fail(sc->err, "a class '[' is not closed");
        if (*sc->p == '[')
            return refuse(sc, 1);
        if (strncmp(sc->p, "&&", 2) == 0)
            return refuse(sc, 2);
        if (*sc->p == '\\') {
            if (escape(sc) != 0)
                return -1;
        } else {
            copy(sc, 1);
        }
    }
    copy(sc, 1);
    return 0;
}

/*
 * (?i:...) of letters only: whether classes and properties ignore case differs, and Oniguruma also
 * takes a ligature (U+FB01) or sharp s for its letters.
 */
static int caseless_group(struct scan *sc)
{
    static const char *const folded[] = { "ff", "fi", "fl", "ss", "st" };
    size_t len = 4;
    while (isalnum((unsigned char)sc->p[len]) || sc->p[len] == '\'' || sc->p[len] == '|')
        len++;
    if (sc->p[len] != ')')
        return refuse(sc, sc->p[len] ? len + 1 : len);
    for (size_t i = 4; i + 1 < len; i++)
        for (size_t k = 0; k < ARRAY_LEN(folded); k++)
            if (strncasecmp(sc->p + i, folded[k], 2) == 0)
                return refuse(sc, len + 1);
    copy(sc, len + 1);
    return 0;
}

static int group(struct scan *sc)
{
    static const char *const known[] = { "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>" };
    if (strncmp(sc->p, "(?i:", 4) == 0)
        return caseless_group(sc);
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strncmp(sc->p, known[i], strlen(known[i])) == 0) {
            copy(sc, strlen(known[i]));
            return 0;
        }
    }
    if (sc->p[1] == '?' || sc->p[1] == '*')
        return refuse(sc, sc->p[2] ? 3 : 2);
    copy(sc, 1);
    return 0;
}

/* {n}, {n,}, {n,m}; a lazy or possessive one means other things in Oniguruma. */
static int interval(struct scan *sc)
{
    size_t len = 1 + strspn(sc->p + 1, "0123456789");
    if (len > 1 && sc->p[len] == ',')
        len += 1 + strspn(sc->p + len + 1, "0123456789");
    if (len == 1 || sc->p[len] != '}')
        return refuse(sc, 1);
    len++;
    if (sc->p[len] && strchr("+?*{", sc->p[len]))
        return refuse(sc, len + 1);
    copy(sc, len);
    return 0;
}

int pattern_translate(const char *pattern, struct buf *out, struct buf *err)
{
    struct scan sc = { pattern, pattern, out, err };
    int rc = 0;
    while (rc == 0 && *sc.p) {
        switch (*sc.p) {
        case '\\':
            rc = escape(&sc);
            break;
        case '[':
            rc = class(&sc);
            break;
        case '(':
            rc = group(&sc);
            break;
        case '{':
            rc = interval(&sc);
            break;
        case '.':
        case '^':
        case '$':
        case ']':
        case '}':
            rc = refuse(&sc, 1);
            break;
        default:
            copy(&sc, 1);
        }
    }
    return rc;
}
