/*
 * store_place.h: is a database in a file system that several machines share? SQLite's write-ahead log
 * keeps a part of itself in the memory of one machine, and flock() of a file may stand in the way of
 * SQLite's own locks there; so such a database has a rollback journal, and a file beside it is locked.
 *
 * Where it is comes from the kind of file system: those that are known to be of one machine are; all
 * others are taken as shared, which is safe everywhere and slower. SEQTOPK_NETWORK_FS=yes or no says it
 * for all databases, where the kind misleads.
 */
#ifndef STORE_PLACE_H
#define STORE_PLACE_H

#include "util.h"

/* Of a kind as statfs() names it. */
bool store_kind_is_shared(long kind);
/* Of the file's place, which must be there. */
bool store_place_is_shared(const char *path);

/*
 * The file that stands for the database's run under flock(): itself, or PATH.lock in a shared place,
 * which is made where `make` says so. -1: errno says why; for `make` false also: there is none.
 */
int store_lock_open(const char *path, bool make);

/* What SQLite is told when the database is opened for writing. */
const char *store_journal(const char *path);

#endif
