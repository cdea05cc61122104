/*
 * safetensors.h: the weights of a Hugging Face folder, mapped into memory.
 *
 * Invariant: once open, every tensor's bytes lie inside its file's map, its size is what shape and
 * dtype say, no two tensors of a file overlap, and no name stands twice. A header that lies about
 * any of this is refused when the folder is opened.
 * Leaves out: writing; what the tensors mean (weights.h).
 *
 * Source of the format: 8 bytes little-endian length, a JSON header, then the data.
 */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include "dtype.h"
#include "util.h"

struct st_tensor {
    const char *name;
    const char *file; /* of the file it is in, for error messages */
    enum dtype dtype;
    int ndim; /* 0 to 8 */
    int64_t shape[8];
    const void *data; /* into the map; aligned to 1 byte only */
    size_t bytes;
};

struct safetensors;

/*
 * Opens `dir`/model.safetensors, or the shards that `dir`/model.safetensors.index.json names.
 * Tensors of a dtype other than F32, BF16 and F16 are refused by name.
 */
struct safetensors *safetensors_open(const char *dir, struct buf *err) MUST_USE;
void safetensors_close(struct safetensors *s);

size_t safetensors_count(const struct safetensors *s);
const struct st_tensor *safetensors_at(const struct safetensors *s, size_t i); /* in name order */
const struct st_tensor *safetensors_find(const struct safetensors *s,
                                         const char *name); /* or NULL */

/* A tensor's bytes have been read: their memory may go. Who reads them again waits for the disk. */
void safetensors_forget(const struct st_tensor *t);

/* Feeds names, dtypes, shapes and all data to `h`, in name order, however they are sharded. */
void safetensors_hash(const struct safetensors *s, struct hash *h);

#endif
