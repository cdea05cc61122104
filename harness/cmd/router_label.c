/*
 * router_label.c: see router_label.h.
 */
#include "cmd/router_label.h"

#include <string.h>

static bool same_kind(const struct result *p, const struct result *q)
{
    return strcmp(p->router, q->router) == 0 &&
           strcmp(p->mode ? p->mode : "", q->mode ? q->mode : "") == 0;
}

/* Is the cell's upper bound there at every K that its kind has? */
static bool bound_stays(const struct result *const *cells, size_t n, const struct result *c)
{
    for (size_t i = 0; i < n; i++) {
        bool there = false;
        if (!same_kind(cells[i], c))
            continue;
        for (size_t j = 0; j < n && !there; j++)
            there = same_kind(cells[j], c) && cells[j]->k == cells[i]->k && cells[j]->max == c->max;
        if (!there)
            return false;
    }
    return true;
}

char *router_label_by_k(const struct result *const *cells, size_t n, const struct result *c,
                        const char *label)
{
    char *bounds = xasprintf(" [%d, %d]", c->min, c->max);
    const char *at = c->max < 0 ? NULL : strstr(label, bounds);
    char *name;
    if (!at || bound_stays(cells, n, c))
        name = xstrdup(label);
    else if (c->max == c->k)
        name = xasprintf("%.*s [%d, K]%s", (int)(at - label), label, c->min, at + strlen(bounds));
    else
        name = xasprintf("%.*s [%d, K%+d]%s", (int)(at - label), label, c->min, c->max - c->k,
                         at + strlen(bounds));
    free(bounds);
    return name;
}
