/*
 * safetensors_file.h: one safetensors file, mapped, and its header checked. Only safetensors.c
 * uses it.
 *
 * Invariant: what st_file_read() appended lies inside the map, has the size that shape and dtype
 * say, and covers every byte of the data exactly once.
 * Leaves out: several files (safetensors.h); a file that another program cuts short while it is
 * mapped (reading it then ends the program with SIGBUS).
 */
#ifndef SAFETENSORS_FILE_H
#define SAFETENSORS_FILE_H

#include "safetensors.h"

struct st_file {
    char *path;
    unsigned char *map;
    size_t size;
};

/* Tensors own their `name`; their `file` and `data` are borrowed from the st_file. */
struct st_list {
    struct st_tensor *v;
    size_t len, cap;
};

int st_file_open(const char *path, struct st_file *f, struct buf *err) MUST_USE;
void st_file_close(struct st_file *f);

/* Whether errors can quote a tensor's name: not empty, not endless, no control character. */
bool st_name_ok(const char *name);

/* Appends the file's tensors; on failure `out` may hold some of them, to be released as always. */
int st_file_read(const struct st_file *f, struct st_list *out, struct buf *err) MUST_USE;

#endif
