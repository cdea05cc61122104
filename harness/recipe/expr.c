/*
 * expr.c: see expr.h. Fractions are kept in lowest terms with a positive denominator, in 64 bits,
 * and every operation is checked for overflow.
 */
#include "recipe/expr.h"

#include <math.h>
#include <string.h>

struct fraction {
    int64_t num, den;
};

static const struct {
    const char *sign;
    int strength; /* what binds tighter has more */
} ops[] = {
    [EXPR_NUMBER] = { "", 9 }, [EXPR_K] = { "K", 9 },     [EXPR_N] = { "N", 9 },
    [EXPR_NEG] = { "-", 3 },   [EXPR_ADD] = { " + ", 1 }, [EXPR_SUB] = { " - ", 1 },
    [EXPR_MUL] = { " * ", 2 }, [EXPR_DIV] = { " / ", 2 }, [EXPR_FLOORDIV] = { " // ", 2 },
};

struct expr expr_whole(int32_t value)
{
    return (struct expr){ .n = 1, .step[0] = { EXPR_NUMBER, value, 1 } };
}

struct expr expr_symbol(enum expr_op k_or_n)
{
    return (struct expr){ .n = 1, .step[0] = { k_or_n, 0, 0 } };
}

int expr_number(double value, struct expr *out)
{
    double scaled = value * 1024; // exact where it matters: a change of the exponent
    if (!(fabs(scaled) < INT32_MAX) || scaled != floor(scaled)) {
        // A whole number may be larger than a fraction.
        if (!(fabs(value) < INT32_MAX) || value != floor(value))
            return -1;
        *out = expr_whole((int32_t)value);
        return 0;
    }
    int32_t num = (int32_t)scaled, den = 1024;
    while (den > 1 && num % 2 == 0) {
        num /= 2;
        den /= 2;
    }
    *out = expr_whole(num);
    out->step[0].den = den;
    return 0;
}

int expr_combine(enum expr_op op, const struct expr *a, const struct expr *b, struct expr *out)
{
    int nb = b ? b->n : 0;
    if (a->n + nb + 1 > EXPR_STEPS)
        return -1;
    struct expr e = { .n = a->n + nb + 1 };
    memcpy(e.step, a->step, (size_t)a->n * sizeof(e.step[0]));
    if (b)
        memcpy(e.step + a->n, b->step, (size_t)nb * sizeof(e.step[0]));
    e.step[e.n - 1].op = op;
    *out = e;
    return 0;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

/* In lowest terms; false where the denominator is 0 or a number is out of reach. */
static bool reduce(int64_t num, int64_t den, struct fraction *out)
{
    if (den == 0 || num == INT64_MIN || den == INT64_MIN)
        return false;
    int64_t g = gcd(num, den);
    if (den < 0)
        g = -g;
    *out = (struct fraction){ num / g, den / g };
    return true;
}

static int64_t floor_of(struct fraction f)
{
    return f.num / f.den - (f.num % f.den < 0);
}

static bool apply(enum expr_op op, struct fraction a, struct fraction b, struct fraction *out)
{
    int64_t x = 0, y = 0, den = 0;
    switch (op) {
    case EXPR_ADD:
    case EXPR_SUB:
        if (__builtin_mul_overflow(a.num, b.den, &x) || __builtin_mul_overflow(b.num, a.den, &y) ||
            __builtin_mul_overflow(a.den, b.den, &den))
            return false;
        if (op == EXPR_ADD ? __builtin_add_overflow(x, y, &x) : __builtin_sub_overflow(x, y, &x))
            return false;
        return reduce(x, den, out);
    case EXPR_MUL:
        return !__builtin_mul_overflow(a.num, b.num, &x) &&
               !__builtin_mul_overflow(a.den, b.den, &den) && reduce(x, den, out);
    case EXPR_DIV:
    case EXPR_FLOORDIV:
        if (__builtin_mul_overflow(a.num, b.den, &x) ||
            __builtin_mul_overflow(a.den, b.num, &den) || !reduce(x, den, out))
            return false;
        if (op == EXPR_FLOORDIV)
            *out = (struct fraction){ floor_of(*out), 1 };
        return true;
    default:
        BUG("operator %d does not take two values", (int)op);
    }
}

/* False where there is no value: a division by zero, or a number out of reach. */
static bool evaluate(const struct expr *e, int K, int N, struct fraction *out, bool *by_zero)
{
    struct fraction stack[EXPR_STEPS] = { { 0, 1 } };
    int top = 0;
    for (int i = 0; i < e->n; i++) {
        const struct expr_step *s = &e->step[i];
        if (s->op == EXPR_NUMBER) {
            stack[top++] = (struct fraction){ s->num, s->den };
        } else if (s->op == EXPR_K || s->op == EXPR_N) {
            stack[top++] = (struct fraction){ s->op == EXPR_K ? K : N, 1 };
        } else if (s->op == EXPR_NEG) {
            stack[top - 1].num = -stack[top - 1].num; // INT64_MIN cannot stand here
        } else {
            top--;
            *by_zero = stack[top].num == 0 && (s->op == EXPR_DIV || s->op == EXPR_FLOORDIV);
            if (*by_zero || !apply(s->op, stack[top - 1], stack[top], &stack[top - 1]))
                return false;
        }
    }
    *out = stack[0];
    return true;
}

int expr_value(const struct expr *e, int K, int N, int *out, struct buf *err)
{
    struct fraction f = { 0, 1 };
    bool by_zero = false;
    bool known = evaluate(e, K, N, &f, &by_zero);
    if (known && f.den == 1 && f.num >= INT32_MIN && f.num <= INT32_MAX) {
        *out = (int)f.num;
        return 0;
    }
    struct buf text = BUF_INIT, with = BUF_INIT;
    expr_text(e, &text);
    expr_with(e, K, N, &with);
    if (known && f.den != 1)
        fail(err, "%s is %lld/%lld%s, and not a whole number", text.s, (long long)f.num,
             (long long)f.den, with.s);
    else
        fail(err, "%s %s%s", text.s, by_zero ? "divides by zero" : "is too large", with.s);
    buf_release(&text);
    buf_release(&with);
    return -1;
}

bool expr_uses(const struct expr *e, enum expr_op op)
{
    for (int i = 0; i < e->n; i++)
        if (e->step[i].op == op)
            return true;
    return false;
}

/* Index of the first step of the value that step `last` leaves. */
static int first_step(const struct expr *e, int last)
{
    int missing = 1, i = last;
    for (;; i--) {
        enum expr_op op = e->step[i].op;
        missing += op > EXPR_NEG ? 1 : op == EXPR_NEG ? 0 : -1;
        if (missing == 0)
            return i;
    }
}

/* Writes the value of step `last`, in parentheses where it binds weaker than its surroundings. */
static void write_value(const struct expr *e, int last, int strength, struct buf *out)
{
    const struct expr_step *s = &e->step[last];
    int own = ops[s->op].strength;
    if (s->op == EXPR_NUMBER && s->num < 0)
        own = ops[EXPR_NEG].strength;
    if (own < strength)
        buf_addc(out, '(');
    if (s->op == EXPR_NUMBER) {
        buf_addf(out, "%.14g", (double)s->num / s->den);
    } else if (s->op == EXPR_NEG) {
        buf_addc(out, '-');
        write_value(e, last - 1, own + 1, out);
    } else if (s->op > EXPR_NEG) {
        write_value(e, first_step(e, last - 1) - 1, own, out);
        buf_adds(out, ops[s->op].sign);
        write_value(e, last - 1, own + 1, out);
    } else {
        buf_adds(out, ops[s->op].sign);
    }
    if (own < strength)
        buf_addc(out, ')');
}

void expr_text(const struct expr *e, struct buf *out)
{
    if (e->n)
        write_value(e, e->n - 1, 0, out);
}

void expr_with(const struct expr *e, int K, int N, struct buf *out)
{
    const char *join = " with ";
    if (expr_uses(e, EXPR_K)) {
        buf_addf(out, "%sK = %d", join, K);
        join = " and ";
    }
    if (expr_uses(e, EXPR_N))
        buf_addf(out, "%sN = %d", join, N);
}
