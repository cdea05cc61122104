/*
 * cutoffs.c: see cutoffs.h.
 */
#include "cutoffs.h"
#include "json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CUTOFFS_VERSION = 1,
    FILE_MAX = 64 << 20,
};

/* From here on a double becomes an infinite float32: half a step above the largest. */
static const double too_large = 0x1.ffffffp127;

/* The cutoffs of one layer. out: [experts] */
static int read_row(const json_t *row, const char *path, int layer, int experts, float *out,
                    struct buf *err)
{
    if (!json_is_array(row) || json_array_size(row) != (size_t)experts)
        return fail(err, "%s: cutoffs of layer %d: a list of %d numbers is needed, one an expert",
                    path, layer, experts);
    for (int e = 0; e < experts; e++) {
        const json_t *value = json_array_get(row, (size_t)e);
        double number = json_number_value(value);
        if (json_is_number(value) && fabs(number) < too_large) {
            out[e] = (float)number;
            continue;
        }
        struct buf is = BUF_INIT;
        json_show(value, &is);
        fail(err,
             "%s: the cutoff of layer %d, expert %d is %s; allowed is a number that float32 "
             "can hold",
             path, layer, e, is.s);
        buf_release(&is);
        return -1;
    }
    return 0;
}

static int read_object(const struct json_in *in, struct cutoffs *c)
{
    int version;
    const json_t *rows;
    if (json_need_int(in, "version", INT32_MIN, INT32_MAX, &version) != 0)
        return -1;
    if (version != CUTOFFS_VERSION)
        return json_refuse(in, "version", "this program reads version %d", CUTOFFS_VERSION);
    if (json_need_int(in, "K", 1, c->experts, &c->K) != 0 ||
        json_need_array(in, "cutoffs", &rows) != 0)
        return -1;
    if (json_array_size(rows) != (size_t)c->layers)
        return fail(in->err, "%s: cutoffs has %zu layers; the model has %d", in->where,
                    json_array_size(rows), c->layers);
    for (int l = 0; l < c->layers; l++)
        if (read_row(json_array_get(rows, (size_t)l), in->where, l, c->experts,
                     c->v + (size_t)l * (size_t)c->experts, in->err) != 0)
            return -1;
    return 0;
}

int cutoffs_read(const char *dir, int layers, int experts, struct cutoffs *out, struct buf *err)
{
    *out = (struct cutoffs){ .layers = layers, .experts = experts };
    char *path = xasprintf("%s/cutoffs.json", dir);
    if (access(path, F_OK) != 0) {
        free(path);
        return 0;
    }
    json_t *root = json_read_file(path, FILE_MAX, err);
    int rc = -1;
    if (root) {
        const struct json_in in = { root, path, err };
        out->v = xcalloc((size_t)layers * (size_t)experts, sizeof(*out->v));
        rc = read_object(&in, out);
        json_decref(root);
    }
    free(path);
    if (rc != 0)
        cutoffs_release(out);
    return rc;
}

void cutoffs_release(struct cutoffs *c)
{
    free(c->v);
    *c = (struct cutoffs){ 0 };
}

/*
 * In nine digits, which tell every float from its neighbours, and as a real, so that -0 stays one.
 */
static void add_float(float v, struct buf *out)
{
    char text[32];
    snprintf(text, sizeof(text), "%.9g", (double)v);
    buf_addf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

void cutoffs_json(const struct cutoffs *c, struct buf *out)
{
    buf_addf(out, "{\n  \"version\": %d,\n  \"K\": %d,\n  \"cutoffs\": [", CUTOFFS_VERSION, c->K);
    for (int l = 0; l < c->layers; l++) {
        buf_addf(out, "%s\n    [", l ? "," : "");
        for (int e = 0; e < c->experts; e++) {
            float v = c->v[(size_t)l * (size_t)c->experts + (size_t)e];
            if (!isfinite(v))
                BUG("the cutoff of layer %d, expert %d is not finite", l, e);
            buf_adds(out, e ? ", " : "");
            add_float(v, out);
        }
        buf_addc(out, ']');
    }
    buf_adds(out, "\n  ]\n}\n");
}

void cutoff_average_init(struct cutoff_average *a, int layers, int experts, double decay)
{
    if (layers < 1 || experts < 1 || !(decay > 0 && decay <= 1))
        BUG("an average of %d x %d cutoffs with decay %g", layers, experts, decay);
    int count = layers * experts;
    *a = (struct cutoff_average){ .count = count, .nstate = count + 1, .decay = decay };
    a->state = xcalloc((size_t)a->nstate, sizeof(*a->state));
    a->step = xcalloc((size_t)count, sizeof(*a->step));
}

void cutoff_average_release(struct cutoff_average *a)
{
    free(a->state);
    free(a->step);
    *a = (struct cutoff_average){ 0 };
}

void cutoff_average_add(struct cutoff_average *a, const float *kth, int64_t tokens)
{
    for (int i = 0; i < a->count; i++)
        a->step[i] += (double)kth[i] * (double)tokens;
    a->tokens += tokens;
}

void cutoff_average_step(struct cutoff_average *a)
{
    if (a->tokens == 0)
        return;
    double *weight = &a->state[a->count];
    for (int i = 0; i < a->count; i++)
        a->state[i] = a->decay * a->state[i] + a->step[i] / (double)a->tokens;
    *weight = a->decay * *weight + 1;
    memset(a->step, 0, (size_t)a->count * sizeof(*a->step));
    a->tokens = 0;
}

bool cutoff_average_value(const struct cutoff_average *a, float *out)
{
    double weight = a->state[a->count];
    if (weight == 0)
        return false;
    for (int i = 0; i < a->count; i++)
        out[i] = (float)(a->state[i] / weight);
    return true;
}
