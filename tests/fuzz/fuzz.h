/*
 * fuzz.h: what the fuzz targets share: a folder of their own, files in it, and the promise that a
 * call which failed has said why.
 *
 * A target is tests/fuzz/NAME.c, with LLVMFuzzerTestOneInput(); its first inputs are the files of
 * tests/fuzz/NAME/. `make fuzz` finds both by their names.
 *
 * Invariant: an input leaves nothing behind but files of the folder, which the next one overwrites.
 * A target that finds something wrong by itself ends by BUG().
 * Leaves out: removing the folder; scripts/fuzz does, which also chooses where it is.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "util.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The folder of this process, under $TMPDIR; made by the first call. */
static inline const char *fuzz_dir(void)
{
    static char *dir;
    if (dir)
        return dir;
    const char *tmp = getenv("TMPDIR");
    dir = xasprintf("%s/fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        BUG("no temporary folder %s", dir);
    return dir;
}

/* DIR/NAME, as a copy. */
static inline char *fuzz_path(const char *name)
{
    return xasprintf("%s/%s", fuzz_dir(), name);
}

/* Writes DIR/NAME anew. */
static inline void fuzz_file(const char *name, const void *data, size_t len)
{
    char *path = fuzz_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len || close(fd) != 0)
        BUG("%s cannot be written", path);
    free(path);
}

/* Cuts the input at its first NUL; the second part begins behind that, or is empty. */
static inline size_t fuzz_cut(const uint8_t *data, size_t len, const uint8_t **rest,
                              size_t *rest_len)
{
    const uint8_t *nul = len ? memchr(data, 0, len) : NULL;
    size_t n = nul ? (size_t)(nul - data) : len;
    *rest = nul ? nul + 1 : data + len;
    *rest_len = nul ? len - n - 1 : 0;
    return n;
}

/* After a call that gave -1 or NULL: one sentence, which a terminal can show. Empties `err`. */
static inline void fuzz_said(struct buf *err)
{
    if (!err->len)
        BUG("it failed without a word");
    for (size_t i = 0; i < err->len; i++)
        if ((unsigned char)err->s[i] < ' ' || err->s[i] == 127)
            BUG("a control character in: %s", err->s);
    if (utf8_valid(err->s, err->len) != err->len)
        BUG("not UTF-8: %s", err->s);
    buf_release(err);
}

/* Reads every byte, so that the checkers look at each. */
static inline void fuzz_touch(const void *data, size_t len)
{
    static volatile unsigned char sum;
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        sum = (unsigned char)(sum + p[i]);
}

#endif
