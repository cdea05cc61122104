/*
 * table_parts.c: fields, numbers and remarks as all forms of a table have them; see table.h.
 */
#include "cmd/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const table_field_names[FIELDS] = {
    [FIELD_MODEL] = "model",   [FIELD_TASK] = "task",     [FIELD_K] = "k",
    [FIELD_ROUTER] = "router", [FIELD_TRAIN] = "train",   [FIELD_DEVICE] = "device",
    [FIELD_DTYPE] = "dtype",   [FIELD_METRIC] = "metric",
};

bool table_for_people(const struct table_view *v)
{
    return v->format == TABLE_TEXT || v->format == TABLE_MARKDOWN || v->format == TABLE_LATEX;
}

int table_places(double error)
{
    if (!(error > 0) || !isfinite(error))
        return 4;
    int places = 1 - (int)floor(log10(error));
    return places < 0 ? 0 : places > 9 ? 9 : places;
}

void table_field(enum field f, const struct entry *e, struct buf *out)
{
    const char *const texts[FIELDS] = {
        [FIELD_MODEL] = e->cell->model,   [FIELD_TASK] = e->cell->task,
        [FIELD_ROUTER] = e->router,       [FIELD_TRAIN] = e->cell->train,
        [FIELD_DEVICE] = e->cell->device, [FIELD_DTYPE] = e->cell->dtype,
        [FIELD_METRIC] = e->metric,
    };
    if (f == FIELD_K)
        buf_addf(out, "%d", e->cell->k);
    else
        buf_adds(out, texts[f] ? texts[f] : "");
}

bool table_field_varies(enum field f, const struct entry *e, size_t n)
{
    struct buf first = BUF_INIT, other = BUF_INIT;
    bool varies = false;
    for (size_t i = 0; i < n && !varies; i++) {
        buf_reset(&other);
        table_field(f, &e[i], i ? &other : &first);
        varies = i && strcmp(first.s, other.s) != 0;
    }
    buf_release(&first);
    buf_release(&other);
    return varies;
}

void table_add_exact(struct table *t, double v)
{
    if (isfinite(v))
        table_addf(t, "%.9g", v);
    else
        table_add(t, NULL);
}

void table_remark(const struct table_view *v, const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    if (!table_for_people(v))
        return;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&line, fmt, ap);
    va_end(ap);
    for (char *c = line.s; *c; c++)
        *c = *c == '\n' || *c == '\r' ? ' ' : *c;
    printf("%s%s\n",
           v->format == TABLE_LATEX      ? "% "
           : v->format == TABLE_MARKDOWN ? "\n"
                                         : "",
           line.s);
    buf_release(&line);
}
