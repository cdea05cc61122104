/*
 * machine.h: what machine this is, for databases and for `doctor`. Nothing here needs libtorch.
 *
 * Each call appends to `out`, and nothing where nothing is known.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "util.h"

void machine_processor(struct buf *out); /* "AMD EPYC 7763 64-Core Processor, 16 threads" */
void machine_host(struct buf *out);      /* its name in the network */
/*
 * The GPU that CUDA calls `index`, "NVIDIA H100 80GB HBM3", and the version of its driver. Only where
 * a GPU is used already: to ask opens it, and then no process that is forked can use it.
 */
void machine_gpu(int index, struct buf *out);
void machine_driver(struct buf *out);

#endif
