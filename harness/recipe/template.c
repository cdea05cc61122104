/*
 * template.c: text with {field} in it; see eval.h.
 */
#include "recipe/eval.h"

#include <string.h>

int template_walk(const char *template,
                  int (*part)(void *ud, bool field, const char *s, size_t len, struct buf *err),
                  void *ud, struct buf *err)
{
    const char *p = template;
    while (*p) {
        size_t len = strcspn(p, "{}");
        bool doubled = p[len] && p[len] == p[len + 1];
        if (len || doubled) {
            // The text up to here, with the first brace of {{ or }}.
            if (part(ud, false, p, len + doubled, err) != 0)
                return -1;
            p += len + 2 * (size_t)doubled;
            continue;
        }
        if (*p == '}')
            return fail(err, "a '}' without a '{'; a brace itself is written }}");
        size_t name = strcspn(++p, "{}");
        if (name == 0 || p[name] != '}')
            return fail(err, "a '{' without 'field}' behind it; a brace itself is written {{");
        if (part(ud, true, p, name, err) != 0)
            return -1;
        p += name + 1;
    }
    return 0;
}
