/*
 * safetensors_forget.c: the one function of safetensors.h that the engine calls, as it copies weights: a
 * file of its own, so that the engine has it without the rest.
 */
#include "safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

/* Pages that it shares with its neighbours stay. The map is of a file, and is only read. */
void safetensors_forget(const struct st_tensor *t)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)t->data;
    uintptr_t from = (at + page - 1) / page * page, to = (at + t->bytes) / page * page;
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}
