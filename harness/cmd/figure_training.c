/*
 * figure_training.c: trainings become lines, marks, panels and names. See figure_training.h;
 * figure_training_script.c draws them.
 */
#include "cmd/figure_training.h"
#include "store/results.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- points ---- */

static void add_point(struct loss_points *p, int64_t step, double tokens, double loss)
{
    ARRAY_GROW(p->v, p->cap, p->len + 1);
    p->v[p->len++] = (struct loss_point){ step, tokens, loss };
}

/* The rows (step, tokens, loss) of a query over one training. */
static int read_points(struct store *s, const char *sql, const char *id, struct loss_points *out,
                       struct buf *err)
{
    int rc;
    struct rows *r = store_query(s, err, sql, id);
    if (!r)
        return -1;
    while ((rc = rows_next(r, err)) == 1)
        add_point(out, rows_int(r, 0), rows_double(r, 1), rows_double(r, 2));
    rows_close(r);
    return rc;
}

/* Is point `i` of `n` drawn, where about `most` are? The last one always is. */
static bool is_drawn(size_t i, size_t n, size_t most)
{
    size_t stride = (n + most - 1) / most;
    return (n - 1 - i) % stride == 0;
}

/* From all losses the smoothed ones that are drawn. */
static void smooth(const struct loss_points *all, struct curve *c)
{
    size_t half = all->len / CURVE_SMOOTH / 2;
    c->window = 2 * half + 1;
    for (size_t i = 0; i < all->len; i++) {
        size_t reach = i < half ? i : half, last = i + reach;
        double sum = 0;
        if (!is_drawn(i, all->len, CURVE_POINTS))
            continue;
        if (last > all->len - 1)
            last = all->len - 1;
        for (size_t k = i - reach; k <= last; k++)
            sum += all->v[k].loss;
        add_point(&c->line, all->v[i].step, all->v[i].tokens,
                  sum / (double)(last - (i - reach) + 1));
    }
}

static void thin(struct loss_points *p)
{
    size_t n = 0, all = p->len;
    for (size_t i = 0; i < all; i++)
        if (is_drawn(i, all, CURVE_MARKS))
            p->v[n++] = p->v[i];
    p->len = n;
}

static int read_losses(struct store *s, struct curve *c, struct buf *err)
{
    struct loss_points all = { 0 };
    // A step at which a source is missing would jump for that reason alone.
    int rc = read_points(s,
                         "SELECT step, tokens, loss FROM v_training_steps"
                         " WHERE training_id = ? AND loss IS NOT NULL ORDER BY step",
                         c->id, &all, err) ||
                     read_points(s,
                                 "SELECT step, iif(step = 0, 0, (SELECT max(tokens) FROM"
                                 " v_training_steps AS s WHERE s.training_id = h.training_id AND"
                                 " s.step = h.step)), sum(nll) / sum(tokens)"
                                 " FROM v_training_heldout AS h WHERE training_id = ?1"
                                 " AND nll IS NOT NULL AND tokens > 0 GROUP BY step"
                                 " HAVING count(*) = (SELECT count(DISTINCT source) FROM"
                                 " v_training_heldout WHERE training_id = ?1) ORDER BY step",
                                 c->id, &c->marks, err)
                 ? -1
                 : 0;
    if (rc == 0 && all.len)
        smooth(&all, c);
    if (rc == 0 && c->marks.len)
        thin(&c->marks);
    free(all.v);
    return rc;
}

/* ---- names ---- */

/* What a label says beside its own words: router, K and seed, which its settings have. */
static void add_settings(const char *label, const char *settings, struct buf *out)
{
    json_t *all = json_loads(settings, 0, NULL);
    const json_t *how = json_object_get(all, "settings"), *params = json_object_get(all, "params");
    const json_t *router = json_object_get(all, "router"), *K = json_object_get(all, "K");
    const json_t *seed = json_object_get(how, "seed");
    char *text = params ? json_dumps(params, 0) : NULL;
    if (json_is_string(router) && !strstr(label, " router ")) {
        buf_adds(out, ", ");
        result_label(json_string_value(router), (int)json_integer_value(K), text ? text : "{}",
                     out);
    }
    if (json_is_integer(K) && !json_object_get(how, "matryoshka"))
        buf_addf(out, ", K %d", (int)json_integer_value(K));
    if (json_is_integer(seed) && !strstr(label, " seed "))
        buf_addf(out, ", seed %lld", (long long)json_integer_value(seed));
    free(text);
    json_decref(all);
}

/* How long the first part is: to a ", " that stands in no bracket, or to the end. */
static size_t part_length(const char *parts)
{
    int depth = 0;
    size_t n = 0;
    for (; parts[n] && (depth > 0 || strncmp(parts + n, ", ", 2) != 0); n++)
        depth += (parts[n] == '(' || parts[n] == '[') - (parts[n] == ')' || parts[n] == ']');
    return n;
}

/* The part behind the first; NULL: there is none. */
static const char *next_part(const char *parts)
{
    size_t n = part_length(parts);
    return parts[n] ? parts + n + 2 : NULL;
}

static bool has_part(const char *parts, const char *part, size_t len)
{
    for (; parts; parts = next_part(parts))
        if (part_length(parts) == len && strncmp(parts, part, len) == 0)
            return true;
    return false;
}

/* Appends the parts that all curves of the panel have (`common`), or do not. */
static void add_parts(const struct curves *c, const struct curve_panel *p, const char *parts,
                      bool common, struct buf *out)
{
    const char *comma = "";
    for (; parts; parts = next_part(parts)) {
        size_t len = part_length(parts);
        bool all = true;
        for (size_t i = 0; i < p->n; i++)
            all &= has_part(c->v[p->first + i].parts, parts, len);
        if (all == common) {
            buf_adds(out, comma);
            buf_add(out, parts, len);
            comma = ", ";
        }
    }
}

static bool is_taken(const struct curves *c, const struct curve_panel *p, size_t which)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->first + i != which && strcmp(c->v[p->first + i].parts, c->v[which].parts) == 0)
            return true;
    return false;
}

/* What all lines of the panel share stands in its title, the rest in the legend. */
static void name_panel(struct curves *c, struct curve_panel *p)
{
    const struct curve *one = &c->v[p->first];
    struct buf title = BUF_INIT, common = BUF_INIT;
    if (*one->sweep && strcmp(one->sweep, one->model) != 0)
        buf_addf(&title, "%s, ", one->sweep);
    buf_adds(&title, one->model);
    if (p->n > 1)
        add_parts(c, p, one->parts, true, &common);
    if (common.len)
        buf_addf(&title, ": %s", common.s);
    p->title = buf_detach(&title);
    buf_release(&common);
    for (size_t i = p->first; i < p->first + p->n; i++) {
        struct buf name = BUF_INIT;
        add_parts(c, p, c->v[i].parts, p->n == 1, &name);
        if (!name.len || is_taken(c, p, i))
            buf_addf(&name, "%s%.8s", name.len ? ", " : "", c->v[i].id);
        c->v[i].name = buf_detach(&name);
    }
}

/* ---- panels ---- */

/* Okabe and Ito's colours, told apart by colour-blind readers; dashes and marks also in grey. */
static const struct style styles[FIGURE_LINES] = {
    { "#0072b2", "solid", 7, 1.4 },         { "#d55e00", "(9,3)", 5, 1.4 },
    { "#009e73", "(9,3,2,3)", 9, 1.4 },     { "#cc79a7", "(4,2)", 13, 1.4 },
    { "#e69f00", "(2,2)", 11, 1.4 },        { "#56b4e9", "(14,4)", 4, 1.4 },
    { "#000000", "(9,3,2,3,2,3)", 6, 1.4 },
};

static double step_size(const struct curve *c)
{
    const struct loss_point *last = &c->line.v[c->line.len - 1];
    return last->tokens / (double)last->step;
}

/* Do the trainings' steps hold about as many tokens? */
static bool same_steps(const struct curves *c, const struct curve_panel *p)
{
    double lo = INFINITY, hi = 0;
    for (size_t i = p->first; i < p->first + p->n; i++) {
        lo = fmin(lo, step_size(&c->v[i]));
        hi = fmax(hi, step_size(&c->v[i]));
    }
    return hi <= 1.1 * lo;
}

/* The panel of curve `i`: the last one, or a new one. */
static struct curve_panel *panel_for(struct curves *c, size_t i)
{
    if (c->npanels) {
        struct curve_panel *last = &c->panels[c->npanels - 1];
        const struct curve *one = &c->v[last->first];
        if (last->n < FIGURE_LINES && strcmp(one->sweep, c->v[i].sweep) == 0 &&
            strcmp(one->model, c->v[i].model) == 0)
            return last;
    }
    ARRAY_GROW(c->panels, c->panels_cap, c->npanels + 1);
    c->panels[c->npanels] = (struct curve_panel){ .first = i };
    return &c->panels[c->npanels++];
}

static void make_panels(struct curves *c)
{
    for (size_t i = 0; i < c->len; i++)
        c->v[i].style = styles[panel_for(c, i)->n++];
    for (size_t i = 0; i < c->npanels; i++) {
        c->panels[i].by_tokens = !same_steps(c, &c->panels[i]);
        name_panel(c, &c->panels[i]);
    }
}

static void curve_release(struct curve *c)
{
    free(c->id);
    free(c->sweep);
    free(c->model);
    free(c->label);
    free(c->parts);
    free(c->name);
    free(c->line.v);
    free(c->marks.v);
}

/* The training of the row, where it has a loss. */
static int add_curve(struct store *s, const struct rows *r, struct curves *out, struct buf *err)
{
    for (int i = 0; i < 5; i++)
        if (rows_need(r, i, err) != 0)
            return -1;
    struct curve c = { .id = xstrdup(rows_text(r, 0)),
                       .sweep = xstrdup(rows_text(r, 1)),
                       .model = xstrdup(rows_text(r, 2)),
                       .label = xstrdup(rows_text(r, 3)) };
    struct buf parts = BUF_INIT;
    buf_adds(&parts, c.label);
    add_settings(c.label, rows_text(r, 4), &parts);
    c.parts = buf_detach(&parts);
    int rc = read_losses(s, &c, err);
    if (rc || !c.line.len) {
        curve_release(&c);
        return rc;
    }
    ARRAY_GROW(out->v, out->cap, out->len + 1);
    out->v[out->len++] = c;
    return 0;
}

int curves_read(struct store *s, struct curves *out, struct buf *err)
{
    int rc;
    struct rows *r =
        store_query(s, err,
                    "SELECT training_id, sweep, model, label, settings FROM v_trainings"
                    " ORDER BY sweep, model, label, settings ->> '$.router',"
                    " settings ->> '$.params', settings ->> '$.K',"
                    " settings ->> '$.settings.seed', training_id");
    if (!r)
        return -1;
    while ((rc = rows_next(r, err)) == 1)
        if ((rc = add_curve(s, r, out, err)))
            break;
    rows_close(r);
    if (rc == 0)
        make_panels(out);
    return rc;
}

void curves_release(struct curves *c)
{
    for (size_t i = 0; i < c->len; i++)
        curve_release(&c->v[i]);
    for (size_t i = 0; i < c->npanels; i++)
        free(c->panels[i].title);
    free(c->v);
    free(c->panels);
    *c = (struct curves){ 0 };
}
