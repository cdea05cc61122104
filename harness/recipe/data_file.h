/*
 * data_file.h: a data file in memory, and its lines: JSON objects, one a line.
 *
 * Invariant: of a file that was read the sum is right, where one was asked for, and what was packed
 * is unpacked whole. Errors name the file, and the line (from 1) where it is a line's fault.
 * Leaves out: what lines mean.
 */
#ifndef DATA_FILE_H
#define DATA_FILE_H

#include "recipe/eval.h"

struct data_file {
    const char *path; /* borrowed */
    struct buf text;
    char hash[33]; /* of the text */
};

/*
 * A name that ends in .gz is of a file behind gzip. `sha256` is of the file as it lies there; NULL:
 * any will do. data_file_release() also after -1.
 */
int data_file_read(struct data_file *f, const char *path, const char *sha256,
                   struct buf *err) MUST_USE;
void data_file_release(struct data_file *f);

/*
 * Calls `use` for the lines that `rows` selects, in order, `limit` of them at most (0: all), with
 * what an error of the line begins with, "FILE:LINE". What comes behind the last is not looked at.
 * `use` may keep the object with json_incref().
 */
int data_file_each(const struct data_file *f, const struct eval_rows *rows, int limit,
                   int (*use)(void *ud, json_t *object, const char *where, struct buf *err),
                   void *ud, struct buf *err) MUST_USE;

#endif
