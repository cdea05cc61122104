/*
 * lessons_read.c: data made into lessons; see lessons.h. First all documents are made into tokens,
 * one behind the other in one block; then it is decided which are held out, and the lessons are cut:
 * a lesson is a place in the block.
 */
#include "recipe/lesson_data.h"
#include "text/tokenizer.h"
#include "train/held_out.h"
#include "train/lessons.h"
#include "training.h"

#include <string.h>

struct text_ids {
    size_t start, tokens; /* in the block */
    size_t prompt;        /* tokens of the prompt; of a whole text 0 */
    int source;
};

struct reading {
    const struct lesson_data *data;
    struct tokenizer *tokenizer;
    int32_t eos;
    const struct training *how;
    struct lessons *out;
    struct ids ids;
    struct text_ids *v;
    size_t len, cap;
    struct held_out held; /* [len] */
    int source;           /* of the last document: the next one's as a rule */
};

static int find_source(struct reading *r, const char *name)
{
    const struct lesson_source *v = r->out->sources;
    if (strcmp(v[r->source].name, name) == 0)
        return r->source;
    for (size_t i = 0; i < r->out->nsources; i++)
        if (strcmp(v[i].name, name) == 0)
            return r->source = (int)i;
    BUG("a source '%s' that lesson_data_check() did not see", name);
}

/* `goes_on`: from the prompt. */
static int encode(struct reading *r, const struct buf *text, bool goes_on, const char *where,
                  struct buf *err)
{
    int rc = goes_on ? tokenizer_encode_more(r->tokenizer, text->s, text->len, &r->ids, err)
                     : tokenizer_encode(r->tokenizer, text->s, text->len, &r->ids, err);
    return rc == 0 ? 0 : fail(err, "%s: %s", where, err->s);
}

/* Is there something to learn, and room for it? `fits` false: it is left out. */
static int check_document(const struct reading *r, const struct text_ids *t, const char *where,
                          bool *fits, struct buf *err)
{
    *fits = true;
    size_t end = r->eos >= 0, length = (size_t)r->how->length;
    if (lesson_data_is_text(r->data))
        return t->tokens >= 2 ? 0
                              : fail(err, "%s: a text of %zu token; a loss needs at least two",
                                     where, t->tokens);
    if (t->prompt == 0)
        return fail(err, "%s: the prompt has no token", where);
    if (t->tokens == t->prompt + end)
        return fail(err, "%s: the completion has no token", where);
    *fits = t->tokens <= length;
    if (*fits || r->data->too_long == TOO_LONG_SKIP)
        return 0;
    return fail(err,
                "%s: %zu tokens of prompt, completion and end are more than length = %zu; say a "
                "larger length, or too_long = \"skip\" beside the data, which leaves such out",
                where, t->tokens, length);
}

static int read_document(void *ud, const struct lesson_text *text, struct buf *err)
{
    struct reading *r = ud;
    struct text_ids t = { .start = r->ids.len, .source = find_source(r, text->source) };
    if (encode(r, text->prompt, false, text->where, err) != 0)
        return -1;
    t.prompt = r->ids.len - t.start;
    if (encode(r, text->completion, t.prompt > 0, text->where, err) != 0)
        return -1;
    if (r->eos >= 0)
        ids_push(&r->ids, r->eos);
    t.tokens = r->ids.len - t.start;
    bool fits;
    if (check_document(r, &t, text->where, &fits, err) != 0)
        return -1;
    if (!fits) {
        r->ids.len = t.start;
        r->out->skipped++;
        return 0;
    }
    held_out_add(&r->held, text, t.source);
    ARRAY_GROW(r->v, r->cap, r->len + 1);
    r->v[r->len++] = t;
    return 0;
}

static void add_lesson(struct lessons *out, struct lesson l, bool held)
{
    struct lesson_source *s = &out->sources[l.source];
    if (held) {
        ARRAY_GROW(out->held, out->held_cap, out->nheld + 1);
        out->held[out->nheld++] = l;
        s->held++;
        return;
    }
    ARRAY_GROW(out->v, out->cap, out->len + 1);
    out->v[out->len++] = l;
    s->lessons++;
    s->tokens += l.tokens;
    out->tokens += l.tokens;
}

/* A window begins with the last token of the one before: none of fewer than 2 tokens is left. */
static void cut(const struct reading *r, const struct text_ids *t, bool held)
{
    size_t length = (size_t)r->how->length, prompt = t->prompt;
    int from = prompt && r->how->loss_on == LOSS_COMPLETION ? (int)prompt : 1;
    for (size_t at = 0; at + 1 < t->tokens; at += length - 1) {
        size_t left = t->tokens - at;
        struct lesson l = { .ids = r->ids.v + t->start + at,
                            .tokens = (int)(left < length ? left : length),
                            .loss_from = from,
                            .source = t->source };
        add_lesson(r->out, l, held);
    }
}

static void hash_lessons(struct hash *h, const struct lesson *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const int facts[] = { v[i].source, v[i].tokens, v[i].loss_from };
        hash_add(h, facts, sizeof(facts));
        hash_add(h, v[i].ids, (size_t)v[i].tokens * sizeof(*v[i].ids));
    }
}

static void hash_all(struct lessons *l)
{
    struct hash *h = hash_new();
    for (size_t i = 0; i < l->nsources; i++) {
        hash_adds(h, l->sources[i].name);
        hash_add(h, &l->sources[i].weight, sizeof(l->sources[i].weight));
    }
    const uint64_t counts[] = { l->nsources, l->len, l->nheld };
    hash_add(h, counts, sizeof(counts));
    hash_lessons(h, l->v, l->len);
    hash_lessons(h, l->held, l->nheld);
    hash_hex(h, l->hash);
    hash_free(h);
}

/* Is there a lesson that will ever come? */
static int check_lessons(const struct reading *r, struct buf *err)
{
    struct buf label = BUF_INIT;
    lesson_data_label(r->data, &label);
    int rc = 0;
    if (r->out->len > INT32_MAX)
        rc = fail(err, "%s: more than %d lessons", label.s, INT32_MAX);
    else if (r->len == 0)
        rc = fail(err,
                  "%s: all of its %zu documents are longer than length = %d, and none is left to "
                  "train on",
                  label.s, r->out->skipped, r->how->length);
    else if (lessons_per_epoch(r->out) <= 0)
        rc =
            fail(err, "%s: what is not held out has the weight 0 or is too long: no lesson is left",
                 label.s);
    else if (r->out->skipped)
        warning("%s: %zu of %zu documents are longer than length = %d and left out", label.s,
                r->out->skipped, r->out->skipped + r->len, r->how->length);
    buf_release(&label);
    return rc;
}

static void copy_sources(const struct lesson_data *d, struct lessons *out)
{
    out->sources = xcalloc(d->nsources, sizeof(*out->sources));
    out->nsources = d->nsources;
    for (size_t i = 0; i < d->nsources; i++)
        out->sources[i] = (struct lesson_source){ .name = xstrdup(d->sources[i].name),
                                                  .weight = d->sources[i].weight };
}

static int check_length(const struct training *how, int context, struct buf *err)
{
    if (how->length < 2)
        return fail(err, "length = %d; a loss needs at least two tokens", how->length);
    if (how->length > context)
        return fail(err, "length = %d is more than the model's %d positions", how->length, context);
    return 0;
}

int lessons_read(const struct lesson_data *d, struct tokenizer *t, int32_t eos,
                 const struct training *how, int context, struct lessons *out, struct buf *err)
{
    *out = (struct lessons){ 0 };
    if (d->nsources == 0)
        BUG("data that were not checked");
    if (check_length(how, context, err) != 0)
        return -1;
    copy_sources(d, out);
    struct reading r = { .data = d, .tokenizer = t, .eos = eos, .how = how, .out = out };
    int rc = lesson_data_each(d, read_document, &r, err);
    if (rc == 0) {
        held_out_choose(&r.held, d->held_out, d->nsources);
        for (size_t i = 0; i < r.len; i++)
            cut(&r, &r.v[i], r.held.v[i].held);
        rc = check_lessons(&r, err);
    }
    out->memory = r.ids.v;
    free(r.v);
    held_out_release(&r.held);
    if (rc == 0)
        hash_all(out);
    return rc;
}
