/*
 * util.c: see util.h. The hash is libxxhash's XXH3 in its 128-bit form: fast enough that weights
 * are identified by all of their bytes.
 */
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

char buf_empty[1] = "";

void buf_init(struct buf *b)
{
    b->s = buf_empty;
    b->len = b->cap = 0;
}

void buf_release(struct buf *b)
{
    if (b->cap)
        free(b->s);
    buf_init(b);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    if (b->cap)
        b->s[0] = '\0';
}

void buf_grow(struct buf *b, size_t more)
{
    size_t want = b->len + more + 1;
    if (want <= b->cap)
        return;
    size_t cap = b->cap * 2 > want ? b->cap * 2 : want;
    b->s = xrealloc(b->cap ? b->s : NULL, cap, 1);
    b->cap = cap;
    b->s[b->len] = '\0';
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    buf_grow(b, len);
    if (len)
        memcpy(b->s + b->len, data, len);
    b->len += len;
    b->s[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        BUG("bad format '%s'", fmt);
    buf_grow(b, (size_t)n);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

char *buf_detach(struct buf *b)
{
    buf_grow(b, 0);
    char *s = b->s;
    buf_init(b);
    return s;
}

int fail(struct buf *err, const char *fmt, ...)
{
    // The arguments may point into `err` itself, when a sentence is put inside another.
    struct buf sentence = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&sentence, fmt, ap);
    va_end(ap);
    // It quotes what may be anything: one line of text, and nothing that a terminal obeys.
    for (size_t i = 0; i < sentence.len; i++)
        if ((unsigned char)sentence.s[i] < ' ' || sentence.s[i] == 127)
            sentence.s[i] = '?';
    buf_release(err);
    utf8_clean(sentence.s, sentence.len, err);
    buf_release(&sentence);
    return -1;
}

static void say(const char *kind, const char *fmt, va_list ap)
{
    struct buf line = BUF_INIT;
    buf_addf(&line, "seqtopk: %s", kind);
    buf_vaddf(&line, fmt, ap);
    fflush(stdout);
    // What came out of a file may not move the cursor or change colours.
    for (const char *p = line.s; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 127)
            fprintf(stderr, "\\x%02x", (unsigned char)*p);
        else
            fputc(*p, stderr);
    }
    fputc('\n', stderr);
    buf_release(&line);
}

void die(int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
    exit(code);
}

void warning(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("warning: ", fmt, ap);
    va_end(ap);
}

void bug_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "seqtopk: BUG at %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        die(1, "out of memory: %zu bytes were asked for", size);
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        die(1, "out of memory: %zu x %zu bytes were asked for", n, size);
    return p;
}

void *xrealloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        die(1, "out of memory: %zu x %zu bytes were asked for", n, size);
    p = realloc(p, bytes ? bytes : 1);
    if (!p)
        die(1, "out of memory: %zu bytes were asked for", bytes);
    return p;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t len)
{
    char *copy = xmalloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    return buf_detach(&b);
}

void ids_push(struct ids *ids, int32_t id)
{
    ARRAY_GROW(ids->v, ids->cap, ids->len + 1);
    ids->v[ids->len++] = id;
}

void strings_add(struct strings *s, const char *text)
{
    strings_addf(s, "%s", text);
}

void strings_addf(struct strings *s, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    ARRAY_GROW(s->v, s->cap, s->len + 1);
    s->v[s->len++] = buf_detach(&b);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void strings_sort(struct strings *s)
{
    size_t kept = 0;
    if (s->len)
        qsort(s->v, s->len, sizeof(char *), by_text);
    for (size_t i = 0; i < s->len; i++) {
        if (kept && strcmp(s->v[i], s->v[kept - 1]) == 0)
            free(s->v[i]);
        else
            s->v[kept++] = s->v[i];
    }
    s->len = kept;
}

void strings_release(struct strings *s)
{
    for (size_t i = 0; i < s->len; i++)
        free(s->v[i]);
    free(s->v);
    *s = (struct strings){ 0 };
}

int read_file(const char *path, size_t max, struct buf *out, struct buf *err)
{
    // Asked before it is opened: opening a pipe waits for who writes to it.
    struct stat st;
    if (stat(path, &st) != 0)
        return fail(err, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(err, "%s: %s, not a regular file", path,
                    S_ISDIR(st.st_mode) ? "a folder" : "a device or a pipe");
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    int rc = 0;
    size_t before = out->len;
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) {
        buf_add(out, chunk, n);
        if (out->len - before > max) {
            rc = fail(err, "%s: larger than the %zu bytes that are accepted", path, max);
            break;
        }
    }
    if (rc == 0 && ferror(f))
        rc = fail(err, "%s: %s", path, strerror(errno));
    fclose(f);
    return rc;
}

static bool write_all(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    bool bad = fwrite(data, 1, len, f) != len;
    bad |= fclose(f) != 0;
    return !bad;
}

int write_file(const char *path, const char *data, size_t len, struct buf *err)
{
    struct stat st;
    char *real = realpath(path, NULL); // NULL: it is not there yet
    const char *to = real ? real : path;
    char *tmp = xasprintf("%s.tmp%ld", to, (long)getpid());
    const bool as_it_is = stat(to, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
    int rc = 0;
    if (as_it_is ? !write_all(to, data, len) : !write_all(tmp, data, len) || rename(tmp, to) != 0) {
        rc = fail(err, "%s: %s", path, strerror(errno));
        unlink(tmp);
    }
    free(tmp);
    free(real);
    return rc;
}

int make_dirs(const char *path, struct buf *err)
{
    if (!*path)
        return fail(err, "a folder's name is empty");
    char *copy = xstrdup(path);
    int rc = 0;
    for (char *p = copy + 1; rc == 0; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char end = *p;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            rc = fail(err, "%s: %s", copy, strerror(errno));
        *p = end;
        if (end == '\0')
            break;
    }
    free(copy);
    return rc;
}

size_t utf8_valid(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;
    while (i < len) {
        unsigned char c = p[i];
        size_t more = c < 0x80 ? 0 : c < 0xc2 ? 9 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : 9;
        if (more == 9 || i + more >= len)
            return i;
        for (size_t j = 1; j <= more; j++)
            if ((p[i + j] & 0xc0) != 0x80)
                return i;
        // Overlong forms, surrogates, and what lies beyond U+10FFFF.
        if ((c == 0xe0 && p[i + 1] < 0xa0) || (c == 0xed && p[i + 1] > 0x9f) ||
            (c == 0xf0 && p[i + 1] < 0x90) || (c == 0xf4 && p[i + 1] > 0x8f))
            return i;
        i += more + 1;
    }
    return len;
}

/* How many bytes stand for one wrong character: those that could have begun one, else one. */
static size_t utf8_wrong(const unsigned char *s, size_t len)
{
    size_t more = s[0] >= 0xc2 && s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3, n = 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 1;
    for (; n <= more && n < len; n++) {
        unsigned char lo = 0x80, hi = 0xbf;
        if (n == 1) {
            lo = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : lo;
            hi = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : hi;
        }
        if (s[n] < lo || s[n] > hi)
            break;
    }
    return n;
}

void utf8_clean(const char *s, size_t len, struct buf *out)
{
    for (size_t at = 0; at < len;) {
        size_t good = utf8_valid(s + at, len - at), nul = strnlen(s + at, good);
        buf_add(out, s + at, nul);
        at += nul;
        if (at == len)
            break;
        buf_adds(out, "\xef\xbf\xbd");
        at += nul < good ? 1 : utf8_wrong((const unsigned char *)s + at, len - at);
    }
}

/* Takes the last part of a path away; false where nothing would be left. */
static bool parent(struct buf *path)
{
    char *slash = strrchr(path->s, '/');
    if (!slash || slash == path->s)
        return false;
    *slash = '\0';
    path->len = (size_t)(slash - path->s);
    return true;
}

void program_dir(struct buf *out)
{
    char path[4096];
    struct buf dir = BUF_INIT;
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
    if (n > 0)
        buf_add(&dir, path, (size_t)n);
    buf_adds(out, n > 0 && parent(&dir) ? dir.s : ".");
    buf_release(&dir);
}

bool project_dir(struct buf *out)
{
    struct buf dir = BUF_INIT;
    bool found = false;
    program_dir(&dir);
    while (!found && parent(&dir)) {
        char *evals = xasprintf("%s/evals", dir.s), *routers = xasprintf("%s/routers", dir.s);
        found = access(evals, X_OK) == 0 && access(routers, X_OK) == 0;
        free(evals);
        free(routers);
    }
    if (found)
        buf_adds(out, dir.s);
    buf_release(&dir);
    return found;
}

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct hash *hash_new(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        die(1, "out of memory: no room for a hash");
    XXH3_128bits_reset(state);
    return (struct hash *)state;
}

void hash_free(struct hash *h)
{
    XXH3_freeState((XXH3_state_t *)h);
}

void hash_add(struct hash *h, const void *data, size_t len)
{
    XXH3_128bits_update((XXH3_state_t *)h, data, len);
}

void hash_adds(struct hash *h, const char *s)
{
    hash_add(h, s, strlen(s) + 1);
}

void hash_hex(const struct hash *h, char hex[33])
{
    XXH128_hash_t sum = XXH3_128bits_digest((const XXH3_state_t *)h);
    snprintf(hex, 33, "%016llx%016llx", (unsigned long long)sum.high64,
             (unsigned long long)sum.low64);
}
