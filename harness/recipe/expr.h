/*
 * expr.h: numbers of a recipe that hang on K and N, such as K + 2 or N // 4.
 *
 * Values are exact fractions until the end, so that K / 3 * 3 is K. What comes out must be a whole
 * number in each cell. An expression is a flat list of steps in postfix order: it is copied by
 * assignment and owns nothing.
 *
 * Invariant: the steps leave exactly one value on a stack; n = 0 means that nothing was said.
 * Leaves out: Lua (recipe_words.c makes expressions from its operators), and ranges.
 */
#ifndef EXPR_H
#define EXPR_H

#include "util.h"

enum expr_op {
    EXPR_NUMBER,
    EXPR_K,
    EXPR_N,
    EXPR_NEG, /* the rest takes one operand, or two */
    EXPR_ADD,
    EXPR_SUB,
    EXPR_MUL,
    EXPR_DIV,
    EXPR_FLOORDIV,
};

enum { EXPR_STEPS = 32 };

struct expr {
    int n;
    struct expr_step {
        enum expr_op op;
        int32_t num, den; /* of EXPR_NUMBER */
    } step[EXPR_STEPS];
};

struct expr expr_whole(int32_t value);
struct expr expr_symbol(enum expr_op k_or_n);

/* A number as Lua has it; -1 where it is not a small fraction (0.5 and 1.25 are, 0.1 is not). */
int expr_number(double value, struct expr *out) MUST_USE;

/* a OP b (`b` NULL for EXPR_NEG); -1 where the result has too many steps. */
int expr_combine(enum expr_op op, const struct expr *a, const struct expr *b,
                 struct expr *out) MUST_USE;

/* The value; -1 and a sentence such as "K / 3 is 8/3 with K = 8, and not a whole number". */
int expr_value(const struct expr *e, int K, int N, int *out, struct buf *err) MUST_USE;

bool expr_uses(const struct expr *e, enum expr_op op);

void expr_text(const struct expr *e, struct buf *out);               /* "2 * (K + 1)" */
void expr_with(const struct expr *e, int K, int N, struct buf *out); /* " with K = 8", or "" */

#endif
