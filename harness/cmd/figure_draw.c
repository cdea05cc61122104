/*
 * figure_draw.c: see figure_draw.h.
 */
#include "cmd/figure_draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCALE 3 /* the PNG's dots for each unit of length */

void draw_field(struct buf *out, const char *s)
{
    for (; *s; s++)
        buf_addc(out, (unsigned char)*s < ' ' ? ' ' : *s == '"' ? '\'' : *s);
    buf_addc(out, '\t');
}

void draw_number(struct buf *out, double v)
{
    if (!isnan(v))
        buf_addf(out, "%.9g", v);
    buf_addc(out, '\t');
}

void draw_quoted(struct buf *out, const char *s)
{
    buf_addc(out, '\'');
    for (; *s; s++) {
        if (*s == '\'')
            buf_addc(out, '\'');
        buf_addc(out, (unsigned char)*s < ' ' ? ' ' : *s);
    }
    buf_addc(out, '\'');
}

static void draw_place(struct buf *out, const struct layout *y, double px, double py)
{
    buf_addf(out, "screen %.5f, screen %.5f", px / y->width, 1 - py / y->height);
}

void draw_text(struct buf *out, const struct layout *y, double px, double py, const char *text,
               double size, const char *how, const char *colour)
{
    buf_adds(out, "set label ");
    draw_quoted(out, text);
    buf_adds(out, " at ");
    draw_place(out, y, px, py);
    buf_addf(out, " %s font ',%g' textcolor rgb '%s' noenhanced front\n", how, size, colour);
}

/* Bytes of `s` that fit into a line of `most`, to a blank where there is one. */
static size_t fitting(const char *s, size_t most)
{
    size_t n = strlen(s);
    if (n <= most)
        return n;
    for (n = most; n > most / 2 && s[n] != ' '; n--)
        ;
    if (s[n] != ' ')
        for (n = most; n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80; n--)
            ;
    return n ? n : most;
}

int draw_wrapped(struct buf *out, const struct layout *y, double px, double py, const char *text,
                 size_t most, double size, const char *colour)
{
    int lines = 0;
    do {
        size_t n = fitting(text, most);
        char *line = xstrndup(text, n);
        if (out)
            draw_text(out, y, px, py + ENTRY * lines, line, size, "left", colour);
        free(line);
        text += n + (text[n] == ' ');
        lines++;
    } while (*text);
    return lines;
}

void draw_sample(struct buf *out, const struct layout *y, double px, double py,
                 const struct style *s)
{
    buf_adds(out, "set arrow from ");
    draw_place(out, y, px, py);
    buf_adds(out, " to ");
    draw_place(out, y, px + 20, py);
    buf_addf(out, " nohead linecolor rgb '%s' linewidth %g dashtype %s front\n", s->colour,
             s->width, s->dash);
    if (!s->point)
        return;
    buf_adds(out, "set label '' at ");
    draw_place(out, y, px + 10, py);
    buf_addf(out, " point pointtype %d pointsize 0.5 linecolor rgb '%s' front\n", s->point,
             s->colour);
}

void draw_head(const char *name, const struct layout *y, struct buf *out)
{
    buf_addf(out,
             "# Drawn by seqtopk plot. To draw it again from %s.tsv:\n"
             "#   gnuplot %s.gp                  (SVG)\n"
             "#   gnuplot -e 'out=\"png\"' %s.gp   (PNG)\n"
             "if (!exists('out')) out = 'svg'\n"
             "if (!exists('file')) file = '%s.' . out\n"
             "data = '%s.tsv'\n"
             "set encoding utf8\n",
             name, name, name, name, name);
    buf_addf(out,
             "if (out eq 'svg') {\n"
             "    set terminal svg size %d, %d font 'DejaVu Sans,10' background rgb 'white'\n"
             "} else {\n"
             "    set terminal pngcairo size %d, %d font 'DejaVu Sans,10' fontscale %g"
             " linewidth %d pointscale %d background rgb 'white'\n"
             "}\n",
             y->width, y->height, y->width * SCALE, y->height * SCALE, SCALE * 0.75, SCALE, SCALE);
    buf_adds(out, "set output file\n"
                  "set datafile separator tab\n"
                  "unset key\n"
                  "set border 3 linewidth 0.7 linecolor rgb '#333333'\n"
                  "set tics nomirror out scale 0.5 font ',9'\n"
                  "set xtics offset 0, 0.2\n"
                  "set format '%h'\n"
                  "set multiplot\n");
}
