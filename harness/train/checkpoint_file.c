/*
 * checkpoint_file.c: see checkpoint_file.h.
 */
#include "train/checkpoint_file.h"

#include "workers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

int checkpoint_file_open(struct checkpoint_file *f, const char *path, struct buf *err)
{
    *f = (struct checkpoint_file){ .f = fopen(path, "wb") };
    if (!f->f) {
        fail(err, "%s: %s", path, strerror(errno));
        return -1;
    }
    f->path = xstrdup(path);
    f->hash = hash_new();
    return 0;
}

void checkpoint_file_write(struct checkpoint_file *f, const void *data, size_t len)
{
    hash_add(f->hash, data, len);
    f->bytes += (int64_t)len;
    if (!f->error && len && fwrite(data, 1, len, f->f) != len)
        f->error = errno;
}

/* ---- a part at a time ---- */

struct part {
    struct job job;
    struct checkpoint_file *f;
    char *bytes;
    size_t len;
};

static int write_part(struct job *job, struct buf *err)
{
    struct part *p = (struct part *)job;
    struct checkpoint_file *f = p->f;
    const int64_t from = f->bytes;
    (void)err; // closing tells
    checkpoint_file_write(f, p->bytes, p->len);
    // The disk begins now: else all of a large file would wait in memory until it is flushed. Where
    // this cannot be asked for, it does wait.
    if (!f->error)
        (void)sync_file_range(fileno(f->f), from, (off_t)p->len, SYNC_FILE_RANGE_WRITE);
    return f->error ? -1 : 0;
}

int checkpoint_file_fill(struct checkpoint_file *f, int64_t bytes, checkpoint_get *get, void *of,
                         struct buf *err)
{
    struct part parts[2] = { { .bytes = NULL }, { .bytes = NULL } };
    struct workers *writer = workers_new(1);
    int64_t at = 0;
    int rc = 0;
    for (int i = 0; at < bytes && rc == 0; i++) {
        // There is one writer, so the part that comes back is the one that has waited longest.
        struct part *p = i < 2 ? &parts[i] : (struct part *)workers_take(writer);
        if (p->job.rc)
            break;
        if (!p->bytes)
            p->bytes = xmalloc(CHECKPOINT_PART);
        p->job = (struct job){ .work = write_part, .err = BUF_INIT };
        p->f = f;
        p->len = (size_t)(bytes - at < CHECKPOINT_PART ? bytes - at : CHECKPOINT_PART);
        rc = get(of, at, (int64_t)p->len, p->bytes, err);
        at += (int64_t)p->len;
        if (rc == 0)
            workers_put(writer, &p->job);
    }
    while (workers_take(writer))
        ;
    workers_free(writer);
    free(parts[0].bytes);
    free(parts[1].bytes);
    return rc ? -1 : 0;
}

/* ---- the end ---- */

static void release(struct checkpoint_file *f, bool keep)
{
    if (!keep)
        unlink(f->path);
    free(f->path);
    hash_free(f->hash);
}

int checkpoint_file_close(struct checkpoint_file *f, struct buf *err)
{
    if (!f->error && (fflush(f->f) != 0 || fsync(fileno(f->f)) != 0))
        f->error = errno;
    if (fclose(f->f) != 0 && !f->error)
        f->error = errno;
    int rc = f->error ? fail(err, "%s: %s", f->path, strerror(f->error)) : 0;
    release(f, rc == 0);
    return rc;
}

void checkpoint_file_drop(struct checkpoint_file *f)
{
    fclose(f->f);
    release(f, false);
}

int checkpoint_file_text(const char *dir, const char *name, const char *text, size_t len,
                         struct buf *err)
{
    char *path = xasprintf("%s/%s", dir, name);
    struct checkpoint_file f;
    int rc = checkpoint_file_open(&f, path, err);
    if (rc == 0) {
        checkpoint_file_write(&f, text, len);
        rc = checkpoint_file_close(&f, err);
    }
    free(path);
    return rc;
}

int checkpoint_file_sum(const char *path, int64_t *bytes, char hex[33], struct buf *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    struct hash *h = hash_new();
    char *chunk = xmalloc(CHUNK);
    size_t n;
    *bytes = 0;
    while ((n = fread(chunk, 1, CHUNK, f)) > 0) {
        hash_add(h, chunk, n);
        *bytes += (int64_t)n;
    }
    int rc = ferror(f) ? fail(err, "%s: %s", path, strerror(errno)) : 0;
    hash_hex(h, hex);
    hash_free(h);
    free(chunk);
    fclose(f);
    return rc;
}

int checkpoint_folder_sync(const char *dir, struct buf *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? fail(err, "%s: %s", dir, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

int checkpoint_folder_remove(const char *dir, struct buf *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : fail(err, "%s: %s", dir, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            unlinkat(dirfd(d), e->d_name, 0) != 0)
            rc = fail(err, "%s/%s: %s", dir, e->d_name, strerror(errno));
    closedir(d);
    if (rc == 0 && rmdir(dir) != 0)
        rc = fail(err, "%s: %s", dir, strerror(errno));
    return rc;
}
