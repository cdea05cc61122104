/*
 * safetensors_write.c: see checkpoint.h. The file as `transformers` writes it: a header padded to 8
 * bytes, then tensor after tensor without a gap.
 */
#include "train/checkpoint.h"

#include "train/checkpoint_file.h"

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

static void write_values(struct checkpoint_file *f, const struct checkpoint_tensor *t,
                         enum dtype dtype)
{
    int64_t n = numbers(t);
    uint16_t rounded[4096];
    if (dtype == DTYPE_F32) {
        checkpoint_file_write(f, t->values, (size_t)n * sizeof(*t->values));
        return;
    }
    for (int64_t at = 0; at < n;) {
        size_t len = 0;
        while (len < ARRAY_LEN(rounded) && at < n)
            rounded[len++] = bfloat16_of(t->values[at++]);
        checkpoint_file_write(f, rounded, len * sizeof(*rounded));
    }
}

int safetensors_write(const char *path, const struct checkpoint_tensor *v, size_t n,
                      enum dtype dtype, struct buf *err)
{
    struct checkpoint_file f;
    if (dtype != DTYPE_F32 && dtype != DTYPE_BF16)
        return fail(err, "%s: weights are %s; float32 and bfloat16 can be written", path,
                    dtype_name(dtype));
    if (checkpoint_file_open(&f, path, err))
        return -1;
    write_header(&f, v, n, dtype);
    for (size_t i = 0; i < n; i++)
        write_values(&f, &v[i], dtype);
    return checkpoint_file_close(&f, err);
}
