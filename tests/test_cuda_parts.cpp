/*
 * test_cuda_parts.cpp: the kernels of a step one by one, against plain loops in double: odd sizes,
 * any number of texts, long pasts, experts with no text and with many, in both formats.
 */
#include "cuda/kernels.cuh"
#include "tests/cuda_arrays.cuh"
#include "skip.h"

#include <cmath>
#include <functional>

#include <setjmp.h>
#include <stdarg.h>

extern "C" {
#include <cmocka.h>
}

static floats got(const void *p, size_t n, bool half)
{
    if (!half)
        return got(static_cast<const float *>(p), n);
    std::vector<uint16_t> h = got(static_cast<const uint16_t *>(p), n);
    floats v(n);
    for (size_t i = 0; i < n; i++)
        v[i] = widened(h[i]);
    return v;
}

static void near(double want, float is, double tolerance, const char *what, size_t i, size_t j)
{
    if (!(std::fabs(want - static_cast<double>(is)) <= tolerance * (1 + std::fabs(want))))
        fail_msg("%s at %zu, %zu: %.9g, not %.9g", what, i, j, static_cast<double>(is), want);
}

/* What sums of k products of numbers around 1 may be off: each rounding is of a sum of some sqrt(k), and
 * a GPU cuts off what it adds to it. */
static double enough(size_t k)
{
    return k > 2000 ? 5e-5 : 1e-5;
}

/* GPUs with much shared memory a block, with less, and with little. */
static const struct launch gpus[] = { { nullptr, 3, 227 << 10, false, DRIVERS },
                                      { nullptr, 2, 163 << 10, false, DRIVERS },
                                      { nullptr, 1, 99 << 10, false, DRIVERS } };
static struct launch here = gpus[0];

/* A view with what every test needs: sizes, slots 2, 3, 4 ... and counters. */
static struct step_view view(device_memory &m, const struct step_shape &s, int rows, int idle = 0)
{
    struct step_view v = {};
    std::vector<struct step_input> in(1);
    for (int i = 0; i < STEP_TEXTS; i++)
        in[0].slot[i] = i < rows - idle ? i + 2 : -1;
    v.s = s;
    v.rows = rows;
    v.tiles = (s.hidden + SQUARES - 1) / SQUARES;
    v.unit = 64;
    v.in = m.put(in);
    v.arrived = m.put(std::vector<unsigned>(
        static_cast<size_t>(rows) * (static_cast<size_t>(s.heads) + 1) + 1000));
    return v;
}

/* x [rows, d] as the kernel before leaves it, with the norm that follows. */
struct stream {
    floats x, weight; // what is kept of it
    std::vector<double> scale;
};
static stream put_stream(device_memory &m, struct step_view &v)
{
    const size_t rows = static_cast<size_t>(v.rows), d = static_cast<size_t>(v.s.hidden);
    const size_t tiles = static_cast<size_t>(v.tiles);
    stream s = { noise_of(rows * d), floats(d, 1), std::vector<double>(rows) };
    floats squares(rows * tiles), xw = s.x;
    v.xw = m.put(xw, v.s.half);
    s.x = xw;
    for (size_t b = 0; b < rows; b++) {
        double sum = 0;
        for (size_t i = 0; i < d; i++) {
            squares[b * tiles + i / SQUARES] += s.x[b * d + i] * s.x[b * d + i];
            sum += static_cast<double>(s.x[b * d + i]) * static_cast<double>(s.x[b * d + i]);
        }
        s.scale[b] = 1 / std::sqrt(sum / static_cast<double>(d) + static_cast<double>(v.s.eps));
    }
    v.x = m.put(s.x);
    v.squares = m.put(squares);
    return s;
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
}

static void check_head(int rows, int d, int n, bool half)
{
    device_memory m;
    struct step_shape s = {};
    s.hidden = d, s.vocab = n, s.heads = 1, s.half = half, s.eps = 1e-5f;
    struct step_view v = view(m, s, rows);
    const size_t k = static_cast<size_t>(d), width = static_cast<size_t>(n);
    stream x = put_stream(m, v);
    floats w = noise_of(width * k);
    const void *head = m.put(w, half);
    v.vocabulary = m.room<float>(static_cast<size_t>(rows) * width);
    launch_head(here, v, head);
    const floats y = got(v.vocabulary, static_cast<size_t>(rows) * width);
    for (size_t b = 0; b < static_cast<size_t>(rows); b++)
        for (size_t i = 0; i < width; i++)
            near(x.scale[b] * dot(&x.x[b * k], &w[i * k], k), y[b * width + i], enough(k),
                 "a product", b, i);
}

static void products_are_those_of_plain_loops(void **)
{
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    for (const struct launch &l : gpus) {
        here = l;
        for (int half = 0; half < 2; half++)
            for (int rows : { 1, 3, 8, 9, 33, 64 }) {
                check_head(rows, 40, 7, half);
                check_head(rows, 256, 48, half);
            }
        for (int rows : { 10, 35 }) // many rows; from tile to tile and from texts to texts
            check_head(rows, 72, 4099, true);
    }
    here = gpus[0];
    check_head(9, 512, 4097, true);   // all warps have the same number of steps
    check_head(10, 2312, 4097, true); // more steps than are copied ahead
    check_head(17, 2312, 4097, true);
    for (int rows : { 2, 10, 17, 35 })
        check_head(rows, 4136, 33, true);
    check_head(33, 264, 131, true);
    check_head(20, 72, 97, false);
    check_head(3, 1096, 33, true);
    check_head(5, 25, 17, false);
}

static void check_out(int rows, int d, int heads, int head_dim, bool half)
{
    device_memory m;
    struct step_shape s = {};
    s.hidden = d, s.heads = heads, s.head_dim = head_dim, s.half = half, s.eps = 1e-5f;
    struct step_view v = view(m, s, rows);
    const size_t R = static_cast<size_t>(rows), D = static_cast<size_t>(d);
    const size_t k = static_cast<size_t>(heads * head_dim), tiles = static_cast<size_t>(v.tiles);
    stream x = put_stream(m, v);
    floats w = noise_of(D * k), in = noise_of(R * k), norm = noise_of(D);
    struct step_layer l = {};
    l.o = m.put(w, half);
    l.ffn_norm = m.put(norm, half);
    v.attended = m.put(in, half);
    launch_out(here, v, l);
    const floats y = got(v.x, R * D), xw = got(v.xw, R * D, half), sq = got(v.squares, R * tiles);
    const double tolerance = enough(k);
    for (size_t b = 0; b < R; b++) {
        std::vector<double> squares(tiles);
        for (size_t i = 0; i < D; i++) {
            const double want = static_cast<double>(x.x[b * D + i]) + dot(&in[b * k], &w[i * k], k);
            near(want, y[b * D + i], tolerance, "the stream", b, i);
            near(want * static_cast<double>(norm[i]), xw[b * D + i], half ? 5e-3 : 1e-5,
                 "what the norm multiplies", b, i);
            squares[i / SQUARES] += want * want;
        }
        for (size_t i = 0; i < tiles; i++)
            near(squares[i], sq[b * tiles + i], tolerance, "a sum of squares", b, i);
    }
}

static void the_stream_is_added_to(void **)
{
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    for (const struct launch &l : gpus) {
        here = l;
        for (int half = 0; half < 2; half++)
            for (int rows : { 1, 9, 33, 48 }) {
                check_out(rows, 40, 2, 8, half);
                check_out(rows, 24, 3, 24, half);
            }
        check_out(34, 40, 33, 128, true);
    }
    check_out(2, 21, 1, 10, false);
}

/* ---- attention ---- */

struct past {
    int rows, heads, kv_heads, head_dim, capacity;
    bool half, norm, norm_heads;
    float clip;
    std::vector<int> positions;
    int unit = 64;
};

/* Norm, clipping and rotation of one head's vector [D], in double. */
static std::vector<double> prepared(const past &p, const float *x, const float *weight,
                                    double scale, const float *cos, const float *sin)
{
    const size_t D = static_cast<size_t>(p.head_dim), half = D / 2;
    std::vector<double> y(D), z(D);
    for (size_t i = 0; i < D; i++) {
        y[i] = static_cast<double>(x[i]) * (weight ? scale * static_cast<double>(weight[i]) : 1);
        if (p.clip > 0)
            y[i] = std::fmin(std::fmax(y[i], -static_cast<double>(p.clip)),
                             static_cast<double>(p.clip));
    }
    z = y;
    for (size_t i = 0; cos && i < half; i++) {
        const double c = static_cast<double>(cos[i]), s = static_cast<double>(sin[i]);
        z[i] = y[i] * c - y[i + half] * s;
        z[i + half] = y[i + half] * c + y[i] * s;
    }
    return z;
}

static double scale_of(const float *x, size_t n, double eps)
{
    return 1 / std::sqrt(dot(x, x, n) / static_cast<double>(n) + eps);
}

static void check_attention(const past &p)
{
    device_memory m;
    struct step_shape s = {};
    s.heads = p.heads, s.kv_heads = p.kv_heads, s.head_dim = p.head_dim, s.half = p.half;
    s.norm_heads = p.norm_heads, s.clip = p.clip, s.eps = 1e-5f, s.hidden = 16;
    struct step_view v = view(m, s, p.rows, 1);
    const size_t R = static_cast<size_t>(p.rows), H = static_cast<size_t>(p.heads);
    const size_t G = static_cast<size_t>(p.kv_heads), D = static_cast<size_t>(p.head_dim);
    const size_t cap = static_cast<size_t>(p.capacity), slots = R + 2, row = (H + 2 * G) * D;
    v.capacity = p.capacity;
    v.unit = p.unit;
    v.units = most_units(p.capacity, p.unit);
    std::vector<struct step_input> in = got(v.in, 1);
    for (size_t b = 0; b < R; b++)
        in[0].position[b] = p.positions[b % p.positions.size()];
    v.in = m.put(in);
    floats qkv = noise_of(R * row), keys = noise_of(slots * cap * G * D);
    floats values = noise_of(slots * cap * G * D), cos = noise_of(cap * D / 2);
    floats sin = noise_of(cap * D / 2), qn = noise_of(p.norm_heads ? D : H * D);
    floats kn = noise_of(p.norm_heads ? D : G * D);
    struct step_layer l = {};
    l.keys = m.put(keys, p.half);
    l.values = m.put(values, p.half);
    if (p.norm) {
        l.q_norm = m.put(qn, p.half);
        l.k_norm = m.put(kn, p.half);
    }
    v.qkv = m.put(qkv);
    v.parts = m.room<float>(R * H * static_cast<size_t>(v.units) * (D + 2));
    v.attended = m.room<float>(R * H * D);
    launch_attend(here, v, l, m.put(cos), m.put(sin));
    const floats out = got(v.attended, R * H * D, p.half);
    const floats new_keys = got(l.keys, keys.size(), p.half);
    const floats new_values = got(l.values, values.size(), p.half);
    const double tolerance = p.half ? 1e-2 : 2e-5, eps = static_cast<double>(s.eps);
    for (size_t b = 0; b + 1 < R; b++) {
        const size_t at = static_cast<size_t>(in[0].position[b]), slot = b + 2;
        const float *q = &qkv[b * row], *k = q + H * D, *val = k + G * D;
        const float *c = &cos[at * D / 2], *sn = &sin[at * D / 2];
        const double qs = scale_of(q, H * D, eps), ks = scale_of(k, G * D, eps);
        for (size_t g = 0; g < G; g++) {
            float *own = &keys[(slot * cap + at) * G * D + g * D];
            float *own_value = &values[(slot * cap + at) * G * D + g * D];
            auto key = prepared(p, k + g * D, p.norm ? &kn[p.norm_heads ? 0 : g * D] : nullptr,
                                p.norm_heads ? scale_of(k + g * D, D, eps) : ks, c, sn);
            auto value = prepared(p, val + g * D, nullptr, 0, nullptr, nullptr);
            for (size_t i = 0; i < D; i++) {
                own[i] = static_cast<float>(key[i]);
                own_value[i] = static_cast<float>(value[i]);
            }
        }
        for (size_t h = 0; h < H; h++) {
            const size_t g = h / (H / G);
            auto query = prepared(p, q + h * D, p.norm ? &qn[p.norm_heads ? 0 : h * D] : nullptr,
                                  p.norm_heads ? scale_of(q + h * D, D, eps) : qs, c, sn);
            std::vector<double> weight(at + 1), want(D);
            double most = -INFINITY, sum = 0;
            for (size_t t = 0; t <= at; t++) {
                for (size_t i = 0; i < D; i++)
                    weight[t] += query[i] / std::sqrt(static_cast<double>(D)) *
                                 static_cast<double>(keys[(slot * cap + t) * G * D + g * D + i]);
                most = std::fmax(most, weight[t]);
            }
            for (size_t t = 0; t <= at; t++) {
                sum += weight[t] = std::exp(weight[t] - most);
                for (size_t i = 0; i < D; i++)
                    want[i] += weight[t] *
                               static_cast<double>(values[(slot * cap + t) * G * D + g * D + i]);
            }
            for (size_t i = 0; i < D; i++)
                near(want[i] / sum, out[(b * H + h) * D + i], tolerance, "attention", b, h * D + i);
        }
    }
    // The caches have the new rows, and nothing else has changed; the idle text wrote nothing.
    for (size_t i = 0; i < keys.size(); i++) {
        near(static_cast<double>(keys[i]), new_keys[i], p.half ? 5e-3 : 1e-5, "a key", i, 0);
        near(static_cast<double>(values[i]), new_values[i], p.half ? 5e-3 : 1e-5, "a value", i, 0);
    }
}

static void attention_is_that_of_plain_loops(void **)
{
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    const std::vector<int> lengths = { 0, 16, 63, 64, 199, 128 };
    here = gpus[0];
    // More rounds than are copied ahead, in one unit and in several, and units shared by blocks.
    check_attention(
        { 5, 1, 1, 128, 2400, true, false, false, 0, { 2311, 1023, 1024, 2047, 2048 }, 256 });
    check_attention({ 2, 4, 2, 128, 1100, true, true, true, 0, { 1030 }, 512 });
    check_attention({ 2, 4, 1, 64, 1100, true, true, false, 0, { 1099 }, 256 });
    check_attention({ 3, 2, 2, 128, 300, false, true, false, 0, { 290, 3 }, 256 });
    check_attention({ 3, 4, 2, 10, 200, true, false, false, 0, { 190, 77 } });
    check_attention({ 7, 4, 4, 16, 200, false, true, false, 0, lengths });
    check_attention({ 4, 2, 1, 6, 200, false, false, false, 0.5f, { 199, 17, 64 } });
    check_attention({ 4, 8, 2, 40, 256, true, true, true, 0, { 199, 0, 255 } });
    check_attention({ 2, 3, 3, 128, 256, true, true, false, 0.7f, { 200 } });
    check_attention({ 2, 4, 1, 256, 130, false, true, true, 0, { 129 } });
    check_attention({ 41, 6, 3, 8, 70, true, false, false, 0, { 69, 1, 65 } });
}

/* ---- experts ---- */

struct mixture {
    int rows, d, F, shared, N;
    bool half;
    std::function<bool(int, int)> takes; // (text, expert)
};

static std::vector<double> swiglu(const float *gate_up, const float *x, double scale, size_t F,
                                  size_t d, bool half)
{
    std::vector<double> out(F);
    for (size_t f = 0; f < F; f++) {
        const double g = scale * dot(gate_up + f * d, x, d),
                     u = scale * dot(gate_up + (F + f) * d, x, d);
        out[f] = g / (1 + std::exp(-g)) * u;
        if (half)
            out[f] = static_cast<double>(widened(halved(static_cast<float>(out[f]))));
    }
    return out;
}

static void check_experts(const mixture &mix)
{
    device_memory m;
    struct step_shape s = {};
    s.hidden = mix.d, s.experts = mix.N, s.expert_ffn = mix.F, s.shared_ffn = mix.shared;
    s.half = mix.half, s.eps = 1e-5f, s.heads = 1;
    struct step_view v = view(m, s, mix.rows);
    const size_t R = static_cast<size_t>(mix.rows), d = static_cast<size_t>(mix.d);
    const size_t N = static_cast<size_t>(mix.N), F = static_cast<size_t>(mix.F);
    const size_t Fs = static_cast<size_t>(mix.shared);
    stream x = put_stream(m, v);
    const float small = std::fmin(0.3f, 2 / std::sqrt(static_cast<float>(mix.d)));
    floats gate_up = noise_of(N * 2 * F * d, small), down = noise_of(N * d * F, small);
    floats shared = noise_of(2 * Fs * d, small), shared_down = noise_of(d * Fs, small);
    floats norm = noise_of(d), logits = noise_of(R * (N + 1)), weight(R * N), scale(R);
    std::vector<int32_t> active = { 0 }, begin = { 0 }, text;
    std::vector<size_t> count(R);
    for (size_t b = 0; b < R; b++)
        scale[b] = static_cast<float>(x.scale[b]);
    for (size_t e = 0; e < N; e++) {
        const size_t before = text.size();
        for (size_t b = 0; b < R; b++)
            if (mix.takes(static_cast<int>(b), static_cast<int>(e))) {
                weight[b * N + count[b]++] = 0.5f + 0.5f * noise();
                text.push_back(static_cast<int32_t>(b));
            }
        if (text.size() > before) {
            active.push_back(static_cast<int32_t>(e));
            begin.push_back(static_cast<int32_t>(text.size()));
            active[0]++;
        }
    }
    active.resize(N + 1, -1), begin.resize(N + 1, -1);
    v.pairs.active = m.put(active), v.pairs.begin = m.put(begin), v.pairs.text = m.put(text);
    v.pairs.weight = m.put(weight);
    v.scale = m.put(scale), v.logits = m.put(logits);
    v.act = m.room<float>(R * N * F + 1);
    v.shared_act = m.room<float>(R * Fs + 1);
    struct step_layer l = {};
    l.gate_up = m.put(gate_up, mix.half), l.down = m.put(down, mix.half);
    if (Fs) {
        l.shared_gate_up = m.put(shared, mix.half);
        l.shared_down = m.put(shared_down, mix.half);
        l.shared_gate = l.shared_down; // that there is one
    }
    launch_experts(here, v, l, m.put(norm, mix.half));
    const floats y = got(v.x, R * d), xw = got(v.xw, R * d, mix.half);
    for (size_t b = 0; b < R; b++) {
        std::vector<double> want(x.x.begin() + static_cast<long>(b * d),
                                 x.x.begin() + static_cast<long>((b + 1) * d));
        size_t j = 0;
        auto add = [&](const float *up, const float *to, size_t width, double w) {
            auto act = swiglu(up, &x.x[b * d], x.scale[b], width, d, mix.half);
            for (size_t i = 0; i < d; i++)
                for (size_t f = 0; f < width; f++)
                    want[i] += w * act[f] * static_cast<double>(to[i * width + f]);
        };
        for (size_t e = 0; e < N; e++)
            if (mix.takes(static_cast<int>(b), static_cast<int>(e)))
                add(&gate_up[e * 2 * F * d], &down[e * d * F], F,
                    static_cast<double>(weight[b * N + j++]));
        if (Fs)
            add(&shared[0], &shared_down[0], Fs,
                1 / (1 + std::exp(-static_cast<double>(logits[b * (N + 1) + N]))));
        for (size_t i = 0; i < d; i++) {
            near(want[i], y[b * d + i], mix.half ? 2e-2 : 2e-5, "the stream", b, i);
            near(static_cast<double>(y[b * d + i] * norm[i]), xw[b * d + i], mix.half ? 5e-3 : 1e-6,
                 "what the norm multiplies", b, i);
        }
    }
}

static void experts_are_those_of_plain_loops(void **)
{
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    // Expert 0 has no text, 1 has one, 2 nine, 3 all; text 0 takes none.
    auto mixed = [](int b, int e) {
        return b > 0 && (e == 3 || (e == 2 && b < 10) || (e == 1 && b == 1));
    };
    for (const struct launch &l : gpus) {
        here = l;
        for (int half = 0; half < 2; half++) {
            check_experts({ 34, 40, 24, 0, 5, half != 0, mixed });
            check_experts({ 34, 24, 8, 40, 5, half != 0, mixed });
            check_experts({ 12, 72, 80, 16, 4, half != 0, mixed });
            check_experts({ 2, 256, 40, 0, 4, half != 0, mixed });
            check_experts({ 3, 40, 16, 0, 4, half != 0, [](int, int) { return false; } });
            check_experts({ 3, 40, 16, 24, 4, half != 0, [](int, int) { return false; } });
        }
        // More steps than are copied ahead.
        for (int rows : { 2, 11, 18 })
            check_experts({ rows, 520, 1032, 264, 4, true, mixed });
        check_experts({ 18, 72, 1024, 512, 4, true, mixed });
    }
    check_experts({ 5, 21, 7, 9, 3, false, mixed });
}

/* ---- neighbours ---- */

/* The head's logits of a batch's first text, whatever the others are. */
static floats first_logits(int rows, bool half)
{
    device_memory m;
    struct step_shape s = {};
    const int n = half ? RING_ROWS + 8 : 120, d = half ? 584 : 1096;
    const size_t width = static_cast<size_t>(n), k = static_cast<size_t>(d);
    s.hidden = d, s.vocab = n, s.heads = 1, s.half = half, s.eps = 1e-5f;
    struct step_view v = view(m, s, rows);
    noise_state = 7;
    floats w = noise_of(k * width), first = noise_of(k), xw = first, squares;
    for (size_t i = 1; i < static_cast<size_t>(rows); i++) {
        const floats other = noise_of(k);
        xw.insert(xw.end(), other.begin(), other.end());
    }
    squares.resize(static_cast<size_t>(rows * v.tiles), 3);
    v.squares = m.put(squares), v.xw = m.put(xw, half);
    v.vocabulary = m.room<float>(static_cast<size_t>(rows) * width);
    launch_head(here, v, m.put(w, half));
    return got(v.vocabulary, width);
}

/* The attention of a batch's first text. */
static floats first_attended(int rows, bool half)
{
    const size_t H = 2, D = 64, cap = 700, R = static_cast<size_t>(rows), row = 3 * H * D;
    device_memory m;
    struct step_shape s = {};
    s.heads = s.kv_heads = 2, s.head_dim = 64, s.half = half, s.hidden = 16, s.eps = 1e-5f;
    struct step_view v = view(m, s, rows);
    std::vector<struct step_input> in = got(v.in, 1);
    for (size_t b = 0; b < R; b++)
        in[0].slot[b] = static_cast<int32_t>(b), in[0].position[b] = b ? 5 : 650;
    v.in = m.put(in);
    v.capacity = 700, v.unit = 128, v.units = most_units(700, 128);
    noise_state = 7;
    floats first = noise_of(row), keys = noise_of(cap * H * D), values = noise_of(cap * H * D);
    first.resize(R * row, 0.5f), keys.resize(R * cap * H * D, 1), values.resize(keys.size(), 1);
    floats cos = noise_of(cap * D / 2), sin = noise_of(cap * D / 2);
    struct step_layer l = {};
    l.keys = m.put(keys, half), l.values = m.put(values, half), v.qkv = m.put(first);
    v.parts = m.room<float>(R * H * static_cast<size_t>(v.units) * (D + 2));
    v.attended = m.room<float>(R * H * D);
    launch_attend(here, v, l, m.put(cos), m.put(sin));
    return got(v.attended, H * D, half);
}

/* What the experts leave of a batch's first text: it takes two, and the others one of them. */
static floats first_mixed(int rows, bool half)
{
    const size_t d = 520, F = 264, N = 4, R = static_cast<size_t>(rows);
    device_memory m;
    struct step_shape s = {};
    s.hidden = 520, s.experts = 4, s.expert_ffn = s.shared_ffn = 264, s.half = half;
    s.eps = 1e-5f, s.heads = 1;
    struct step_view v = view(m, s, rows);
    noise_state = 7;
    floats gate_up = noise_of(N * 2 * F * d, 0.1f), down = noise_of(N * d * F, 0.1f);
    floats shared = noise_of(2 * F * d, 0.1f), shared_down = noise_of(d * F, 0.1f);
    floats norm = noise_of(d), x = noise_of(d), weight(R * N, 0.375f), logits(R * (N + 1), 0.5f);
    x.resize(R * d, 0.25f);
    std::vector<int32_t> text = { 0 };
    for (int32_t b = 0; b < rows; b++)
        text.push_back(b);
    v.pairs.active = m.put(std::vector<int32_t>{ 2, 0, 3, -1, -1 });
    v.pairs.begin = m.put(std::vector<int32_t>{ 0, 1, rows + 1, -1, -1 });
    v.pairs.text = m.put(text);
    v.pairs.weight = m.put(weight), v.scale = m.put(floats(R, 0.75f)), v.logits = m.put(logits);
    v.act = m.room<float>(R * N * F), v.shared_act = m.room<float>(R * F);
    v.x = m.put(x), v.xw = m.put(x, half);
    v.squares = m.room<float>(R * static_cast<size_t>(v.tiles));
    struct step_layer l = {};
    l.gate_up = m.put(gate_up, half), l.down = m.put(down, half);
    l.shared_gate_up = m.put(shared, half), l.shared_down = m.put(shared_down, half);
    l.shared_gate = l.shared_down; // that there is one
    launch_experts(here, v, l, m.put(norm, half));
    return got(v.x, d);
}

static void to_the_bit_a_text_does_not_hang_on_the_batch(void **)
{
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    floats (*const parts[])(int, bool) = { first_logits, first_attended, first_mixed };
    for (auto part : parts)
        for (int half = 0; half < 2; half++) {
            here = gpus[0];
            const floats alone = part(1, half);
            for (const struct launch &l : gpus)
                for (int rows : { 7, 12, 64 }) {
                    here = l;
                    const floats among = part(rows, half);
                    assert_memory_equal(alone.data(), among.data(), alone.size() * sizeof(float));
                }
        }
    here = gpus[0];
}

/* Of equal logits the smallest id, in one chunk and in several; entropies by hand. */
static void of_equal_logits_the_smallest_id_is_next(void **)
{
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    const size_t V = 1000;
    device_memory m;
    struct step_shape s = {};
    s.vocab = static_cast<int>(V), s.hidden = 16, s.heads = 1;
    struct step_view v = view(m, s, 4);
    floats logits(4 * V, -1.5f);
    logits[1 * V + 999] = logits[1 * V + 7] = logits[1 * V + 500] = 9;
    logits[2 * V + 41] = logits[2 * V + 40] = 30;
    logits[3 * V + 999] = 200;
    v.vocabulary = m.put(logits);
    v.chunk = m.room<float>(4 * CHUNKS * 4);
    v.out.next = m.room<int32_t>(4);
    v.out.nll = m.room<float>(4);
    v.out.entropy = m.room<float>(4);
    launch_finish(here, v);
    const std::vector<int32_t> next = got(v.out.next, 4);
    const floats nll = got(v.out.nll, 4), entropy = got(v.out.entropy, 4);
    const int32_t want[] = { 0, 7, 40, 999 };
    for (size_t b = 0; b < 4; b++) {
        double sum = 0, moment = 0,
               most = static_cast<double>(logits[b * V + static_cast<size_t>(want[b])]);
        for (size_t i = 0; i < V; i++) {
            const double x = static_cast<double>(logits[b * V + i]) - most;
            sum += std::exp(x);
            moment += x * std::exp(x);
        }
        assert_int_equal(next[b], want[b]);
        near(std::log(sum), nll[b], 1e-6, "a loss", b, 0);
        near(std::log(sum) - moment / sum, entropy[b], 1e-5, "an entropy", b, 0);
    }
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_plain_loops),
        cmocka_unit_test(the_stream_is_added_to),
        cmocka_unit_test(attention_is_that_of_plain_loops),
        cmocka_unit_test(experts_are_those_of_plain_loops),
        cmocka_unit_test(to_the_bit_a_text_does_not_hang_on_the_batch),
        cmocka_unit_test(of_equal_logits_the_smallest_id_is_next),
    };
    return cmocka_run_group_tests_name("cuda_parts", tests, nullptr, nullptr);
}
