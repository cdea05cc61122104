/*
 * kernels_products.inl: the products of kernels.h. Included by kernels.c once for each kind of
 * processor, with LANES, the floats of one of its vectors; TILE, the rows, and PANELS, the panels,
 * that are summed side by side in its registers; SPREAD(x), a vector of the number x that stays in a
 * register; FMA(x, v, sum), which is x * v + sum; NAME(), which gives every name here its processor;
 * and TURN(), which transposes.
 *
 * Invariant: whatever TILE and PANELS are, and whichever rows share a tile, an element is summed over
 * k in order.
 */
#define VECTORS ((int64_t)PANEL / LANES) /* in a panel's row */

typedef float NAME(vector) __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

/*
 * What a tile is multiplied by: rows of `columns` numbers, PANEL or fewer, ld floats apart; or, where
 * `panels` is 2, of PANEL numbers, and as many again `next` floats behind. Of PANEL numbers all are
 * read at once.
 */
struct NAME(right) {
    const float *b;
    int64_t ld, next, columns;
};

/*
 * c = a * b, or c += a * b. a: [rows, k], lda floats a row; c: [rows, columns of b], ldc. A number of
 * a is spread over a vector once for all panels: it is loads that are scarce.
 */
INLINE void NAME(tile)(const float *a, int64_t lda, struct NAME(right) right, int64_t k, float *c,
                       int64_t ldc, const bool add, const int64_t panels, const bool whole,
                       const int64_t rows)
{
    NAME(vector) sum[VECTORS * TILE * PANELS], v[VECTORS * PANELS];
    const int64_t each = panels * VECTORS;
    const float *b = right.b;
    for (int64_t j = 0; j < rows * each; j++)
        sum[j] = (NAME(vector)){ 0 };
    for (int64_t r = 0; add && r < rows; r++)
        memcpy(&sum[r * each], c + r * ldc,
               (size_t)(whole ? panels * PANEL : right.columns) * sizeof(float));
    for (int64_t i = 0; i < k; i++, b += right.ld) {
        if (whole) {
#pragma GCC unroll 8
            for (int64_t j = 0; j < each; j++)
                v[j] = *(const NAME(vector) *)(b + j / VECTORS * right.next + j % VECTORS * LANES);
        } else {
            memset(v, 0, sizeof(v));
            memcpy(v, b, (size_t)right.columns * sizeof(float));
        }
#pragma GCC unroll 8
        for (int64_t r = 0; r < rows; r++) {
            const NAME(vector) x = SPREAD(a[r * lda + i]);
#pragma GCC unroll 8
            for (int64_t j = 0; j < each; j++)
                sum[r * each + j] = FMA(x, v[j], sum[r * each + j]);
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        if (!whole)
            memcpy(c + r * ldc, &sum[r * each], (size_t)right.columns * sizeof(float));
        for (int64_t j = 0; whole && j < each; j++)
            *(NAME(vector) *)(c + r * ldc + j * LANES) = sum[r * each + j];
    }
}

/* The same for a number of rows that is known only now, TILE or fewer. */
INLINE void NAME(few)(const float *a, int64_t lda, struct NAME(right) right, int64_t k, float *c,
                      int64_t ldc, const bool add, const int64_t panels, const bool whole,
                      int64_t rows)
{
    switch (rows) {
#define ROWS(n)                                                                \
    case n:                                                                    \
        NAME(tile)(a, lda, right, k, c, ldc, add, panels, whole, n);           \
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

/* Any number of rows; whole panels without the cost of asking how wide they are. */
INLINE void NAME(rows)(const float *a, int64_t lda, struct NAME(right) right, int64_t k, float *c,
                       int64_t ldc, const bool add, const int64_t panels, const bool whole,
                       int64_t rows)
{
    for (int64_t i = 0; i < rows; i += TILE)
        NAME(few)(a + i * lda, lda, right, k, c + i * ldc, ldc, add, panels, whole,
                  rows - i < TILE ? rows - i : TILE);
}

/* Whole panels, one or PANELS of them. */
INLINE void NAME(whole)(const float *a, int64_t lda, struct NAME(right) right, int64_t k, float *c,
                        int64_t ldc, bool add, const int64_t panels, int64_t rows)
{
    if (add)
        NAME(rows)(a, lda, right, k, c, ldc, true, panels, true, rows);
    else
        NAME(rows)(a, lda, right, k, c, ldc, false, panels, true, rows);
}

/* c = a * b, or c += a * b, for n columns of b, of which panel p begins at b + p * next. */
static void NAME(columns)(const float *a, int64_t lda, const float *b, int64_t ld, int64_t next,
                          int64_t n, int64_t k, float *c, int64_t ldc, bool add, int64_t rows)
{
    int64_t p = 0;
#if PANELS > 1
    for (; n - p >= (int64_t)PANELS * PANEL; p += (int64_t)PANELS * PANEL, b += PANELS * next) {
        const struct NAME(right) right = { b, ld, next, PANEL };
        NAME(whole)(a, lda, right, k, c + p, ldc, add, PANELS, rows);
    }
#endif
    for (; p < n; p += PANEL, b += next) {
        const struct NAME(right) right = { b, ld, next, n - p < PANEL ? n - p : PANEL };
        if (right.columns == PANEL)
            NAME(whole)(a, lda, right, k, c + p, ldc, add, 1, rows);
        else
            NAME(rows)(a, lda, right, k, c + p, ldc, add, 1, false, rows);
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
            NAME(columns)(a, across ? K_BLOCK : stride, panels + at * PANEL, PANEL, k * PANEL, n,
                          depth, out + i * n, n, add || at > 0, m);
        }
}

/* `rows` queries of one head, the first at position `at`. keys, values: of their head */
static void NAME(attend_rows)(const float *q, int64_t at, int64_t H, int64_t G, int64_t D,
                              const float *keys, const float *values, int64_t stride,
                              float *scratch, float *out, int64_t rows)
{
    const int64_t n = at + rows, width = (n + PANEL - 1) / PANEL * PANEL;
    NAME(columns)(q, H * D, keys, PANEL, PANEL * G * D, width, D, scratch, width, false, rows);
    for (int64_t r = 0; r < rows; r++)
        kernel_softmax(scratch + r * width, at + r + 1, width);
    NAME(columns)(scratch, width, values, stride, PANEL, D, n, out, H * D, false, rows);
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
#undef SPREAD
#undef FMA
#undef LANES
#undef TILE
#undef PANELS
#undef VECTORS
