/*
 * kernels_products.inl: the products of kernels.h. Included by kernels.c once for each kind of
 * processor, with LANES, the floats of one of its vectors; TILE, the rows that are summed side by
 * side in its registers; FMA(x, v, sum), which is x * v + sum for a number x and two vectors; and
 * NAME(), which gives every name here its processor; and TURN(), which transposes.
 *
 * Invariant: whatever TILE is, and whichever rows share one, an element is summed over k in order.
 */
#define VECTORS ((int64_t)PANEL / LANES) /* in a panel's row */

typedef float NAME(vector) __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

/*
 * c = a * b, or c += a * b. Of b's rows, `columns` numbers count, PANEL or fewer; of a panel all may
 * be read.
 * a: [rows, k], lda floats a row; b: [k, columns], ldb; c: [rows, columns], ldc
 */
INLINE void NAME(tile)(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k,
                       float *c, int64_t ldc, int64_t columns, const bool add, const bool panel,
                       const int64_t rows)
{
    NAME(vector) sum[TILE * VECTORS], v[VECTORS];
    for (int64_t j = 0; j < rows * VECTORS; j++)
        sum[j] = (NAME(vector)){ 0 };
    for (int64_t r = 0; add && r < rows; r++)
        memcpy(&sum[r * VECTORS], c + r * ldc, (size_t)columns * sizeof(float));
    for (int64_t i = 0; i < k; i++, b += ldb) {
        if (panel) {
#pragma GCC unroll 8
            for (int64_t j = 0; j < VECTORS; j++)
                v[j] = *(const NAME(vector) *)(b + j * LANES);
        } else {
            memset(v, 0, sizeof(v));
            memcpy(v, b, (size_t)columns * sizeof(float));
        }
#pragma GCC unroll 8
        for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int64_t j = 0; j < VECTORS; j++)
                sum[r * VECTORS + j] = FMA(a[r * lda + i], v[j], sum[r * VECTORS + j]);
    }
    for (int64_t r = 0; r < rows; r++) {
        if (!panel)
            memcpy(c + r * ldc, &sum[r * VECTORS], (size_t)columns * sizeof(float));
        for (int64_t j = 0; panel && j < VECTORS; j++)
            *(NAME(vector) *)(c + r * ldc + j * LANES) = sum[r * VECTORS + j];
    }
}

/* The same for a number of rows that is known only now, TILE or fewer. */
INLINE void NAME(few)(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k, float *c,
                      int64_t ldc, int64_t columns, const bool add, const bool panel, int64_t rows)
{
    switch (rows) {
#define ROWS(n)                                                                \
    case n:                                                                    \
        NAME(tile)(a, lda, b, ldb, k, c, ldc, columns, add, panel, n);         \
        break;
        ROWS(1)
        ROWS(2)
#if TILE > 2
        ROWS(3)
        ROWS(4)
#endif
#if TILE > 4
        ROWS(5)
        ROWS(6)
        ROWS(7)
        ROWS(8)
#endif
#undef ROWS
    default:
        break;
    }
}

/* Whole panels without the cost of asking how wide they are. */
static void NAME(rows)(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k, float *c,
                       int64_t ldc, int64_t columns, bool add, int64_t rows)
{
    for (int64_t i = 0; i < rows; i += TILE) {
        int64_t n = rows - i < TILE ? rows - i : TILE;
        const float *x = a + i * lda;
        float *y = c + i * ldc;
        if (columns == PANEL && !add)
            NAME(few)(x, lda, b, ldb, k, y, ldc, PANEL, false, true, n);
        else if (columns == PANEL)
            NAME(few)(x, lda, b, ldb, k, y, ldc, PANEL, true, true, n);
        else
            NAME(few)(x, lda, b, ldb, k, y, ldc, columns, add, false, n);
    }
}

/* Blocks of rows and of k keep what is read again in the caches. `across`: x is [k, rows]. */
static void NAME(product)(const float *x, int64_t rows, int64_t stride, bool across,
                          const float *panels, int64_t n, int64_t k, bool add, float *out)
{
    float turned[ROW_BLOCK * K_BLOCK];
    for (int64_t i = 0; i < rows; i += ROW_BLOCK)
        for (int64_t at = 0; at < k; at += K_BLOCK) {
            const int64_t m = rows - i < ROW_BLOCK ? rows - i : ROW_BLOCK;
            const int64_t depth = k - at < K_BLOCK ? k - at : K_BLOCK;
            const float *a = across ? turned : x + i * stride + at;
            if (across)
                TURN(x + at * stride + i, stride, depth, m, turned, K_BLOCK);
            for (int64_t p = 0; p < n; p += PANEL)
                NAME(rows)(a, across ? K_BLOCK : stride, panels + (p * k + at * PANEL), PANEL,
                           depth, out + i * n + p, n, n - p < PANEL ? n - p : PANEL, add || at > 0,
                           m);
        }
}

/* `rows` queries of one head, the first at position `at`. keys, values: of their head */
static void NAME(attend_rows)(const float *q, int64_t at, int64_t H, int64_t G, int64_t D,
                              const float *keys, const float *values, int64_t stride,
                              float *scratch, float *out, int64_t rows)
{
    const int64_t n = at + rows, width = (n + PANEL - 1) / PANEL * PANEL;
    for (int64_t p = 0; p < n; p += PANEL)
        NAME(rows)(q, H * D, keys + p * G * D, PANEL, D, scratch + p, width, PANEL, false, rows);
    for (int64_t r = 0; r < rows; r++)
        kernel_softmax(scratch + r * width, at + r + 1, width);
    for (int64_t d = 0; d < D; d += PANEL)
        NAME(rows)(scratch, width, values + d, stride, n, out + d, H * D,
                   D - d < PANEL ? D - d : PANEL, false, rows);
}

static void NAME(attend)(const float *q, int64_t n, int64_t at, int64_t H, int64_t G, int64_t D,
                         const float *keys, const float *values, int64_t stride, float *scratch,
                         float *out)
{
    for (int64_t h = 0; h < H; h++)
        for (int64_t i = 0; i < n; i += TILE)
            NAME(attend_rows)(q + (i * H + h) * D, at + i, H, G, D, keys + h * G / H * D * PANEL,
                              values + h * G / H * D, stride, scratch, out + (i * H + h) * D,
                              n - i < TILE ? n - i : TILE);
}

static const struct products NAME(products) = {
    .processor = LANES == 16 ? "AVX-512" : LANES == 8 ? "AVX2" : "plain",
    .turn = TURN,
    .product = NAME(product),
    .attend = NAME(attend),
};

#undef NAME
#undef TURN
#undef FMA
#undef LANES
#undef TILE
#undef VECTORS
