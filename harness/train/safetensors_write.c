/*
 * safetensors_write.c: see checkpoint.h. The file as `transformers` writes it: a header padded to 8
 * bytes, then tensor after tensor without a gap.
 */
#include "train/checkpoint.h"

#include <jansson.h>
#include <string.h>

/* Rounded to nearest, a tie to even. A NaN stays one. */
static uint16_t bfloat16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static int64_t numbers(const struct checkpoint_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

static void write_header(struct checkpoint_file *f, const struct checkpoint_tensor *v, size_t n,
                         enum dtype dtype)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < v[i].ndim; d++)
            json_array_append_new(shape, json_integer(v[i].shape[d]));
        int64_t end = at + numbers(&v[i]) * (int64_t)dtype_size(dtype);
        json_object_set_new(header, v[i].name,
                            json_pack("{s:s,s:o,s:[II]}", "dtype",
                                      dtype == DTYPE_F32 ? "F32" : "BF16", "shape", shape,
                                      "data_offsets", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    if (!text)
        BUG("a header could not be written as JSON");
    size_t len = strlen(text), padded = (len + 7) / 8 * 8;
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(padded >> (8 * i) & 0xff);
    checkpoint_file_write(f, length, sizeof(length));
    checkpoint_file_write(f, text, len);
    checkpoint_file_write(f, "       ", padded - len);
    free(text);
    json_decref(header);
}

/* ---- values that are there ---- */

struct values {
    const struct checkpoint_tensor *tensors;
    enum dtype dtype;
    int64_t begin; /* of tensors[0], in numbers; the parts come in order */
};

static void put_numbers(const float *from, int64_t n, enum dtype dtype, void *to)
{
    uint16_t *rounded = to;
    if (dtype == DTYPE_F32)
        memcpy(to, from, (size_t)n * sizeof(*from));
    else
        for (int64_t i = 0; i < n; i++)
            rounded[i] = bfloat16_of(from[i]);
}

static int get_values(void *of, int64_t at, int64_t n, void *bytes, struct buf *err)
{
    struct values *v = of;
    const int64_t size = (int64_t)dtype_size(v->dtype), end = (at + n) / size;
    (void)err;
    for (at /= size; at < end;) {
        const int64_t count = numbers(v->tensors), from = at - v->begin;
        if (from == count) {
            v->begin += count;
            v->tensors++;
            continue;
        }
        const int64_t many = count - from < end - at ? count - from : end - at;
        put_numbers(v->tensors->values + from, many, v->dtype, bytes);
        bytes = (char *)bytes + many * size;
        at += many;
    }
    return 0;
}

/* ---- the file ---- */

int safetensors_write_from(const char *path, const struct checkpoint_tensor *v, size_t n,
                           enum dtype dtype, checkpoint_get *get, void *of, struct buf *err)
{
    struct checkpoint_file f;
    int64_t count = 0;
    if (dtype != DTYPE_F32 && dtype != DTYPE_BF16)
        return fail(err, "%s: weights are %s; float32 and bfloat16 can be written", path,
                    dtype_name(dtype));
    if (checkpoint_file_open(&f, path, err))
        return -1;
    write_header(&f, v, n, dtype);
    for (size_t i = 0; i < n; i++)
        count += numbers(&v[i]);
    if (checkpoint_file_fill(&f, count * (int64_t)dtype_size(dtype), get, of, err)) {
        checkpoint_file_drop(&f);
        return -1;
    }
    return checkpoint_file_close(&f, err);
}

int safetensors_write(const char *path, const struct checkpoint_tensor *v, size_t n,
                      enum dtype dtype, struct buf *err)
{
    struct values values = { .tensors = v, .dtype = dtype };
    return safetensors_write_from(path, v, n, dtype, get_values, &values, err);
}
