/*
 * util.h: what every file of the project may use: text buffers, allocation that cannot fail,
 * and the four kinds of failure.
 *
 *   BUG()     we made a mistake: says where and aborts.
 *   die()     a command cannot go on: one sentence on stderr, exit. Only cmd_*.c and main.c call it.
 *   fail()    everything else: writes one sentence into a buffer and returns -1.
 *   scope     tensor code: a sticky error, see torch.h.
 *
 * Invariant: a `struct buf` always holds a NUL-terminated string in `s`, also when it is empty.
 * Leaves out: anything that knows of models, recipes or databases.
 */
#ifndef UTIL_H
#define UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_USE __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A growing string. Initialise with BUF_INIT or zeroes + buf_init(); release when done. */
struct buf {
    char *s;
    size_t len;
    size_t cap; /* 0: `s` is the shared empty string and is not freed */
};

extern char buf_empty[];
#define BUF_INIT        \
    {                   \
        buf_empty, 0, 0 \
    }

void buf_init(struct buf *b);
void buf_release(struct buf *b); /* leaves an empty buffer that can be used again */
void buf_reset(struct buf *b);   /* empties it, keeps the memory */
void buf_grow(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) PRINTF(2, 0);
char *buf_detach(struct buf *b); /* the caller owns the string; the buffer is empty again */

/*
 * Replaces what `err` holds by one sentence without a full stop; returns -1. Control characters in
 * what it quotes become question marks.
 */
int fail(struct buf *err, const char *fmt, ...) PRINTF(2, 3);

/* One sentence on stderr behind the program's name; exits with `code` (1 failed, 2 usage). */
NORETURN void die(int code, const char *fmt, ...) PRINTF(2, 3);
void warning(const char *fmt, ...) PRINTF(1, 2);

#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
NORETURN void bug_at(const char *file, int line, const char *fmt, ...) PRINTF(3, 4);

/* Allocation that ends the program when there is no memory. The result is freed with free(). */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);

/* Makes room for `want` elements in the array `p`, whose capacity is in `cap`. */
#define ARRAY_GROW(p, cap, want)                                                                 \
    do {                                                                                         \
        if ((size_t)(want) > (size_t)(cap)) {                                                    \
            size_t grown_ = (size_t)(cap)*2 > (size_t)(want) ? (size_t)(cap)*2 : (size_t)(want); \
            (p) = xrealloc((p), grown_, sizeof(*(p)));                                           \
            (cap) = grown_;                                                                      \
        }                                                                                        \
    } while (0)

/* A list of token ids. Initialise with zeroes; free `v` when done. */
struct ids {
    int32_t *v;
    size_t len;
    size_t cap;
};
void ids_push(struct ids *ids, int32_t id);

/* A list of strings, which it owns. Zeroes to begin with. */
struct strings {
    char **v;
    size_t len, cap;
};
void strings_add(struct strings *s, const char *text); /* a copy */
void strings_addf(struct strings *s, const char *fmt, ...) PRINTF(2, 3);
void strings_sort(struct strings *s); /* and each one only once */
void strings_release(struct strings *s);

/* Appends the whole of a regular file; at most `max` bytes are accepted. The error names the file. */
int read_file(const char *path, size_t max, struct buf *out, struct buf *err) MUST_USE;

/*
 * Writes through a temporary file and rename(), so that a reader sees the old or the new whole. What a
 * link leads to is written, and the link stays; a pipe or a device is written to as it is.
 */
int write_file(const char *path, const char *data, size_t len, struct buf *err) MUST_USE;

/* Makes a folder and its parents. */
int make_dirs(const char *path, struct buf *err) MUST_USE;

/* Length of the valid UTF-8 prefix of `s`: equal to `len` where all of it is valid. */
size_t utf8_valid(const char *s, size_t len);

/*
 * Appends `s` with U+FFFD in the place of each byte that is no UTF-8, of a character that is cut
 * short at the end, and of NUL: what may be stored as text.
 */
void utf8_clean(const char *s, size_t len, struct buf *out);

/* The folder of the running program, without a slash at its end. */
void program_dir(struct buf *out);
/* The project that the program was built in: the nearest folder above it that has `evals` and
 * `routers`. false: there is none. */
bool project_dir(struct buf *out);

double now_seconds(void); /* of a clock that never jumps */

/* A 128-bit XXH3 hash, fed piece by piece; hex is 32 characters and a NUL. */
struct hash;
struct hash *hash_new(void);
void hash_free(struct hash *h);
void hash_add(struct hash *h, const void *data, size_t len);
void hash_adds(struct hash *h, const char *s); /* with its NUL, so that "ab","c" is not "a","bc" */
void hash_hex(const struct hash *h, char hex[33]);

#ifdef __cplusplus
}
#endif
#endif
