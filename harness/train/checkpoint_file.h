/*
 * checkpoint_file.h: a file that is on the disk when it is said to be, and its sum.
 *
 *     struct checkpoint_file f;
 *     if (checkpoint_file_open(&f, path, err))
 *         return -1;
 *     checkpoint_file_write(&f, data, len);
 *     return checkpoint_file_close(&f, err);
 *
 * What is too large for the memory comes a part at a time, from a function of the caller's
 * (checkpoint_file_fill); parts already written go on to the disk while the next ones are made.
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

/*
 * Bytes from `at` to at + n - 1 of something that is to be written; `of` is the caller's. They are
 * asked for in order, CHECKPOINT_PART of them or at the end fewer, by the thread that called.
 */
typedef int checkpoint_get(void *of, int64_t at, int64_t n, void *bytes, struct buf *err);
enum { CHECKPOINT_PART = 16 << 20 };

int checkpoint_file_open(struct checkpoint_file *f, const char *path, struct buf *err) MUST_USE;
void checkpoint_file_write(struct checkpoint_file *f, const void *data, size_t len);
/*
 * Writes `bytes` bytes that get() gives. Holds two parts; while get() makes the one, a thread writes
 * the other. -1: get() failed, and the file is to be dropped. What cannot be written closing tells,
 * and soon no more is asked for.
 */
int checkpoint_file_fill(struct checkpoint_file *f, int64_t bytes, checkpoint_get *get, void *of,
                         struct buf *err) MUST_USE;
int checkpoint_file_close(struct checkpoint_file *f, struct buf *err) MUST_USE;
/* Instead of closing it: the file is removed. */
void checkpoint_file_drop(struct checkpoint_file *f);

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
