/*
 * figure_group.h: which cells are drawn together: those that differ only in K and router.
 * Used by figure.c only.
 */
#ifndef FIGURE_GROUP_H
#define FIGURE_GROUP_H

#include "cmd/figure.h"

/* Cells that differ only in K and router. */
struct group {
    const struct result *first;
    const struct result **cells;
    size_t n, cap;
    char *name; /* "tiny-olmoe", what tells it from the other groups; "" where it is the only one */
    int layers, experts;
    int *ks; /* from the largest */
    size_t nks, ks_cap;
    char **modes; /* "seqtopk global", ...: routers, without those that are for comparison */
    size_t nmodes, modes_cap;
};

struct groups {
    struct group *v;
    size_t len, cap;
    bool split; /* some panel would have more than FIGURE_LINES lines */
};

/* Only cells that are done; 1: none is, says `err`. The results must outlive the groups. Zero `out`
 * first. */
int groups_make(struct store *s, const struct results *results, struct groups *out,
                struct buf *err) MUST_USE;
void groups_release(struct groups *all);

/* Is it drawn in each panel, to compare with? */
bool group_is_reference(const struct result *r);
/* "seqtopk global"; the caller frees it. */
char *group_mode(const struct result *r);

#endif
