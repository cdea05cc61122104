/*
 * safetensors.c: see safetensors.h: a folder, whose index may spread the tensors over many files.
 * The index is checked against what the shards hold, in both directions.
 */
#include "safetensors_file.h"

#include "json.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_INDEX = 100 * 1000 * 1000, // as large as a header may be
};

struct safetensors {
    struct st_file *files;
    size_t nfiles;
    struct st_list list; // in name order once open
};

static int by_name(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens `n` files of `dir` and puts their tensors in name order. */
static int open_files(struct safetensors *s, const char *dir, const char **names, size_t n,
                      struct buf *err)
{
    s->files = xcalloc(n, sizeof(*s->files));
    for (size_t i = 0; i < n; i++) {
        char *path = xasprintf("%s/%s", dir, names[i]);
        struct st_file *f = &s->files[s->nfiles];
        int rc = st_file_open(path, f, err);
        if (rc == 0) {
            s->nfiles++;
            rc = st_file_read(f, &s->list, err);
        }
        free(path);
        if (rc)
            return -1;
    }
    if (s->list.len)
        qsort(s->list.v, s->list.len, sizeof(*s->list.v), by_name);
    for (size_t i = 1; i < s->list.len; i++)
        if (strcmp(s->list.v[i - 1].name, s->list.v[i].name) == 0)
            return fail(err, "%s: tensor '%s' is also in %s", s->list.v[i - 1].file,
                        s->list.v[i].name, s->list.v[i].file);
    return 0;
}

/* A shard lies in the folder itself: a name that leads elsewhere is refused. */
static bool shard_name_ok(const json_t *value)
{
    static const char ending[] = ".safetensors";
    const char *name = json_string_value(value);
    size_t len = name ? strlen(name) : 0, tail = sizeof(ending) - 1;
    return len > tail && len < 256 && strcmp(name + len - tail, ending) == 0 &&
           !strchr(name, '/') && !strstr(name, "..");
}

/* The distinct shards of the map, borrowed from it, sorted. */
static int shard_names(json_t *map, const char *index, const char ***names, size_t *n,
                       struct buf *err)
{
    struct json_in in = { map, index, err };
    const char *tensor;
    json_t *value;
    size_t cap = 0, len = 0;
    json_object_foreach (map, tensor, value) {
        if (!st_name_ok(tensor))
            return fail(err, "%s: a tensor's name is empty, too long or has control characters",
                        index);
        if (!shard_name_ok(value))
            return json_refuse(&in, tensor,
                               "a file of the folder that ends in .safetensors is allowed");
        ARRAY_GROW(*names, cap, len + 1);
        (*names)[len++] = json_string_value(value);
    }
    if (len == 0)
        return fail(err, "%s: weight_map is empty", index);
    qsort(*names, len, sizeof(**names), by_string);
    for (size_t i = 0; i < len; i++)
        if (i == 0 || strcmp((*names)[i], (*names)[*n - 1]) != 0)
            (*names)[(*n)++] = (*names)[i];
    return 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The shards hold what the index says, no more and no less. */
static int check_index(const struct safetensors *s, json_t *map, const char *index, struct buf *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach (map, tensor, value) {
        const struct st_tensor *t = safetensors_find(s, tensor);
        const char *shard = json_string_value(value);
        if (!t)
            return fail(err, "%s: tensor '%s' is not in %s, nor in another shard", index, tensor,
                        shard);
        if (strcmp(base_name(t->file), shard) != 0)
            return fail(err, "%s: tensor '%s' is not in %s but in %s", index, tensor, shard,
                        base_name(t->file));
    }
    for (size_t i = 0; i < s->list.len; i++)
        if (!json_object_get(map, s->list.v[i].name))
            return fail(err, "%s: tensor '%s' of %s is not in the index", index, s->list.v[i].name,
                        base_name(s->list.v[i].file));
    return 0;
}

static int open_sharded(struct safetensors *s, const char *dir, const char *index, struct buf *err)
{
    json_t *root = json_read_file(index, MAX_INDEX, err);
    if (!root)
        return -1;
    struct json_in in = { root, index, err };
    const json_t *borrowed;
    const char **names = NULL;
    size_t n = 0;
    int rc = json_need_object(&in, "weight_map", &borrowed);
    if (rc == 0) {
        json_t *map = json_object_get(root, "weight_map");
        rc = shard_names(map, index, &names, &n, err) || open_files(s, dir, names, n, err) ||
             check_index(s, map, index, err);
    }
    free(names);
    json_decref(root);
    return rc ? -1 : 0;
}

struct safetensors *safetensors_open(const char *dir, struct buf *err)
{
    struct safetensors *s = xcalloc(1, sizeof(*s));
    const char *single = "model.safetensors";
    char *path = xasprintf("%s/%s", dir, single);
    char *index = xasprintf("%s/%s.index.json", dir, single);
    int rc;
    if (access(path, F_OK) == 0)
        rc = open_files(s, dir, &single, 1, err);
    else if (access(index, F_OK) == 0)
        rc = open_sharded(s, dir, index, err);
    else
        rc = fail(err, "%s: neither %s nor %s.index.json is there", dir, single, single);
    free(path);
    free(index);
    if (rc) {
        safetensors_close(s);
        return NULL;
    }
    return s;
}

void safetensors_close(struct safetensors *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->list.len; i++)
        free((char *)s->list.v[i].name);
    for (size_t i = 0; i < s->nfiles; i++)
        st_file_close(&s->files[i]);
    free(s->list.v);
    free(s->files);
    free(s);
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->list.len;
}

const struct st_tensor *safetensors_at(const struct safetensors *s, size_t i)
{
    if (i >= s->list.len)
        BUG("tensor %zu of %zu", i, s->list.len);
    return &s->list.v[i];
}

const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name)
{
    struct st_tensor key = { .name = name };
    return s->list.len ? bsearch(&key, s->list.v, s->list.len, sizeof(*s->list.v), by_name) : NULL;
}

void safetensors_hash(const struct safetensors *s, struct hash *h)
{
    struct buf head = BUF_INIT;
    for (size_t i = 0; i < s->list.len; i++) {
        const struct st_tensor *t = &s->list.v[i];
        buf_reset(&head);
        buf_addf(&head, "%s %s", t->name, dtype_name(t->dtype));
        for (int d = 0; d < t->ndim; d++)
            buf_addf(&head, " %lld", (long long)t->shape[d]);
        hash_adds(h, head.s);
        hash_add(h, t->data, t->bytes);
    }
    buf_release(&head);
}
