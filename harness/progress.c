/*
 * progress.c: see progress.h.
 */
#include "progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* 1234567 as 1,234,567 */
static void add_number(struct buf *out, int64_t n)
{
    if (n >= 1000) {
        add_number(out, n / 1000);
        buf_addf(out, ",%03d", (int)(n % 1000));
    } else {
        buf_addf(out, "%d", (int)n);
    }
}

static void add_duration(struct buf *out, double seconds)
{
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        buf_addf(out, "%lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    else
        buf_addf(out, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

void progress_line(const struct progress *p, double seconds, int width, struct buf *out)
{
    struct buf tail = BUF_INIT;
    double share = p->total ? (double)p->done / (double)p->total : 1;
    buf_addf(&tail, " %3d%%", (int)(100 * share));
    if (!p->unit)
        buf_addf(&tail, "  %d/%d cells", p->cells, p->cells_total);
    // A rate from the first moments would say more about the start than about the run.
    if (p->done > 0 && seconds > 0.5) {
        double rate = (double)p->done / seconds;
        buf_adds(&tail, "  ");
        add_number(&tail, (int64_t)rate);
        buf_addf(&tail, " %s/s  ", p->unit ? p->unit : "tokens");
        add_duration(&tail, (double)(p->total - p->done) / rate);
        buf_adds(&tail, " left");
    }
    int bar = width - (int)tail.len - 3;
    bar = bar > 40 ? 40 : bar;
    if (bar >= 5) {
        int full = (int)(share * bar);
        buf_addc(out, '[');
        for (int i = 0; i < bar; i++)
            buf_addc(out, i < full ? '=' : i == full ? '>' : ' ');
        buf_addc(out, ']');
    }
    // A line that wraps could not be drawn over again.
    int room = width - (int)out->len - 1;
    buf_addf(out, "%.*s", room > 0 ? room : 0, tail.s);
    buf_release(&tail);
}

static void draw(struct progress *p)
{
    struct buf line = BUF_INIT;
    p->last = now_seconds();
    buf_adds(&line, "\r");
    progress_line(p, p->last - p->from, terminal_width(), &line);
    buf_adds(&line, "\033[K");
    fputs(line.s, stderr);
    buf_release(&line);
}

void progress_start(struct progress *p, int64_t tokens, int cells)
{
    *p = (struct progress){ .total = tokens, .cells_total = cells, .from = now_seconds() };
    p->shown = isatty(STDERR_FILENO);
    if (p->shown)
        draw(p);
}

void progress_start_units(struct progress *p, int64_t units, const char *unit)
{
    *p = (struct progress){ .total = units, .unit = unit, .from = now_seconds() };
    p->shown = isatty(STDERR_FILENO);
    if (p->shown)
        draw(p);
}

void progress_add(struct progress *p, int64_t tokens, int cells)
{
    p->done += tokens;
    p->cells = cells;
    if (p->shown && now_seconds() - p->last > 0.1)
        draw(p);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
}
