/*
 * verdict.c: what came of a measure, and how the database holds it; see measure.h.
 */
#include "score/judge.h"
#include "score/measure.h"
#include "score/regex.h"

#include <math.h>
#include <string.h>

void verdict_init(struct verdict *v)
{
    *v = (struct verdict){ .score = NAN };
}

void verdict_release(struct verdict *v)
{
    free(v->found);
    free(v->compared);
    free(v->with);
    free(v->result);
    free(v->reply);
    free(v->failure);
    verdict_init(v);
}

void measure_metric(const struct measure *m, const struct tools *tools, struct buf *out)
{
    buf_adds(out, m->name);
    if (m->scorer->asks_judge && tools && tools->judge)
        buf_addf(out, ":%s", judge_name(tools->judge));
}

static bool has_something(const struct verdict *v)
{
    return !isnan(v->score) || v->failure || v->reply || v->unparsed;
}

/* A text that is no UTF-8 is mended: what is said of a sample may not be lost for a byte. */
static void set_text(json_t *object, const char *key, const char *text)
{
    struct buf mended = BUF_INIT;
    if (!text)
        return;
    utf8_clean(text, strlen(text), &mended);
    json_object_set_new(object, key, json_stringn(mended.s, mended.len));
    buf_release(&mended);
}

static json_t *verdict_object(const struct measure *m, const struct verdict *v)
{
    json_t *o = json_object();
    // 1 and 0 are written so, not as 1.0.
    if (v->score == floor(v->score) && fabs(v->score) < 1e15)
        json_object_set_new(o, "score", json_integer((json_int_t)v->score));
    else if (isfinite(v->score))
        json_object_set_new(o, "score", json_real(v->score));
    if (m->find && v->found)
        set_text(o, "found", v->found);
    else if (v->none)
        json_object_set_new(o, "found", json_null());
    if (v->none && v->found)
        json_object_set_new(o, "none", json_true());
    set_text(o, "compared", v->compared);
    set_text(o, "with", v->with);
    set_text(o, "result", v->result);
    set_text(o, "reply", v->reply);
    if (v->unparsed)
        json_object_set_new(o, "unparsed", json_true());
    set_text(o, "failure", v->failure);
    if (v->again)
        json_object_set_new(o, "again", json_true());
    return o;
}

void verdicts_json(const struct measure *measures, const struct verdict *verdicts, size_t n,
                   const struct tools *tools, struct buf *out)
{
    json_t *all = json_object();
    struct buf name = BUF_INIT, key = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (!has_something(&verdicts[i]))
            continue;
        buf_reset(&name);
        buf_reset(&key);
        measure_metric(&measures[i], tools, &name);
        utf8_clean(name.s, name.len, &key);
        json_object_set_new(all, key.s, verdict_object(&measures[i], &verdicts[i]));
    }
    char *text = json_dumps(all, 0);
    if (!text)
        die(1, "out of memory: no room for what was scored");
    buf_adds(out, text);
    free(text);
    json_decref(all);
    buf_release(&name);
    buf_release(&key);
}
