/*
 * cell.c: see cell.h. What identifies a cell is written out as text and then hashed: the text is
 * easy to check by eye, and no two of them mean the same.
 */
#include "recipe/cell.h"

#include <string.h>

static int *param_in(const struct router_param *p, struct router_args *args)
{
    return (int *)((char *)args + p->offset);
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

int cell_args(const struct recipe_router *r, int K, const struct sweep_model *model,
              struct router_args *args, struct buf *err)
{
    int N = model->config.experts;
    *args = (struct router_args){ .K = K, .N = N, .min = K, .max = K, .batch = 1 };
    for (size_t i = 0; r->router->params[i].name; i++) {
        const struct router_param *p = &r->router->params[i];
        const struct expr *e = &r->value[i];
        int *value = param_in(p, args);
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

void cell_identify(struct cell *c, enum dtype dtype, const char *device, bool log_tokens)
{
    const struct task *t = c->task;
    struct buf text = BUF_INIT;
    buf_addf(&text, "seqtopk cell, numerics %d\n", NUMERICS_VERSION);
    buf_addf(&text, "weights %s\ntokenizer %s\n", c->model->weights_hash, c->model->tokenizer_hash);
    buf_addf(&text, "router %s\nK %d\n", c->router->name, c->args.K);
    for (const struct router_param *p = c->router->params; p->name; p++) {
        int value = *param_in(p, &c->args);
        if (p->choices)
            buf_addf(&text, "%s %s\n", p->name, p->choices[value]);
        else
            buf_addf(&text, "%s %d\n", p->name, value);
    }
    buf_addf(&text, "train %s\ndtype %s\ndevice %.*s\nseed %lld\n", c->train, dtype_name(dtype),
             (int)strcspn(device, ":"), device, (long long)c->seed);
    buf_addf(&text, "log %s\n", log_tokens ? "tokens" : "samples");
    buf_addf(&text, "task version %d\ndata %s\ndocuments %d\ntruncate %d\n", t->version,
             t->data_hash, t->documents, t->truncate);
    // Free texts come last, each with its end, so that one cannot pose as another's line.
    struct hash *h = hash_new();
    hash_adds(h, text.s);
    hash_adds(h, t->name);
    hash_adds(h, t->text ? t->text : "");
    hash_adds(h, t->prompt ? t->prompt : "");
    hash_adds(h, t->target ? t->target : "");
    hash_hex(h, c->id);
    hash_free(h);
    buf_release(&text);
}
