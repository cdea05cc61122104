/*
 * lesson_data.c: see lesson_data.h.
 */
#include "recipe/lesson_data.h"
#include "json.h"
#include "recipe/data_file.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SOURCES_MAX = 1000 };

static void forget_check(struct lesson_data *d)
{
    eval_free(d->eval);
    d->eval = NULL;
    strings_release(&d->paths);
    strings_release(&d->hashes);
    for (size_t i = 0; i < d->nsources; i++)
        free(d->sources[i].name);
    free(d->sources);
    d->sources = NULL;
    d->nsources = d->sources_cap = d->documents = 0;
}

void lesson_data_release(struct lesson_data *d)
{
    forget_check(d);
    for (size_t i = 0; i < d->nweights; i++)
        free(d->weights[i].source);
    free(d->weights);
    strings_release(&d->files);
    free(d->name);
    free(d->prompt);
    free(d->completion);
    free(d->text);
    free(d->source);
    *d = (struct lesson_data){ 0 };
}

bool lesson_data_is_text(const struct lesson_data *d)
{
    return d->text != NULL;
}

/* Fails with the place in the recipe; of a name that stands alone, that of the key it is given to. */
static int refuse(const struct lesson_data *d, const char *key, struct buf *err, const char *fmt,
                  ...) PRINTF(4, 5);
static int refuse(const struct lesson_data *d, const char *key, struct buf *err, const char *fmt,
                  ...)
{
    struct buf what = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&what, fmt, ap);
    va_end(ap);
    if (d->at.path)
        place_fail(&d->at, d->key ? d->key : key, err, "%s", what.s);
    else
        fail(err, "%s", what.s);
    buf_release(&what);
    return -1;
}

/* Looks beside the recipe, in the current folder, and where data are. */
static int find_file(struct lesson_data *d, const char *file, struct buf *err)
{
    const char *slash = d->at.path ? strrchr(d->at.path, '/') : NULL;
    struct strings places = { 0 };
    if (slash && file[0] != '/')
        strings_addf(&places, "%.*s/%s", (int)(slash - d->at.path), d->at.path, file);
    strings_add(&places, file);
    if (file[0] != '/')
        strings_addf(&places, "%s/%s", eval_data_dir(), file);
    size_t found = 0;
    struct buf others = BUF_INIT;
    for (; found < places.len && access(places.v[found], F_OK) != 0; found++)
        if (strcmp(places.v[found], file) != 0)
            buf_addf(&others, "%s%s", others.len ? " or " : ", nor is there ", places.v[found]);
    int rc = 0;
    if (found < places.len)
        strings_add(&d->paths, places.v[found]);
    else
        rc = refuse(d, "file", err, "%s: no such file%s", file, others.s);
    buf_release(&others);
    strings_release(&places);
    return rc;
}

/* The eval whose training set "gsm8k/train" is. */
static int find_eval(struct lesson_data *d, struct buf *err)
{
    const char *slash = strchr(d->name, '/');
    if (!slash || strcmp(slash, "/train") != 0)
        return refuse(d, NULL, err,
                      "'%.80s' is no training set; its name is TASK/train, such as gsm8k/train",
                      d->name);
    char *first = xstrndup(d->name, (size_t)(slash - d->name));
    d->eval = eval_open(first, err);
    free(first);
    if (!d->eval)
        return refuse(d, NULL, err, "%s", err->s);
    if (!d->eval->train.prompt)
        return refuse(d, NULL, err, "%.80s: there is no `train` in %s", d->name, d->eval->path);
    return 0;
}

/* A walk over the documents. */
struct walk {
    const struct lesson_data *d;
    int (*use)(void *ud, const struct lesson_text *text, struct buf *err);
    void *ud;
    struct buf prompt, completion;
    size_t used;
};

static bool is_blank(const struct buf *b)
{
    size_t i = 0;
    while (i < b->len && isspace((unsigned char)b->s[i]))
        i++;
    return i == b->len;
}

static int fill(const char *template, const json_t *object, const char *where, struct buf *out,
                struct buf *err)
{
    if (template_fill(template, object, NULL, out, err) == 0)
        return 0;
    return fail(err, "%s: %s", where, err->s);
}

/* The line's texts into the walk's buffers. */
static int read_texts(struct walk *w, const json_t *object, const char *where, struct buf *err)
{
    const struct lesson_data *d = w->d;
    buf_reset(&w->prompt);
    buf_reset(&w->completion);
    if (d->text) {
        const char *text;
        struct json_in in = { object, where, err };
        if (json_need_string(&in, d->text, &text) != 0)
            return -1;
        if (!*text)
            return fail(err, "%s: '%s' is an empty text", where, d->text);
        buf_adds(&w->completion, text);
        return 0;
    }
    if (fill(d->eval ? d->eval->train.prompt : d->prompt, object, where, &w->prompt, err) != 0 ||
        fill(d->eval ? d->eval->train.completion : d->completion, object, where, &w->completion,
             err) != 0)
        return -1;
    if (!w->prompt.len)
        return fail(err, "%s: an empty prompt", where);
    if (is_blank(&w->completion))
        return fail(err, "%s: an empty completion: there is nothing to learn in it", where);
    return 0;
}

static int walk_line(void *ud, json_t *object, const char *where, struct buf *err)
{
    struct walk *w = ud;
    struct lesson_text text = { &w->prompt, &w->completion, "", where };
    struct json_in in = { object, where, err };
    if (read_texts(w, object, where, err) != 0 ||
        (w->d->source && json_need_string(&in, w->d->source, &text.source) != 0))
        return -1;
    w->used++;
    return w->use(w->ud, &text, err);
}

static size_t count_files(const struct lesson_data *d)
{
    return d->eval ? 1 : d->paths.len;
}

/* Reads file `i`; its path is borrowed from the data. */
static int read_file_of(const struct lesson_data *d, size_t i, struct data_file *f, struct buf *err)
{
    return d->eval ? data_file_of_eval(f, d->eval, true, err)
                   : data_file_read(f, d->paths.v[i], NULL, err);
}

/* Walks over the files; `hashes` gets those of what was read, or they must be d->hashes (NULL). */
static int walk_files(struct walk *w, struct strings *hashes, struct buf *err)
{
    static const struct eval_rows all;
    const struct lesson_data *d = w->d;
    const struct eval_rows *rows = d->eval ? &d->eval->train.rows : &all;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count_files(d); i++) {
        if (d->limit && w->used == (size_t)d->limit)
            break;
        struct data_file file;
        rc = read_file_of(d, i, &file, err);
        if (rc == 0 && hashes)
            strings_add(hashes, file.hash);
        else if (rc == 0 && (i >= d->hashes.len || strcmp(file.hash, d->hashes.v[i]) != 0))
            rc = fail(err, "%s: was changed since it was checked", file.path);
        if (rc == 0)
            rc = data_file_each(&file, rows, d->limit ? d->limit - (int)w->used : 0, walk_line, w,
                                err);
        data_file_release(&file);
    }
    buf_release(&w->prompt);
    buf_release(&w->completion);
    return rc;
}

int lesson_data_each(const struct lesson_data *d,
                     int (*use)(void *ud, const struct lesson_text *text, struct buf *err),
                     void *ud, struct buf *err)
{
    struct walk w = { d, use, ud, BUF_INIT, BUF_INIT, 0 };
    return walk_files(&w, NULL, err);
}

static double weight_of(const struct lesson_data *d, const char *source)
{
    for (size_t i = 0; i < d->nweights; i++)
        if (strcmp(d->weights[i].source, source) == 0)
            return d->weights[i].weight;
    return 1;
}

/* Counts a document for its source. */
static int count_document(void *ud, const struct lesson_text *text, struct buf *err)
{
    struct lesson_data *d = ud;
    size_t i = 0;
    while (i < d->nsources && strcmp(d->sources[i].name, text->source) != 0)
        i++;
    if (i == SOURCES_MAX)
        return fail(err, "%s: more than %d sources are named by '%s'; it may be another field",
                    text->where, SOURCES_MAX, d->source);
    if (i == d->nsources) {
        ARRAY_GROW(d->sources, d->sources_cap, d->nsources + 1);
        d->sources[d->nsources++] =
            (struct lesson_data_source){ .name = xstrdup(text->source),
                                         .weight = weight_of(d, text->source) };
    }
    d->sources[i].documents++;
    d->documents++;
    return 0;
}

static bool has_source(const struct lesson_data *d, const char *name)
{
    for (size_t i = 0; i < d->nsources; i++)
        if (strcmp(d->sources[i].name, name) == 0)
            return true;
    return false;
}

/* Has each weight its source, and is there something to train on? */
static int check_weights(const struct lesson_data *d, struct buf *err)
{
    const char *unknown = NULL;
    bool some = false;
    for (size_t i = 0; !unknown && i < d->nweights; i++)
        if (!has_source(d, d->weights[i].source))
            unknown = d->weights[i].source;
    for (size_t i = 0; i < d->nsources; i++)
        some |= d->sources[i].weight > 0;
    if (some && !unknown)
        return 0;
    if (!unknown)
        return refuse(d, "weights", err, "every source has the weight 0: nothing is trained on");
    struct buf known = BUF_INIT;
    for (size_t i = 0; i < d->nsources && i < 20; i++)
        buf_addf(&known, "%s'%s'", i ? ", " : "", d->sources[i].name);
    int rc = refuse(d, "weights", err, "no document is of the source '%.80s'; sources are %s%s",
                    unknown, known.s, d->nsources > 20 ? ", ..." : "");
    buf_release(&known);
    return rc;
}

int lesson_data_check(struct lesson_data *d, struct buf *err)
{
    forget_check(d);
    if (d->name && find_eval(d, err) != 0)
        return -1;
    for (size_t i = 0; i < d->files.len; i++)
        if (find_file(d, d->files.v[i], err) != 0)
            return -1;
    struct walk w = { d, count_document, d, BUF_INIT, BUF_INIT, 0 };
    return walk_files(&w, &d->hashes, err) == 0 ? check_weights(d, err) : -1;
}

/* A text that may be missing: NULL is not the same as "". */
static void hash_text(struct hash *h, const char *s)
{
    hash_adds(h, s ? "text" : "none");
    hash_adds(h, s ? s : "");
}

static void hash_number(struct hash *h, const char *word, double value)
{
    char text[64];
    snprintf(text, sizeof(text), "%s %.17g", word, value);
    hash_adds(h, text);
}

void lesson_data_hash(struct hash *h, const struct lesson_data *d)
{
    const struct eval_train *e = d->eval ? &d->eval->train : NULL;
    hash_adds(h, "lesson data");
    hash_number(h, "files", (double)d->hashes.len);
    for (size_t i = 0; i < d->hashes.len; i++)
        hash_adds(h, d->hashes.v[i]);
    hash_number(h, "documents", (double)d->documents);
    hash_text(h, e ? e->rows.field : NULL);
    hash_number(h, "from", e ? e->rows.from : 0);
    hash_number(h, "to", e ? e->rows.to : 0);
    hash_text(h, e ? e->prompt : d->prompt);
    hash_text(h, e ? e->completion : d->completion);
    hash_text(h, d->text);
    hash_text(h, d->source);
    for (size_t i = 0; i < d->nsources; i++) {
        hash_adds(h, d->sources[i].name);
        hash_number(h, "weight", d->sources[i].weight);
    }
    hash_number(h, "held_out", d->held_out);
    hash_number(h, "too_long", d->too_long);
}

void lesson_data_label(const struct lesson_data *d, struct buf *out)
{
    const char *file = d->files.len ? d->files.v[0] : "", *base = strrchr(file, '/');
    buf_adds(out, d->name ? d->name : base ? base + 1 : file);
    if (d->files.len > 1)
        buf_addf(out, " and %zu more", d->files.len - 1);
    if (d->limit)
        buf_addf(out, " limit=%d", d->limit);
    if (d->held_out > 0)
        buf_addf(out, " held_out=%.10g", d->held_out);
    for (size_t i = 0; i < d->nweights; i++)
        buf_addf(out, " %s=%.10g", d->weights[i].source, d->weights[i].weight);
    if (d->too_long == TOO_LONG_SKIP)
        buf_adds(out, " too_long=skip");
}
