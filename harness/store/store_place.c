/*
 * store_place.c: see store_place.h.
 */
#include "store/store_place.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif
#ifndef BCACHEFS_SUPER_MAGIC
#define BCACHEFS_SUPER_MAGIC 0xca451a4e
#endif

bool store_kind_is_shared(long kind)
{
    // ext2 to ext4 are one.
    static const unsigned long local[] = {
        EXT4_SUPER_MAGIC,     XFS_SUPER_MAGIC,      BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
        TMPFS_MAGIC,          RAMFS_MAGIC,          ZFS_SUPER_MAGIC,   OVERLAYFS_SUPER_MAGIC,
        REISERFS_SUPER_MAGIC, BCACHEFS_SUPER_MAGIC,
    };
    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        if ((unsigned long)kind == local[i])
            return false;
    return true;
}

bool store_place_is_shared(const char *path)
{
    const char *said = getenv("SEQTOPK_NETWORK_FS");
    struct statfs place;
    if (said && (strcmp(said, "yes") == 0 || strcmp(said, "no") == 0))
        return said[0] == 'y';
    return statfs(path, &place) == 0 && store_kind_is_shared((long)place.f_type);
}

int store_lock_open(const char *path, bool make)
{
    if (!store_place_is_shared(path))
        return open(path, O_RDONLY | O_CLOEXEC);
    char *name = xasprintf("%s.lock", path);
    // For writing: where flock() is made of locks on ranges, only such a file can be held alone.
    int fd = open(name, O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0), 0666);
    free(name);
    return fd;
}

const char *store_journal(const char *path)
{
    // NORMAL: a crash of the machine may lose the last samples, never the database.
    return store_place_is_shared(path) ? "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL"
                                       : "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";
}
