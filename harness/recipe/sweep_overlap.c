/*
 * sweep_overlap.c: see sweep_overlap.h.
 */
#include "recipe/sweep_overlap.h"
#include "recipe/cell.h"

#include <string.h>

static char *name_of(const struct router_use *u)
{
    const char *mode = router_mode(u->router, &u->args);
    return xasprintf("%s%s%s", u->router->name, *mode ? "_" : "", mode);
}

static int check(const struct recipe_router *r, const struct router_use *u, struct buf *err)
{
    enum router_scope scope = u->router->scope(&u->args);
    if (scope != SCOPE_BATCH && scope != SCOPE_PROMPT && !u->router->logits)
        return 0;
    return place_fail(&r->at, NULL, err,
                      "selections are compared sequence by sequence, from the scores alone; %s "
                      "%s",
                      u->router->name,
                      scope == SCOPE_BATCH    ? "looks at a batch"
                      : scope == SCOPE_PROMPT ? "wants to know where a prompt ends"
                                              : "reads logits");
}

static int add_name(struct sweep *s, size_t i, struct buf *err)
{
    s->overlap_names[i] = name_of(&s->overlap[i]);
    for (size_t j = 0; j < i; j++)
        if (strcmp(s->overlap_names[i], s->overlap_names[j]) == 0)
            return place_fail(&s->recipe->overlap[i].at, NULL, err,
                              "overlap has two routers that its metrics would call %s",
                              s->overlap_names[i]);
    return 0;
}

int sweep_make_overlap(struct sweep *s, struct buf *err)
{
    const struct recipe *r = s->recipe;
    size_t n = r->noverlap, at = 0;
    if (n == 0)
        return 0;
    s->overlap = xcalloc(s->nmodels * r->K.len * n, sizeof(*s->overlap));
    s->overlap_names = xcalloc(n, sizeof(*s->overlap_names));
    s->noverlap = n;
    for (size_t m = 0; m < s->nmodels; m++)
        for (size_t k = 0; k < r->K.len; k++)
            for (size_t i = 0; i < n; i++, at++) {
                struct router_use *u = &s->overlap[at];
                u->router = r->overlap[i].router;
                if (cell_args(&r->overlap[i], (int)r->K.v[k], &s->models[m], &u->args, err) ||
                    check(&r->overlap[i], u, err) || (at < n && add_name(s, i, err)))
                    return -1;
            }
    return 0;
}

const struct router_use *sweep_overlap_of(const struct sweep *s, size_t model, size_t k)
{
    return s->noverlap ? &s->overlap[(model * s->recipe->K.len + k) * s->noverlap] : NULL;
}

void sweep_overlap_free(struct sweep *s)
{
    for (size_t i = 0; i < s->noverlap; i++)
        free(s->overlap_names[i]);
    free(s->overlap_names);
    free(s->overlap);
}
