/*
 * lua_place.c: where in its source a table and its keys stand; see lua_fields.h. Lua tells the line
 * of a call, but not of a key: that one is looked for with a small scanner, which knows comments,
 * strings and braces and nothing else of the language.
 */
#include "recipe/lua_fields.h"

#include <ctype.h>
#include <string.h>

static bool in_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Behind [[...]] or [=[...]=] that starts at p; p itself where none does. */
static const char *skip_long_bracket(const char *p)
{
    size_t level = strspn(p + 1, "=");
    if (p[0] != '[' || p[1 + level] != '[')
        return p;
    for (const char *q = p + 2 + level; *q; q++)
        if (q[0] == ']' && strspn(q + 1, "=") == level && q[1 + level] == ']')
            return q + 2 + level;
    return p + strlen(p);
}

/* Behind the comment or string that starts at p; p itself where none does. */
static const char *skip_text(const char *p)
{
    if (p[0] == '-' && p[1] == '-') {
        const char *end = skip_long_bracket(p + 2);
        return end > p + 2 ? end : p + strcspn(p, "\n");
    }
    if (*p == '[')
        return skip_long_bracket(p);
    if (*p != '"' && *p != '\'')
        return p;
    const char *q = p + 1;
    while (*q && *q != *p)
        q += *q == '\\' && q[1] ? 2 : 1;
    return *q ? q + 1 : q;
}

/* Behind white space and comments. */
static const char *skip_blank(const char *p)
{
    while (isspace((unsigned char)*p) || (p[0] == '-' && p[1] == '-'))
        p = *p == '-' ? skip_text(p) : p + 1;
    return p;
}

/* Does ["KEY"] = stand at p? */
static bool is_quoted_key(const char *p, const char *key)
{
    size_t len = strlen(key);
    p += 1 + strspn(p + 1, " \t");
    if ((*p != '"' && *p != '\'') || strncmp(p + 1, key, len) != 0 || p[1 + len] != *p)
        return false;
    p += len + 2;
    p += strspn(p, " \t");
    return *p == ']' && *skip_blank(p + 1) == '=';
}

/*
 * Looks for KEY = among the direct fields of the first table from p on. NULL: not there. `end` gets
 * the place behind the table.
 */
static const char *find_key(const char *p, const char *key, const char **end)
{
    size_t len = strlen(key);
    int depth = 0;
    while (*p) {
        const char *next = skip_text(p);
        if (next > p) {
            p = next;
            continue;
        }
        if (in_name(*p)) {
            size_t n = 1;
            while (in_name(p[n]))
                n++;
            const char *behind = p + n + strspn(p + n, " \t\r\n");
            if (depth == 1 && n == len && memcmp(p, key, n) == 0 && behind[0] == '=' &&
                behind[1] != '=')
                return p;
            p += n;
            continue;
        }
        if (depth == 1 && *p == '[' && is_quoted_key(p, key))
            return p;
        if (strchr("{([", *p))
            depth += *p == '{' || depth > 0;
        else if (strchr("})]", *p) && depth > 0 && --depth == 0)
            break;
        p++;
    }
    *end = p;
    return NULL;
}

/* The next `word` (any place, where it is empty) from p to the end of its line; NULL: none. */
static const char *find_word(const char *p, const char *word)
{
    size_t len = strlen(word);
    for (; *p && *p != '\n'; p++) {
        const char *next = skip_text(p);
        if (next > p) {
            p = next - 1;
            continue;
        }
        if (!in_name(*p))
            continue;
        size_t n = 1;
        while (in_name(p[n]))
            n++;
        if (n == len && memcmp(p, word, n) == 0)
            return p + n;
        p += n - 1;
    }
    return NULL;
}

/* The beginning of the table that the file returns: of its last line that begins with `return`. */
static const char *find_returned(const char *text)
{
    const char *found = text;
    for (const char *p = text; p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, "return", 6) == 0)
            found = p;
    }
    return found;
}

/* Where `key` stands in the table at `at`; NULL: it is not seen. */
static const char *find_in_place(const struct lua_place *at, const char *key)
{
    const char *start = at->text, *found = NULL, *end;
    if (at->from || at->line == 0)
        return find_key(at->from ? at->from : find_returned(at->text), key, &end);
    for (int i = 1; i < at->line && start; i++) {
        start = strchr(start, '\n'); // Lua counts \r too: there may be fewer of ours
        if (start)
            start++;
    }
    // One line may hold several calls of the same constructor.
    for (const char *p = start; p && !found && (p = find_word(p, at->word));)
        found = find_key(p, key, &end);
    return found;
}

static int line_of(const char *text, const char *p)
{
    int line = 1;
    for (; text < p; text++)
        line += *text == '\n';
    return line;
}

int place_line(const struct lua_place *at, const char *key)
{
    const char *found = key ? find_in_place(at, key) : NULL;
    if (found)
        return line_of(at->text, found);
    return at->line > 0 ? at->line : 1;
}

/* The n-th element (from 1) of the list whose brace is at p; where it is not there, the list's end. */
static const char *find_element(const char *p, size_t n)
{
    int depth = 0;
    for (p++; n > 1 && *p;) {
        const char *next = skip_text(p);
        if (next > p) {
            p = next;
            continue;
        }
        if (strchr("{([", *p))
            depth++;
        else if (strchr("})]", *p) && depth-- == 0)
            return p;
        else if (depth == 0 && strchr(",;", *p))
            n--;
        p++;
    }
    return skip_blank(p);
}

struct lua_place place_inside(const struct lua_place *at, const char *key, size_t n,
                              const char *word)
{
    struct lua_place inside = { at->path, at->text, place_line(at, key), word, "" };
    const char *found = find_in_place(at, key);
    if (!found)
        return inside;
    found = skip_blank(found + strcspn(found, "=") + 1);
    if (n && *found == '{')
        found = find_element(found, n);
    if (*found == '{') {
        inside.from = found;
        inside.line = line_of(at->text, found);
    }
    return inside;
}

int place_fail(const struct lua_place *at, const char *key, struct buf *err, const char *fmt, ...)
{
    struct buf what = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&what, fmt, ap);
    va_end(ap);
    if (key && key[0] == '[') // the value without a key
        key = NULL;
    fail(err, "%s:%d: %s%s%s: %s", at->path, place_line(at, key), at->word, key ? "." : "",
         key ? key : "", what.s);
    buf_release(&what);
    return -1;
}
