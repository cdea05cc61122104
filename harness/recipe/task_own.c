/*
 * task_own.c: see task_own.h.
 */
#include "recipe/task_own.h"
#include "recipe/eval_form.h"
#include "splitmix.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

/* ---- continue { ... } ---- */

/* What is measured of a text that was written on; the first is v_samples.score. */
static const struct {
    const char *name;
    const struct scorer *scorer;
    const char *reference;
    int ngram;
} measures[] = {
    { "chrf", &scorer_chrf, "{continuation}", 0 },
    { "repetition", &scorer_repetition, NULL, 4 },
    { "distinct_1", &scorer_distinct, NULL, 1 },
    { "distinct_2", &scorer_distinct, NULL, 2 },
};

static void make_form(struct eval_form *form)
{
    struct buf err = BUF_INIT;
    *form = (struct eval_form){ .name = xstrdup("continue"), .version = 1, .generates = true };
    form->measures = xcalloc(ARRAY_LEN(measures), sizeof(*form->measures));
    for (size_t i = 0; i < ARRAY_LEN(measures); i++) {
        const char *reference = measures[i].reference;
        struct measure *m = &form->measures[form->nmeasures++];
        m->name = xstrdup(measures[i].name);
        m->scorer = measures[i].scorer;
        m->reference = reference ? xstrdup(reference) : NULL;
        m->ngram = measures[i].ngram;
        if (measure_prepare(m, &err) != 0)
            BUG("%s: %s", m->name, err.s);
    }
}

/* "continue:NAME", where the recipe names it; else what tells it from others of its file. */
static char *name_of(const struct recipe_task *spec, const struct decoding *d)
{
    const char *base = strrchr(spec->file, '/');
    struct buf name = BUF_INIT;
    if (spec->label)
        return xasprintf("continue:%s", spec->label);
    buf_addf(&name, "continue:%s(prompt_tokens=%d,max_tokens=%d", base ? base + 1 : spec->file,
             spec->prompt_tokens, d->max_tokens);
    if (d->temperature > 0)
        buf_addf(&name, ",temperature=%.10g", d->temperature);
    if (d->top_p < 1)
        buf_addf(&name, ",top_p=%.10g", d->top_p);
    if (spec->min_bytes)
        buf_addf(&name, ",min_bytes=%d", spec->min_bytes);
    if (spec->limit)
        buf_addf(&name, ",limit=%d", spec->limit);
    if (strcmp(spec->text, "text") != 0)
        buf_addf(&name, ",field=%s", spec->text);
    buf_addf(&name, "%s)", spec->stop_at_end ? ",stop_at_end" : "");
    return buf_detach(&name);
}

int task_own_continue(const struct recipe_task *spec, struct task *out, struct buf *err)
{
    struct decoding *d = &out->decoding;
    out->prompt_tokens = spec->prompt_tokens;
    out->text = xstrdup(spec->text);
    out->form = out->own = xmalloc(sizeof(*out->own));
    make_form(out->own);
    *d = (struct decoding){ .max_tokens = spec->max_tokens,
                            .temperature = spec->temperature > 0 ? spec->temperature : 0,
                            .top_p = spec->top_p > 0 ? spec->top_p : 1,
                            .past_end = !spec->stop_at_end };
    out->name = name_of(spec, d);
    if (d->temperature == 0 && d->top_p < 1)
        return place_fail(&spec->at, "top_p", err,
                          "%.10g, but at temperature 0 nothing is drawn; say a temperature above 0",
                          d->top_p);
    return 0;
}

int task_own_cut(const struct task *t, const struct tokenizer *tokenizer, struct document *d,
                 const char *where, struct buf *err)
{
    size_t prompt = (size_t)t->prompt_tokens, more = (size_t)t->decoding.max_tokens;
    struct buf bytes = BUF_INIT, text = BUF_INIT;
    if (d->ids.len < prompt + more)
        return fail(err,
                    "%s: %zu tokens are fewer than prompt_tokens = %zu and max_tokens = %zu; "
                    "min_bytes = ... leaves shorter texts out",
                    where, d->ids.len, prompt, more);
    int rc = tokenizer_decode(tokenizer, d->ids.v + prompt, more, &bytes, err);
    utf8_clean(bytes.s, bytes.len, &text); // the ends may be parts of a character
    d->ids.len = prompt;
    d->prompt_tokens = t->prompt_tokens;
    d->fields = json_object();
    json_object_set_new(d->fields, "continuation", json_stringn(text.s, text.len));
    buf_release(&bytes);
    buf_release(&text);
    return rc;
}

/* ---- speed { ... } ---- */

/* "speed:NAME", where the recipe names it; else all of it that is not the default. */
static char *speed_name(const struct recipe_task *spec)
{
    const struct speed *s = &spec->speed;
    struct buf name = BUF_INIT;
    if (spec->label)
        return xasprintf(STORE_TIMED "%s", spec->label);
    buf_addf(&name, STORE_TIMED "random(prompt_tokens=%d,tokens=%d,batch=%d", s->prompt_tokens,
             s->tokens, s->batch);
    if (s->repeats != SPEED_REPEATS)
        buf_addf(&name, ",repeats=%d", s->repeats);
    if (s->warmup != SPEED_WARMUP)
        buf_addf(&name, ",warmup=%d", s->warmup);
    buf_adds(&name, ")");
    return buf_detach(&name);
}

void task_own_speed(const struct recipe_task *spec, struct task *out)
{
    out->speed = spec->speed;
    out->name = speed_name(spec);
}

void task_own_speed_check(struct task *t)
{
    const struct speed *s = &t->speed;
    char *text = xasprintf("speed 1, prompt %d, tokens %d, batch %d, warmup %d", s->prompt_tokens,
                           s->tokens, s->batch, s->warmup);
    struct hash *h = hash_new();
    hash_adds(h, text);
    hash_hex(h, t->data_hash);
    hash_free(h);
    free(text);
    t->documents = t->limit && t->limit < s->repeats ? t->limit : s->repeats;
}

void task_own_speed_documents(const struct task *t, const struct tokenizer *tokenizer,
                              struct documents *out)
{
    const struct speed *s = &t->speed;
    size_t tokens = (size_t)s->batch * ((size_t)s->prompt_tokens + (size_t)s->tokens);
    uint64_t size = tokenizer ? (uint64_t)tokenizer_size(tokenizer) : 1;
    out->len = out->cap = (size_t)t->documents;
    out->v = xcalloc(out->len, sizeof(*out->v));
    for (size_t i = 0; i < out->len; i++) {
        uint64_t state = splitmix_mix(i + 1);
        out->v[i].prompt_tokens = s->batch * s->prompt_tokens;
        for (size_t n = 0; n < tokens; n++)
            ids_push(&out->v[i].ids, (int32_t)(splitmix_next(&state) % size));
    }
}

/* ---- both ---- */

int task_own_fits(const struct task *t, int context, struct buf *err)
{
    bool times = task_times(t);
    int prompt = times ? t->speed.prompt_tokens : t->prompt_tokens;
    int more = times ? t->speed.tokens : t->decoding.max_tokens;
    if (prompt + more <= context)
        return 0;
    return fail(err,
                "%s: prompt_tokens = %d and %s = %d are more than the %d positions of the model",
                t->name, prompt, times ? "tokens" : "max_tokens", more, context);
}

void task_own_release(struct task *t)
{
    if (t->own)
        form_release(t->own);
    free(t->own);
    t->own = NULL;
}
