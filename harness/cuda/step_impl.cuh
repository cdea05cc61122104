/*
 * step_impl.cuh: what the files of a step share: step.cu opens, launches and replays it,
 * step_memory.cu says where everything lies, step_routers.cu keeps the routers' states.
 */
#ifndef STEP_IMPL_CUH
#define STEP_IMPL_CUH

#include "cuda/kernels.cuh"

enum { STEP_SIZES = 9, STEP_ALIGN = 256 }; // of step_sizes[]; of each array, in bytes

/* The launches for one number of texts. */
struct replay {
    struct step_view view;
    size_t output_bytes;
    bool warm; // its kernels have run
#ifndef CUDA_HOST
    cudaGraphExec_t graph;
#endif
};

struct step {
    struct step_spec spec;
    struct step_layer *layers;
    struct launch launch; // on a stream of our own, for capturing
    int most;             // texts of a step: the largest of step_sizes[] that is needed
    unsigned char *memory, *output;
    struct step_input *input, *input_host; // on the device; pinned
    unsigned char *output_host;            // pinned
    float *logits_host;                    // [most, V], pinned; NULL: none were wanted yet
    struct step_router *routers;           // [slots], on the device
    struct step_router *own_routers;       // [slots], pinned
    uint16_t (*maxes)[ROUTER_LAYERS];      // [slots]: the bounds of those that have one a layer
    size_t *state_room;                    // [slots]: bytes that a slot's states may take
    struct gpu_plan plan;                  // of the prompts that are under way
    bool planned;                          // none of them has a state, otherwise
    unsigned char *plan_memory;            // what the plan and the pairs taken lie in
    size_t plan_room, plan_used;
    struct replay replay[STEP_SIZES];
    const struct replay *last;
};

static inline int check(cudaError_t code, struct buf *err, const char *what)
{
    if (code == cudaSuccess)
        return 0;
    cudaGetLastError(); // or the next launch that is checked, libtorch's too, would fail with it
    return fail(err, "%s: %s", what, cudaGetErrorString(code));
}

/* Hands out parts of a block of memory; base NULL: only counts. */
struct carver {
    unsigned char *base;
    size_t used;
};

/* The sizes that a view has whatever the number of texts, and the number of texts of the largest. */
struct step_view step_view_of(const struct step_spec *spec);
int step_most_texts(const struct step_spec *spec);
/* What is copied to the host, of so many texts. */
void step_carve_output(struct carver *c, const struct step_shape *s, size_t rows,
                       struct step_output *o);
/* Input, routers' table, room for the largest output, and what the kernels work in. */
void step_carve_all(struct carver *c, const struct step_spec *spec, struct step *s,
                    struct step_view *v);

#endif
