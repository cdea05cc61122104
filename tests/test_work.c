/*
 * test_work.c: cells cut into units, units packed into batches, and a batch taken apart again.
 */
#include "work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { DOCS = 10, TOKENS = 300 };

static int32_t tokens[TOKENS];
static struct document documents[DOCS];
static struct corpus corpus = { .documents = { documents, DOCS, DOCS, 0 } };
static struct task task;
static bool present[DOCS];

static struct cell_run cell_of(struct cell *c, const struct router *r, int batch)
{
    for (int i = 0; i < DOCS; i++)
        documents[i] = (struct document){ .ids = { tokens, TOKENS, TOKENS }, .prompt_tokens = 1 };
    memset(present, 0, sizeof(present));
    *c = (struct cell){ .task = &task,
                        .router = r,
                        .args = { .K = 1, .N = 2, .max = 2, .batch = batch } };
    return (struct cell_run){ .cell = c, .corpus = &corpus };
}

static void a_document_is_a_unit_and_those_that_are_there_are_left_out(void **state)
{
    (void)state;
    struct cell c;
    struct cell_run run = cell_of(&c, &router_topk, 0);
    struct units units = { 0 };
    present[0] = present[7] = true;
    units_add(&units, &run, present);
    assert_int_equal(units.len, DOCS - 2);
    assert_int_equal(run.units_left, DOCS - 2);
    assert_int_equal(units.v[0].doc, 1);
    assert_int_equal(units.v[0].tokens, TOKENS);
    free(units.v);
}

static void a_smaller_batch_has_fewer_tokens_but_one_unit_at_least(void **state)
{
    (void)state;
    struct cell c;
    struct cell_run run = cell_of(&c, &router_topk, 0);
    struct units units = { 0 };
    units_add(&units, &run, present);
    size_t at = 0;
    struct work *w = work_new_most(NULL, NULL, units.v, &at, units.len, 2 * TOKENS);
    assert_int_equal(w->nunits, 2);
    work_free(w);
    w = work_new_most(NULL, NULL, units.v, &at, units.len, 1);
    assert_int_equal(w->nunits, 1);
    assert_int_equal(w->units[0].doc, 2);
    work_free(w);
    free(units.v);
}

static void pools_may_be_drawn_by_the_seed(void **state)
{
    (void)state;
    struct cell c;
    struct cell_run run = cell_of(&c, &router_batchtopk, 4);
    struct units units = { 0 }, others = { 0 };
    c.args.shuffle = 1;
    c.seed = 3;
    units_add(&units, &run, present);
    bool seen[DOCS] = { false };
    int moved = 0;
    for (size_t i = 0; i < units.len; i++)
        for (int d = 0; d < units.v[i].docs; d++) {
            int doc = unit_document(&units.v[i], d);
            assert_false(seen[doc]);
            seen[doc] = true;
            moved += doc != units.v[i].doc + d;
        }
    assert_int_equal(units.len, 3);
    assert_true(moved > 0);
    // A pool that is there is known by its own documents, not by those in its place.
    present[unit_document(&units.v[1], 0)] = true;
    int *first = run.order;
    units_add(&others, &run, present);
    assert_int_equal(others.len, 2);
    assert_memory_equal(first, run.order, DOCS * sizeof(*first));
    free(run.order);
    c.seed = 4;
    units_add(&others, &run, present);
    assert_true(memcmp(first, run.order, DOCS * sizeof(*first)) != 0);
    free(first);
    free(run.order);
    free(units.v);
    free(others.v);
}

static void a_batch_routers_pool_is_a_unit_and_the_last_is_smaller(void **state)
{
    (void)state;
    struct cell c;
    struct cell_run run = cell_of(&c, &router_batchtopk, 4);
    struct units units = { 0 };
    units_add(&units, &run, present);
    assert_int_equal(units.len, 3);
    assert_int_equal(units.v[0].docs, 4);
    assert_int_equal(units.v[2].docs, 2);
    assert_int_equal(units.v[2].tokens, 2 * TOKENS);
    free(units.v);
}

static void every_unit_comes_into_one_batch(void **state)
{
    (void)state;
    struct cell c;
    struct cell_run run = cell_of(&c, &router_topk, 0);
    struct units units = { 0 };
    units_add(&units, &run, present);
    size_t at = 0, seen = 0;
    struct work *w;
    while ((w = work_new(NULL, NULL, units.v, &at, units.len))) {
        assert_true(w->tokens <= BATCH_TOKENS);
        assert_int_equal(w->batch.npools, w->nunits);
        assert_int_equal(w->batch.nsequences, w->nunits);
        for (size_t i = 0; i < w->nunits; i++)
            assert_int_equal(w->units[i].doc, seen++);
        work_free(w);
    }
    assert_int_equal(seen, DOCS);
    free(units.v);
}

static void a_unit_larger_than_a_batch_is_a_batch_of_its_own(void **state)
{
    (void)state;
    struct cell c;
    struct cell_run run = cell_of(&c, &router_batchtopk, DOCS);
    struct units units = { 0 };
    units_add(&units, &run, present);
    size_t at = 0;
    struct work *w = work_new(NULL, NULL, units.v, &at, units.len);
    assert_int_equal(w->nunits, 1);
    assert_int_equal(w->batch.nsequences, DOCS);
    work_free(w);
    assert_null(work_new(NULL, NULL, units.v, &at, units.len));
    free(units.v);
}

/* A model's, which are not known before it is there. */
static void learnt_cutoffs_reach_the_pools(void **state)
{
    (void)state;
    struct cell c;
    float cutoffs[2] = { 0 };
    struct cell_run run = cell_of(&c, &router_threshold, 0);
    run.cutoffs = cutoffs;
    struct units units = { 0 };
    units_add(&units, &run, present);
    size_t at = 0;
    struct work *w = work_new(NULL, NULL, units.v, &at, units.len);
    for (int i = 0; i < w->batch.npools; i++)
        assert_ptr_equal(w->pools[i].args.cutoffs, cutoffs);
    assert_null(c.args.cutoffs);
    work_free(w);
    free(units.v);
}

/* A count of pieces that were never put would be waited for for ever. */
static void pieces_of_failed_cells_are_neither_made_nor_counted(void **state)
{
    (void)state;
    struct cell good, bad;
    struct cell_run one = cell_of(&good, &router_topk, 0), two = cell_of(&bad, &router_topk, 0);
    struct units units = { 0 };
    units_add(&units, &one, present);
    units_add(&units, &two, present);
    size_t at = DOCS - 1;
    struct work *w = work_new(NULL, NULL, units.v, &at, units.len), *parts[8];
    assert_int_equal(w->nunits, 3); // one of the first cell, two of the second
    two.error = "it failed";
    size_t n = work_split(w, parts);
    assert_int_equal(n, 1);
    assert_ptr_equal(parts[0]->units[0].run, &one);
    work_free(parts[0]);
    work_free(w);
    assert_null(
        work_new(NULL, NULL, units.v, &at, units.len)); // all that is left is of the failed cell
    assert_int_equal(at, units.len);
    free(units.v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_a_unit_and_those_that_are_there_are_left_out),
        cmocka_unit_test(a_smaller_batch_has_fewer_tokens_but_one_unit_at_least),
        cmocka_unit_test(pools_may_be_drawn_by_the_seed),
        cmocka_unit_test(a_batch_routers_pool_is_a_unit_and_the_last_is_smaller),
        cmocka_unit_test(every_unit_comes_into_one_batch),
        cmocka_unit_test(a_unit_larger_than_a_batch_is_a_batch_of_its_own),
        cmocka_unit_test(learnt_cutoffs_reach_the_pools),
        cmocka_unit_test(pieces_of_failed_cells_are_neither_made_nor_counted),
    };
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
