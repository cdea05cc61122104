/*
 * lesson_order.h: which lessons a step is made of: epoch after epoch in one endless row, of which
 * step s takes lessons s * batch to (s + 1) * batch - 1. The last lessons of an epoch share a step with
 * the first ones of the next.
 *
 * Invariant: lesson n of the row is a function of the lessons, the seed and n.
 * Leaves out: the order inside an epoch (lessons.h).
 */
#ifndef LESSON_ORDER_H
#define LESSON_ORDER_H

#include "train/lessons.h"

struct lesson_order {
    const struct lessons *lessons;
    int64_t seed;
    int64_t first;  /* place of the first lesson of the epoch that is laid out */
    struct ids ids; /* that epoch; none at first */
};

void lesson_order_init(struct lesson_order *o, const struct lessons *l, int64_t seed);
void lesson_order_release(struct lesson_order *o);

/* Does any lesson come in any epoch? */
bool lesson_order_any(const struct lessons *l);

/* Lesson n of the row, which must have some; quick where n stays in an epoch. */
const struct lesson *lesson_order_at(struct lesson_order *o, int64_t n);

#endif
