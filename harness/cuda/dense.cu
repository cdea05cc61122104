/*
 * dense.cu: products with matrices that every text goes through: queries, keys and values, what
 * follows attention, and the head; see dense_ring.cu for more texts than a few.
 *
 * A block has 16 rows of the matrix, so that a batch of 1 has enough blocks to keep memory busy:
 * 2048 x 2048 of bfloat16 is 128 blocks of 64 kB. Matrices with few rows get more warps a block. The
 * first loads of the matrix are under way before the kernel before has ended.
 */
#include "cuda/kernels.cuh"
#include "cuda/tile.cuh"

/* The rows' product with the norm of x, scaled, bias added. y: [texts, n] */
template <typename T, int NT>
__global__ void __launch_bounds__(512)
    norm_product_kernel(struct step_view v, const T *w, const T *bias, int n, float *y)
{
    DYNAMIC_SHARED(float, sums);
    __shared__ float scale[STEP_TEXTS];
    const int d = v.s.hidden, from = blockIdx.x * 16;
    const tile_rows<T, 1> rows = rows_from<T, 1>(w, from, n, d);
    tile_weights<T, 1, NT> own;
    own.open(rows, d, tile_block());
    follow_early(rows.first[0], min(16, n - from) * d * static_cast<unsigned>(sizeof(T)));
    for (int c = 0; c < v.rows; c += NT * 8) {
        const int texts = min(NT * 8, v.rows - c);
        const T *x = static_cast<const T *>(v.xw) + static_cast<size_t>(c) * d;
        if (c > 0)
            own.open(rows, d, tile_block());
        tile_product<T, 1, NT>(own, { x, nullptr, texts }, d, sums);
        for (int i = threadIdx.x / 32; i < texts; i += blockDim.x / 32) {
            const float r = norm_scale(v, c + i);
            if (threadIdx.x % 32 == 0)
                scale[i] = r;
        }
        __syncthreads();
        for (int at = threadIdx.x; at < 16 * NT * 8; at += blockDim.x) {
            const int row = at % 16, text = at / 16;
            if (from + row >= n || text >= texts)
                continue;
            y[static_cast<size_t>(c + text) * n + from + row] =
                normed(tile_at<1, NT>(sums, row, text), scale[text], bias, from + row);
        }
    }
}

/* x += attended * o^T */
template <typename T, int NT>
__global__ void __launch_bounds__(512) out_kernel(struct step_view v, const T *w, const T *norm)
{
    DYNAMIC_SHARED(float, sums);
    const int d = v.s.hidden, k = v.s.heads * v.s.head_dim, from = blockIdx.x * 16;
    const tile_rows<T, 1> rows = rows_from<T, 1>(w, from, d, k);
    const int mine = from + static_cast<int>(threadIdx.x) % 16; // at % 16 is the thread's
    const float weight = mine < d ? number(norm[mine]) : 0;
    tile_weights<T, 1, NT> own;
    own.open(rows, k, tile_block());
    follow_early(rows.first[0], min(16, d - from) * k * static_cast<unsigned>(sizeof(T)));
    for (int c = 0; c < v.rows; c += NT * 8) {
        const int texts = min(NT * 8, v.rows - c);
        const T *x = static_cast<const T *>(v.attended) + static_cast<size_t>(c) * k;
        if (c > 0)
            own.open(rows, k, tile_block());
        tile_product<T, 1, NT>(own, { x, nullptr, texts }, k, sums);
        for (int at = threadIdx.x; at < 16 * NT * 8; at += blockDim.x) {
            const int column = from + at % 16, text = c + at / 16;
            const bool in = column < d && text < v.rows;
            const float old = in ? v.x[static_cast<size_t>(text) * d + column] : 0;
            // Whole warps are here, and texts come 16 lanes at a time.
            put_x<T>(v, text, in ? column : d, old + tile_at<1, NT>(sums, at % 16, at / 16),
                     weight);
        }
    }
}

/* Hangs on the matrix alone, so that sums do too. */
static int warps_for(int n)
{
    return n < RING_ROWS ? 16 : WARPS;
}

template <typename T, int NT>
static void norm_product(const struct launch &l, const struct step_view &v, const void *w,
                         const void *bias, int n, float *y)
{
    const int warps = warps_for(n);
    const size_t shared = tile_floats(1, NT, warps) * sizeof(float);
    CHAIN(l, (norm_product_kernel<T, NT>), (n + 15) / 16, warps * 32, shared, v,
          static_cast<const T *>(w), static_cast<const T *>(bias), n, y);
}

template <typename T, int NT>
static void out_product(const struct launch &l, const struct step_view &v,
                        const struct step_layer &w)
{
    const int warps = warps_for(v.s.hidden);
    const size_t shared = tile_floats(1, NT, warps) * sizeof(float);
    CHAIN(l, (out_kernel<T, NT>), v.tiles, warps * 32, shared, v, static_cast<const T *>(w.o),
          static_cast<const T *>(w.ffn_norm));
}

template <typename T>
static void norm_product_of(const struct launch &l, const struct step_view &v, const void *w,
                            const void *bias, int n, float *y)
{
    if (v.rows <= FEW_TEXTS)
        norm_product<T, 1>(l, v, w, bias, n, y);
    else if (v.rows <= 16)
        norm_product<T, 2>(l, v, w, bias, n, y);
    else
        norm_product<T, 4>(l, v, w, bias, n, y);
}

template <typename T>
static void out_of(const struct launch &l, const struct step_view &v, const struct step_layer &w)
{
    if (v.rows <= FEW_TEXTS)
        out_product<T, 1>(l, v, w);
    else if (v.rows <= 16)
        out_product<T, 2>(l, v, w);
    else
        out_product<T, 4>(l, v, w);
}

static void any_norm_product(const struct launch &l, const struct step_view &v, const void *w,
                             const void *bias, int n, float *y)
{
    if (!is_direct(v.s, v.rows) && n >= RING_ROWS)
        launch_norm_product(l, v, w, bias, n, y);
    else if (v.s.half)
        norm_product_of<nv_bfloat16>(l, v, w, bias, n, y);
    else
        norm_product_of<float>(l, v, w, bias, n, y);
}

void launch_qkv(const struct launch &l, const struct step_view &v, const struct step_layer &w)
{
    const int n = (v.s.heads + 2 * v.s.kv_heads) * v.s.head_dim;
    any_norm_product(l, v, w.qkv, w.qkv_bias, n, v.qkv);
}

void launch_out(const struct launch &l, const struct step_view &v, const struct step_layer &w)
{
    if (v.s.half)
        out_of<nv_bfloat16>(l, v, w);
    else
        out_of<float>(l, v, w);
}

void launch_head(const struct launch &l, const struct step_view &v, const void *head)
{
    any_norm_product(l, v, head, nullptr, v.s.vocab, v.vocabulary);
}
