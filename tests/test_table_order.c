/*
 * test_table_order.c: numbers in names are compared by their value, and cells stand by that.
 */
#include "cmd/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void numbers_in_texts_count_by_their_value(void **state)
{
    (void)state;
    static const char *const ascending[] = {
        "",
        "first_128",
        "first_512",
        "first_2048",
        "n(l=8,x=2)",
        "n(l=8,x=10)",
        "n(l=16,x=2)",
        "p 0",
        "p 0.05",
        "p 0.25",
        "p 0.5",
        "p 1",
        "p 1.5",
        "p 12",
        "p 99999999999999999998",
        "p 99999999999999999999",
        "x007",
        "x07",
        "x7",
        "x7a",
        "y\xc3\xa9",
    };
    for (size_t i = 0; i < ARRAY_LEN(ascending); i++)
        for (size_t j = 0; j < ARRAY_LEN(ascending); j++) {
            int order = natural_order(ascending[i], ascending[j]);
            if ((order < 0) != (i < j) || (order > 0) != (i > j))
                fail_msg("'%s' and '%s': %d", ascending[i], ascending[j], order);
        }
}

/* One cell of each, from `all` of which the ids are a, b, c, ... */
static void check_order(struct result *cells, size_t n, const char *wanted)
{
    struct results all = { .v = cells, .len = n };
    char got[16] = "";
    table_order(&all);
    for (size_t i = 0; i < n; i++)
        got[i] = cells[i].id[0];
    assert_string_equal(got, wanted);
}

#define CELL(id_, task_, k_, router_, params_)                                                     \
    {                                                                                              \
        .id = (char[]){ id_, 0 }, .model = (char[]){ "m" }, .task = (char[]){ task_ }, .k = k_,    \
        .router = (char[]){ router_ }, .params = (char[]){ params_ }, .train = (char[]){ "none" }, \
        .device = (char[]){ "cpu" }, .dtype = (char[])                                             \
        {                                                                                          \
            "f32"                                                                                  \
        }                                                                                          \
    }

static void cells_stand_by_task_then_k_from_the_largest_then_router(void **state)
{
    (void)state;
    struct result cells[] = {
        CELL('a', "t(16)", 2, "topk", "{}"),
        CELL('b', "t(8)", 2, "batchtopk", "{\"batch\":16}"),
        CELL('c', "t(8)", 2, "batchtopk", "{\"batch\":8}"),
        CELL('d', "t(8)", 2, "topk", "{}"),
        CELL('e', "t(8)", 4, "batchtopk", "{\"batch\":4}"),
        CELL('f', "t(8)", 2, "seqtopk", "{\"segment\":4}"),
    };
    check_order(cells, ARRAY_LEN(cells), "edfcba");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_in_texts_count_by_their_value),
        cmocka_unit_test(cells_stand_by_task_then_k_from_the_largest_then_router),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
