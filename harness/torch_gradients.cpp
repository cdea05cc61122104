/*
 * torch_gradients.cpp: see torch_gradients.h.
 */
#include "torch_gradients.h"

using at::Tensor;

void gradient_sum::run(int64_t at, int64_t n) const
{
    bool first = anew;
    Tensor place = to.narrow(0, at, n);
    for (const Tensor &t : from) {
        if (first)
            place.copy_(t.narrow(0, at, n));
        else
            place.add_(t.narrow(0, at, n));
        first = false;
    }
}

void gradients::resize(size_t n)
{
    kept.resize(n);
    sum.resize(n);
    summed.resize(n);
}

void gradients::begin(size_t n)
{
    kept.assign(n, Tensor());
    summed.assign(n, 0);
    sum.resize(n);
}

Tensor gradients::get(size_t i) const
{
    return summed[i] ? sum[i] : kept[i];
}

gradient_sum gradients::add(size_t i, const std::vector<Tensor> &more, bool lasting)
{
    gradient_sum s;
    const bool none = !summed[i] && !kept[i].defined();
    if (more.empty())
        return s;
    if (none && lasting && more.size() == 1 && !sum[i].defined()) {
        kept[i] = more[0];
        return s;
    }
    if (!sum[i].defined())
        sum[i] = at::empty(more[0].sizes(), more[0].options().dtype(at::kFloat));
    s.to = sum[i];
    s.anew = !summed[i];
    if (kept[i].defined())
        s.from.push_back(kept[i]);
    s.from.insert(s.from.end(), more.begin(), more.end());
    kept[i] = Tensor();
    summed[i] = 1;
    return s;
}
