/*
 * checkpoint_state.c: see checkpoint.h. A state is one file: a header, the trainer's bytes, the extra
 * numbers, and behind them the sum of all that stands before. Numbers are as the machine has them.
 * What is read is summed up first, and put into the trainer when the sum is known to be right.
 *
 * ID.state.tmp is written and flushed, ID.state becomes ID.state.before, ID.state.tmp becomes
 * ID.state. Between any two of these steps one whole state has its name. A damaged ID.state gets out
 * of the way when it is met, so that it never takes the place of a good ID.state.before.
 */
#include "train/checkpoint.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Version 1 had the three runs in float32, whatever the optimiser. */
enum { VERSION = 2, SUM = 32, CHUNK = 16 << 20 };

struct header {
    char magic[16];
    int64_t version;
    int64_t step, tokens, bytes, nextra;
};

static const char magic[16] = "seqtopk state";

void checkpoint_state_release(struct checkpoint_state *s)
{
    free(s->extra);
    memset(s, 0, sizeof(*s));
}

static int write_state(const char *path, const struct checkpoint_state *s, checkpoint_get *get,
                       void *of, struct buf *err)
{
    struct checkpoint_file f;
    struct header h = { .version = VERSION,
                        .step = s->step,
                        .tokens = s->tokens,
                        .bytes = s->bytes,
                        .nextra = s->nextra };
    char sum[SUM + 1];
    if (checkpoint_file_open(&f, path, err))
        return -1;
    memcpy(h.magic, magic, sizeof(magic));
    checkpoint_file_write(&f, &h, sizeof(h));
    if (checkpoint_file_fill(&f, s->bytes, get, of, err)) {
        checkpoint_file_drop(&f);
        return -1;
    }
    checkpoint_file_write(&f, s->extra, (size_t)s->nextra * sizeof(*s->extra));
    hash_hex(f.hash, sum);
    checkpoint_file_write(&f, sum, SUM);
    return checkpoint_file_close(&f, err);
}

int checkpoint_save(const char *root, const char *id, const struct checkpoint_state *s,
                    checkpoint_get *get, void *of, struct buf *err)
{
    if (make_dirs(root, err))
        return -1;
    char *state = xasprintf("%s/%s.state", root, id), *before = xasprintf("%s.before", state),
         *tmp = xasprintf("%s.tmp", state);
    int rc = write_state(tmp, s, get, of, err);
    if (rc == 0 && rename(state, before) != 0 && errno != ENOENT)
        rc = fail(err, "%s: %s", before, strerror(errno));
    if (rc == 0 && rename(tmp, state) != 0)
        rc = fail(err, "%s: %s", state, strerror(errno));
    if (rc)
        unlink(tmp);
    else
        rc = checkpoint_folder_sync(root, err);
    free(state);
    free(before);
    free(tmp);
    return rc;
}

/* ---- reading ---- */

enum found { NOTHING, WHOLE, DAMAGED, FAILED };

/* Has what stands before the file's last bytes the sum that they say? -1: it cannot be read. */
static int has_its_sum(FILE *f, bool *has)
{
    char *chunk = xmalloc(CHUNK), want[SUM + 1], sum[SUM];
    if (fseeko(f, 0, SEEK_END) != 0)
        BUG("a file that was opened has no end");
    off_t left = ftello(f) - SUM;
    struct hash *h = hash_new();
    rewind(f);
    while (left > 0) {
        size_t n = fread(chunk, 1, left < CHUNK ? (size_t)left : CHUNK, f);
        if (n == 0)
            break;
        hash_add(h, chunk, n);
        left -= (off_t)n;
    }
    hash_hex(h, want);
    *has = left == 0 && fread(sum, 1, SUM, f) == SUM && memcmp(sum, want, SUM) == 0;
    hash_free(h);
    free(chunk);
    const int rc = ferror(f) ? -1 : 0;
    rewind(f);
    return rc;
}

/* NULL: it is one that goes on; else what is wrong. `s` gets all but the trainer's bytes. */
static const char *read_header(FILE *f, struct checkpoint_state *s, bool *other_version)
{
    struct header h;
    if (fread(&h, sizeof(h), 1, f) != 1 || memcmp(h.magic, magic, sizeof(magic)) != 0)
        return "it is no state that this program knows";
    *other_version = h.version != VERSION;
    if (*other_version || h.bytes != s->bytes || h.nextra != s->nextra)
        return "it is of a model of another size";
    s->step = h.step;
    s->tokens = h.tokens;
    return NULL;
}

/* What comes behind the header of a file that has its sum. */
static int read_rest(FILE *f, const char *path, struct checkpoint_state *s, checkpoint_put *put,
                     void *of, struct buf *err)
{
    char *chunk = xmalloc(CHUNK);
    int rc = 0;
    for (int64_t at = 0; at < s->bytes && rc == 0; at += CHUNK) {
        const int64_t n = s->bytes - at < CHUNK ? s->bytes - at : CHUNK;
        if (fread(chunk, 1, (size_t)n, f) != (size_t)n)
            rc = fail(err, "%s: %s", path, ferror(f) ? strerror(errno) : "it became shorter");
        else
            rc = put(of, at, n, chunk, err);
    }
    free(chunk);
    s->extra = xcalloc((size_t)s->nextra, sizeof(*s->extra));
    if (rc == 0 && fread(s->extra, sizeof(*s->extra), (size_t)s->nextra, f) != (size_t)s->nextra)
        rc = fail(err, "%s: %s", path, ferror(f) ? strerror(errno) : "it became shorter");
    return rc ? -1 : 0;
}

/* The file's state into `s` and the trainer, or why it is DAMAGED, or what FAILED. */
static enum found read_opened(FILE *f, const char *path, struct checkpoint_state *s,
                              checkpoint_put *put, void *of, const char **wrong, struct buf *err)
{
    bool whole, other_version = false;
    if (has_its_sum(f, &whole)) {
        fail(err, "%s: %s", path, strerror(errno));
        return FAILED;
    }
    *wrong = whole ? read_header(f, s, &other_version) : "its bytes have another sum";
    if (other_version) {
        fail(err,
             "%s: another version of this program wrote it, and states of other versions are not "
             "read: end the training with that one, or remove this file to begin anew",
             path);
        return FAILED;
    }
    if (*wrong)
        return DAMAGED;
    if (read_rest(f, path, s, put, of, err) == 0)
        return WHOLE;
    checkpoint_state_release(s);
    return FAILED;
}

static enum found read_state(const char *path, struct checkpoint_state *s, checkpoint_put *put,
                             void *of, const char **wrong, struct buf *err)
{
    FILE *f = fopen(path, "rb");
    if (!f && errno == ENOENT)
        return NOTHING;
    if (!f) {
        fail(err, "%s: %s", path, strerror(errno));
        return FAILED;
    }
    enum found found = read_opened(f, path, s, put, of, wrong, err);
    fclose(f);
    return found;
}

/* What cannot be used is kept under another name, for who wants to look at it. */
static int put_aside(const char *path, const char *wrong, struct buf *err)
{
    char *aside = xasprintf("%s.damaged", path);
    int rc = 0;
    if (rename(path, aside) != 0)
        rc = fail(err, "%s: %s", path, strerror(errno));
    else
        warning("%s is not used, %s; it is now called %s", path, wrong, aside);
    free(aside);
    return rc;
}

int checkpoint_load(const char *root, const char *id, struct checkpoint_state *s,
                    checkpoint_put *put, void *of, bool *found, struct buf *err)
{
    static const char *const names[] = { "state", "state.before" };
    int rc = 0;
    *found = false;
    for (size_t i = 0; i < ARRAY_LEN(names) && !*found && rc == 0; i++) {
        char *path = xasprintf("%s/%s.%s", root, id, names[i]);
        const char *wrong = NULL;
        enum found what = read_state(path, s, put, of, &wrong, err);
        *found = what == WHOLE;
        if (what == FAILED)
            rc = -1;
        else if (what == DAMAGED)
            rc = put_aside(path, wrong, err);
        free(path);
    }
    return rc;
}
