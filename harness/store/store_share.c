/*
 * store_share.c: several processes of one run write one database. See store.h.
 *
 * Invariant: of the processes that share a turn one at most writes. SQLite's own locks stay what keeps
 * the database sound; the turn keeps them from being waited for, since SQLite gives up after a time
 * and is not fair.
 * Leaves out: other programs, which meet SQLite's locks.
 */
#include "store/store_impl.h"
#include "store/store_place.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct store_turn {
    pthread_mutex_t mutex; /* in memory that the processes share */
};

struct store_turn *store_turn_new(struct buf *err)
{
    pthread_mutexattr_t shared;
    struct store_turn *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t == MAP_FAILED) {
        fail(err, "there is no memory that processes could share: %s", strerror(errno));
        return NULL;
    }
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&shared, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&t->mutex, &shared);
    pthread_mutexattr_destroy(&shared);
    return t;
}

void store_turn_free(struct store_turn *t)
{
    if (t)
        munmap(t, sizeof(*t));
}

void store_share(struct store *s, struct store_turn *t)
{
    s->turn = t;
}

void store_turn_take(struct store *s)
{
    if (!s->turn || s->has_turn)
        return;
    // What the process that died was writing is taken back by SQLite.
    if (pthread_mutex_lock(&s->turn->mutex) == EOWNERDEAD)
        pthread_mutex_consistent(&s->turn->mutex);
    s->has_turn = true;
}

void store_turn_give(struct store *s)
{
    if (!s->has_turn)
        return;
    s->has_turn = false;
    pthread_mutex_unlock(&s->turn->mutex);
}

int store_lock_fd(const struct store *s)
{
    return s->lock;
}

bool store_is_locked(const char *path)
{
    int fd = store_lock_open(path, false);
    bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return locked;
}

int store_process_set(struct store *s, int n, int64_t pid, const char *device, const char *doing,
                      struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_PROCESS_SET, err);
    if (!st || store_write_check(s, err))
        return -1;
    sqlite3_bind_int(st, 1, n);
    sqlite3_bind_int64(st, 2, pid);
    store_bind_text(st, 3, device);
    store_bind_text(st, 4, doing);
    sqlite3_bind_int64(st, 5, (sqlite3_int64)time(NULL));
    return store_step(s, st, err);
}

int store_processes_clear(struct store *s, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_PROCESS_CLEAR, err);
    return !st || store_write_check(s, err) ? -1 : store_step(s, st, err);
}
