/*
 * cell.c: see cell.h. What identifies a cell is written out as text and then hashed: the text is
 * easy to check by eye, and no two of them mean the same.
 */
#include "recipe/cell.h"
#include "machine.h"
#include "program.h"
#include "recipe/lua_router.h"

#include <stdio.h>
#include <string.h>

static int *param_in(const struct router_param *p, struct router_args *args)
{
    return (int *)((char *)args + p->offset);
}

static double *real_in(const struct router_param *p, struct router_args *args)
{
    return (double *)((char *)args + p->offset);
}

static void affine_part(int factor, const char *symbol, struct buf *out)
{
    if (factor == 0)
        return;
    buf_adds(out, out->len ? factor < 0 ? " - " : " + " : factor < 0 ? "-" : "");
    long size = factor < 0 ? -(long)factor : factor;
    if (!*symbol)
        buf_addf(out, "%ld", size);
    else if (size == 1)
        buf_adds(out, symbol);
    else
        buf_addf(out, "%ld * %s", size, symbol);
}

void affine_text(struct affine a, struct buf *out)
{
    struct buf text = BUF_INIT;
    affine_part(a.k, "K", &text);
    affine_part(a.n, "N", &text);
    affine_part(a.c, "", &text);
    buf_adds(out, text.len ? text.s : "0");
    buf_release(&text);
}

static int out_of_range(const struct recipe_router *r, const struct router_param *p,
                        const struct expr *e, int value, const struct router_args *args,
                        const struct sweep_model *model, struct buf *err)
{
    struct buf said = BUF_INIT, lo = BUF_INIT, hi = BUF_INIT;
    if (e->n) {
        expr_text(e, &said);
    } else {
        buf_adds(&said, "the default ");
        affine_text(p->def, &said);
    }
    if (expr_uses(e, EXPR_K) || expr_uses(e, EXPR_N) || !e->n)
        buf_addf(&said, " is %d", value);
    affine_text(p->lo, &lo);
    affine_text(p->hi, &hi);
    int lowest, highest;
    router_param_range(p, args->K, args->N, &lowest, &highest);
    place_fail(&r->at, e->n ? p->name : NULL, err,
               "%s%s%s with K = %d and N = %d (model %s); allowed is %s to %s, here %d to %d",
               e->n ? "" : p->name, e->n ? "" : ": ", said.s, args->K, args->N, model->name, lo.s,
               hi.s, lowest, highest);
    buf_release(&said);
    buf_release(&lo);
    buf_release(&hi);
    return -1;
}

/* A bound for each layer; where all are the same, they are one. */
static int bounds_by_layer(const struct recipe_router *r, const struct router_param *p,
                           const struct recipe_value *said, const struct sweep_model *model,
                           struct router_args *args, struct buf *err)
{
    const int layers = model->config.layers;
    int lo, hi, *most = param_in(p, args);
    bool differ = false;
    router_param_range(p, args->K, args->N, &lo, &hi);
    if (said->nlayers != (size_t)layers)
        return place_fail(&r->at, p->name, err,
                          "a list of %zu, but model %s has %d layers; allowed is a number for each "
                          "of them, or one for all",
                          said->nlayers, model->name, layers);
    if (layers > ROUTER_LAYERS)
        return place_fail(&r->at, p->name, err, "a list of %d; allowed are %d at most", layers,
                          ROUTER_LAYERS);
    for (int i = 0; i < layers; i++) {
        int value;
        if (expr_value(&said->layers[i], args->K, args->N, &value, err) != 0)
            return place_fail(&r->at, p->name, err, "layer %d: %s", i, err->s);
        if (value < lo || value > hi)
            return out_of_range(r, p, &said->layers[i], value, args, model, err);
        args->maxes[i] = (uint16_t)value;
        differ |= value != args->maxes[0];
        *most = i == 0 || value > *most ? value : *most;
    }
    args->nmaxes = differ ? layers : 0;
    if (!differ)
        memset(args->maxes, 0, sizeof(args->maxes));
    return 0;
}

int cell_args(const struct recipe_router *r, int K, const struct sweep_model *model,
              struct router_args *args, struct buf *err)
{
    int N = model->config.experts;
    if (r->router->ignores_k)
        K = model->config.top_k;
    *args = (struct router_args){ .K = K,
                                  .N = N,
                                  .min = affine_value(r->router->least, K, N),
                                  .max = affine_value(r->router->most, K, N),
                                  .batch = 1,
                                  .custom = lua_router_from(r->router) };
    for (size_t i = 0; r->router->params[i].name; i++) {
        const struct router_param *p = &r->router->params[i];
        if (p->real) {
            *real_in(p, args) = r->value[i].real; // its range does not hang on K and N
            continue;
        }
        const struct expr *e = &r->value[i].expr;
        int *value = param_in(p, args);
        if (r->value[i].nlayers) {
            if (bounds_by_layer(r, p, &r->value[i], model, args, err) != 0)
                return -1;
            continue;
        }
        *value = p->choices ? p->def.c : affine_value(p->def, K, N);
        if (e->n && expr_value(e, K, N, value, err) != 0)
            return place_fail(&r->at, p->name, err, "%s", err->s);
        int lo, hi;
        router_param_range(p, K, N, &lo, &hi);
        if (*value < lo || *value > hi)
            return out_of_range(r, p, e, *value, args, model, err);
    }
    if (router_check(r->router, args, err) != 0) // what hangs on several parameters at once
        return place_fail(&r->at, NULL, err, "%s", err->s);
    return 0;
}

/* A text that may be missing: NULL is not the same as "". */
static void hash_text(struct hash *h, const char *s)
{
    hash_adds(h, s ? "text" : "none");
    hash_adds(h, s ? s : "");
}

/* Numbers go in as text, behind a word, each with its end. */
static void hash_number(struct hash *h, const char *word, double value)
{
    char text[64];
    snprintf(text, sizeof(text), "%s %.17g", word, value);
    hash_adds(h, text);
}

static void hash_rows(struct hash *h, const struct eval_rows *r)
{
    hash_text(h, r->field);
    hash_number(h, "from", r->from);
    hash_number(h, "to", r->to);
}

static void hash_rewrites(struct hash *h, const struct rewrites *list)
{
    hash_number(h, "rewrites", (double)list->len);
    for (size_t i = 0; i < list->len; i++) {
        hash_adds(h, list->v[i].find);
        hash_adds(h, list->v[i].with);
    }
}

/* All of its fields; golden cases only test it. */
static void hash_measure(struct hash *h, const struct measure *m)
{
    hash_adds(h, m->name);
    hash_adds(h, m->scorer->name);
    hash_rewrites(h, &m->before);
    hash_rewrites(h, &m->normalise);
    const char *const texts[] = { m->find, m->reference, m->program, m->system, m->user, m->parse };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        hash_text(h, texts[i]);
    const int numbers[] = { m->take,       m->otherwise,    m->strip,  m->ignore_case,
                            m->characters, m->milliseconds, m->out_of, m->max_tokens };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        hash_number(h, "number", numbers[i]);
    if (m->ngram)
        hash_number(h, "ngram", m->ngram);
}

static void hash_decoding(struct hash *h, const struct decoding *d)
{
    hash_number(h, "max_tokens", d->max_tokens);
    hash_number(h, "temperature", d->temperature);
    hash_number(h, "top_p", d->top_p);
    hash_number(h, "stop", (double)d->stop.len);
    for (size_t i = 0; i < d->stop.len; i++)
        hash_adds(h, d->stop.v[i]);
    if (d->stop_at_end_text)
        hash_adds(h, "stop_at_end_text");
    if (d->past_end)
        hash_adds(h, "past_end");
}

static void hash_form(struct hash *h, const struct task *t)
{
    const struct eval_form *f = t->form;
    if (t->eval)
        hash_rows(h, &t->eval->rows);
    hash_number(h, "version", f->version);
    hash_text(h, f->prompt);
    hash_text(h, f->target);
    hash_text(h, f->shots.text);
    hash_rows(h, &f->shots.rows);
    hash_number(h, "count", f->shots.count);
    hash_number(h, "draw", f->shots.draw);
    hash_number(h, "seed", f->shots.seed);
    hash_adds(h, t->shots_hash);
    hash_number(h, "measures", (double)f->nmeasures);
    for (size_t i = 0; i < f->nmeasures; i++)
        hash_measure(h, &f->measures[i]);
    if (f->generates)
        hash_decoding(h, &t->decoding);
}

/* Who judges: the model, and of a command all of it. Not where it is, nor how it is asked. */
static void hash_judge(struct hash *h, const struct judge_spec *judge)
{
    hash_text(h, judge ? "judge" : NULL);
    hash_text(h, judge ? judge->model : NULL);
    hash_text(h, judge ? judge->command : NULL);
}

/* Free texts, each with its end, so that one cannot pose as another's line. */
static void hash_task(struct hash *h, const struct task *t, const struct judge_spec *judge)
{
    hash_adds(h, t->name);
    hash_text(h, t->text);
    if (t->form)
        hash_form(h, t);
    if (task_asks_judge(t))
        hash_judge(h, judge);
}

static void add_data(const struct task *t, struct buf *text)
{
    buf_addf(text, "data %s\ndocuments %d\ntruncate %d\n", t->data_hash, t->documents, t->truncate);
    if (t->length || t->min_bytes)
        buf_addf(text, "length %d\nmin_bytes %d\n", t->length, t->min_bytes);
    if (task_continues(t))
        buf_addf(text, "prompt_tokens %d\n", t->prompt_tokens);
}

void cell_hash_task(struct hash *h, const struct task *t, const struct judge_spec *judge)
{
    struct buf text = BUF_INIT;
    add_data(t, &text);
    hash_adds(h, text.s);
    hash_task(h, t, judge);
    buf_release(&text);
}

void router_identity(const struct router *r, const struct router_args *args, struct buf *text)
{
    buf_addf(text, "router %s\nK %d\n", r->name, args->K);
    for (const struct router_param *p = r->params; p->name; p++) {
        const void *value = (const char *)args + p->offset;
        if (!router_param_said(p, args))
            continue;
        if (p->choices)
            buf_addf(text, "%s %s\n", p->name, p->choices[*(const int *)value]);
        else if (p->real)
            buf_addf(text, "%s %.17g\n", p->name, *(const double *)value);
        else {
            buf_addf(text, "%s ", p->name);
            router_param_text(p, args, " ", text);
            buf_addc(text, '\n');
        }
    }
    lua_router_identify(lua_router_from(r), text);
}

void model_identity(const struct sweep_model *m, struct buf *text)
{
    buf_addf(text, "weights %s\ntokenizer %s\n", m->weights_hash, m->tokenizer_hash);
}

/*
 * Times are of one machine and of one program: what another takes is another cell. Builds from files
 * that had been changed since one commit count as one program, and the libtorch is left out: who would
 * know it has to open it.
 */
static void add_machine(const struct sweep *s, struct buf *text)
{
    struct buf processor = BUF_INIT, host = BUF_INIT;
    machine_processor(&processor);
    machine_host(&host);
    buf_addf(text, "host %s\nprocessor %s\non %s\n", host.s, processor.s, s->device);
    buf_addf(text, "program %s %s\n", program_version, program_revision);
    buf_release(&processor);
    buf_release(&host);
}

void cell_identify(struct cell *c, const struct sweep *s)
{
    const struct task *t = c->task;
    struct buf text = BUF_INIT;
    buf_addf(&text, "seqtopk cell, numerics %d\n", NUMERICS_VERSION);
    model_identity(c->model, &text);
    router_identity(c->router, &c->args, &text);
    if (c->router->learns && !c->training)
        buf_addf(&text, "cutoffs %s\n", c->model->cutoffs_hash);
    buf_addf(&text, "train %s\ndtype %s\ndevice %.*s\nseed %lld\n",
             c->training ? c->training->id : "none", dtype_name(s->dtype),
             (int)strcspn(s->device, ":"), s->device, (long long)c->seed);
    buf_addf(&text, "log %s\n", s->log_tokens ? "tokens" : "samples");
    if (s->log_expert_entropy && !task_decodes(t))
        buf_adds(&text, "log expert_entropy\n");
    for (size_t i = 0; c->overlap && i < s->noverlap; i++) {
        buf_addf(&text, "log overlap %s\n", s->overlap_names[i]);
        router_identity(c->overlap[i].router, &c->overlap[i].args, &text);
    }
    // The weights' hash has config.json, but generation_config.json may say otherwise.
    for (int i = 0; i < c->model->config.neos && task_generates(t); i++)
        buf_addf(&text, "end %d\n", c->model->config.eos[i]);
    add_data(t, &text);
    if (task_times(t))
        add_machine(s, &text);
    struct hash *h = hash_new();
    hash_adds(h, text.s);
    hash_task(h, t, s->judged ? &s->judge : NULL);
    hash_hex(h, c->id);
    hash_free(h);
    buf_release(&text);
}
