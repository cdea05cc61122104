/*
 * lua_selection.c: see lua_selection.h. Tables are gone through key by key, so that one which is no
 * list, such as { [5] = true }, is never taken for a shorter list.
 */
#include "recipe/lua_selection.h"
#include "recipe/lua_fields.h"

/* Fails with "token 3: WHAT-IT-IS; allowed is ALLOWED" of the value on top of the stack. */
static int refuse(lua_State *L, int t, const char *what, struct buf *err)
{
    struct buf is = BUF_INIT;
    value_describe(L, &is);
    fail(err, "token %d: %s%s", t + 1, is.s, what);
    buf_release(&is);
    return -1;
}

/* The expert on top of the stack, counted from 0; -1: it is none. */
static int read_expert(lua_State *L, int N)
{
    int whole = 0;
    lua_Integer e = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
    return whole && e >= 1 && e <= N ? (int)e - 1 : -1;
}

/* Counts the list on top of the stack; -1: a key of it is not one of 1 .. n. */
static int64_t list_length(lua_State *L)
{
    int64_t n = 0, last = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        int whole = 0;
        lua_Integer key = lua_type(L, -2) == LUA_TNUMBER ? lua_tointegerx(L, -2, &whole) : 0;
        if (!whole || key < 1) {
            lua_pop(L, 2);
            return -1;
        }
        last = key > last ? key : last;
        n++;
    }
    return n == last ? n : -1;
}

/*
 * The experts of token t, whose list is on top of the stack, into taken[N], which is all false and
 * stays so where -1 is not returned. Returns how many; experts: [N], ascending.
 */
static int read_token(lua_State *L, const struct router_args *a, int t, bool *taken,
                      int32_t *experts, struct buf *err)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        return refuse(L, t, "; allowed is a list of experts", err);
    int64_t n = list_length(L);
    if (n < 0)
        return fail(err, "token %d: a table that is not a list; allowed is a list of experts",
                    t + 1);
    if (n < a->min || n > a->max)
        return fail(err, "token %d: %lld experts; allowed is %d to %d", t + 1, (long long)n, a->min,
                    a->max);
    for (int i = 1; i <= (int)n; i++) {
        lua_rawgeti(L, -1, i);
        int e = read_expert(L, a->N);
        if (e < 0) {
            struct buf allowed = BUF_INIT;
            buf_addf(&allowed, " as an expert; allowed is a whole number from 1 to N = %d", a->N);
            refuse(L, t, allowed.s, err);
            buf_release(&allowed);
            return -1;
        }
        if (taken[e])
            return fail(err, "token %d: expert %d twice; allowed is once", t + 1, e + 1);
        taken[e] = true;
        lua_pop(L, 1);
    }
    int count = 0;
    for (int e = 0; e < a->N; e++) {
        if (taken[e])
            experts[count++] = e;
        taken[e] = false;
    }
    return count;
}

static int check_budget(const struct router_args *a, int T, enum lua_budget budget, int64_t pairs,
                        struct buf *err)
{
    int64_t most = (int64_t)T * a->K;
    if (budget == BUDGET_ANY || pairs == most || (budget == BUDGET_AT_MOST && pairs < most))
        return 0;
    return fail(err,
                "%lld pairs of a token and an expert; allowed is %s%lld, T * K with T = %d and "
                "K = %d",
                (long long)pairs, budget == BUDGET_AT_MOST ? "at most " : "", (long long)most, T,
                a->K);
}

int lua_selection_read(lua_State *L, const struct router_args *a, int T, enum lua_budget budget,
                       struct selection *out, struct buf *err)
{
    int64_t lists = lua_type(L, -1) == LUA_TTABLE ? list_length(L) : -1, pairs = 0;
    if (lists < 0)
        return fail(err,
                    "select() returned something that is not a list; allowed is a list of %d "
                    "lists, one a token",
                    T);
    if (lists != T)
        return fail(err, "select() returned %lld lists; allowed are %d, one a token",
                    (long long)lists, T);
    bool *taken = xcalloc((size_t)a->N, sizeof(*taken));
    int32_t *experts = xcalloc((size_t)a->N, sizeof(*experts));
    int n = 0;
    for (int t = 0; n >= 0 && t < T; t++) {
        lua_rawgeti(L, -1, t + 1);
        n = read_token(L, a, t, taken, experts, err);
        if (n >= 0) {
            selection_add(out, experts, n);
            pairs += n;
            lua_pop(L, 1);
        }
    }
    free(taken);
    free(experts);
    return n < 0 ? -1 : check_budget(a, T, budget, pairs, err);
}
