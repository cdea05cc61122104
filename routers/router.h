/*
 * router.h: what a router is. To add one, write routers/NAME.c with one `const struct router`,
 * declare it at the end of this file and list it in routers.c; `seqtopk list`, the recipes and the
 * conformance test in tests/test_routers.c then know it.
 *
 * A router reads the scores of one pool, the tokens that route together, and says which experts
 * each token takes. Scores are the softmax over the experts of the router's logits, float32.
 * Ties: the larger score first, then the earlier token, then the smaller expert.
 *
 * Leaves out: the weights of what was selected (the model applies them), and gradients.
 */
#ifndef ROUTER_H
#define ROUTER_H

#include "util.h"

/* The modes of seqtopk, as `mode` has them. */
enum seqtopk_mode { SEQTOPK_GLOBAL, SEQTOPK_ONLINE, SEQTOPK_STRICT };

enum { ROUTER_LAYERS = 128 }; /* that may have a bound each */

/* What a router is asked for in one cell. K and N are always set; the rest by its parameters. */
struct router_args {
    int K;            /* experts a token may use on average */
    int N;            /* experts there are */
    int mode;         /* index into the choices of the parameter "mode" */
    int min;          /* experts per token and layer, at least */
    int max;          /* and at most; in a model whose layers differ, the largest of theirs */
    int segment;      /* tokens after which the pool starts afresh; 0: never */
    int batch;        /* sequences in one pool */
    int shuffle;      /* batchtopk: are pools made in an order that the cell's seed draws? 0 or 1 */
    int prefill;      /* index into the choices of the parameter "prefill" */
    double p;         /* topp: the share of a token's scores that is enough once it is exceeded */
    double threshold; /* xmoe: the share that is enough once it is met */
    double decay;     /* threshold: what a step counts beside the one after it, in training */
    /* threshold: of a model [layers, N], in select() its layer's [N]; NULL: none are learnt yet */
    const float *cutoffs;
    const void *custom; /* of a router that a recipe defines, see lua_router.h; else NULL */
    /* Layers that have a bound each, in the place of `max`; 0: it holds in all, as in select(). */
    int nmaxes;
    uint16_t maxes[ROUTER_LAYERS];
};

/* What holds in one layer of a model: its own bound and cutoffs, and nothing of other layers. */
struct router_args router_args_at(const struct router_args *args, int layer);

/* k*K + n*N + c: how a router's table writes ranges and defaults that hang on K and N. */
struct affine {
    int k, n, c;
};
int affine_value(struct affine a, int K, int N);

/* One parameter, for the recipe's checks, `list`, and the cell's identity. */
struct router_param {
    const char *name, *help;
    size_t offset;              /* of the int in struct router_args, or of the double of a real */
    const char *const *choices; /* NULL: a number; else the allowed words, ended by NULL */
    struct affine lo, hi, def;  /* of a number; `def.c` is the index of the default word */
    bool by_layer;              /* `max`: a list has a number for each layer, see args.maxes */
    bool real;                  /* a real number: above `lo.c`, up to `hi.c`, without K and N */
    double real_def;            /* its default */
    /* It came after results were there: at its default nothing is said of it, not in a cell's id
     * either, so that those results stay what they are. */
    bool later;
};

/* A number's value as text: "3", or by layer, with "/" between, "3/4/64/6". */
void router_param_text(const struct router_param *p, const struct router_args *args,
                       const char *between, struct buf *out);
/* Is it to be said? See `later`. */
bool router_param_said(const struct router_param *p, const struct router_args *args);
/* What it may be with this K and N, both ends included; of words, their indices; not of a real. */
void router_param_range(const struct router_param *p, int K, int N, int *lo, int *hi);

/* A real number in the fewest digits that are read back as the same: 0.4, 1, 1e-05. */
void real_text(double value, struct buf *out);

/* The experts of consecutive tokens, in ascending order for each. Zeroes to begin with. */
struct selection {
    int32_t *count;  /* [tokens] */
    int32_t *expert; /* [pairs], token after token */
    size_t tokens, pairs, tokens_cap, pairs_cap;
    char *error; /* NULL: all is well; else why a router could not select, see selection_fail() */
};
void selection_add(struct selection *s, const int32_t *experts, int n); /* one more token */
/* For a router that may fail: the first sentence stays, and the forward pass fails with it. */
void selection_fail(struct selection *s, const char *fmt, ...) PRINTF(2, 3);
void selection_reset(struct selection *s);
void selection_release(struct selection *s);

/* What a token's selection hangs on: all tokens of ... */
enum router_scope {
    SCOPE_TOKEN,    /* itself only */
    SCOPE_PREFIX,   /* itself and the tokens before it */
    SCOPE_PROMPT,   /* as prefix, and a prompt's token on the whole prompt */
    SCOPE_SEQUENCE, /* its whole sequence */
    SCOPE_BATCH,    /* all sequences of `args.batch` consecutive documents */
};

struct router_state;

struct router {
    const char *name;                  /* as in a recipe */
    const char *help;                  /* one line for `seqtopk list` */
    const struct router_param *params; /* ended by a NULL name */
    /* Experts that a token may take in a layer; not used where the parameters have min and max. */
    struct affine least, most;
    bool ignores_k; /* K decides nothing: cells that differ in it alone are the same */
    bool logits;    /* select() is given the router's raw logits, not their softmax */
    bool learns;    /* args.cutoffs are learnt in training, and a model without them is refused */
    enum router_scope (*scope)(const struct router_args *);

    /* Optional, both or neither: what is carried from token to token of one pool. */
    struct router_state *(*open)(const struct router_args *);
    void (*close)(struct router_state *);
    size_t (*bytes)(const struct router_state *); /* with them: the memory that it takes now */

    /*
     * Appends the selections of T tokens to `out`; `scores` is [T, N], finite. Where scope is
     * token, prefix or prompt, a pool may be given in pieces, with the same state, and selects the
     * same; with scope prompt the first piece is the whole prompt.
     */
    void (*select)(const struct router_args *, struct router_state *, const float *scores, int T,
                   struct selection *out);
};

/* A router with all that is asked of it. */
struct router_use {
    const struct router *router;
    struct router_args args;
};

/* All routers, ended by NULL, and one by its name (NULL: no such router). */
extern const struct router *const routers[];
const struct router *router_find(const char *name);

/* 0 <= min <= K <= max <= N and every parameter in its range, or a sentence that says what is allowed. */
int router_check(const struct router *r, const struct router_args *args, struct buf *err) MUST_USE;

/* "seqtopk global [1, 10]", or "seqtopk global [1, 3/4/64/6]" by layer: for tables and legends. */
void router_label(const struct router *r, const struct router_args *args, struct buf *out);
/* What the label says beside name, mode and bounds: "batch 4", "p 0.4", or nothing. */
void router_others(const struct router *r, const struct router_args *args, struct buf *out);
/* Can it route a text while it is being written? */
bool router_decodes(const struct router *r, const struct router_args *args);
/* The word for parameter "mode", or "" where the router has none. */
const char *router_mode(const struct router *r, const struct router_args *args);
/* JSON object of all parameters but K and what is not said, in the order of the table:
 * {"mode":"global","min":1,...}. */
void router_params_json(const struct router *r, const struct router_args *args, struct buf *out);

extern const struct router router_topk;
extern const struct router router_seqtopk;
extern const struct router router_batchtopk;
extern const struct router router_topp;
extern const struct router router_xmoe;
extern const struct router router_expert_choice;
extern const struct router router_threshold;

#endif
