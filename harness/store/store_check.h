/*
 * store_check.h: a database that may come from anybody is read: nothing in it is believed before it
 * was looked at. See store_merge.h, which reads what it merges through this.
 *
 * What is checked: the file is whole and ours, of a version that we know; its tables, views and
 * indices are those of that version and no others, so that no text of a stranger is ever run; every
 * page and index is sound; every row stands for something that we might have written: types, ranges,
 * what refers to what, the experts of each token layer by layer. A file that makes SQLite work for
 * longer than one of its size can is given up.
 *
 * Invariant: the file is not written to. Where a writer left a log beside it, the log stays as it is; a
 * transaction that was cut off is taken back first, as by anyone who reads. It may be written to
 * meanwhile: one read transaction, from open to close, sees it as it was at one moment.
 * Leaves out: whether the numbers are true.
 */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "store/store.h"

struct store_input;

/* Opened and checked; NULL and a sentence that begins with the path. */
struct store_input *store_input_open(const char *path, struct buf *err) MUST_USE;
void store_input_close(struct store_input *in);
const char *store_input_path(const struct store_input *in);

/* The check alone. */
int store_check_foreign(const char *path, struct buf *err) MUST_USE;

#endif
