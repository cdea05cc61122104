/*
 * checkpoint_file.h: a file that is on the disk when it is said to be, and its sum.
 *
 *     struct checkpoint_file f;
 *     if (checkpoint_file_open(&f, path, err))
 *         return -1;
 *     checkpoint_file_write(&f, data, len);
 *     return checkpoint_file_close(&f, err);
 *
 * Invariant: after close without an error the bytes are flushed to the disk; after one the file is
 * gone. Writing never fails, closing tells.
 * Leaves out: names that stand for something whole: the caller renames.
 */
#ifndef CHECKPOINT_FILE_H
#define CHECKPOINT_FILE_H

#include "util.h"

#include <stdio.h>

struct checkpoint_file {
    FILE *f;
    char *path;
    struct hash *hash; /* of what was written */
    int64_t bytes;     /* likewise */
    int error;         /* errno of the first write that failed; 0: none did */
};

int checkpoint_file_open(struct checkpoint_file *f, const char *path, struct buf *err) MUST_USE;
void checkpoint_file_write(struct checkpoint_file *f, const void *data, size_t len);
int checkpoint_file_close(struct checkpoint_file *f, struct buf *err) MUST_USE;

/* The same for a file DIR/NAME that is small. */
int checkpoint_file_text(const char *dir, const char *name, const char *text, size_t len,
                         struct buf *err) MUST_USE;

/* How long a file is, and the XXH3 of its bytes. */
int checkpoint_file_sum(const char *path, int64_t *bytes, char hex[33], struct buf *err) MUST_USE;

/* Flushes a folder's names to the disk. */
int checkpoint_folder_sync(const char *dir, struct buf *err) MUST_USE;

/* Removes a folder that has only files in it, where it is there. */
int checkpoint_folder_remove(const char *dir, struct buf *err) MUST_USE;

#endif
