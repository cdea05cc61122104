/*
 * torch_gradients.h: the gradients of all parameters in the making. The first that comes for one is
 * kept as autograd made it, bfloat16 where the arithmetic is; with a second one they become a sum in
 * float32, which the first is to the bit. So a step of one piece makes no sum and no copy. Room for a
 * sum stays, and from then on the first one goes there. C++, for torch_train.cpp alone.
 *
 * Who adds says where: run() may be given a parameter bit by bit, to several threads.
 * Leaves out: streams, threads, which parameters there are.
 */
#ifndef TORCH_GRADIENTS_H
#define TORCH_GRADIENTS_H

#include <ATen/ATen.h>

#include <vector>

/* What is still to be done for a parameter: `to` = from[0] + from[1] ..., or += where not `anew`. */
struct gradient_sum {
    at::Tensor to; // undefined: nothing
    bool anew = true;
    std::vector<at::Tensor> from;

    /* Elements at .. at + n - 1 */
    void run(int64_t at, int64_t n) const;
};

struct gradients {
    /* For `n` parameters; none has a gradient, though room stays. */
    void begin(size_t n);
    /* For `n` parameters, new ones without a gradient. */
    void resize(size_t n);

    /* All elements in one row, in float32 or as it came, until the next change; undefined: none. */
    at::Tensor get(size_t i) const;
    /* Was it kept as it came? */
    bool is_kept(size_t i) const
    {
        return kept[i].defined();
    }

    /*
     * Adds `more`, each of all elements in one row, to parameter i, in their order. `lasting`: the
     * first stays as it is for as long as it is held, so that it can be kept.
     */
    gradient_sum add(size_t i, const std::vector<at::Tensor> &more, bool lasting);

  private:
    std::vector<at::Tensor> kept, sum; // of `sum` what `summed` says counts, the rest is room
    std::vector<char> summed;
};

#endif
