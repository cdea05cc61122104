/*
 * store_file.c: the database as a file: a new one is made, and one that is there is looked at before
 * SQLite does. See store_impl.h.
 *
 * Invariant: under the database's name stands a whole database from the first moment on, so that who
 * looks while it is made, or copies it, finds nothing or all of it. A file that is not whole is not
 * touched.
 * Leaves out: what is in it (store_open.c).
 */
#include "store/store_impl.h"
#include "store/store_place.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a new one ---- */

/*
 * The bytes of a database with our schema and no cells, which sqlite3_free() frees; NULL on failure.
 * It has the journal that it is to keep, `log` or none: to change it, nobody else may have it open. The
 * path is for sentences alone.
 */
static unsigned char *new_content(const char *path, bool log, sqlite3_int64 *size, struct buf *err)
{
    enum { WRITE_VERSION = 18, READ_VERSION = 19, WAL = 2 }; // of SQLite's file format
    struct store s = { .path = (char *)(uintptr_t)path };
    unsigned char *content = NULL;
    int rc = sqlite3_open(":memory:", &s.db);
    if (rc != SQLITE_OK)
        store_fail(&s, err, rc);
    else if (store_schema_add(&s, 0, err) == 0) {
        content = sqlite3_serialize(s.db, "main", size, 0);
        if (!content)
            store_fail(&s, err, SQLITE_NOMEM);
    }
    sqlite3_close(s.db);
    if (content && log)
        content[WRITE_VERSION] = content[READ_VERSION] = WAL;
    return content;
}

static int write_whole(int fd, const unsigned char *content, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = write(fd, content + at, size - at);
        if (n < 0 && errno != EINTR)
            return -1;
        at += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd);
}

/* The folder that the path is in; the caller frees it. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? xstrdup(".") : slash == path ? xstrdup("/") : xstrndup(path, slash - path);
}

/*
 * A file of the folder without a name, which is gone where we end before it has one; or, on disks that
 * have no such files, one whose name `name` gets.
 */
static int open_unnamed(const char *path, char **name)
{
    char *folder = folder_of(path);
    int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    free(folder);
    for (int i = 0; fd < 0 && i < 100; i++) {
        free(*name);
        *name = xasprintf("%s.new-%ld-%d", path, (long)getpid(), i);
        fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd;
}

/* Gives the file its name, if nobody has it. */
static int give_name(int fd, const char *name, const char *path)
{
    char self[64];
    int rc;
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (!name)
        rc = linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    else
        rc = link(name, path);
    // Some disks have no second names.
    if (rc != 0 && name && errno != EEXIST)
        rc = renameat2(AT_FDCWD, name, AT_FDCWD, path, RENAME_NOREPLACE);
    return rc == 0 || errno == EEXIST ? 0 : -1;
}

static void sync_folder(const char *path)
{
    char *folder = folder_of(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); // where this cannot be done, the name is as safe as the disk makes it
        close(fd);
    }
    free(folder);
}

static int make_whole(const char *path, struct buf *err)
{
    sqlite3_int64 size;
    char *name = NULL, *folder = folder_of(path);
    unsigned char *content = new_content(path, !store_place_is_shared(folder), &size, err);
    free(folder);
    if (!content)
        return -1;
    int fd = open_unnamed(path, &name);
    int rc = fd < 0 || write_whole(fd, content, (size_t)size) || give_name(fd, name, path) ? -1 : 0;
    if (rc)
        fail(err, "%s: cannot be made: %s", path, strerror(errno));
    else
        sync_folder(path);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && name)
        unlink(name);
    free(name);
    sqlite3_free(content);
    return rc;
}

/* Where a link leads to nothing: an empty file there, which store_open.c fills. */
static int make_empty(const char *path, struct buf *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(err, "%s: cannot be made: %s", path, strerror(errno));
    close(fd);
    return 0;
}

/* ---- one that is there ---- */

static bool is_there(const char *path, const char *suffix)
{
    struct stat st;
    char *name = xasprintf("%s%s", path, suffix);
    bool there = stat(name, &st) == 0 && st.st_size > 0;
    free(name);
    return there;
}

bool store_file_alone(const char *path)
{
    return !is_there(path, "-wal") && !is_there(path, "-journal");
}

static uint32_t big_endian(const unsigned char *p, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

/* How many bytes the file should have at least by its own header; 0: no more than its `size`. */
static int64_t bytes_wanted(sqlite3_file *f, sqlite3_int64 *size)
{
    unsigned char h[100];
    if (f->pMethods->xFileSize(f, size) != SQLITE_OK || *size < (sqlite3_int64)sizeof(h) ||
        f->pMethods->xRead(f, h, sizeof(h), 0) != SQLITE_OK ||
        memcmp(h, "SQLite format 3", 16) != 0)
        return 0;
    int64_t page = big_endian(h + 16, 2), pages = big_endian(h + 28, 4);
    if (page == 1)
        page = 65536;
    if (page < 512)
        return 0;
    // The number of pages holds where both counters of changes are the same.
    int64_t wanted = memcmp(h + 24, h + 92, 4) == 0 ? pages * page : 0;
    if (wanted < *size)
        wanted = (*size + page - 1) / page * page;
    return wanted > *size ? wanted : 0;
}

int store_file_whole(struct store *s, struct buf *err)
{
    int64_t wanted = 0;
    sqlite3_int64 size = 0;
    sqlite3_file *f = NULL;
    // Through SQLite's own handle: closing another would let go of its locks.
    if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_FILE_POINTER, &f) != SQLITE_OK || !f ||
        !f->pMethods)
        return 0;
    for (int i = 0; i < 5; i++) {
        wanted = store_file_alone(s->path) ? bytes_wanted(f, &size) : 0;
        if (!wanted || !store_file_alone(s->path))
            return 0;
        usleep(20000);
    }
    return fail(err,
                "%s: was cut short: it has %lld bytes, and a database that begins as it does has "
                "at least %lld",
                s->path, (long long)size, (long long)wanted);
}

int store_file_check(const char *path, enum store_mode mode, struct buf *err)
{
    struct stat st;
    if (!*path)
        return fail(err, "the database's name is empty");
    if (stat(path, &st) != 0) {
        if (mode != STORE_WRITE || errno != ENOENT)
            return fail(err, "%s: %s", path, strerror(errno));
        return lstat(path, &st) == 0 ? make_empty(path, err) : make_whole(path, err);
    }
    if (S_ISDIR(st.st_mode))
        return fail(err, "%s: is a folder, not a database", path);
    if (!S_ISREG(st.st_mode))
        return fail(err, "%s: is not a regular file", path);
    return 0;
}
