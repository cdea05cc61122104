/*
 * data_file.h: a data file in memory, and its lines: JSON objects, one a line. What an eval makes
 * instead of a file is one here too.
 *
 * Invariant: of a file that was read the sum is right, where one was asked for, and what was packed
 * is unpacked whole. Errors name the file, and the line (from 1) where it is a line's fault; of an
 * array's object, its number in the array stands there.
 * Leaves out: what lines mean.
 */
#ifndef DATA_FILE_H
#define DATA_FILE_H

#include "recipe/eval.h"

struct data_file {
    const char *path; /* borrowed, or `own`; of what was generated, words that name it */
    char *own;        /* NULL: none */
    struct buf text;
    char hash[33]; /* of the text */
};

/*
 * A name that ends in .gz is of a file behind gzip. Where one ends in .json or .json.gz, the text may
 * be one array of objects, each of which becomes a line. `sha256` is of the file as it lies there;
 * NULL: any will do. data_file_release() also after -1.
 */
int data_file_read(struct data_file *f, const char *path, const char *sha256,
                   struct buf *err) MUST_USE;
/*
 * The documents of an eval's forms, or its training set (`train`): its file under the folder of
 * SEQTOPK_DATA, or what its function makes. Which lines count, e->rows and e->train.rows say (none
 * of what is generated is left out). -1 also where the eval has no such data. data_file_release()
 * also after -1.
 */
int data_file_of_eval(struct data_file *f, const struct eval *e, bool train,
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
