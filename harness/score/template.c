/*
 * template.c: see template.h.
 */
#include "score/template.h"
#include "json.h"

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

struct look {
    const char *name;
    bool there;
};

static int look_for(void *ud, bool field, const char *s, size_t len, struct buf *err)
{
    struct look *l = ud;
    (void)err;
    l->there |= field && strlen(l->name) == len && memcmp(s, l->name, len) == 0;
    return 0;
}

bool template_has(const char *template, const char *field)
{
    struct look l = { field, false };
    struct buf err = BUF_INIT;
    if (template_walk(template, look_for, &l, &err) != 0)
        BUG("%s", err.s);
    return l.there;
}

/* A number as short as it can be and still be the same one. */
static void add_number(const json_t *value, struct buf *out)
{
    if (json_is_integer(value)) {
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    }
    double x = json_real_value(value);
    for (size_t digits = 15; digits <= 17; digits++) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        bool same = text && strtod(text, NULL) == x;
        if (same || digits == 17)
            buf_adds(out, text ? text : "");
        free(text);
        if (same)
            return;
    }
}

/* false: the value is no text and no number. */
static bool add_value(const json_t *value, struct buf *out)
{
    if (json_is_string(value))
        buf_add(out, json_string_value(value), json_string_length(value));
    else if (json_is_number(value))
        add_number(value, out);
    else
        return false;
    return true;
}

static bool add_lines(const json_t *array, struct buf *out)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (!json_is_string(json_array_get(array, i)))
            return false;
        if (i)
            buf_addc(out, '\n');
        add_value(json_array_get(array, i), out);
    }
    return true;
}

static int no_field(const json_t *doc, const char *name, struct buf *err)
{
    enum { SHOWN = 12 };
    struct buf names = BUF_INIT;
    const char *key;
    json_t *value;
    int n = 0;
    json_object_foreach ((json_t *)doc, key, value) {
        if (n < SHOWN)
            buf_addf(&names, "%s%s", n ? ", " : "", key);
        else if (n == SHOWN)
            buf_adds(&names, ", ...");
        n++;
    }
    fail(err, "no field '%s'; there %s %s", name, n == 1 ? "is" : "are", n ? names.s : "none");
    buf_release(&names);
    return -1;
}

static int no_text(const char *field, const json_t *value, const char *allowed, struct buf *err)
{
    struct buf shown = BUF_INIT;
    json_show(value, &shown);
    fail(err, "%s is %s; %s allowed", field, shown.s, allowed);
    buf_release(&shown);
    return -1;
}

/* field[index], or field[index].name of an array of objects */
static int add_element(const json_t *array, const char *field, const char *index, struct buf *out,
                       struct buf *err)
{
    size_t digits = strspn(index, "0123456789");
    const char *close = index + digits;
    bool member = close[0] == ']' && close[1] == '.' && close[2];
    if (digits == 0 || digits > 9 || (strcmp(close, "]") != 0 && !member))
        return fail(err, "{%s} is no field; [ ] holds a whole number: {tests[0]}", field);
    size_t i = strtoul(index, NULL, 10), n = json_array_size(array);
    if (!json_is_array(array))
        return no_text(field, array, "an array is", err);
    if (i >= n)
        return fail(err, "%s: the array has %zu element%s; the first is [0]", field, n,
                    n == 1 ? "" : "s");
    const json_t *value = json_array_get(array, i);
    if (member) {
        const json_t *object = value;
        if (!json_is_object(object))
            return no_text(field, object, "an object is", err);
        value = json_object_get(object, close + 2);
        if (!value)
            return no_field(object, close + 2, err);
    }
    return add_value(value, out) ? 0 : no_text(field, value, "a string and a number are", err);
}

struct fill {
    const json_t *doc;
    const char *output;
    struct buf *out;
};

static int fill_field(const struct fill *f, const char *field, struct buf *err)
{
    if (f->output && strcmp(field, "output") == 0) {
        buf_adds(f->out, f->output);
        return 0;
    }
    size_t len = strcspn(field, "[");
    char *name = xstrndup(field, len);
    const json_t *value = json_object_get(f->doc, name);
    int rc = 0;
    if (!value)
        rc = no_field(f->doc, name, err);
    else if (field[len])
        rc = add_element(value, field, field + len + 1, f->out, err);
    else if (!(json_is_array(value) ? add_lines(value, f->out) : add_value(value, f->out)))
        rc = no_text(field, value, "a string, a number and an array of strings are", err);
    free(name);
    return rc;
}

static int fill_part(void *ud, bool field, const char *s, size_t len, struct buf *err)
{
    const struct fill *f = ud;
    if (!field) {
        buf_add(f->out, s, len);
        return 0;
    }
    char *name = xstrndup(s, len);
    int rc = fill_field(f, name, err);
    free(name);
    return rc;
}

int template_fill(const char *template, const json_t *doc, const char *output, struct buf *out,
                  struct buf *err)
{
    struct fill f = { doc, output, out };
    return template_walk(template, fill_part, &f, err);
}
