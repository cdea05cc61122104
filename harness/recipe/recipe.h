/*
 * recipe.h: a Lua recipe, read into plain data.
 *
 * Words of a recipe: sweep{...}, a constructor for each router of routers.c (its fields from the
 * router's own table), router{...} for one that the recipe defines (lua_router.h), none(),
 * nll{...}, continue{...}, speed{...}, task{...}, sft{...}, the symbols K and N with + - * / // and
 * unary minus, and `options`, which has what the command line said: options.model (its folders left
 * out), .device, .dtype, .limit; nil each where it was silent. The recipe ends in `return sweep {
 * ... }`, or in `return pretrain { ... }` (recipe_pretrain.h).
 *
 * Invariant: in a `struct recipe` every key is known, every value has its type, and the lists are
 * not empty. Leaves out: whether models and files exist and what the numbers come to (sweep.h).
 */
#ifndef RECIPE_H
#define RECIPE_H

#include "routers/router.h"
#include "recipe/expr.h"
#include "recipe/lua_fields.h"
#include "score/judge.h"

/* What is said of one parameter of a router. */
struct recipe_value {
    struct expr expr;    /* of words the index; n = 0: the default */
    double real;         /* of a real number, its default included */
    struct expr *layers; /* of a bound that was said by layer, [nlayers]; else NULL */
    size_t nlayers, layers_cap;
};

struct recipe_router {
    const struct router *router;
    struct lua_place at;
    struct recipe_value *value; /* one for each parameter of the router's table */
};

/* What speed { ... } times: texts of so many tokens, written side by side. */
struct speed {
    int prompt_tokens, tokens; /* of each text: read at once, and one by one behind them */
    int batch;                 /* texts side by side */
    int repeats, warmup;       /* times that count, and that do not, before them */
};
enum { SPEED_REPEATS = 7, SPEED_WARMUP = 1 }; /* where it does not say */

struct recipe_task {
    char *name; /* "gsm8k/nll"; NULL for nll{...}, continue{...} and speed{...} */
    char *file; /* NULL: the task's own */
    char *text; /* nll and continue: the field with the text */
    int limit;  /* 0: none */
    bool truncate;
    int length;        /* nll: tokens that are kept of a text, its first; 0: all */
    char *label;       /* nll, continue and speed: what it is called; NULL: after what it does */
    int min_bytes;     /* nll and continue: shorter texts are not selected; 0: all are */
    int prompt_tokens; /* continue: of a text, its first, behind which it is written on; 0: no such */
    bool stop_at_end;   /* continue: the model's end token ends what is written */
    struct speed speed; /* speed: what is timed; 0 repeats: no such */
    /* What it is scored after: recipe.trains[train .. train + ntrains - 1]. 0, 0: the sweep's own */
    size_t train, ntrains;
    struct recipe *recipe; /* whose task it is */
    /* Over the form's decoding; what was not said is 0, and -1 for the temperature. */
    int max_tokens;
    double temperature, top_p;
    struct lua_place at;
};

enum log_tokens {
    LOG_ALL,
    LOG_NONE,
};

struct recipe_train;    /* recipe_train.h */
struct recipe_pretrain; /* recipe_pretrain.h */

struct recipe {
    char *path;
    struct buf text;
    struct recipe_pretrain *pretrain; /* NULL: it is a sweep. Else the rest is not used */
    struct lua_place at;              /* of sweep{...} */
    char *name;
    struct strings models;
    struct wholes K, seeds;
    struct recipe_router *routers;
    size_t nrouters, routers_cap;
    /* The sweep's own first (none() alone where `train` was not said), then those of single tasks. */
    struct recipe_train *trains;
    size_t own_trains, ntrains, trains_cap;
    struct recipe_task *tasks;
    size_t ntasks, tasks_cap;
    int log_tokens;
    bool log_expert_entropy;
    struct recipe_router *overlap; /* log = { overlap = { ... } } */
    size_t noverlap, overlap_cap;
    char *device, *dtype;    /* NULL: not said */
    int limit;               /* 0: none */
    bool judged;             /* judge = { ... } was said */
    struct judge_spec judge; /* its strings are the recipe's own */
};

/* What the command line may say over the recipe; NULL and 0 where it is silent. */
struct sweep_options {
    const char *model;  /* instead of the recipe's models */
    const char *device; /* default "cpu" */
    const char *dtype;  /* default "float32" */
    int limit;          /* documents of each task, at most */
};

struct recipe *recipe_open(const char *path, const struct sweep_options *o,
                           struct buf *err) MUST_USE;
void recipe_free(struct recipe *r);

/*
 * Reads the router that a constructor made, on top of the stack; recipe_router_release() after, also
 * after -1.
 */
int recipe_router_read(lua_State *L, const struct lua_place *at, struct recipe_router *r,
                       struct buf *err) MUST_USE;
void recipe_router_release(struct recipe_router *r);

/* Reads one element of a list of trainings into the recipe, behind those that it has. */
int recipe_add_train(lua_State *L, const struct lua_place *at, const struct field *f, void *recipe,
                     struct buf *err) MUST_USE;

/* Reads the value of a router's parameter that is not real into a struct expr; see struct field. */
int recipe_param_read(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err) MUST_USE;

/* Is it a name for files and tables: letters, digits, - and _, not too many? */
int recipe_check_name(const struct lua_place *at, const char *name, struct buf *err) MUST_USE;

/* For those who own a spec's strings. */
void judge_spec_release(struct judge_spec *spec);

#endif
