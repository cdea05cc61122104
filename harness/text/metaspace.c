/*
 * metaspace.c: see metaspace.h.
 */
#include "text/metaspace.h"
#include "json.h"

#include <string.h>

enum { WIDTH = sizeof(METASPACE) - 1 };

static const char *type_of(const json_t *node)
{
    return json_string_value(json_object_get(node, "type"));
}

/* Has it the key with just this string? */
static bool says(const json_t *node, const char *key, const char *want)
{
    const char *s = json_string_value(json_object_get(node, key));
    return s && strcmp(s, want) == 0;
}

/* Does a Replace put `to` in the place of the string `from`? */
static bool replaces(const json_t *node, const char *from, const char *to)
{
    return says(json_object_get(node, "pattern"), "String", from) && says(node, "content", to);
}

/* One Prepend or Replace. */
static int read_normalizer(struct metaspace *m, const char *path, const json_t *node,
                           struct buf *err)
{
    const char *type = type_of(node);
    bool *set = NULL;
    if (type && strcmp(type, "Prepend") == 0) {
        if (!says(node, "prepend", METASPACE))
            return fail(err, "%s: normalizer Prepend puts something else than U+2581 before a text",
                        path);
        set = &m->prepend;
    } else if (type && strcmp(type, "Replace") == 0) {
        if (!replaces(node, " ", METASPACE))
            return fail(err, "%s: normalizer Replace does something else than ' ' to U+2581", path);
        set = &m->replace;
    } else {
        return fail(err,
                    "%s: normalizer '%s' is not supported where byte_fallback is true; Prepend, "
                    "Replace and a Sequence of them are",
                    path, type ? type : "without a type");
    }
    if (*set)
        return fail(err, "%s: normalizer %s is there twice", path, type);
    *set = true;
    return 0;
}

static int read_normalizers(struct metaspace *m, const char *path, const json_t *node,
                            struct buf *err)
{
    if (!node || json_is_null(node))
        return 0;
    if (!says(node, "type", "Sequence"))
        return read_normalizer(m, path, node, err);
    const json_t *list;
    struct json_in in = { node, path, err };
    if (json_need_array(&in, "normalizers", &list) != 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (read_normalizer(m, path, json_array_get(list, i), err) != 0)
            return -1;
    return 0;
}

/* The scheme has an older name too, add_prefix_space, which must not say something else. */
static int read_scheme(struct metaspace *m, const struct json_in *in)
{
    static const char *const names[] = { "always", "first", "never" };
    const char *scheme = "always";
    bool prefix = true;
    if (json_opt_string(in, "prepend_scheme", &scheme) != 0 ||
        json_opt_bool(in, "add_prefix_space", &prefix) != 0)
        return -1;
    size_t i = 0;
    while (i < ARRAY_LEN(names) && strcmp(scheme, names[i]) != 0)
        i++;
    if (i == ARRAY_LEN(names))
        return json_refuse(in, "prepend_scheme", "allowed are always, first and never");
    m->scheme = (enum metaspace_scheme)i;
    if (!prefix && m->scheme != METASPACE_NEVER)
        return json_refuse(in, "add_prefix_space", "prepend_scheme says something else");
    return 0;
}

static int read_pretokenizer(struct metaspace *m, const char *path, const json_t *node,
                             struct buf *err)
{
    if (!node || json_is_null(node))
        return 0;
    const char *type = type_of(node);
    if (!type || strcmp(type, "Metaspace") != 0)
        return fail(err,
                    "%s: pre-tokenizer '%s' is not supported where byte_fallback is true; null and "
                    "Metaspace are",
                    path, type ? type : "without a type");
    if (m->prepend || m->replace)
        return fail(err, "%s: pre-tokenizer Metaspace is not supported beside a normalizer", path);
    struct json_in in = { node, path, err };
    if (!says(node, "replacement", METASPACE))
        return json_refuse(&in, "replacement",
                           "of the pre-tokenizer Metaspace only U+2581 is "
                           "supported");
    m->pretokenizes = m->split = true;
    return json_opt_bool(&in, "split", &m->split) != 0 ? -1 : read_scheme(m, &in);
}

static int read_strip(struct metaspace *m, const char *path, const json_t *node, struct buf *err)
{
    struct json_in in = { node, path, err };
    int start, stop;
    if (!says(node, "content", " "))
        return json_refuse(&in, "content", "of the decoder Strip only a space is supported");
    if (json_need_int(&in, "start", 0, 1, &start) != 0 ||
        json_need_int(&in, "stop", 0, 0, &stop) != 0)
        return -1;
    m->strip = start == 1;
    return 0;
}

static int read_decoder(struct metaspace *m, const char *path, const json_t *node, struct buf *err)
{
    static const char *const steps[] = { "Replace", "ByteFallback", "Fuse", "Strip" };
    const json_t *list = json_object_get(node, "decoders");
    size_t n = json_array_size(list);
    bool known = says(node, "type", "Sequence") && (n == 3 || n == 4);
    for (size_t i = 0; known && i < n; i++)
        known = says(json_array_get(list, i), "type", steps[i]);
    if (!known)
        return fail(err,
                    "%s: where byte_fallback is true, only the decoder that is a Sequence of "
                    "Replace, ByteFallback, Fuse and perhaps Strip is supported",
                    path);
    if (!replaces(json_array_get(list, 0), METASPACE, " "))
        return fail(err, "%s: decoder Replace does something else than U+2581 to ' '", path);
    return n == 4 ? read_strip(m, path, json_array_get(list, 3), err) : 0;
}

int metaspace_read(struct metaspace *m, const char *path, const json_t *root, struct buf *err)
{
    *m = (struct metaspace){ 0 };
    if (read_normalizers(m, path, json_object_get(root, "normalizer"), err) != 0 ||
        read_pretokenizer(m, path, json_object_get(root, "pre_tokenizer"), err) != 0)
        return -1;
    return read_decoder(m, path, json_object_get(root, "decoder"), err);
}

static void replace(const char *s, size_t len, struct buf *out)
{
    for (const char *end = s + len; s < end;) {
        const char *space = memchr(s, ' ', (size_t)(end - s));
        buf_add(out, s, (size_t)((space ? space : end) - s));
        if (!space)
            break;
        buf_add(out, METASPACE, WIDTH);
        s = space + 1;
    }
}

void metaspace_normalize(const struct metaspace *m, const char *s, size_t len,
                         enum metaspace_place place, struct buf *room, const char **out,
                         size_t *out_len)
{
    *out = s;
    *out_len = len;
    if (!m->prepend && !m->replace)
        return;
    buf_reset(room);
    if (m->prepend && place != METASPACE_GOES_ON)
        buf_add(room, METASPACE, WIDTH);
    if (m->replace)
        replace(s, len, room);
    else
        buf_add(room, s, len);
    *out = room->s;
    *out_len = room->len;
}

/* Is there a U+2581 at `s`? */
static bool stands_at(const char *s, size_t len)
{
    return len >= WIDTH && memcmp(s, METASPACE, WIDTH) == 0;
}

int metaspace_pretokenize(const struct metaspace *m, const char *s, size_t len,
                          enum metaspace_place place, struct buf *room, pretokenize_fn *each,
                          void *ctx, struct buf *err)
{
    if (!m->pretokenizes)
        return each(ctx, s, len, err);
    bool wanted = m->scheme == METASPACE_ALWAYS
                      ? place != METASPACE_GOES_ON
                      : m->scheme == METASPACE_FIRST && place == METASPACE_AT_START;
    buf_reset(room);
    if (wanted && *s != ' ' && !stands_at(s, len))
        buf_add(room, METASPACE, WIDTH);
    replace(s, len, room);
    if (!m->split)
        return each(ctx, room->s, room->len, err);
    size_t from = 0;
    for (size_t at = 1; at <= room->len; at++) {
        if (at < room->len && !stands_at(room->s + at, room->len - at))
            continue;
        if (each(ctx, room->s + from, at - from, err) != 0)
            return -1;
        from = at;
    }
    return 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* The byte that "<0x0A>" stands for; -1: it stands for none. The library takes "<0x+A>" as well. */
static int byte_of(const char *s, size_t len)
{
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    int high = s[3] == '+' ? 0 : digit(s[3]), low = digit(s[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void metaspace_token(const char *written, size_t len, struct buf *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < len;) {
        bool space = stands_at(written + at, len - at);
        buf_addc(out, space ? ' ' : written[at]);
        at += space ? WIDTH : 1;
    }
    int byte = byte_of(out->s + before, out->len - before);
    if (byte < 0)
        return;
    out->len = before;
    buf_addc(out, (char)byte);
}
