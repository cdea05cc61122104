/*
 * json.h: JSON as this program reads it: a thin layer over jansson that makes every complaint name
 * the file, the line where there are lines, the key, what was found and what is allowed.
 *
 * Invariant: a text that was read is one object, valid UTF-8, no name in it stands twice, and no
 * string of it holds a NUL (so a string's length is strlen()).
 * Leaves out: writing (jansson does it well), and walking arrays (likewise).
 *
 *     json_t *root = json_read_file("config.json", 1 << 20, err);
 *     if (!root)
 *         return -1;
 *     struct json_in in = { root, "config.json", err };
 *     int layers, heads = 8;
 *     int rc = json_need_int(&in, "layers", 1, 1000, &layers) ||
 *              json_opt_int(&in, "heads", 1, 64, &heads) ? -1 : 0;
 *     json_decref(root);
 */
#ifndef JSON_H
#define JSON_H

#include "util.h"

#include <jansson.h>

/*
 * Parses `len` bytes that must be one object; NULL on failure. `line` is the number that the
 * text's first line has in `file`: 1 for a whole file, N for line N of a JSON-lines file, 0 where
 * the file has no lines (errors then name the byte). Release with json_decref().
 */
json_t *json_parse(const char *text, size_t len, const char *file, size_t line,
                   struct buf *err) MUST_USE;

/* The same for a whole file of at most `max` bytes. */
json_t *json_read_file(const char *path, size_t max, struct buf *err) MUST_USE;

/* What the getters read from: an object, the words an error starts with, and where errors go. */
struct json_in {
    const json_t *object;
    const char *where; /* "config.json", "texts.jsonl:12", "config.json: rope_parameters" */
    struct buf *err;
};

/*
 * Typed getters: 0, or -1 and a sentence. need: the key must be there and not null. opt: where it is
 * absent or null, `*out` stays as it was, so that it is set to the default before. Bounds are
 * inclusive. A string is borrowed from the object.
 */
int json_need_int(const struct json_in *in, const char *key, int lo, int hi, int *out) MUST_USE;
int json_opt_int(const struct json_in *in, const char *key, int lo, int hi, int *out) MUST_USE;
int json_need_number(const struct json_in *in, const char *key, double lo, double hi,
                     double *out) MUST_USE;
int json_opt_number(const struct json_in *in, const char *key, double lo, double hi,
                    double *out) MUST_USE;
int json_need_bool(const struct json_in *in, const char *key, bool *out) MUST_USE;
int json_opt_bool(const struct json_in *in, const char *key, bool *out) MUST_USE;
int json_need_string(const struct json_in *in, const char *key, const char **out) MUST_USE;
int json_opt_string(const struct json_in *in, const char *key, const char **out) MUST_USE;
int json_need_object(const struct json_in *in, const char *key, const json_t **out) MUST_USE;
int json_need_array(const struct json_in *in, const char *key, const json_t **out) MUST_USE;

/* The value, or NULL where the key is absent or null. */
const json_t *json_value(const struct json_in *in, const char *key);

/* Fails with "WHERE: KEY is VALUE; ALLOWED": the sentence of the getters, for checks of one's own. */
int json_refuse(const struct json_in *in, const char *key, const char *allowed, ...) PRINTF(3, 4);

/* Makes what jansson says of a text (json_error_t) UTF-8 again: it cuts it anywhere. */
void json_clean(char *text);

/* Appends a value as compact JSON, cut to about 60 bytes, for error messages. */
void json_show(const json_t *value, struct buf *out);

#endif
