/*
 * figure_value.c: see figure_value.h.
 */
#include "cmd/figure_value.h"

#include <jansson.h>
#include <string.h>

static const char *const own_names[] = { "k", "min", "max", "seed" };
/* Parameters of routers whose 0 is no number on the way to 1: it says "never". */
static const char *const never_at_0[] = { "segment" };

static bool own_value(const struct result *r, const char *name, double *out)
{
    const double values[] = { r->k, r->min, r->max, (double)r->seed };
    for (size_t i = 0; i < ARRAY_LEN(own_names); i++)
        if (strcmp(name, own_names[i]) == 0) {
            *out = values[i];
            return values[i] >= 0;
        }
    return false;
}

static bool is_own(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(own_names); i++)
        if (strcmp(name, own_names[i]) == 0)
            return true;
    return false;
}

static bool is_never(const char *name, double value)
{
    for (size_t i = 0; value == 0 && i < ARRAY_LEN(never_at_0); i++)
        if (strcmp(name, never_at_0[i]) == 0)
            return true;
    return false;
}

/* Has the router a parameter of this name, which says "never"? */
static bool goes_without(const json_t *params, const char *name)
{
    const json_t *v = json_object_get(params, name);
    return json_is_number(v) && is_never(name, json_number_value(v));
}

/* The next "KEY=VALUE" of the brackets that a task's name ends with, from `at` (NULL: the first); NULL:
 * there is none. `*len`: its length. */
static const char *next_part(const char *task, const char *at, size_t *len)
{
    if (!at) {
        const char *open = strrchr(task, '(');
        if (!open || task[strlen(task) - 1] != ')')
            return NULL;
        at = open + 1;
    } else {
        at += strcspn(at, ",)");
        if (*at != ',')
            return NULL;
        at++;
    }
    *len = strcspn(at, ",)");
    return at;
}

static bool is_named(const char *part, const char *name)
{
    size_t n = strlen(name);
    return strncmp(part, name, n) == 0 && part[n] == '=';
}

static bool number(const char *part, size_t len, double *out)
{
    const char *sign = memchr(part, '=', len);
    char *end;
    if (!sign || sign + 1 == part + len)
        return false;
    *out = strtod(sign + 1, &end);
    return end == part + len;
}

bool value_of(const struct result *r, const char *name, double *out)
{
    size_t len;
    if (is_own(name))
        return own_value(r, name, out);
    json_t *params = json_loads(r->params, 0, NULL);
    const json_t *v = json_object_get(params, name);
    bool there = json_is_number(v), never = goes_without(params, name);
    if (there && !never)
        *out = json_number_value(v);
    json_decref(params);
    if (there)
        return !never;
    for (const char *p = next_part(r->task, NULL, &len); p; p = next_part(r->task, p, &len))
        if (is_named(p, name))
            return number(p, len, out);
    return false;
}

void value_names(const struct results *all, struct strings *out)
{
    const char *name;
    const json_t *v;
    size_t len;
    double x;
    for (size_t i = 0; i < all->len; i++) {
        const struct result *r = &all->v[i];
        if (strcmp(r->status, "done") != 0)
            continue;
        for (size_t j = 0; j < ARRAY_LEN(own_names); j++)
            if (own_value(r, own_names[j], &x))
                strings_add(out, own_names[j]);
        json_t *params = json_loads(r->params, 0, NULL);
        json_object_foreach (params, name, v)
            if (json_is_number(v) && !goes_without(params, name))
                strings_add(out, name);
        json_decref(params);
        for (const char *p = next_part(r->task, NULL, &len); p; p = next_part(r->task, p, &len))
            if (number(p, len, &x))
                strings_addf(out, "%.*s", (int)strcspn(p, "="), p);
    }
    strings_sort(out);
}

char *task_without(const char *task, const char *name)
{
    struct buf rest = BUF_INIT;
    size_t len, kept = 0;
    const char *p = next_part(task, NULL, &len);
    if (!p)
        return xstrdup(task);
    buf_add(&rest, task, (size_t)(p - task - 1));
    for (; p; p = next_part(task, p, &len))
        if (!is_named(p, name))
            buf_addf(&rest, "%s%.*s", kept++ ? "," : "(", (int)len, p);
    if (kept)
        buf_addc(&rest, ')');
    return buf_detach(&rest);
}

/* Bounds are said together: where one is taken away, the other is said alone. What says "never" is no
 * value among the others, so it is not of their line. */
char *label_without(const struct result *r, const char *name)
{
    struct buf label = BUF_INIT;
    bool min = strcmp(name, "min") == 0, max = strcmp(name, "max") == 0;
    json_t *params = json_loads(r->params, 0, NULL);
    bool never = goes_without(params, name);
    if (min || max) {
        json_object_del(params, "min");
        json_object_del(params, "max");
    } else {
        json_object_del(params, name);
    }
    char *text = params ? json_dumps(params, JSON_COMPACT) : NULL;
    result_label(r->router, r->k, text ? text : "{}", &label);
    if (min && r->max >= 0)
        buf_addf(&label, " max %d", r->max);
    if (max && r->min >= 0)
        buf_addf(&label, " min %d", r->min);
    if (never)
        buf_addf(&label, " without %s", name);
    free(text);
    json_decref(params);
    return buf_detach(&label);
}
