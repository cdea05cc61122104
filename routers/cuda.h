/*
 * cuda.h: routers as CUDA kernels, beside their twins in C: the same pairs on the same scores, ties
 * included. There are kernels for topk, seqtopk in all modes, batchtopk, topp and xmoe; the scores
 * of other routers are copied to the host.
 *
 * All pointers that kernels read and write are the device's; `stream` is a cudaStream_t. Nothing
 * here allocates or waits: work is put into the stream, in its order. -1: a launch failed, and `err`
 * says which.
 *
 * A batch's pools are planned once, in memory that the caller gives, and routed layer by layer:
 *
 *     size_t bytes = gpu_plan_bytes(pools, npools);
 *     gpu_plan_make(&plan, pools, npools, memory, stream, err);
 *     gpu_route(&plan, layer, scores, taken, stream, err);
 *
 * A text that grows keeps the Expert Cache of each layer on the device (gpu_state_*()). Its step for
 * one token by one block is route_token(), see cuda.cuh.
 *
 * Limits: N up to 1024, a pool up to 2^31 scores. Scores are a softmax: finite, from 0 up.
 * Leaves out: the routers' parameters and their checks (router.h).
 */
#ifndef ROUTERS_CUDA_H
#define ROUTERS_CUDA_H

#include "routers/router.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gpu_kind { GPU_TOPK, GPU_GLOBAL, GPU_ONLINE, GPU_STRICT, GPU_TOPP, GPU_XMOE };

/* A router with its arguments, as the device reads it. */
struct gpu_router {
    int kind; /* enum gpu_kind; batchtopk is GPU_GLOBAL */
    int K, N, min, max;
    int segment;       /* tokens after which the pool starts afresh; 0: never */
    int global_prompt; /* of online and strict: a prompt is routed by global */
    double share;      /* topp's p, xmoe's threshold */
};

/* Is there a kernel? `out` may be NULL. */
bool router_on_gpu(const struct router *r, const struct router_args *args, struct gpu_router *out);

/* ---- the Expert Cache of a text that grows ---- */

/*
 * Bytes of one layer's state for a text of up to `capacity` tokens, a multiple of 256; 0: the router
 * keeps nothing. Nearly all of it are the scores so far, 4 * capacity * N bytes (of a segment, where
 * the router has segments), and a sixteenth as much again.
 */
size_t gpu_state_bytes(const struct gpu_router *r, int capacity);

/* Empties `layers` states that lie `stride` bytes from one another. */
int gpu_state_reset(const struct gpu_router *r, int capacity, void *state, int layers,
                    size_t stride, void *stream, struct buf *err) MUST_USE;

/* What a state has seen, in host memory; waits for the stream's end. For tests and measurements. */
struct gpu_state_facts {
    int tokens;      /* of this segment */
    int64_t used;    /* pairs they took */
    int rebuilds[2]; /* of its window, and of what the window is built from */
    int64_t read;    /* scores that were read for that */
};
int gpu_state_facts(const void *state, void *stream, struct gpu_state_facts *out,
                    struct buf *err) MUST_USE;

/* ---- a batch ---- */

struct gpu_pool {
    struct gpu_router router; /* all pools of a batch have the same N */
    int from, tokens;         /* its rows of the batch's scores */
    int prompt;               /* of these, the first that are a prompt; only with global_prompt */
    void *state;              /* online and strict: goes on from it; NULL: from nothing */
    size_t stride;            /* bytes from a layer's state to the next one's */
    /* Each layer's bound in the place of router.max, [layers]; NULL: it holds in all. The host's, and
     * not needed behind gpu_plan_make(). */
    const uint16_t *maxes;
    int layers;
};

/* What is to be launched; the caller keeps the memory. */
struct gpu_plan {
    int N, npools;
    int nlists; /* of pools, one behind the other: one, or where bounds differ one a layer */
    int rows, small_units, chunks, online, slabs; /* blocks of the kernels; 0: it is not launched */
    void *pools, *items, *units, *texts, *histograms, *lists, *counts, *bins;
    bool overlap; /* a kernel may start while the one before it ends */
    bool settles; /* online has a second kernel: for strict, and for states */
};

size_t gpu_plan_bytes(const struct gpu_pool *pools, int npools);
/* memory: gpu_plan_bytes() of the device, aligned to 256 bytes; `pools` is not needed after. */
int gpu_plan_make(struct gpu_plan *plan, const struct gpu_pool *pools, int npools, void *memory,
                  void *stream, struct buf *err) MUST_USE;

/*
 * taken[t, e] becomes 1 where token t takes expert e, else 0. scores: [tokens, N]; taken: likewise.
 * A pool by global is two launches, of which the second starts early. Online is one, and one more for each of:
 * a pool of more than some 16,000 scores thrice; strict; a state that goes on from the pool.
 */
int gpu_route(const struct gpu_plan *plan, int layer, const float *scores, uint8_t *taken,
              void *stream, struct buf *err) MUST_USE;

/*
 * *bad becomes 1 where one of n scores is NaN or infinite, else 0. Such a score becomes 0, so that the
 * kernels that follow may run before the host has seen `bad`; what they make is of no use then.
 */
int gpu_finite(float *scores, size_t n, int32_t *bad, void *stream, struct buf *err) MUST_USE;

/* ---- what was taken, for the experts and for the database ---- */

/*
 * The pairs sorted by expert, and those of an expert by token. place: [T, N], the pair's row or -1;
 * begin: [N + 1], each expert's first row, and how many there are; source: [pairs], the token of each
 * row, room for T * N or as many as there can be; scratch: gpu_pairs_bytes()
 */
size_t gpu_pairs_bytes(int T, int N);
int gpu_pairs(const uint8_t *taken, int T, int N, int32_t *place, int32_t *begin, int32_t *source,
              void *scratch, void *stream, struct buf *err) MUST_USE;

/*
 * What was used, summed in the order of the tokens as on the CPU, to the bit. start: [S + 1], where
 * each sequence's tokens begin. Of a token it is `used` [T], of a sequence the pairs by expert and
 * their weights, [S, N] with `stride` elements from one sequence to the next; normalise: a token's
 * weights sum to 1; sums: scratch [T]
 */
struct gpu_counts {
    const uint8_t *taken; /* [T, N] */
    const float *scores;  /* [T, N] */
    const int32_t *start;
    int T, N, S;
    bool normalise;
    double *sums;
    uint16_t *used;
    int32_t *load_tokens;
    double *load_weight;
    size_t stride;
};
int gpu_counts(const struct gpu_counts *c, void *stream, struct buf *err) MUST_USE;

#ifdef __cplusplus
}
#endif

#endif
