/*
 * train_log.c: see train_log.h.
 */
#include "train/train_log.h"

#include <stdio.h>
#include <unistd.h>

void train_log_start(struct train_log *l, struct store *store, const char *id, int64_t steps)
{
    double now = now_seconds();
    *l = (struct train_log){ .store = store, .id = id, .steps = steps };
    l->flushed = l->from = now;
    l->shown = isatty(STDERR_FILENO);
}

int train_log_flush(struct train_log *l, struct buf *err)
{
    l->flushed = now_seconds();
    if (!l->store || l->len == 0)
        return 0;
    if (store_begin(l->store, err))
        return -1;
    for (size_t i = 0; i < l->len; i++) {
        if (store_train_step_set(l->store, l->id, &l->rows[i], err)) {
            store_rollback(l->store);
            return -1;
        }
    }
    if (store_commit(l->store, err))
        return -1;
    l->len = 0;
    return 0;
}

void train_log_line(const struct train_log *l, const struct store_train_step *row, double seconds,
                    struct buf *out)
{
    buf_addf(out, "step %lld/%lld  loss %.4f", (long long)row->step, (long long)l->steps,
             row->loss);
    // The first moments say more about the start than about the rest.
    if (l->here == 0 || seconds < 0.5)
        return;
    int64_t left = (int64_t)((double)(l->steps - row->step) * seconds / (double)l->here + 0.5);
    buf_addf(out, "  %.0f tokens/s  ", (double)l->tokens / seconds);
    if (left >= 3600)
        buf_addf(out, "%lld:%02d:%02d left", (long long)(left / 3600), (int)(left / 60 % 60),
                 (int)(left % 60));
    else
        buf_addf(out, "%d:%02d left", (int)(left / 60), (int)(left % 60));
    if (l->peak)
        buf_addf(out, "  %.1f GB", (double)l->peak / 1e9);
}

static void draw(struct train_log *l, const struct store_train_step *row)
{
    struct buf line = BUF_INIT;
    l->drawn = now_seconds();
    train_log_line(l, row, l->drawn - l->from, &line);
    fprintf(stderr, "\r%s\033[K", line.s);
    buf_release(&line);
}

int train_log_step(struct train_log *l, const struct store_train_step *row, int64_t tokens,
                   struct buf *err)
{
    l->here++;
    l->tokens += tokens;
    if (l->store) {
        ARRAY_GROW(l->rows, l->cap, l->len + 1);
        l->rows[l->len++] = *row;
    }
    if (l->shown && now_seconds() - l->drawn > 0.1)
        draw(l, row);
    return now_seconds() - l->flushed > 1 ? train_log_flush(l, err) : 0;
}

void train_log_end(struct train_log *l)
{
    if (l->shown && l->drawn > 0)
        fputs("\r\033[K", stderr);
    if (l->peak)
        fprintf(stderr, "%s: %.1f GB of the GPU's memory at most\n", l->id, (double)l->peak / 1e9);
    free(l->rows);
    l->rows = NULL;
    l->len = l->cap = 0;
}
