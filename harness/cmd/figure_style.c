/*
 * figure_style.c: how a router is drawn: what it is gives the hue and the dash, its bounds the shade
 * and the mark. The hues are told apart by colour-blind readers, dashes and marks also in grey.
 */
#include "cmd/figure.h"

#include <stdio.h>
#include <string.h>

struct hue {
    const char *router, *mode; /* mode NULL: any */
    unsigned light, dark;      /* 0xrrggbb */
    const char *dash;          /* gnuplot's: lengths of line and blank */
};

static const struct hue hues[] = {
    { "topk", NULL, 0xb4b4b4, 0xb4b4b4, "solid" },
    { "batchtopk", NULL, 0x6a6a6a, 0x6a6a6a, "(2,3)" },
    { "seqtopk", "global", 0x74bdea, 0x00406e, "solid" },
    { "seqtopk", "online", 0xf3a35f, 0x8a2f00, "(9,3)" },
    { "seqtopk", "strict", 0x63cfb0, 0x00533d, "(9,3,2,3)" },
    { "topp", NULL, 0xd3a5d0, 0x6b1d66, "(5,3)" },
    { "xmoe", NULL, 0xe9b7c8, 0x8c1d4a, "(14,4)" },
    { "expert_choice", NULL, 0xd9cf6b, 0x6e6400, "(2,2)" },
    { "threshold", NULL, 0xb9a58c, 0x4d3a1f, "(9,3,2,3,2,3)" },
};
static const struct hue other_hue = { NULL, NULL, 0xc79ad6, 0x4b2462, "(4,4)" };

static const struct hue *hue_of(const struct result *r)
{
    for (size_t i = 0; i < ARRAY_LEN(hues); i++) {
        const struct hue *h = &hues[i];
        if (strcmp(h->router, r->router) == 0 &&
            (!h->mode || (r->mode && strcmp(h->mode, r->mode) == 0)))
            return h;
    }
    return &other_hue;
}

/* From the light shade (0) to the dark one (1): the more room above K, the darker. */
static double shade_of(int above, bool unbounded)
{
    static const double shades[] = { 0.15, 0.05, 0.35, 0.5, 0.65 };
    if (unbounded)
        return 1;
    return above < (int)ARRAY_LEN(shades) ? shades[above] : 0.85 - 0.8 / above;
}

static unsigned mix(unsigned light, unsigned dark, double f, int shift)
{
    double a = (light >> shift) & 0xff, b = (dark >> shift) & 0xff;
    return (unsigned)(a + f * (b - a) + 0.5);
}

/*
 * gnuplot's marks in SVG and PNG: 5 square, 7 circle, 9 and 11 triangles, 13 diamond; one less is the
 * same without a filling.
 */
static int mark_of(int above, bool unbounded)
{
    static const int marks[] = { 5, 7, 5, 11, 9 };
    if (unbounded)
        return 13;
    return above < (int)ARRAY_LEN(marks) ? marks[above] : 15;
}

struct style style_of(const struct result *r, int experts)
{
    const struct hue *h = hue_of(r);
    struct style s = { .dash = h->dash, .width = 1.3 };
    bool unbounded = r->max >= 0 && r->max >= experts;
    int above = r->max < r->k ? 0 : r->max - r->k;
    double f = r->max < 0 ? 0.5 : shade_of(above, unbounded);
    snprintf(s.colour, sizeof(s.colour), "#%02x%02x%02x", mix(h->light, h->dark, f, 16),
             mix(h->light, h->dark, f, 8), mix(h->light, h->dark, f, 0));
    s.point = mark_of(above, unbounded);
    if (strcmp(r->router, "topk") == 0) {
        s.point = 0;
        s.width = 3.5; // wide and pale: the line of K is drawn upon it
    } else if (strcmp(r->router, "batchtopk") == 0) {
        s.point = 2; // a cross
    } else if (r->min == 0 && !unbounded) {
        s.point--;
    }
    return s;
}
