/*
 * bench_store.c: how fast token rows go into a database, and how large they are there: what a sweep of
 * twenty cells over a full-size model writes, 16 layers of 64 experts, in documents of 512 tokens, four
 * of them in each transaction. Numbers are made up, but as varied as a model's. Each measurement is a
 * line: name, value, unit.
 *
 *   bench_store DB ROWS     makes the database, which must not be there
 *
 * Leaves out: what reads it; scripts/bench times `table` and `plot` on it.
 */
#include "store/store.h"
#include "summary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CELLS = 20, LAYERS = 16, EXPERTS = 64, TOKENS = 512, EACH = 4, VOCAB = 50000 };

struct document {
    int32_t ids[TOKENS];
    float nll[TOKENS], entropy[TOKENS];
    uint16_t experts[LAYERS * TOKENS];
    int32_t load_tokens[LAYERS * EXPERTS];
    double load_weight[LAYERS * EXPERTS];
};

static struct buf err = BUF_INIT;

static void must(int rc)
{
    if (rc)
        die(1, "%s", err.s);
}

static double chance(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

/* A token of more entropy takes more experts, as SeqTopK's do. */
static void make_document(struct document *d)
{
    memset(d->load_tokens, 0, sizeof(d->load_tokens));
    memset(d->load_weight, 0, sizeof(d->load_weight));
    for (int t = 0; t < TOKENS; t++) {
        double entropy = 6 * chance() * chance();
        d->ids[t] = (int32_t)(VOCAB * chance() * chance());
        d->entropy[t] = (float)entropy;
        d->nll[t] = t ? (float)(-log(1 - chance()) * entropy) : NAN;
        for (int l = 0; l < LAYERS; l++) {
            int n = 4 + (int)(entropy + 5 * chance());
            d->experts[l * TOKENS + t] = (uint16_t)n;
            for (int i = 0; i < n; i++) {
                int e = l * EXPERTS + (int)(EXPERTS * chance());
                d->load_tokens[e]++;
                d->load_weight[e] += 0.1;
            }
        }
    }
}

static void add(struct store *s, const char *id, int doc, const struct document *d)
{
    struct store_sample p = { .cell_id = id,
                              .doc = doc,
                              .prompt_tokens = TOKENS,
                              .nll = 2.5 * (TOKENS - 1) + chance(),
                              .nll_tokens = TOKENS - 1,
                              .score = NAN,
                              .tokens = TOKENS,
                              .ids = d->ids,
                              .token_nll = d->nll,
                              .entropy = d->entropy,
                              .experts = d->experts,
                              .load_tokens = d->load_tokens,
                              .load_weight = d->load_weight };
    must(store_sample_add(s, &p, &err));
}

/* The routers' sweep: TopK and SeqTopK, each with ten K. */
static void begin(struct store *s, int c, char *id, size_t size)
{
    enum cell_status was;
    const bool sequence = c % 2;
    snprintf(id, size, "%032x", c + 1);
    struct store_cell cell = { .id = id,
                               .sweep = "rows",
                               .model = "made-up",
                               .router = sequence ? "seqtopk" : "topk",
                               .mode = sequence ? "online" : NULL,
                               .params = "{}",
                               .train = "none",
                               .task = "nll:rows",
                               .device = "cpu",
                               .dtype = "float32",
                               .k = 1 + c / 2,
                               .min = sequence ? 1 : -1,
                               .max = sequence ? 10 : -1,
                               .layers = LAYERS,
                               .experts = EXPERTS };
    must(store_cell_begin(s, &cell, &was, &err));
}

static const long least_rows = (long)CELLS * TOKENS * EACH;

int main(int argc, char **argv)
{
    struct stat st;
    if (argc != 3 || atol(argv[2]) < least_rows)
        die(2, "bench_store: DB ROWS, of which at least %ld", least_rows);
    if (access(argv[1], F_OK) == 0)
        die(1, "%s: is there already", argv[1]);
    const int documents = (int)(atol(argv[2]) / least_rows) * EACH;
    const double rows = (double)documents * CELLS * TOKENS;
    double writing = 0, summing = 0;
    struct store *s = store_open(argv[1], STORE_WRITE, &err);
    struct document *d = xcalloc(1, sizeof(*d));
    if (!s)
        die(1, "%s", err.s);
    for (int c = 0; c < CELLS; c++) {
        char id[33];
        begin(s, c, id, sizeof(id));
        for (int doc = 0; doc < documents; doc += EACH) {
            make_document(d);
            double from = now_seconds();
            must(store_begin(s, &err));
            for (int i = 0; i < EACH; i++)
                add(s, id, doc + i, d);
            must(store_commit(s, &err));
            writing += now_seconds() - from;
        }
        double from = now_seconds();
        must(cell_summarise(s, id, &err));
        must(store_cell_finish(s, id, CELL_DONE, NULL, 1, &err));
        summing += now_seconds() - from;
    }
    store_close(s);
    if (stat(argv[1], &st) != 0)
        die(1, "%s: cannot be looked at", argv[1]);
    printf("rows\t%.0f\trows\n", rows);
    printf("rows-inserted\t%.0f\trows/s\n", rows / writing);
    printf("rows-summarised\t%.0f\trows/s\n", rows / summing);
    printf("row-bytes\t%.1f\tbytes\n", (double)st.st_size / rows);
    free(d);
    buf_release(&err);
    return 0;
}
