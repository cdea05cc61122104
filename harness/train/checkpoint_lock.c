/*
 * checkpoint_lock.c: see checkpoint.h. flock() on DIR/ID.lock, which ends with the program that holds
 * it, however that ends.
 *
 * The file goes when it is unlocked. So who got the lock looks whether the name still stands for what
 * it locked, and begins again where it does not.
 */
#include "train/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct checkpoint_lock {
    char *path;
    int fd;
};

static bool still_named(const char *path, int fd)
{
    struct stat there, ours;
    return stat(path, &there) == 0 && fstat(fd, &ours) == 0 && there.st_dev == ours.st_dev &&
           there.st_ino == ours.st_ino;
}

/* 1: it is ours, 0: another program has it, -1: failed. */
static int try_lock(struct checkpoint_lock *l, struct buf *err)
{
    for (;;) {
        l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (l->fd < 0)
            return fail(err, "%s: %s", l->path, strerror(errno));
        int rc = flock(l->fd, LOCK_EX | LOCK_NB), why = errno;
        if (rc == 0 && still_named(l->path, l->fd))
            return 1;
        close(l->fd);
        if (rc != 0)
            return why == EWOULDBLOCK ? 0 : fail(err, "%s: %s", l->path, strerror(why));
    }
}

struct checkpoint_lock *checkpoint_lock(const char *root, const char *id, bool (*stop)(void),
                                        struct buf *err)
{
    const struct timespec moment = { .tv_nsec = 50000000 };
    if (make_dirs(root, err))
        return NULL;
    struct checkpoint_lock *l = xcalloc(1, sizeof(*l));
    l->path = xasprintf("%s/%s.lock", root, id);
    int rc;
    for (bool said = false; (rc = try_lock(l, err)) == 0; said = true) {
        if (!said)
            warning("another program makes %s; it is waited for", id);
        if (stop && stop()) {
            rc = fail(err, "%s: another program makes this model, and waiting was interrupted",
                      l->path);
            break;
        }
        nanosleep(&moment, NULL);
    }
    if (rc == 1)
        return l;
    free(l->path);
    free(l);
    return NULL;
}

void checkpoint_unlock(struct checkpoint_lock *l)
{
    if (!l)
        return;
    if (still_named(l->path, l->fd))
        unlink(l->path);
    close(l->fd);
    free(l->path);
    free(l);
}
