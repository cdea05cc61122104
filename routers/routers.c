/*
 * routers.c: the table of routers, and what can be said of any router from its own table of
 * parameters: are its arguments allowed, what is it called, what identifies it.
 */
#include "routers/router.h"

#include <stdio.h>
#include <string.h>

const struct router *const routers[] = {
    &router_topk, &router_seqtopk,       &router_batchtopk, &router_topp,
    &router_xmoe, &router_expert_choice, &router_threshold, NULL,
};

const struct router *router_find(const char *name)
{
    for (const struct router *const *r = routers; *r; r++)
        if (strcmp((*r)->name, name) == 0)
            return *r;
    return NULL;
}

int affine_value(struct affine a, int K, int N)
{
    return a.k * K + a.n * N + a.c;
}

static int param_value(const struct router_param *p, const struct router_args *args)
{
    return *(const int *)((const char *)args + p->offset);
}

static double param_real(const struct router_param *p, const struct router_args *args)
{
    return *(const double *)((const char *)args + p->offset);
}

static const struct router_param *param_find(const struct router *r, const char *name)
{
    for (const struct router_param *p = r->params; p->name; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

void router_param_range(const struct router_param *p, int K, int N, int *lo, int *hi)
{
    *lo = p->choices ? 0 : affine_value(p->lo, K, N);
    *hi = p->choices ? -1 : affine_value(p->hi, K, N);
    for (const char *const *word = p->choices; word && *word; word++)
        ++*hi;
}

void real_text(double value, struct buf *out)
{
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_adds(out, text);
}

/* A real number in its range; one that is no number is in none. */
static int check_real(const struct router *r, const struct router_param *p, double value,
                      struct buf *err)
{
    if (value > p->lo.c && value <= p->hi.c)
        return 0;
    return fail(err, "%s.%s is %.10g; allowed is a number above %d, up to %d", r->name, p->name,
                value, p->lo.c, p->hi.c);
}

bool router_param_said(const struct router_param *p, const struct router_args *args)
{
    if (!p->later)
        return true;
    return p->real      ? param_real(p, args) != p->real_def
           : p->choices ? param_value(p, args) != p->def.c
                        : param_value(p, args) != affine_value(p->def, args->K, args->N);
}

struct router_args router_args_at(const struct router_args *args, int layer)
{
    struct router_args at = *args;
    if (at.cutoffs)
        at.cutoffs += (size_t)layer * (size_t)at.N;
    if (at.nmaxes)
        at.max = at.maxes[layer];
    at.nmaxes = 0;
    return at;
}

void router_param_text(const struct router_param *p, const struct router_args *args,
                       const char *between, struct buf *out)
{
    if (!p->by_layer || !args->nmaxes)
        buf_addf(out, "%d", param_value(p, args));
    else
        for (int i = 0; i < args->nmaxes; i++)
            buf_addf(out, "%s%d", i ? between : "", (int)args->maxes[i]);
}

/* Each layer's bound in the range of `max`. */
static int check_layers(const struct router *r, const struct router_args *args, int lo, int hi,
                        struct buf *err)
{
    for (int i = 0; i < args->nmaxes; i++)
        if (args->maxes[i] < lo || args->maxes[i] > hi)
            return fail(err, "%s.max of layer %d is %d with K = %d and N = %d; allowed is %d to %d",
                        r->name, i, (int)args->maxes[i], args->K, args->N, lo, hi);
    return 0;
}

int router_check(const struct router *r, const struct router_args *args, struct buf *err)
{
    if (args->K < 1 || args->K > args->N)
        return fail(err, "%s: K is %d; allowed is 1 to N, which is %d here", r->name, args->K,
                    args->N);
    for (const struct router_param *p = r->params; p->name; p++) {
        if (p->real) {
            if (check_real(r, p, param_real(p, args), err) != 0)
                return -1;
            continue;
        }
        int value = param_value(p, args), lo, hi;
        router_param_range(p, args->K, args->N, &lo, &hi);
        if (value < lo || value > hi)
            return fail(err, "%s.%s is %d with K = %d and N = %d; allowed is %d to %d", r->name,
                        p->name, value, args->K, args->N, lo, hi);
        if (p->by_layer && check_layers(r, args, lo, hi, err) != 0)
            return -1;
    }
    if (param_find(r, "max") && args->min > args->max)
        return fail(err, "%s.min is %d and max is %d; allowed is a min up to max", r->name,
                    args->min, args->max);
    return 0;
}

const char *router_mode(const struct router *r, const struct router_args *args)
{
    const struct router_param *p = param_find(r, "mode");
    return p ? p->choices[args->mode] : "";
}

/* " batch 4": a parameter that is neither the mode nor a bound, where it is not what it would be. */
static void add_other(const struct router_param *p, const struct router_args *args, struct buf *out)
{
    if (p->real) {
        buf_addf(out, " %s ", p->name);
        real_text(param_real(p, args), out);
        return;
    }
    int value = param_value(p, args);
    if (p->choices && value != p->def.c)
        buf_addf(out, " %s %s", p->name, p->choices[value]);
    else if (!p->choices && value != affine_value(p->def, args->K, args->N))
        buf_addf(out, " %s %d", p->name, value);
}

static bool is_named(const struct router_param *p, const char *name)
{
    return strcmp(p->name, name) == 0;
}

void router_label(const struct router *r, const struct router_args *args, struct buf *out)
{
    buf_adds(out, r->name);
    for (const struct router_param *p = r->params; p->name; p++) {
        if (is_named(p, "mode"))
            buf_addf(out, " %s", p->choices[param_value(p, args)]);
        else if (is_named(p, "min"))
            buf_addf(out, " [%d, ", args->min);
        else if (is_named(p, "max")) {
            router_param_text(p, args, "/", out);
            buf_addc(out, ']');
        } else
            add_other(p, args, out);
    }
}

void router_others(const struct router *r, const struct router_args *args, struct buf *out)
{
    struct buf text = BUF_INIT;
    for (const struct router_param *p = r->params; p->name; p++)
        if (!is_named(p, "mode") && !is_named(p, "min") && !is_named(p, "max"))
            add_other(p, args, &text);
    buf_adds(out, text.len ? text.s + 1 : "");
    buf_release(&text);
}

void router_params_json(const struct router *r, const struct router_args *args, struct buf *out)
{
    buf_addc(out, '{');
    for (const struct router_param *p = r->params; p->name; p++) {
        if (!router_param_said(p, args))
            continue;
        buf_addf(out, "%s\"%s\":", p == r->params ? "" : ",", p->name);
        if (p->choices)
            buf_addf(out, "\"%s\"", p->choices[param_value(p, args)]);
        else if (p->real)
            real_text(param_real(p, args), out);
        else if (p->by_layer && args->nmaxes) {
            buf_addc(out, '[');
            router_param_text(p, args, ",", out);
            buf_addc(out, ']');
        } else
            buf_addf(out, "%d", param_value(p, args));
    }
    buf_addc(out, '}');
}

void selection_add(struct selection *s, const int32_t *experts, int n)
{
    ARRAY_GROW(s->count, s->tokens_cap, s->tokens + 1);
    ARRAY_GROW(s->expert, s->pairs_cap, s->pairs + (size_t)n);
    s->count[s->tokens++] = n;
    if (n)
        memcpy(s->expert + s->pairs, experts, (size_t)n * sizeof(*experts));
    s->pairs += (size_t)n;
}

void selection_fail(struct selection *s, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    if (s->error)
        buf_release(&text);
    else
        s->error = buf_detach(&text);
}

void selection_reset(struct selection *s)
{
    free(s->error);
    s->error = NULL;
    s->tokens = s->pairs = 0;
}

void selection_release(struct selection *s)
{
    free(s->count);
    free(s->expert);
    free(s->error);
    *s = (struct selection){ 0 };
}

bool router_decodes(const struct router *r, const struct router_args *args)
{
    return r->scope(args) <= SCOPE_PROMPT;
}
