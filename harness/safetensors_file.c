/*
 * safetensors_file.c: see safetensors_file.h.
 *
 * A header is trusted in nothing: sizes are computed without overflow and compared with what the
 * file has, and the tensors must fill the data without a gap, as the format demands.
 */
#include "safetensors_file.h"

#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LENGTH_BYTES = 8,
    MAX_HEADER = 100 * 1000 * 1000, // as the reference implementation of the format has it
};

int st_file_open(const char *path, struct st_file *f, struct buf *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe is not waited for
    if (fd < 0)
        return fail(err, "%s: %s", path, strerror(errno));
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) != 0) {
        rc = fail(err, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        rc = fail(err, "%s: not a regular file", path);
    } else if (st.st_size < LENGTH_BYTES) {
        rc = fail(err, "%s: truncated: it has %lld bytes, its length field alone needs %d", path,
                  (long long)st.st_size, LENGTH_BYTES);
    } else {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            rc = fail(err, "%s: cannot be mapped: %s", path, strerror(errno));
        } else {
            f->map = map;
            f->size = (size_t)st.st_size;
            f->path = xstrdup(path);
        }
    }
    close(fd);
    return rc;
}

void st_file_close(struct st_file *f)
{
    if (f->map)
        munmap(f->map, f->size);
    free(f->path);
}

/* The header's length, checked against the limit and the file. */
static int header_length(const struct st_file *f, size_t *len, struct buf *err)
{
    uint64_t n = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        n = n << 8 | f->map[i];
    if (n > MAX_HEADER)
        return fail(err, "%s: oversized header: it says %llu bytes, at most %d are allowed",
                    f->path, (unsigned long long)n, MAX_HEADER);
    if (n > f->size - LENGTH_BYTES)
        return fail(err, "%s: truncated: the header says %llu bytes, but only %zu follow", f->path,
                    (unsigned long long)n, f->size - LENGTH_BYTES);
    *len = (size_t)n;
    return 0;
}

bool st_name_ok(const char *name)
{
    size_t len = 0;
    for (; name[len]; len++)
        if ((unsigned char)name[len] < 0x20 || name[len] == 0x7f || len == 1000)
            return false;
    return len > 0;
}

static int read_dtype(const struct json_in *in, enum dtype *out)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } known[] = { { "F32", DTYPE_F32 }, { "BF16", DTYPE_BF16 }, { "F16", DTYPE_F16 } };
    const char *name;
    if (json_need_string(in, "dtype", &name))
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(known[i].name, name) == 0) {
            *out = known[i].dtype;
            return 0;
        }
    }
    return json_refuse(in, "dtype", "F32, BF16 and F16 are allowed");
}

/* Fills in ndim, shape and bytes. */
static int read_shape(const struct json_in *in, struct st_tensor *t)
{
    const json_t *shape;
    if (json_need_array(in, "shape", &shape))
        return -1;
    size_t n = json_array_size(shape);
    if (n > ARRAY_LEN(t->shape))
        return json_refuse(in, "shape", "at most %zu dimensions are allowed", ARRAY_LEN(t->shape));
    t->ndim = (int)n;
    t->bytes = dtype_size(t->dtype);
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return json_refuse(in, "shape", "whole numbers from 0 up are allowed");
        t->shape[i] = json_integer_value(dim);
        if (__builtin_mul_overflow(t->bytes, (size_t)t->shape[i], &t->bytes))
            return json_refuse(in, "shape", "that is more bytes than a file can have");
    }
    return 0;
}

/* Fills in data; `data`, `size` are what follows the header. */
static int read_offsets(const struct json_in *in, const unsigned char *data, size_t size,
                        struct st_tensor *t)
{
    const json_t *pair;
    if (json_need_array(in, "data_offsets", &pair))
        return -1;
    const json_t *first = json_array_get(pair, 0), *last = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return json_refuse(in, "data_offsets", "two whole numbers are allowed");
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || begin > end)
        return json_refuse(in, "data_offsets", "0 <= begin <= end is allowed");
    if ((uint64_t)end > size)
        return json_refuse(in, "data_offsets", "the file has only %zu bytes of data", size);
    if ((uint64_t)(end - begin) != t->bytes)
        return json_refuse(in, "data_offsets", "shape and dtype need %zu bytes", t->bytes);
    t->data = data + begin;
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); // empty ones stand before their neighbour
}

/* Every byte of the data belongs to exactly one tensor. */
static int check_cover(const struct st_file *f, struct st_tensor *v, size_t n,
                       const unsigned char *data, struct buf *err)
{
    if (n)
        qsort(v, n, sizeof(*v), by_place);
    const unsigned char *at = data;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *begin = v[i].data;
        if (begin < at)
            return fail(err, "%s: tensors '%s' and '%s' overlap", f->path, v[i - 1].name,
                        v[i].name);
        if (begin > at)
            return fail(err, "%s: a hole of %zu bytes before tensor '%s'", f->path,
                        (size_t)(begin - at), v[i].name);
        at = begin + v[i].bytes;
    }
    if (at != f->map + f->size)
        return fail(err, "%s: %zu bytes at the end belong to no tensor", f->path,
                    (size_t)(f->map + f->size - at));
    return 0;
}

int st_file_read(const struct st_file *f, struct st_list *out, struct buf *err)
{
    size_t len = 0;
    if (header_length(f, &len, err))
        return -1;
    const char *text = (const char *)f->map + LENGTH_BYTES;
    if (len == 0 || text[0] != '{')
        return fail(err, "%s: not a safetensors file: the header does not begin with '{'", f->path);
    json_t *header = json_parse(text, len, f->path, 0, err);
    if (!header)
        return -1;
    const unsigned char *data = f->map + LENGTH_BYTES + len;
    size_t size = f->size - LENGTH_BYTES - len, before = out->len;
    struct buf where = BUF_INIT;
    const char *name;
    json_t *entry;
    int rc = 0;
    json_object_foreach (header, name, entry) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!st_name_ok(name)) {
            rc = fail(err, "%s: a tensor's name is empty, too long or has control characters",
                      f->path);
            break;
        }
        buf_reset(&where);
        buf_addf(&where, "%s: tensor '%s'", f->path, name);
        struct st_tensor t = { .file = f->path };
        struct json_in in = { entry, where.s, err };
        if (!json_is_object(entry))
            rc = fail(err, "%s: not an object with dtype, shape and data_offsets", where.s);
        else if (read_dtype(&in, &t.dtype) || read_shape(&in, &t) ||
                 read_offsets(&in, data, size, &t))
            rc = -1;
        if (rc)
            break;
        t.name = xstrdup(name);
        ARRAY_GROW(out->v, out->cap, out->len + 1);
        out->v[out->len++] = t;
    }
    if (rc == 0)
        rc = check_cover(f, out->v ? out->v + before : NULL, out->len - before, data, err);
    buf_release(&where);
    json_decref(header);
    return rc;
}
