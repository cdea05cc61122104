/*
 * torch_words.h: what is said of a device that cannot be used, and of memory that is missing. Facts
 * go in and a sentence comes out, so that every sentence can be tried on a machine without a GPU.
 *
 * Leaves out: asking (torch.cpp).
 */
#ifndef TORCH_WORDS_H
#define TORCH_WORDS_H

#include "torch.h"

#include <string.h>

/* Error codes of CUDA's runtime. */
enum { GPU_FINE = 0, GPU_OLD_DRIVER = 35, GPU_NONE = 100 };

/* What CUDA's runtime says of the machine. */
struct gpu_facts {
    bool built;          /* has this libtorch CUDA at all? */
    int code;            /* of counting the GPUs */
    const char *text;    /* what the code means, in CUDA's words */
    int count;           /* GPUs */
    int driver, runtime; /* versions of CUDA, 12080 for 12.8; 0: there is no driver */
};

/* Can the GPU `index`, which was called `name`, be used? -1: `err` says why not. */
static inline int gpu_refuse(const struct gpu_facts *f, const char *name, int index,
                             const char *torch, struct buf *err)
{
    char *before = xasprintf("device '%s' cannot be used:", name);
    int rc = -1;
    if (!f->built)
        fail(err, "%s libtorch %s was built without CUDA, and there is cpu alone", before, torch);
    else if (f->code == GPU_OLD_DRIVER && f->driver > 0)
        fail(err,
             "%s the GPU's driver is too old: it knows CUDA %d.%d, and libtorch %s needs %d.%d",
             before, f->driver / 1000, f->driver / 10 % 100, torch, f->runtime / 1000,
             f->runtime / 10 % 100);
    else if (f->code == GPU_OLD_DRIVER)
        fail(err, "%s there is no driver for a GPU", before);
    else if (f->code != GPU_FINE && f->code != GPU_NONE)
        fail(err, "%s CUDA says: %s", before, f->text);
    else if (f->code == GPU_NONE || f->count == 0)
        fail(err, "%s there is no GPU, or CUDA_VISIBLE_DEVICES hides it", before);
    else if (index >= f->count && f->count == 1)
        fail(err, "%s there is 1 GPU, cuda:0", before);
    else if (index >= f->count)
        fail(err, "%s there are %d GPUs, cuda:0 to cuda:%d", before, f->count, f->count - 1);
    else
        rc = 0;
    free(before);
    return rc;
}

/* Does what libtorch says mean that there was no memory? */
static inline bool means_out_of_memory(const char *text)
{
    static const char *const marks[] = { OUT_OF_MEMORY, "can't allocate memory", "bad_alloc",
                                         "STATUS_ALLOC_FAILED" };
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (strstr(text, marks[i]))
            return true;
    return false;
}

/* The same as one sentence that begins as all of these do, with how much was wanted where it says so. */
static inline void add_out_of_memory(const char *text, struct buf *out)
{
    static const char wanted[] = "ried to allocate ";
    const char *at = strstr(text, wanted);
    size_t len = 0;
    if (at) {
        at += sizeof(wanted) - 1;
        while (at[len] && at[len] != '\n' && strncmp(at + len, ". ", 2) != 0)
            len++;
        if (len && at[len - 1] == '.')
            len--;
    }
    if (len)
        buf_addf(out, OUT_OF_MEMORY ": %.*s more did not fit", (int)len, at);
    else
        buf_adds(out, OUT_OF_MEMORY);
}

/* Why the device could not compute. architecture: 90 for sm_90; 0: not known, or no GPU */
static inline int device_refuse(const char *device, const char *dtype, int architecture,
                                const char *torch, const char *why, struct buf *err)
{
    if (strstr(why, "no kernel image") && architecture)
        return fail(err, "libtorch %s was not built for '%s', a GPU of the architecture sm_%d",
                    torch, device, architecture);
    return fail(err, "this libtorch cannot compute in %s on '%s': %s", dtype, device, why);
}

#endif
