/*
 * shots.c: see shots.h.
 */
#include "recipe/shots.h"
#include "recipe/data_file.h"
#include "recipe/python_random.h"

struct shots {
    const struct eval_shots *spec;
    struct strings texts; /* of all lines that may be drawn */
    struct python_random random;
    uint32_t *drawn; /* [count] */
    char hash[33];
};

static int add_text(void *ud, json_t *object, const char *where, struct buf *err)
{
    struct shots *s = ud;
    struct buf text = BUF_INIT;
    int rc = template_fill(s->spec->text, object, NULL, &text, err);
    if (rc == 0)
        strings_add(&s->texts, text.s);
    else
        fail(err, "%s: %s", where, err->s);
    buf_release(&text);
    return rc;
}

static int read_texts(struct shots *s, const char *path, struct buf *err)
{
    const struct eval_shots *spec = s->spec;
    struct data_file file;
    int rc = data_file_read(&file, path, spec->sha256, err);
    if (rc == 0)
        rc = data_file_each(&file, &spec->rows, spec->draw == SHOTS_FIRST ? spec->count : 0,
                            add_text, s, err);
    if (rc == 0 && s->texts.len < (size_t)spec->count)
        rc = fail(err, "%s: %zu lines to draw shots from, and %d are needed", path, s->texts.len,
                  spec->count);
    for (size_t i = 0; i < ARRAY_LEN(s->hash); i++)
        s->hash[i] = file.hash[i];
    data_file_release(&file);
    return rc;
}

struct shots *shots_open(const struct eval_shots *spec, const char *path, struct buf *err)
{
    struct shots *s = xcalloc(1, sizeof(*s));
    s->spec = spec;
    s->drawn = xcalloc((size_t)spec->count, sizeof(*s->drawn));
    for (int i = 0; i < spec->count; i++)
        s->drawn[i] = (uint32_t)i;
    if (spec->draw == SHOTS_PYTHON)
        python_random_init(&s->random, (uint32_t)spec->seed);
    if (read_texts(s, path, err) == 0)
        return s;
    shots_free(s);
    return NULL;
}

void shots_free(struct shots *s)
{
    if (!s)
        return;
    strings_release(&s->texts);
    free(s->drawn);
    free(s);
}

const char *shots_hash(const struct shots *s)
{
    return s->hash;
}

void shots_next(struct shots *s, struct buf *out)
{
    uint32_t count = (uint32_t)s->spec->count;
    if (s->spec->draw == SHOTS_PYTHON)
        python_random_sample(&s->random, (uint32_t)s->texts.len, count, s->drawn);
    for (uint32_t i = 0; i < count; i++)
        buf_adds(out, s->texts.v[s->drawn[i]]);
}
