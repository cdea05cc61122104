/*
 * lesson_order.c: see lesson_order.h.
 */
#include "train/lesson_order.h"

void lesson_order_init(struct lesson_order *o, const struct lessons *l, int64_t seed)
{
    *o = (struct lesson_order){ .lessons = l, .seed = seed };
}

void lesson_order_release(struct lesson_order *o)
{
    free(o->ids.v);
    o->ids = (struct ids){ 0 };
}

bool lesson_order_any(const struct lessons *l)
{
    // A weight below half a unit of 2^-32 is rounded to 0, and such lessons never come.
    for (size_t i = 0; i < l->nsources; i++)
        if (l->sources[i].lessons && l->sources[i].weight >= 0x1p-33)
            return true;
    return false;
}

const struct lesson *lesson_order_at(struct lesson_order *o, int64_t n)
{
    if (n < o->first || n >= o->first + (int64_t)o->ids.len) {
        int64_t epoch = lessons_epoch_of(o->lessons, n);
        o->first = lessons_before(o->lessons, epoch);
        o->ids.len = 0;
        lessons_epoch(o->lessons, o->seed, epoch, &o->ids);
    }
    return &o->lessons->v[o->ids.v[n - o->first]];
}
