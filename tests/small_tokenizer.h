/*
 * small_tokenizer.h: for tests, the tokenizer of data/tokenizer/small.json with parts replaced.
 *
 * The file holds the 256 bytes with GPT-2's ids ('!' 0, 'A' 32, 'a' 64, newline 198, space 220),
 * then he 256, ll, hell, hello 259, " hello" 260, aa, aaaa 262, two spaces 263, bc, ab 265,
 * abc 266, ca, " a" 268, cab, e-acute 270, world 271 (that no merge makes), and the added tokens
 * <|end|> 272 (raw), four spaces 273 and three 274 (normalised).
 * Leaves out: pretty errors; whatever fails outside of the code under test is a BUG().
 */
#ifndef SMALL_TOKENIZER_H
#define SMALL_TOKENIZER_H

#include "text/tokenizer.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SMALL_FILE "tests/data/tokenizer/small.json"

/* Puts `json` where `path` says (keys and array places with spaces between); NULL takes it away. */
static inline void small_change(json_t *root, const char *path, const char *json)
{
    char *copy = xstrdup(path), *rest = copy, *key = strsep(&rest, " ");
    json_t *at = root;
    for (; rest; key = strsep(&rest, " "))
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
    json_t *value = json ? json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    if (json && !value)
        BUG("not JSON: %s", json);
    size_t i = (size_t)atoi(key);
    int rc;
    if (!value)
        rc = json_is_array(at) ? json_array_remove(at, i) : json_object_del(at, key);
    else if (json_is_object(at))
        rc = json_object_set_new(at, key, value);
    else if (i < json_array_size(at))
        rc = json_array_set_new(at, i, value);
    else
        rc = json_array_append_new(at, value);
    if (rc != 0)
        BUG("no place %s", path);
    free(copy);
}

/* Opens the JSON text `s` as a file, whose name is not kept. */
static inline struct tokenizer *small_open_text(const char *s, size_t len, struct buf *err)
{
    const char *dir = getenv("TMPDIR");
    char *path = xasprintf("%s/seqtopk-test-XXXXXX", dir && *dir ? dir : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, s, len) != (ssize_t)len || close(fd) != 0)
        BUG("no temporary file %s", path);
    struct tokenizer *t = tokenizer_open(path, err);
    unlink(path);
    if (!t && !strstr(err->s, path))
        BUG("the error does not name the file: %s", err->s);
    free(path);
    return t;
}

/* A tokenizer.json with changes: path, JSON, path, JSON, ..., NULL. */
static inline struct tokenizer *small_open_changed(const char *file, struct buf *err, va_list ap)
{
    json_error_t why;
    json_t *root = json_load_file(file, 0, &why);
    if (!root)
        BUG("%s: %s (tests run from the project's root)", file, why.text);
    for (const char *path; (path = va_arg(ap, const char *));)
        small_change(root, path, va_arg(ap, const char *));
    char *s = json_dumps(root, 0);
    json_decref(root);
    struct tokenizer *t = small_open_text(s, strlen(s), err);
    free(s);
    return t;
}

static inline struct tokenizer *small_open(struct buf *err, ...)
{
    va_list ap;
    va_start(ap, err);
    struct tokenizer *t = small_open_changed(SMALL_FILE, err, ap);
    va_end(ap);
    return t;
}

/* The ids of `text` must be `want`: numbers with a space between. */
static inline void assert_ids(struct tokenizer *t, const char *text, const char *want)
{
    struct ids ids = { 0 };
    struct buf got = BUF_INIT, err = BUF_INIT;
    if (!t)
        BUG("no tokenizer for '%s'", text);
    if (tokenizer_encode(t, text, strlen(text), &ids, &err) != 0)
        fail_msg("%s", err.s);
    for (size_t i = 0; i < ids.len; i++)
        buf_addf(&got, "%s%d", i ? " " : "", ids.v[i]);
    assert_string_equal(got.s, want);
    free(ids.v);
    buf_release(&got);
}

/* Opens small.json with one change, which must fail with a sentence that holds `want`. */
static inline void assert_refused(const char *path, const char *json, const char *want)
{
    struct buf err = BUF_INIT;
    struct tokenizer *t = small_open(&err, path, json, NULL);
    if (t)
        fail_msg("%s = %s was taken", path, json ? json : "(nothing)");
    if (!strstr(err.s, want))
        fail_msg("'%s' is not in '%s'", want, err.s);
    buf_release(&err);
}

#endif
