/*
 * torch_adam8.h: what AdamW remembers in eight bits a number instead of thirty-two, and weights of
 * float32 in two halves of sixteen bits, of which the upper one is the bfloat16 that arithmetic sees.
 * C++, for torch_train.cpp alone.
 *
 * A block of 256 numbers has one scale, its largest magnitude, and each number a code: the cube of
 * code / 127 (means, signed) or code / 255 (squares), times the scale. So half of the codes lie in the
 * uppermost decade and every decade below has half as many, six in all. Codes are rounded at random,
 * up or down with the chances that make the mean right, since an average that moves by a thousandth a
 * step would never leave its code otherwise; a square that is not zero has a code that is not zero.
 * Bytes a parameter in training, with bfloat16 arithmetic:
 *
 *                             weights  means  squares  gradient  sum    OLMoE-1B-7B, 6.92e9
 *     adamw, one piece        4 + 2    4      4        2 + 4     20     138 GB
 *     adamw, several          4 + 2    4      4        2 + 4 + 4 24     166 GB
 *     adamw8bit, one piece    2 + 2    1.016  1.016    2         8.03   55.6 GB
 *     adamw8bit, several      2 + 2    1.016  1.016    4         10.03  69.4 GB
 *
 * A step of one piece has its gradient in bfloat16, as it came; that of several is summed in float32
 * (torch_gradients.h). With adamw8bit on a GPU, by a libtorch from 2.9 on, each parameter's goes into
 * the step's as it comes and is let go; elsewhere each slot has 2 bytes more. libtorch's AdamW on a GPU
 * wants the gradient in one run of float32.
 *
 * Invariants: numbers that were stored, loaded and stored again without chance are the same to the
 * bit; the two halves are the float32, every bit of it.
 * Leaves out: which parameters there are, files.
 */
#ifndef TORCH_ADAM8_H
#define TORCH_ADAM8_H

#include <ATen/ATen.h>

constexpr int64_t ADAM8_BLOCK = 256;

/* Rounded up to whole blocks. */
int64_t adam8_room(int64_t n);

/* Averages of n parameters. codes: [adam8_room(n)] of int8 or uint8; scales: float32, one a block */
struct adam8_average {
    at::Tensor codes, scales;
};
adam8_average adam8_new(int64_t room, bool squares, const at::TensorOptions &options);
adam8_average adam8_part(const adam8_average &a, int64_t offset, int64_t n);
/* float32 [n] */
at::Tensor adam8_load(const adam8_average &a, int64_t n);
/* values: float32 [n]. generator: what chance comes from; NULL: the nearest code */
void adam8_store(const adam8_average &a, const at::Tensor &values, at::Generator *generator);

/* float32 [n] from the halves, and into them. high: bfloat16 [n]; low: int16 [n] */
at::Tensor halves_join(const at::Tensor &high, const at::Tensor &low);
void halves_split(const at::Tensor &values, const at::Tensor &high, const at::Tensor &low);

/* Numbers that hang on the device's kind and the seed alone. */
at::Generator adam8_chance(at::Device device, uint64_t seed);

struct adam8_how {
    double lr, beta1, beta2, weight_decay, scale; /* scale: of the gradient */
    int64_t step;                                 /* from 1 */
};
/* One step of `weights`, float32 [n], which changes, as do the averages. gradient: float32 [n] */
void adam8_step(const at::Tensor &weights, const at::Tensor &gradient, const adam8_average &means,
                const adam8_average &squares, const adam8_how &how, at::Generator &generator);

/* Weights as they lie, [n]: all is float32, or undefined where they are in halves. */
struct adam8_weights {
    at::Tensor all, high, low;
};

/* Is there one kernel for a step of these weights? (torch_launch.h says where.) */
bool adam8_has_kernel(const adam8_weights &weights);

/*
 * The same step by that kernel, in one pass over memory. gradient: [n], bfloat16 or float32,
 * contiguous; undefined: zeros. What is drawn hangs on `seed` and on the place in these n numbers
 * alone (cuda/adam8.h), so it is not what adam8_step() draws; all else is the same to some units in
 * the last place.
 */
void adam8_step_by_kernel(const adam8_weights &weights, const at::Tensor &gradient,
                          const adam8_average &means, const adam8_average &squares,
                          const adam8_how &how, uint64_t seed);

#endif
