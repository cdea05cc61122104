/*
 * prune_weights.c: see prune_weights.h. Tensors are whole but for the routers', of which single rows
 * are taken; so what is written is a list of runs of neighbouring numbers.
 */
#include "train/prune_weights.h"

#include <string.h>

struct prune_run {
    const struct st_tensor *t;
    int64_t from, n; /* numbers of the tensor */
};

/* What the walk over the model needs. */
struct walk {
    struct prune_weights *p;
    const struct weights *w;
    const int *kept;
    int left;
};

static void add_run(struct prune_weights *p, const struct st_tensor *t, int64_t from, int64_t n)
{
    ARRAY_GROW(p->runs, p->runs_cap, p->nruns + 1);
    p->runs[p->nruns++] = (struct prune_run){ t, from, n };
}

static void add_tensor(void *context, const char *name, int ndim, const int64_t shape[2], int layer,
                       const struct st_tensor *t)
{
    const struct walk *k = context;
    struct prune_weights *p = k->p;
    int64_t *own = xmalloc(2 * sizeof(*own));
    memcpy(own, shape, 2 * sizeof(*own));
    ARRAY_GROW(p->tensors, p->cap, p->n + 1);
    p->tensors[p->n++] = (struct checkpoint_tensor){ xstrdup(name), ndim, own, NULL };
    if (t->dtype != DTYPE_BF16)
        p->dtype = DTYPE_F32;
    if (layer < 0 || t != k->w->layer[layer].router) {
        add_run(p, t, 0, shape[0] * (ndim == 2 ? shape[1] : 1));
        return;
    }
    for (int i = 0; i < k->left; i++)
        add_run(p, t, k->kept[layer * k->left + i] * shape[1], shape[1]);
}

void prune_weights_init(struct prune_weights *p, const struct weights *w, const int *kept, int left)
{
    struct walk k = { p, w, kept, left };
    *p = (struct prune_weights){ .dtype = DTYPE_BF16 };
    weights_each_kept(w, kept, left, add_tensor, &k);
}

void prune_weights_release(struct prune_weights *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free((char *)(uintptr_t)p->tensors[i].name);
        free((int64_t *)(uintptr_t)p->tensors[i].shape);
    }
    free(p->tensors);
    free(p->runs);
    *p = (struct prune_weights){ 0 };
}

/* A number of 16 bits as float32: `mantissa` bits of it behind an exponent with this bias. */
static float half_value(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff;
    uint32_t all;
    float value;
    if (rest >= 0x7c00) { // infinite, or no number
        all = sign | 0x7f800000u | (rest & 0x3ff) << 13;
        memcpy(&value, &all, sizeof(value));
    } else if (rest < 0x400) { // below the smallest normal number: so many units of 2^-24
        value = (float)rest * 0x1p-24f;
        value = sign ? -value : value;
    } else {
        all = sign | ((rest << 13) + ((127 - 15) << 23));
        memcpy(&value, &all, sizeof(value));
    }
    return value;
}

static float value_at(const struct st_tensor *t, int64_t i)
{
    uint16_t bits;
    uint32_t all;
    float value;
    if (t->dtype == DTYPE_F32) {
        memcpy(&value, (const char *)t->data + i * 4, sizeof(value));
        return value;
    }
    memcpy(&bits, (const char *)t->data + i * 2, sizeof(bits));
    if (t->dtype == DTYPE_F16)
        return half_value(bits);
    all = (uint32_t)bits << 16;
    memcpy(&value, &all, sizeof(value));
    return value;
}

static void put(const struct st_tensor *t, int64_t from, int64_t n, enum dtype dtype, char *to)
{
    const size_t size = dtype_size(dtype);
    if (t->dtype == dtype) {
        memcpy(to, (const char *)t->data + from * (int64_t)size, (size_t)n * size);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float value = value_at(t, from + i);
        memcpy(to + i * (int64_t)size, &value, size);
    }
}

int prune_weights_get(void *of, int64_t at, int64_t n, void *bytes, struct buf *err)
{
    struct prune_weights *p = of;
    const int64_t size = (int64_t)dtype_size(p->dtype), end = (at + n) / size;
    char *to = bytes;
    (void)err;
    for (at /= size; at < end;) {
        const struct prune_run *r = &p->runs[p->at];
        const int64_t from = at - p->at_from;
        if (from == r->n) {
            p->at_from += r->n;
            p->at++;
            continue;
        }
        const int64_t many = r->n - from < end - at ? r->n - from : end - at;
        put(r->t, r->from + from, many, p->dtype, to);
        to += many * size;
        at += many;
    }
    return 0;
}
