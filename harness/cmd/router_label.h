/*
 * router_label.h: how routers are called where several K stand side by side: those whose bounds follow
 * K have one name, "seqtopk online [1, K+2]". A bound that is there at every K stays as it is.
 *
 * Leaves out: the name at one K (result_label).
 */
#ifndef ROUTER_LABEL_H
#define ROUTER_LABEL_H

#include "store/results.h"

/* The name of one of `cells`, which are [n], made from `label`, its name at its K or a part of that; the
 * caller frees it. */
char *router_label_by_k(const struct result *const *cells, size_t n, const struct result *c,
                        const char *label);

#endif
