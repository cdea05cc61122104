/*
 * json.c: see json.h.
 */
#include "json.h"

#include <math.h>
#include <string.h>

static const char *kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_NULL:
        return "null";
    default:
        return "true or false";
    }
}

void json_clean(char *text)
{
    size_t len = strlen(text);
    for (size_t i; (i = utf8_valid(text, len)) < len;)
        text[i] = '?';
}

json_t *json_parse(const char *text, size_t len, const char *file, size_t line, struct buf *err)
{
    json_error_t e;
    // DECODE_ANY: a text that is JSON but no object shall be called so.
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!root) {
        json_clean(e.text);
        size_t at = line + (size_t)(e.line > 0 ? e.line : 1) - 1;
        if (strncmp(e.text, "\\u0000 is not", 13) == 0)
            fail(err, "%s:%zu: a text in it has a NUL character (\\u0000), which is not taken",
                 file, line ? at : (size_t)e.position);
        else if (line)
            fail(err, "%s:%zu: not valid JSON: %s", file, at, e.text);
        else
            fail(err, "%s: not valid JSON at byte %d: %s", file, e.position, e.text);
        return NULL;
    }
    if (!json_is_object(root)) {
        struct buf at = BUF_INIT;
        if (line)
            buf_addf(&at, ":%zu", line);
        fail(err, "%s%s: a JSON object is needed, but this is %s", file, at.s, kind_of(root));
        buf_release(&at);
        json_decref(root);
        return NULL;
    }
    return root;
}

json_t *json_read_file(const char *path, size_t max, struct buf *err)
{
    struct buf text = BUF_INIT;
    json_t *root = NULL;
    if (read_file(path, max, &text, err) == 0)
        root = json_parse(text.s, text.len, path, 1, err);
    buf_release(&text);
    return root;
}

void json_show(const json_t *value, struct buf *out)
{
    enum { LONGEST = 60 };
    // A value can be megabytes: what is large by its kind is named by its kind.
    if (json_is_object(value) && json_object_size(value)) {
        buf_adds(out, "an object");
    } else if (json_is_array(value) && json_array_size(value) > 8) {
        buf_addf(out, "an array of %zu", json_array_size(value));
    } else if (json_is_string(value) && json_string_length(value) > LONGEST) {
        size_t n = utf8_valid(json_string_value(value), LONGEST);
        json_t *start = json_stringn(json_string_value(value), n);
        char *text = json_dumps(start, JSON_ENCODE_ANY); // with escapes, and quotes at both ends
        if (text)
            buf_addf(out, "%.*s...\"", (int)strlen(text) - 1, text);
        free(text);
        json_decref(start);
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        bool shown = text && strlen(text) <= (size_t)LONGEST + 2;
        buf_adds(out, shown ? text : kind_of(value));
        free(text);
    }
}

const json_t *json_value(const struct json_in *in, const char *key)
{
    const json_t *value = json_object_get(in->object, key);
    return json_is_null(value) ? NULL : value;
}

int json_refuse(const struct json_in *in, const char *key, const char *allowed, ...)
{
    struct buf what = BUF_INIT, found = BUF_INIT;
    va_list ap;
    va_start(ap, allowed);
    buf_vaddf(&what, allowed, ap);
    va_end(ap);
    const json_t *value = json_object_get(in->object, key);
    if (value)
        json_show(value, &found);
    else
        buf_adds(&found, "missing");
    fail(in->err, "%s: %s is %s; %s", in->where, key, found.s, what.s);
    buf_release(&found);
    buf_release(&what);
    return -1;
}

int json_opt_int(const struct json_in *in, const char *key, int lo, int hi, int *out)
{
    return json_value(in, key) ? json_need_int(in, key, lo, hi, out) : 0;
}

int json_need_int(const struct json_in *in, const char *key, int lo, int hi, int *out)
{
    const json_t *value = json_value(in, key);
    if (!json_is_integer(value) || json_integer_value(value) < lo || json_integer_value(value) > hi)
        return json_refuse(in, key, "a whole number from %d to %d is allowed", lo, hi);
    *out = (int)json_integer_value(value);
    return 0;
}

int json_opt_number(const struct json_in *in, const char *key, double lo, double hi, double *out)
{
    return json_value(in, key) ? json_need_number(in, key, lo, hi, out) : 0;
}

int json_need_number(const struct json_in *in, const char *key, double lo, double hi, double *out)
{
    const json_t *value = json_value(in, key);
    double x = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(x >= lo && x <= hi))
        return json_refuse(in, key, "a number from %g to %g is allowed", lo, hi);
    *out = x;
    return 0;
}

int json_opt_bool(const struct json_in *in, const char *key, bool *out)
{
    return json_value(in, key) ? json_need_bool(in, key, out) : 0;
}

int json_need_bool(const struct json_in *in, const char *key, bool *out)
{
    const json_t *value = json_value(in, key);
    if (!json_is_boolean(value))
        return json_refuse(in, key, "true and false are allowed");
    *out = json_is_true(value);
    return 0;
}

int json_opt_string(const struct json_in *in, const char *key, const char **out)
{
    return json_value(in, key) ? json_need_string(in, key, out) : 0;
}

int json_need_string(const struct json_in *in, const char *key, const char **out)
{
    const json_t *value = json_value(in, key);
    if (!json_is_string(value))
        return json_refuse(in, key, "a string is allowed");
    *out = json_string_value(value);
    return 0;
}

int json_need_object(const struct json_in *in, const char *key, const json_t **out)
{
    const json_t *value = json_value(in, key);
    if (!json_is_object(value))
        return json_refuse(in, key, "an object is allowed");
    *out = value;
    return 0;
}

int json_need_array(const struct json_in *in, const char *key, const json_t **out)
{
    const json_t *value = json_value(in, key);
    if (!json_is_array(value))
        return json_refuse(in, key, "an array is allowed");
    *out = value;
    return 0;
}
