/*
 * checkpoint_state.c: see checkpoint.h. A state is one file: a header, the three runs, the extra
 * numbers, and behind them the sum of all that stands before. Numbers are as the machine has them.
 *
 * ID.state.tmp is written and flushed, ID.state becomes ID.state.before, ID.state.tmp becomes
 * ID.state. Between any two of these steps one whole state has its name. A damaged ID.state gets out
 * of the way when it is met, so that it never takes the place of a good ID.state.before.
 */
#include "train/checkpoint.h"

#include "train/checkpoint_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, SUM = 32 };

struct header {
    char magic[16];
    int64_t version;
    int64_t step, tokens, count, nextra;
};

static const char magic[16] = "seqtopk state";

void checkpoint_state_release(struct checkpoint_state *s)
{
    for (size_t i = 0; i < ARRAY_LEN(s->runs); i++)
        free(s->runs[i]);
    free(s->extra);
    memset(s, 0, sizeof(*s));
}

static int write_state(const char *path, const struct checkpoint_state *s, struct buf *err)
{
    struct checkpoint_file f;
    struct header h = { .version = VERSION,
                        .step = s->step,
                        .tokens = s->tokens,
                        .count = s->count,
                        .nextra = s->nextra };
    char sum[SUM + 1];
    if (checkpoint_file_open(&f, path, err))
        return -1;
    memcpy(h.magic, magic, sizeof(magic));
    checkpoint_file_write(&f, &h, sizeof(h));
    for (size_t i = 0; i < ARRAY_LEN(s->runs); i++)
        checkpoint_file_write(&f, s->runs[i], (size_t)s->count * sizeof(*s->runs[i]));
    checkpoint_file_write(&f, s->extra, (size_t)s->nextra * sizeof(*s->extra));
    hash_hex(f.hash, sum);
    checkpoint_file_write(&f, sum, SUM);
    return checkpoint_file_close(&f, err);
}

int checkpoint_save(const char *root, const char *id, const struct checkpoint_state *s,
                    struct buf *err)
{
    if (make_dirs(root, err))
        return -1;
    char *state = xasprintf("%s/%s.state", root, id), *before = xasprintf("%s.before", state),
         *tmp = xasprintf("%s.tmp", state);
    int rc = write_state(tmp, s, err);
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

/* Reads `len` bytes, which go into the sum; false where the file ends before. */
static bool get(FILE *f, struct hash *h, void *data, size_t len)
{
    if (len && fread(data, 1, len, f) != len)
        return false;
    hash_add(h, data, len);
    return true;
}

/* NULL: it is whole; else what is wrong with it. */
static const char *read_parts(FILE *f, struct hash *hash, int64_t count, int64_t nextra,
                              struct checkpoint_state *out)
{
    struct header h;
    char want[SUM + 1], sum[SUM];
    if (!get(f, hash, &h, sizeof(h)))
        return "it is cut short";
    if (memcmp(h.magic, magic, sizeof(magic)) != 0 || h.version != VERSION)
        return "it is no state that this program knows";
    if (h.count != count || h.nextra != nextra)
        return "it is of a model of another size";
    out->step = h.step;
    out->tokens = h.tokens;
    out->count = count;
    out->nextra = nextra;
    out->extra = xcalloc((size_t)nextra, sizeof(*out->extra));
    for (size_t i = 0; i < ARRAY_LEN(out->runs); i++) {
        out->runs[i] = xmalloc((size_t)count * sizeof(*out->runs[i]));
        if (!get(f, hash, out->runs[i], (size_t)count * sizeof(*out->runs[i])))
            return "it is cut short";
    }
    if (!get(f, hash, out->extra, (size_t)nextra * sizeof(*out->extra)))
        return "it is cut short";
    hash_hex(hash, want);
    if (fread(sum, 1, SUM, f) != SUM)
        return "it is cut short";
    return memcmp(sum, want, SUM) == 0 && fgetc(f) == EOF ? NULL : "its bytes have another sum";
}

static enum found read_state(const char *path, int64_t count, int64_t nextra,
                             struct checkpoint_state *out, const char **wrong, struct buf *err)
{
    FILE *f = fopen(path, "rb");
    memset(out, 0, sizeof(*out));
    if (!f && errno == ENOENT)
        return NOTHING;
    if (!f) {
        fail(err, "%s: %s", path, strerror(errno));
        return FAILED;
    }
    struct hash *h = hash_new();
    enum found found = WHOLE;
    *wrong = read_parts(f, h, count, nextra, out);
    if (ferror(f)) {
        fail(err, "%s: %s", path, strerror(errno));
        found = FAILED;
    } else if (*wrong) {
        found = DAMAGED;
    }
    if (found != WHOLE)
        checkpoint_state_release(out);
    hash_free(h);
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

int checkpoint_load(const char *root, const char *id, int64_t count, int64_t nextra, bool *found,
                    struct checkpoint_state *out, struct buf *err)
{
    static const char *const names[] = { "state", "state.before" };
    int rc = 0;
    *found = false;
    for (size_t i = 0; i < ARRAY_LEN(names) && !*found && rc == 0; i++) {
        char *path = xasprintf("%s/%s.%s", root, id, names[i]);
        const char *wrong = NULL;
        enum found what = read_state(path, count, nextra, out, &wrong, err);
        *found = what == WHOLE;
        if (what == FAILED)
            rc = -1;
        else if (what == DAMAGED)
            rc = put_aside(path, wrong, err);
        free(path);
    }
    return rc;
}
