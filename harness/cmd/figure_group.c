/*
 * figure_group.c: see figure_group.h.
 */
#include "cmd/figure_group.h"

#include <string.h>

#define MOST_LAYERS 1000

bool group_is_reference(const struct result *r)
{
    return strcmp(r->router, "topk") == 0 || strcmp(r->router, "batchtopk") == 0;
}

char *group_mode(const struct result *r)
{
    return xasprintf("%s%s%s", r->router, r->mode ? " " : "", r->mode ? r->mode : "");
}

static bool same_group(const struct result *a, const struct result *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->task, b->task) == 0 &&
           strcmp(a->train, b->train) == 0 && strcmp(a->device, b->device) == 0 &&
           strcmp(a->dtype, b->dtype) == 0 && a->seed == b->seed;
}

static int read_shape(struct store *s, struct group *g, struct buf *err)
{
    struct rows *r =
        store_query(s, err, "SELECT layers, experts FROM cell WHERE id = ?", g->first->id);
    int rc = r ? rows_next(r, err) : -1;
    if (rc == 1) {
        g->layers = (int)rows_int(r, 0);
        g->experts = (int)rows_int(r, 1);
    }
    rows_close(r);
    if (rc == 1 && (g->layers < 0 || g->layers > MOST_LAYERS))
        rc = fail(err, "%s: cell %s has %d layers; at most %d can be drawn", store_path(s),
                  g->first->id, g->layers, MOST_LAYERS);
    return rc == 1   ? 0
           : rc == 0 ? fail(err, "%s: cell %s is gone", store_path(s), g->first->id)
                     : -1;
}

static void add_to_group(struct group *g, const struct result *r)
{
    char *mode = group_mode(r);
    size_t i;
    ARRAY_GROW(g->cells, g->cap, g->n + 1);
    g->cells[g->n++] = r;
    for (i = 0; i < g->nks && g->ks[i] != r->k; i++)
        ;
    if (i == g->nks) {
        ARRAY_GROW(g->ks, g->ks_cap, g->nks + 1);
        g->ks[g->nks++] = r->k;
    }
    for (i = 0; i < g->nmodes && strcmp(g->modes[i], mode) != 0; i++)
        ;
    if (i < g->nmodes || group_is_reference(r)) {
        free(mode);
        return;
    }
    ARRAY_GROW(g->modes, g->modes_cap, g->nmodes + 1);
    g->modes[g->nmodes++] = mode;
}

/* Each group is named by what is not the same in all. */
static void name_groups(struct groups *all)
{
    const struct result *one = all->v[0].first;
    bool model = false, task = false, train = false, seed = false, device = false, dtype = false;
    for (size_t i = 1; i < all->len; i++) {
        const struct result *r = all->v[i].first;
        model |= strcmp(one->model, r->model) != 0;
        task |= strcmp(one->task, r->task) != 0;
        train |= strcmp(one->train, r->train) != 0;
        device |= strcmp(one->device, r->device) != 0;
        dtype |= strcmp(one->dtype, r->dtype) != 0;
        seed |= one->seed != r->seed;
    }
    for (size_t i = 0; i < all->len; i++) {
        const struct result *r = all->v[i].first;
        struct buf name = BUF_INIT;
        const char *const parts[] = { model ? r->model : NULL, task ? r->task : NULL,
                                      train ? r->train : NULL, device ? r->device : NULL,
                                      dtype ? r->dtype : NULL };
        for (size_t p = 0; p < ARRAY_LEN(parts); p++)
            if (parts[p])
                buf_addf(&name, "%s%s", name.len ? ", " : "", parts[p]);
        if (seed)
            buf_addf(&name, "%sseed %lld", name.len ? ", " : "", (long long)r->seed);
        all->v[i].name = buf_detach(&name);
    }
}

static size_t lines_at(const struct group *g, int k)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++)
        n += g->cells[i]->k == k;
    return n;
}

int groups_make(struct store *s, const struct results *results, struct groups *out, struct buf *err)
{
    for (size_t i = 0; i < results->len; i++) {
        const struct result *r = &results->v[i];
        size_t g = 0;
        if (strcmp(r->status, "done") != 0)
            continue;
        while (g < out->len && !same_group(out->v[g].first, r))
            g++;
        if (g == out->len) {
            ARRAY_GROW(out->v, out->cap, out->len + 1);
            out->v[out->len++] = (struct group){ .first = r };
            if (read_shape(s, &out->v[g], err))
                return -1;
        }
        if (out->v[g].layers == 0) { // texts that were given were scored: there is nothing to draw
            out->len = g;
            continue;
        }
        add_to_group(&out->v[g], r);
    }
    if (out->len == 0) {
        fail(err, "%s: has no finished cell to draw", store_path(s));
        return 1;
    }
    name_groups(out);
    for (size_t g = 0; g < out->len; g++)
        for (size_t k = 0; k < out->v[g].nks; k++)
            out->split |=
                lines_at(&out->v[g], out->v[g].ks[k]) > FIGURE_LINES && out->v[g].nmodes > 1;
    return 0;
}

void groups_release(struct groups *all)
{
    for (size_t i = 0; i < all->len; i++) {
        struct group *g = &all->v[i];
        for (size_t m = 0; m < g->nmodes; m++)
            free(g->modes[m]);
        free(g->modes);
        free(g->cells);
        free(g->name);
        free(g->ks);
    }
    free(all->v);
}
