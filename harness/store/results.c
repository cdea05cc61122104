/*
 * results.c: see results.h.
 */
#include "store/results.h"

#include "routers/router.h"

#include <jansson.h>
#include <string.h>

static void add_value(const json_t *v, struct buf *out)
{
    if (json_is_real(v)) {
        real_text(json_real_value(v), out);
        return;
    }
    const json_t *each;
    size_t i;
    if (json_is_array(v)) { // a bound for each layer
        json_array_foreach (v, i, each)
            buf_addf(out, "%s%lld", i ? "/" : "", (long long)json_integer_value(each));
        return;
    }
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    buf_adds(out, json_is_string(v) ? json_string_value(v) : text ? text : "?");
    free(text);
}

/*
 * Is it the router's default? What hangs on N, which v_cells has not, counts as none, and so does
 * a real number: a label always says it.
 */
static bool is_default(const struct router *r, const char *name, const json_t *v, int k)
{
    for (const struct router_param *p = r ? r->params : NULL; p && p->name; p++)
        if (strcmp(p->name, name) == 0 && p->choices)
            return json_is_string(v) && strcmp(json_string_value(v), p->choices[p->def.c]) == 0;
        else if (strcmp(p->name, name) == 0)
            return !p->real && p->def.n == 0 && json_integer_value(v) == affine_value(p->def, k, 0);
    return false;
}

void result_label(const char *router, int k, const char *params, struct buf *out)
{
    const struct router *r = router_find(router);
    json_t *all = json_loads(params, 0, NULL), *v;
    const char *name;
    buf_adds(out, router);
    json_object_foreach (all, name, v) {
        const json_t *max = json_object_get(all, "max");
        if (strcmp(name, "min") == 0 && max) {
            buf_adds(out, " [");
            add_value(v, out);
            buf_adds(out, ", ");
            add_value(max, out);
            buf_addc(out, ']');
        } else if (strcmp(name, "mode") == 0) {
            buf_addc(out, ' ');
            add_value(v, out);
        } else if (strcmp(name, "max") != 0 && !is_default(r, name, v, k)) {
            buf_addf(out, " %s ", name);
            add_value(v, out);
        }
    }
    json_decref(all);
}

static char *copy(const struct rows *r, int col)
{
    const char *s = rows_text(r, col);
    return s ? xstrdup(s) : NULL;
}

/* Columns by their number in v_cells, which is public and does not change. */
static int read_cell(const struct rows *r, struct result *c, struct buf *err)
{
    static const int needed[] = { 0, 1, 2, 3, 8, 9, 10, 12, 13, 14 };
    struct buf label = BUF_INIT;
    *c = (struct result){ 0 };
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (rows_need(r, needed[i], err) != 0)
            return -1;
    *c = (struct result){ .id = copy(r, 0),
                          .sweep = copy(r, 1),
                          .model = copy(r, 2),
                          .router = copy(r, 3),
                          .mode = copy(r, 4),
                          .k = (int)rows_int(r, 5),
                          .min = rows_null(r, 6) ? -1 : (int)rows_int(r, 6),
                          .max = rows_null(r, 7) ? -1 : (int)rows_int(r, 7),
                          .params = copy(r, 8),
                          .train = copy(r, 9),
                          .task = copy(r, 10),
                          .seed = rows_int(r, 11),
                          .device = copy(r, 12),
                          .dtype = copy(r, 13),
                          .status = copy(r, 14),
                          .error = copy(r, 15),
                          .note = copy(r, 18) };
    result_label(c->router, c->k, c->params, &label);
    c->label = buf_detach(&label);
    // A router whose parameters have no bounds has none, whatever stands in the columns.
    json_t *params = json_loads(c->params, 0, NULL);
    if (params && !json_object_get(params, "max"))
        c->min = c->max = -1;
    json_decref(params);
    return 0;
}

static int read_metrics(struct store *s, struct result *c, struct buf *err)
{
    int rc;
    struct rows *r = store_query(
        s, err, "SELECT metric, value, stderr, n FROM v_metrics WHERE cell_id = ?", c->id);
    if (!r)
        return -1;
    while ((rc = rows_next(r, err)) == 1) {
        if ((rc = rows_need(r, 0, err)) != 0)
            break;
        ARRAY_GROW(c->metrics, c->metrics_cap, c->nmetrics + 1);
        c->metrics[c->nmetrics++] = (struct result_metric){ .name = copy(r, 0),
                                                            .value = rows_double(r, 1),
                                                            .stderr_ = rows_double(r, 2),
                                                            .n = rows_int(r, 3) };
    }
    rows_close(r);
    return rc;
}

int results_read(struct store *s, const char *where, struct results *out, struct buf *err)
{
    struct rows *r = store_cells(s, where, err);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        ARRAY_GROW(out->v, out->cap, out->len + 1);
        if ((rc = read_cell(r, &out->v[out->len++], err)) != 0)
            break;
    }
    rows_close(r);
    for (size_t i = 0; rc == 0 && i < out->len; i++)
        rc = read_metrics(s, &out->v[i], err);
    return rc;
}

void results_release(struct results *all)
{
    for (size_t i = 0; i < all->len; i++) {
        struct result *c = &all->v[i];
        char *const owned[] = { c->id,     c->sweep, c->model, c->router, c->mode,
                                c->params, c->train, c->task,  c->device, c->dtype,
                                c->status, c->error, c->note,  c->label };
        for (size_t j = 0; j < ARRAY_LEN(owned); j++)
            free(owned[j]);
        for (size_t j = 0; j < c->nmetrics; j++)
            free(c->metrics[j].name);
        free(c->metrics);
    }
    free(all->v);
    *all = (struct results){ 0 };
}

const struct result_metric *result_metric(const struct result *r, const char *name)
{
    for (size_t i = 0; i < r->nmetrics; i++)
        if (strcmp(r->metrics[i].name, name) == 0)
            return &r->metrics[i];
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

const char *result_differs(const struct result *p, const struct result *q)
{
    const struct {
        const char *name, *a, *b;
    } features[] = {
        { "model", p->model, q->model },    { "task", p->task, q->task },
        { "router", p->router, q->router }, { "router's parameters", p->params, q->params },
        { "training", p->train, q->train }, { "device", p->device, q->device },
        { "dtype", p->dtype, q->dtype },
    };
    for (size_t i = 0; i < ARRAY_LEN(features); i++)
        if (!same_text(features[i].a, features[i].b))
            return features[i].name;
    return p->k != q->k ? "K" : NULL;
}
