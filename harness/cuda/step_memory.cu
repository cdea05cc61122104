/*
 * step_memory.cu: where everything that a step works in lies; see step_impl.cuh.
 */
#include "cuda/step_impl.cuh"

enum { UNIT = 256, MOST_UNITS = 32 }; // see attend.cu

const int step_sizes[] = { 1, 2, 4, 8, 16, 24, 32, 48, 64, 0 };
static_assert(sizeof(step_sizes) / sizeof(*step_sizes) - 1 == STEP_SIZES, "one replay each");

template <typename T> static void carve(struct carver *c, T **p, size_t count)
{
    // Not by adding to a pointer, which may be NULL.
    *p = reinterpret_cast<T *>(reinterpret_cast<uintptr_t>(c->base) + c->used);
    c->used += (count * sizeof(T) + STEP_ALIGN - 1) / STEP_ALIGN * STEP_ALIGN;
}
static void carve_bytes(struct carver *c, void **p, size_t bytes)
{
    unsigned char *at;
    carve(c, &at, bytes);
    *p = at;
}

/* What is copied to the host. */
void step_carve_output(struct carver *c, const struct step_shape *s, size_t rows,
                       struct step_output *o)
{
    carve(c, &o->bad, 1);
    carve(c, &o->next, rows);
    carve(c, &o->nll, rows);
    carve(c, &o->entropy, rows);
    carve(c, &o->scores, static_cast<size_t>(s->layers) * rows * s->experts);
}

static void carve_pairs(struct carver *c, size_t rows, size_t N, struct step_pairs *p)
{
    carve(c, &p->active, N + 1);
    carve(c, &p->begin, N + 1);
    carve(c, &p->text, rows * N);
    carve(c, &p->taken, rows * ((N + 31) / 32));
    carve(c, &p->weight, rows * N);
}

/* The work of `most` texts; the output apart, since it hangs on the number of texts. */
static void carve_work(struct carver *c, const struct step_spec *spec, size_t most,
                       struct step_view *v)
{
    const struct step_shape *s = &spec->shape;
    const size_t size = s->half ? 2 : 4, d = static_cast<size_t>(s->hidden);
    const size_t N = static_cast<size_t>(s->experts), F = static_cast<size_t>(s->expert_ffn);
    const size_t H = static_cast<size_t>(s->heads), D = static_cast<size_t>(s->head_dim);
    const size_t kv = static_cast<size_t>(s->kv_heads) * D, Fs = static_cast<size_t>(s->shared_ffn);
    carve_pairs(c, most, N, &v->pairs);
    carve(c, &v->x, most * d);
    carve_bytes(c, &v->xw, most * d * size);
    carve(c, &v->squares, most * static_cast<size_t>(v->tiles));
    carve(c, &v->scale, most);
    carve(c, &v->qkv, most * (H * D + 2 * kv));
    carve(c, &v->parts, most * H * static_cast<size_t>(v->units) * (D + 2));
    carve_bytes(c, &v->attended, most * H * D * size);
    carve(c, &v->logits, most * (N + 1));
    carve_bytes(c, &v->act, most * N * F * size);
    carve_bytes(c, &v->shared_act, most * Fs * size);
    carve(c, &v->vocabulary, most * static_cast<size_t>(s->vocab));
    carve(c, &v->chunk, most * CHUNKS * 4);
    carve(c, &v->arrived, most * H + most + 1);
}

/* The sizes that a view has whatever the number of texts. */
struct step_view step_view_of(const struct step_spec *spec)
{
    struct step_view v = {};
    v.s = spec->shape;
    v.capacity = spec->capacity;
    v.unit = (spec->capacity + UNIT * MOST_UNITS - 1) / (UNIT * MOST_UNITS) * UNIT;
    v.units = most_units(spec->capacity, v.unit);
    v.tiles = (spec->shape.hidden + SQUARES - 1) / SQUARES;
    return v;
}

int step_most_texts(const struct step_spec *spec)
{
    int i = 0;
    while (step_sizes[i + 1] && step_sizes[i] < spec->slots)
        i++;
    return step_sizes[i];
}

/* Input and routers' table, output, work. */
void step_carve_all(struct carver *c, const struct step_spec *spec, struct step *s,
                    struct step_view *v)
{
    const size_t most = static_cast<size_t>(step_most_texts(spec));
    struct step_output output;
    carve(c, &s->input, 1);
    carve(c, &s->routers, static_cast<size_t>(spec->slots));
    carve(c, &s->output, 0);
    step_carve_output(c, &spec->shape, most, &output);
    carve_work(c, spec, most, v);
}

size_t step_bytes(const struct step_spec *spec)
{
    struct carver c = {};
    struct step s = {};
    struct step_view v = step_view_of(spec);
    step_carve_all(&c, spec, &s, &v);
    return c.used;
}
