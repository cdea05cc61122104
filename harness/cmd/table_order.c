/*
 * table_order.c: in which order the cells of a table stand, and which of them are one entry; see table.h.
 */
#include "cmd/table.h"

#include <ctype.h>
#include <string.h>

/* ---- order ---- */

/* Two runs of digits, without the zeros before them: first by their length, then by their digits. */
static int by_digits(const char **a, const char **b)
{
    const char *p = *a + strspn(*a, "0"), *q = *b + strspn(*b, "0");
    size_t m = strspn(p, "0123456789"), n = strspn(q, "0123456789");
    *a = p + m;
    *b = q + n;
    if (m != n)
        return m < n ? -1 : 1;
    return strncmp(p, q, m);
}

/* What stands behind the points of two equal numbers is compared digit by digit: 0.25 before 0.5. */
static int by_fraction(const char **a, const char **b)
{
    size_t m, n;
    if (**a != '.' || **b != '.')
        return 0;
    m = strspn(*a + 1, "0123456789");
    n = strspn(*b + 1, "0123456789");
    int order = strncmp(*a + 1, *b + 1, m < n ? m : n);
    *a += 1 + m;
    *b += 1 + n;
    return order ? order : m < n ? -1 : m > n;
}

int natural_order(const char *a, const char *b)
{
    const char *whole_a = a, *whole_b = b;
    while (*a && *b) {
        int order = 0;
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            order = by_digits(&a, &b);
            order = order ? order : by_fraction(&a, &b);
        } else {
            order = (unsigned char)*a++ - (unsigned char)*b++;
        }
        if (order)
            return order;
    }
    if (*a || *b)
        return *a ? 1 : -1;
    return strcmp(whole_a, whole_b); // "07" and "7" are two texts
}

static int by_number(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

/* That of store_cells(), but for numbers in texts. */
static int by_cell(const void *a, const void *b)
{
    const struct result *p = a, *q = b;
    const int orders[] = {
        natural_order(p->model, q->model),
        natural_order(p->task, q->task),
        by_number(q->k, p->k),
        by_number(strcmp(q->router, "topk") == 0, strcmp(p->router, "topk") == 0),
        strcmp(q->router, p->router),
        strcmp(p->mode ? p->mode : "", q->mode ? q->mode : ""),
        by_number(q->min, p->min),
        by_number(p->max, q->max),
        natural_order(p->params, q->params),
        natural_order(p->train, q->train),
        by_number(p->seed, q->seed),
        strcmp(p->device, q->device),
        strcmp(p->dtype, q->dtype),
        strcmp(p->id, q->id),
    };
    for (size_t i = 0; i < ARRAY_LEN(orders); i++)
        if (orders[i])
            return orders[i];
    return 0;
}

void table_order(struct results *all)
{
    if (all->len)
        qsort(all->v, all->len, sizeof(*all->v), by_cell);
}

/* ---- pools ---- */

static bool are_one(const struct result *p, const struct result *q)
{
    return strcmp(p->status, "done") == 0 && strcmp(q->status, "done") == 0 &&
           !result_differs(p, q);
}

bool table_pool(const struct results *chosen, size_t i, struct pool *out)
{
    const struct result *first = &chosen->v[i];
    if (strcmp(first->status, "done") != 0)
        return false;
    for (size_t j = 0; j < i; j++)
        if (are_one(&chosen->v[j], first))
            return false;
    for (size_t j = i; j < chosen->len; j++)
        if (are_one(first, &chosen->v[j]))
            pool_add(out, &chosen->v[j]);
    return true;
}
