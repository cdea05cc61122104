/*
 * measure.c: see measure.h.
 */
#include "score/measure.h"
#include "score/regex.h"
#include "text/unicode.h"

#include <math.h>
#include <string.h>

const struct scorer *const scorers[] = { &scorer_exact,    &scorer_rouge_l,
                                         &scorer_chrf,     &scorer_program,
                                         &scorer_judge,    &scorer_repetition,
                                         &scorer_distinct, NULL };

const struct scorer *scorer_find(const char *name)
{
    for (const struct scorer *const *s = scorers; *s; s++)
        if (strcmp((*s)->name, name) == 0)
            return *s;
    return NULL;
}

/* What a scorer may need: a text that is there, or a number above 0. */
static const struct {
    const char *name;
    size_t offset;
    bool number;
} needed[] = {
    { "find", offsetof(struct measure, find), false },
    { "reference", offsetof(struct measure, reference), false },
    { "program", offsetof(struct measure, program), false },
    { "milliseconds", offsetof(struct measure, milliseconds), true },
    { "system", offsetof(struct measure, system), false },
    { "user", offsetof(struct measure, user), false },
    { "parse", offsetof(struct measure, parse), false },
    { "out_of", offsetof(struct measure, out_of), true },
    { "max_tokens", offsetof(struct measure, max_tokens), true },
    { "ngram", offsetof(struct measure, ngram), true },
};

static bool has(const struct measure *m, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        const char *at = (const char *)m + needed[i].offset;
        if (strcmp(needed[i].name, name) != 0)
            continue;
        return needed[i].number ? *(const int *)at > 0 : *(char *const *)at != NULL;
    }
    BUG("scorer %s needs '%s', which a measure has not", m->scorer->name, name);
}

static int compile(const char *key, const char *pattern, struct regex **out, struct buf *err)
{
    *out = regex_new(pattern, err);
    return *out ? 0 : fail(err, "`%s`: %s", key, err->s);
}

static int compile_rewrites(const char *key, struct rewrites *r, struct buf *err)
{
    for (size_t i = 0; i < r->len; i++) {
        struct rewrite *w = &r->v[i];
        if (compile(key, w->find, &w->regex, err) != 0)
            return -1;
        if (regex_check_with(w->regex, w->with, err) != 0)
            return fail(err, "`%s`: %s", key, err->s);
    }
    return 0;
}

int measure_prepare(struct measure *m, struct buf *err)
{
    if (!m->scorer)
        BUG("a measure without a scorer");
    for (const char *const *need = m->scorer->needs; *need; need++)
        if (!has(m, *need))
            return fail(err, "%s needs `%s`", m->scorer->name, *need);
    if (compile_rewrites("before", &m->before, err) != 0 ||
        compile_rewrites("normalise", &m->normalise, err) != 0)
        return -1;
    if (m->find && compile("find", m->find, &m->find_regex, err) != 0)
        return -1;
    if (m->parse && compile("parse", m->parse, &m->parse_regex, err) != 0)
        return -1;
    if (m->parse && regex_groups(m->parse_regex) < 1)
        return fail(err, "`parse`: \"%s\" has no group; the score is what group 1 matches",
                    m->parse);
    return 0;
}

static void rewrites_release(struct rewrites *r)
{
    for (size_t i = 0; i < r->len; i++) {
        free(r->v[i].find);
        free(r->v[i].with);
        regex_free(r->v[i].regex);
    }
    free(r->v);
}

void measure_release(struct measure *m)
{
    rewrites_release(&m->before);
    rewrites_release(&m->normalise);
    regex_free(m->find_regex);
    regex_free(m->parse_regex);
    for (size_t i = 0; i < m->ngolden; i++) {
        free(m->golden[i].output);
        free(m->golden[i].found);
    }
    free(m->golden);
    free(m->name);
    free(m->find);
    free(m->reference);
    free(m->program);
    free(m->system);
    free(m->user);
    free(m->parse);
    *m = (struct measure){ 0 };
}

int rewrites_apply(const struct rewrites *r, struct buf *text, struct buf *err)
{
    struct buf next = BUF_INIT;
    int rc = 0;
    for (size_t i = 0; i < r->len && rc == 0; i++) {
        const struct rewrite *w = &r->v[i];
        buf_reset(&next);
        rc = regex_replace(w->regex, text->s, text->len, w->with, &next, err);
        if (rc == 0) {
            struct buf swap = *text;
            *text = next;
            next = swap;
        }
    }
    buf_release(&next);
    return rc;
}

/* Takes white space away at both ends of what is behind `from`. */
static void strip(struct buf *text, size_t from)
{
    size_t start = unicode_spaces_at_start(text->s + from, text->len - from);
    size_t left = text->len - from - start;
    left -= unicode_spaces_at_end(text->s + from + start, left);
    memmove(text->s + from, text->s + from + start, left);
    text->len = from + left;
    if (text->cap)
        text->s[text->len] = '\0';
}

int measure_find(const struct measure *m, const char *output, struct buf *found, struct buf *err)
{
    struct buf text = BUF_INIT;
    const size_t before = found->len;
    utf8_clean(output, strlen(output), &text);
    int rc = rewrites_apply(&m->before, &text, err) == 0 ? 1 : -1;
    if (rc == 1 && m->find)
        rc = regex_find(m->find_regex, text.s, text.len, m->take == TAKE_LAST, found, err);
    if (rc == 1 ? !m->find : rc == 0 && m->otherwise == OTHERWISE_WHOLE) {
        buf_add(found, text.s, text.len);
        rc = rc == 1 ? 1 : 2;
    }
    if (rc > 0 && m->strip)
        strip(found, before);
    buf_release(&text);
    return rc;
}

static bool has_tool(const struct measure *m, const struct tools *tools)
{
    return (!m->scorer->runs_code || (tools && tools->sandbox)) &&
           (!m->scorer->asks_judge || (tools && tools->judge)) &&
           (!m->scorer->reads_tokens || (tools && tools->written));
}

static int score_one(const struct measure *m, const struct tools *tools, const json_t *doc,
                     const char *output, struct verdict *v, struct buf *err)
{
    struct buf found = BUF_INIT, why = BUF_INIT;
    int rc = measure_find(m, output, &found, &why);
    if (rc < 0)
        v->failure = buf_detach(&why);
    if (rc == 0)
        v->score = 0;
    v->none = rc == 0 || rc == 2;
    if (rc > 0)
        v->found = buf_detach(&found);
    buf_release(&found);
    buf_release(&why);
    if (rc <= 0)
        return 0;
    if (m->scorer->score(m, tools, doc, v, err) == 0)
        return 0;
    return fail(err, "%s: %s", m->name, err->s);
}

int measures_score(const struct measure *measures, size_t n, const struct tools *tools,
                   const json_t *doc, const char *output, struct verdict *verdicts, struct buf *err)
{
    struct buf text = BUF_INIT;
    int rc = 0;
    for (size_t i = 0; i < n; i++)
        verdict_init(&verdicts[i]);
    utf8_clean(output, strlen(output), &text);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (has_tool(&measures[i], tools))
            rc = score_one(&measures[i], tools, doc, text.s, &verdicts[i], err);
    buf_release(&text);
    return rc;
}
