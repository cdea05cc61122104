/*
 * data_file.c: see data_file.h.
 */
#include "recipe/data_file.h"
#include "recipe/eval_items.h"
#include "json.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define DATA_MAX ((size_t)2 << 30)

enum { SHA256_BYTES = 32, PIECE = 1 << 16, ANY_GZIP = 16 + MAX_WBITS };

static int check_sum(const struct buf *file, const char *path, const char *want, struct buf *err)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    char hex[2 * SHA256_BYTES + 1];
    if (EVP_Digest(file->s, file->len, sum, NULL, EVP_sha256(), NULL) != 1)
        return fail(err, "%s: its SHA-256 could not be computed", path);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        hex[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    hex[sizeof(hex) - 1] = '\0';
    if (strcmp(hex, want) == 0)
        return 0;
    return fail(err, "%s: its SHA-256 is %s, and should be %s; scripts/fetch-data gets it anew",
                path, hex, want);
}

/* One member of a gzip file, from `z` on. */
static int unpack_member(z_stream *z, const char *path, struct buf *out, struct buf *err)
{
    for (int rc = Z_OK; rc != Z_STREAM_END;) {
        buf_grow(out, PIECE);
        z->next_out = (unsigned char *)out->s + out->len;
        z->avail_out = PIECE;
        rc = inflate(z, Z_NO_FLUSH);
        out->len += PIECE - z->avail_out;
        out->s[out->len] = '\0';
        if (out->len > DATA_MAX)
            return fail(err, "%s: more than %zu bytes when unpacked", path, DATA_MAX);
        if (rc == Z_BUF_ERROR || (rc == Z_OK && z->avail_in == 0 && z->avail_out > 0))
            return fail(err, "%s: the gzip file is cut short", path);
        if (rc != Z_OK && rc != Z_STREAM_END)
            return fail(err, "%s: not a gzip file, or a broken one%s%s", path, z->msg ? ": " : "",
                        z->msg ? z->msg : "");
    }
    return 0;
}

/* Replaces what is packed by what was. Such a file may be several, one behind the other. */
static int unpack(struct buf *file, const char *path, struct buf *err)
{
    struct buf out = BUF_INIT;
    z_stream z = { .next_in = (unsigned char *)file->s, .avail_in = (unsigned)file->len };
    if (inflateInit2(&z, ANY_GZIP) != Z_OK)
        return fail(err, "%s: no memory to unpack it", path);
    int rc;
    do
        rc = unpack_member(&z, path, &out, err);
    while (rc == 0 && z.avail_in > 0 && inflateReset(&z) == Z_OK);
    inflateEnd(&z);
    buf_release(file);
    *file = out;
    return rc;
}

/* Does `name` end so, before .gz where that is its end? */
static bool ends_in(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);
    if (strcmp(end, ".gz") != 0 && ends_in(name, ".gz"))
        len -= 3;
    return len > n && strncmp(name + len - n, end, n) == 0;
}

/* Replaces the text of one array by lines. */
static int split_array(struct buf *text, const char *path, struct buf *err)
{
    struct buf out = BUF_INIT;
    json_error_t e;
    json_t *array = json_loadb(text->s, text->len, JSON_REJECT_DUPLICATES, &e);
    if (!array) {
        json_clean(e.text);
        return fail(err, "%s:%d: not valid JSON: %s", path, e.line, e.text);
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        char *line = json_dumps(json_array_get(array, i), JSON_COMPACT | JSON_ENCODE_ANY);
        buf_adds(&out, line);
        buf_addc(&out, '\n');
        free(line);
    }
    json_decref(array);
    buf_release(text);
    *text = out;
    return 0;
}

static bool is_array(const struct buf *text)
{
    return text->s[strspn(text->s, " \t\r\n")] == '[';
}

static void set_hash(struct data_file *f)
{
    struct hash *h = hash_new();
    hash_add(h, f->text.s, f->text.len);
    hash_hex(h, f->hash);
    hash_free(h);
}

/* The file at f->path. */
static int read_packed(struct data_file *f, const char *sha256, struct buf *err)
{
    if (read_file(f->path, DATA_MAX, &f->text, err) != 0 ||
        (sha256 && check_sum(&f->text, f->path, sha256, err) != 0) ||
        (ends_in(f->path, ".gz") && unpack(&f->text, f->path, err) != 0) ||
        (ends_in(f->path, ".json") && is_array(&f->text) &&
         split_array(&f->text, f->path, err) != 0))
        return -1;
    set_hash(f);
    return 0;
}

int data_file_read(struct data_file *f, const char *path, const char *sha256, struct buf *err)
{
    *f = (struct data_file){ .path = path };
    buf_init(&f->text);
    return read_packed(f, sha256, err);
}

static int generate(struct data_file *f, const struct eval *e, bool train, struct buf *err)
{
    f->path = f->own = xasprintf("%s (its items for %s)", e->path, train ? "training" : "the test");
    if (eval_items(e, train, &f->text, err) != 0)
        return -1;
    set_hash(f);
    return 0;
}

int data_file_of_eval(struct data_file *f, const struct eval *e, bool train, struct buf *err)
{
    *f = (struct data_file){ 0 };
    buf_init(&f->text);
    const char *file = train ? e->train.file : e->file;
    if (train ? !e->train.prompt : !e->nforms)
        return fail(err, "%s has %s", e->name,
                    train ? "no training set" : "a training set, but no documents to be scored");
    if (!file)
        return generate(f, e, train, err);
    f->path = f->own = xasprintf("%s/%s", eval_data_dir(), file);
    if (access(f->path, F_OK) == 0)
        return read_packed(f, train ? e->train.sha256 : e->sha256, err);
    const char *env = getenv("SEQTOPK_DATA");
    return fail(err,
                "%s/%s: %s is missing; scripts/fetch-data gets it; its folder is what SEQTOPK_DATA "
                "says (%s), \"data\" where it says nothing",
                e->name, train ? "train" : e->forms[0].name, f->path,
                env && *env ? env : "nothing now");
}

void data_file_release(struct data_file *f)
{
    buf_release(&f->text);
    free(f->own);
    f->own = NULL;
}

/* Line `number` as an object; NULL on failure. */
static json_t *parse_line(const struct data_file *f, const char *line, size_t len, size_t number,
                          struct buf *err)
{
    size_t valid = utf8_valid(line, len);
    if (len == 0)
        fail(err, "%s:%zu: an empty line; each line is a JSON object", f->path, number);
    else if (valid != len)
        fail(err, "%s:%zu: byte %zu of the line is not UTF-8", f->path, number, valid + 1);
    else
        return json_parse(line, len, f->path, number, err);
    return NULL;
}

struct lines {
    const struct data_file *file;
    size_t at, number; /* bytes and lines behind us */
    int used;
};

/* What is no text is left to those who use the line, and who refuse it. */
static bool too_short(const struct eval_rows *rows, const json_t *object)
{
    const json_t *text = rows->min_bytes ? json_object_get(object, rows->text) : NULL;
    return json_is_string(text) && json_string_length(text) < (size_t)rows->min_bytes;
}

/* Uses the next line, where it is selected. */
static int next_line(struct lines *l, const struct eval_rows *rows,
                     int (*use)(void *ud, json_t *object, const char *where, struct buf *err),
                     void *ud, struct buf *err)
{
    const struct buf *text = &l->file->text;
    const char *line = text->s + l->at, *end = memchr(line, '\n', text->len - l->at);
    size_t len = end ? (size_t)(end - line) : text->len - l->at;
    l->at += len + 1;
    l->number++;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    json_t *object = parse_line(l->file, line, len, l->number, err);
    if (!object)
        return -1;
    char *where = xasprintf("%s:%zu", l->file->path, l->number);
    struct json_in in = { object, where, err };
    int value = 0, rc = 0;
    if (rows->field)
        rc = json_need_int(&in, rows->field, INT_MIN, INT_MAX, &value);
    if (rc == 0 && (!rows->field || (value >= rows->from && value <= rows->to)) &&
        !too_short(rows, object)) {
        l->used++;
        rc = use(ud, object, where, err);
    }
    free(where);
    json_decref(object);
    return rc;
}

int data_file_each(const struct data_file *f, const struct eval_rows *rows, int limit,
                   int (*use)(void *ud, json_t *object, const char *where, struct buf *err),
                   void *ud, struct buf *err)
{
    struct lines l = { .file = f };
    if (f->text.len >= 3 && memcmp(f->text.s, "\xef\xbb\xbf", 3) == 0)
        return fail(err, "%s:1: begins with a byte order mark; JSON has none", f->path);
    while (l.at < f->text.len && (!limit || l.used < limit)) {
        if (l.number == INT_MAX)
            return fail(err, "%s: more than %d lines", f->path, INT_MAX);
        if (next_line(&l, rows, use, ud, err) != 0)
            return -1;
    }
    if (l.number == 0)
        return fail(err, "%s: an empty file; each line is a document", f->path);
    if (l.used == 0 && rows->min_bytes)
        return fail(err, "%s: no line has %d bytes of text in '%s'", f->path, rows->min_bytes,
                    rows->text);
    if (l.used == 0)
        return fail(err, "%s: no line has '%s' from %d to %d", f->path, rows->field, rows->from,
                    rows->to);
    return 0;
}
