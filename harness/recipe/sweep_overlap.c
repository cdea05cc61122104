/*
 * sweep_overlap.c: see sweep_overlap.h.
 */
#include "recipe/sweep_overlap.h"
#include "recipe/sweep_training.h"

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

/* Of one model, training and K. at: where the first goes */
static int make_some(struct sweep *s, size_t at, const struct sweep_model *m,
                     const struct recipe_train *train, int K, struct buf *err)
{
    for (size_t i = 0; i < s->noverlap; i++) {
        const struct recipe_router *said = &s->recipe->overlap[i];
        struct router_use *u = &s->overlap[at + i];
        u->router = said->router;
        if (training_cell_args(train, said, K, m, &u->args, err) || check(said, u, err) ||
            (at == 0 && add_name(s, i, err)))
            return -1;
    }
    return 0;
}

int sweep_make_overlap(struct sweep *s, struct buf *err)
{
    const struct recipe *r = s->recipe;
    if (r->noverlap == 0)
        return 0;
    s->noverlap = r->noverlap;
    s->overlap = xcalloc(s->nmodels * r->ntrains * r->K.len * s->noverlap, sizeof(*s->overlap));
    s->overlap_names = xcalloc(s->noverlap, sizeof(*s->overlap_names));
    size_t at = 0;
    for (size_t m = 0; m < s->nmodels; m++)
        for (size_t t = 0; t < r->ntrains; t++)
            for (size_t k = 0; k < r->K.len; k++, at += s->noverlap)
                if (make_some(s, at, &s->models[m], &r->trains[t], (int)r->K.v[k], err))
                    return -1;
    return 0;
}

const struct router_use *sweep_overlap_of(const struct sweep *s, size_t model, size_t train,
                                          size_t k)
{
    const struct recipe *r = s->recipe;
    return s->noverlap ? &s->overlap[((model * r->ntrains + train) * r->K.len + k) * s->noverlap]
                       : NULL;
}

void sweep_overlap_free(struct sweep *s)
{
    for (size_t i = 0; i < s->noverlap; i++)
        free(s->overlap_names[i]);
    free(s->overlap_names);
    free(s->overlap);
}
