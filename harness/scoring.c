/*
 * scoring.c: see scoring.h.
 */
#include "scoring.h"
#include "json.h"

#include <math.h>
#include <string.h>

/* The verdict that an earlier scoring left on a measure; NULL: none, or one that is to be had anew. */
static json_t *kept_verdict(const struct scoring *s, const struct measure *m)
{
    struct buf name = BUF_INIT;
    measure_metric(m, s->tools, &name);
    json_t *v = json_object_get(s->kept, name.s);
    buf_release(&name);
    return json_object_get(v, "again") ? NULL : v;
}

/* Puts the verdicts that were kept among the new ones, in the order of the measures. */
static void join_kept(struct scoring *s)
{
    const struct eval_form *form = s->task->form;
    json_t *scored = json_loads(s->extracted.s, 0, NULL), *all = json_object();
    struct buf name = BUF_INIT;
    for (size_t i = 0; i < form->nmeasures; i++) {
        json_t *kept = kept_verdict(s, &form->measures[i]);
        buf_reset(&name);
        measure_metric(&form->measures[i], s->tools, &name);
        json_t *v = kept ? kept : json_object_get(scored, name.s);
        if (v)
            json_object_set(all, name.s, v);
        if (kept && i == 0 && json_is_number(json_object_get(kept, "score")))
            s->score = json_number_value(json_object_get(kept, "score"));
    }
    char *text = json_dumps(all, 0);
    if (!text)
        die(1, "out of memory: no room for what was scored");
    buf_reset(&s->extracted);
    buf_adds(&s->extracted, text);
    free(text);
    json_decref(all);
    json_decref(scored);
    buf_release(&name);
}

static int score(struct job *job, struct buf *err)
{
    struct scoring *s = (struct scoring *)job;
    const struct eval_form *form = s->task->form;
    struct verdict *verdicts = xcalloc(form->nmeasures, sizeof(*verdicts));
    int rc = 0;
    for (size_t i = 0; i < form->nmeasures; i++)
        verdict_init(&verdicts[i]);
    for (size_t i = 0; i < form->nmeasures && rc == 0; i++)
        if (!kept_verdict(s, &form->measures[i]))
            rc = measures_score(&form->measures[i], 1, s->tools, s->fields, s->output, &verdicts[i],
                                err);
    if (rc == 0) {
        s->score = verdicts[0].score;
        verdicts_json(form->measures, verdicts, form->nmeasures, s->tools, &s->extracted);
        if (s->kept)
            join_kept(s);
    }
    for (size_t i = 0; i < form->nmeasures; i++)
        verdict_release(&verdicts[i]);
    free(verdicts);
    return rc;
}

void scoring_init(struct scoring *s, const struct task *task, const json_t *fields,
                  const char *output, const struct tools *tools)
{
    *s = (struct scoring){ .job = { .work = score },
                           .task = task,
                           .fields = fields,
                           .output = output,
                           .tools = tools,
                           .score = NAN };
    buf_init(&s->job.err);
    buf_init(&s->extracted);
}

int scoring_keep(struct scoring *s, const char *extracted, struct buf *err)
{
    s->kept = json_parse(extracted, strlen(extracted), "extracted", 0, err);
    return s->kept ? 0 : -1;
}

void scoring_release(struct scoring *s)
{
    json_decref(s->kept);
    buf_release(&s->job.err);
    buf_release(&s->extracted);
}

int outcome_failure(const char *extracted, struct buf *why, struct buf *err)
{
    json_t *root = json_parse(extracted, strlen(extracted), "extracted", 0, err), *v;
    const char *measure;
    int failed = root ? 0 : -1;
    json_object_foreach (root, measure, v) {
        const char *failure = json_string_value(json_object_get(v, "failure"));
        if (!failed && failure && json_object_get(v, "again")) {
            buf_addf(why, "%s: %s", measure, failure);
            failed = 1;
        }
    }
    json_decref(root);
    return failed;
}

/* ---- metrics ---- */

static void add_value(struct outcomes *o, const char *measure, const char *behind, double y,
                      bool exact)
{
    char *name = xasprintf("%s%s", measure, behind);
    struct outcome_metric *m = NULL;
    for (size_t i = 0; i < o->len && !m; i++)
        if (strcmp(o->v[i].name, name) == 0)
            m = &o->v[i];
    if (!m) {
        ARRAY_GROW(o->v, o->cap, o->len + 1);
        m = &o->v[o->len++];
        *m = (struct outcome_metric){ .name = name, .exact = exact };
    } else {
        free(name);
    }
    ARRAY_GROW(m->y, m->cap, m->n + 1);
    m->y[m->n++] = y;
}

static void add_verdict(struct outcomes *o, const char *measure, const json_t *v, bool *looked)
{
    const size_t before = o->len;
    const json_t *value = json_object_get(v, "score"), *found = json_object_get(v, "found");
    if (json_is_number(value))
        add_value(o, measure, "", json_number_value(value), false);
    if (o->len > before)
        o->v[before].median = json_is_true(json_object_get(v, "median"));
    if (json_object_get(v, "reply"))
        add_value(o, measure, "_unparsed", json_is_true(json_object_get(v, "unparsed")), false);
    if (json_object_get(v, "failure"))
        add_value(o, measure, "_failed", 1, true);
    if (!found)
        return;
    bool none = json_is_null(found) || json_is_true(json_object_get(v, "none"));
    add_value(o, measure, "_no_answer", none, false);
    if (!*looked)
        add_value(o, "no_answer", "", none, false);
    *looked = true;
}

int outcomes_add(struct outcomes *o, double score, const char *extracted, struct buf *err)
{
    json_t *root = json_parse(extracted, strlen(extracted), "extracted", 0, err), *v;
    const char *measure;
    bool looked = false;
    if (!root)
        return -1;
    if (!isnan(score))
        add_value(o, "score", "", score, false);
    json_object_foreach (root, measure, v)
        add_verdict(o, measure, v, &looked);
    json_decref(root);
    return 0;
}

struct estimate outcomes_estimate(const struct outcome_metric *m)
{
    if (m->exact)
        return (struct estimate){ (double)m->n, NAN, (int64_t)m->n };
    if (m->median)
        return median_of(m->y, m->n);
    return mean_of(m->y, m->n);
}

void outcomes_release(struct outcomes *o)
{
    for (size_t i = 0; i < o->len; i++) {
        free(o->v[i].name);
        free(o->v[i].y);
    }
    free(o->v);
    *o = (struct outcomes){ 0 };
}
