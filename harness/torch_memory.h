/*
 * torch_memory.h: how libtorch shall hold a GPU's memory, so that what it holds is little more than
 * what tensors need at once, also where a router takes another number of pairs in every layer.
 *
 * libtorch keeps the memory of tensors that are gone for those that come. By itself it asks CUDA for
 * a piece where none that it has is large enough, and a piece stays as large as the tensor it was made
 * for: with sizes that never come again it grows to half as much again as is used. So it is asked, in
 * the environment, for pieces that grow and whose free parts join ("expandable segments"); and rows of
 * pairs are made in few sizes.
 * Invariant: what the user asked for in the environment stays, an empty value too.
 * Leaves out: libtorches before 2.9, which read another name; and all of the CPU's memory.
 */
#ifndef TORCH_MEMORY_H
#define TORCH_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

/* Of libtorch `major`.`minor`; to be called before anything is asked of CUDA, by one thread. */
static inline void memory_ask(int major, int minor)
{
    // The later ones are older names of the first, read where it is not there.
    static const char *const names[] = { "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
                                         "PYTORCH_HIP_ALLOC_CONF" };
    if (major < 2 || (major == 2 && minor < 9))
        return;
    for (int i = 0; i < 3; i++)
        if (getenv(names[i]))
            return;
    setenv(names[0], "expandable_segments:True", 1);
}

/* Rows to make room for where there are n pairs: at most a 32nd more, in steps of that or half of it. */
static inline int64_t memory_rows(int64_t n)
{
    int64_t step = 1;
    while (64 * step <= n)
        step *= 2;
    return (n + step - 1) / step * step;
}

#endif
