/*
 * safetensors.c: the input is a model.safetensors; and behind a first byte 'i' the index of a
 * sharded one, beside the shards a.safetensors and b.safetensors.
 *
 * Whatever opens has its tensors inside the file, in the order of their names, each of them found.
 */
#include "fuzz.h"

#include "safetensors.h"

static void shard(const char *name, const char *header, size_t bytes)
{
    struct buf b = BUF_INIT;
    uint64_t n = strlen(header);
    const char zeroes[8] = { 0 };
    buf_add(&b, &n, 8);
    buf_adds(&b, header);
    buf_add(&b, zeroes, bytes);
    fuzz_file(name, b.s, b.len);
    buf_release(&b);
}

static void write_shards(void)
{
    static bool done;
    if (done)
        return;
    shard("a.safetensors", "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    shard("b.safetensors", "{\"y\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2);
    done = true;
}

static void put(const char *name, const void *data, size_t len, const char *other)
{
    char *path = fuzz_path(other);
    unlink(path);
    free(path);
    fuzz_file(name, data, len);
}

static void look_at(const struct safetensors *s)
{
    const char *last = "";
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct st_tensor *t = safetensors_at(s, i);
        fuzz_touch(t->data, t->bytes);
        if (strcmp(last, t->name) >= 0)
            BUG("'%s' comes before '%s'", last, t->name);
        if (safetensors_find(s, t->name) != t)
            BUG("'%s' is not found", t->name);
        size_t bytes = dtype_size(t->dtype);
        for (int d = 0; d < t->ndim; d++)
            bytes *= (size_t)t->shape[d];
        if (bytes != t->bytes)
            BUG("'%s' has %zu bytes, not %zu", t->name, t->bytes, bytes);
        last = t->name;
    }
    struct hash *h = hash_new();
    safetensors_hash(s, h);
    hash_free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf err = BUF_INIT;
    const char *one = "model.safetensors", *index = "model.safetensors.index.json";
    write_shards();
    if (len && data[0] == 'i')
        put(index, data + 1, len - 1, one);
    else
        put(one, data, len, index);
    struct safetensors *s = safetensors_open(fuzz_dir(), &err);
    if (s)
        look_at(s);
    else
        fuzz_said(&err);
    safetensors_close(s);
    return 0;
}
