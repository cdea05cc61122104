/*
 * ahead.cuh: copies from memory into shared memory that go on while the thread does something else,
 * so that what is under way at a time does not hang on registers.
 *
 * A thread reads what it copied itself, and nobody else does: then no barrier is needed, only
 *
 *     struct ahead copies;
 *     copies.copy(to, from, true);  // 16 bytes, both at multiples of 16; false: zeros instead
 *     copies.commit();              // closes a group of copies, which may be empty
 *     copies.wait<2>();             // all groups but the last two are there
 *
 * What is at `to` must have been read, and used, before it is copied over.
 * Leaves out: copies that others than the thread itself wait for.
 */
#ifndef AHEAD_CUH
#define AHEAD_CUH

#include "cuda/gpu.h"

#ifdef CUDA_HOST

#include <vector>

/* A copy is made when it is waited for and not before; until then NaNs are there. */
struct ahead {
    struct one {
        void *to;
        const void *from;
        bool there;
    };
    std::vector<std::vector<one>> groups = std::vector<std::vector<one>>(1);

    void copy(void *to, const void *from, bool there)
    {
        memset(to, 0xff, 16);
        groups.back().push_back({ to, from, there });
    }
    void commit()
    {
        groups.emplace_back();
    }
    template <int LEFT> void wait()
    {
        while (groups.size() > LEFT + 1) {
            for (const one &c : groups[0])
                if (c.there)
                    memcpy(c.to, c.from, 16);
                else
                    memset(c.to, 0, 16);
            groups.erase(groups.begin());
        }
    }
};

#else

struct ahead {
    __device__ __forceinline__ void copy(void *to, const void *from, bool there)
    {
        const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
        // The whole line comes into L2: its other half is what the thread asks for next.
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(at), "l"(from),
                     "r"(there ? 16 : 0)
                     : "memory");
    }
    __device__ __forceinline__ void commit()
    {
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    template <int LEFT> __device__ __forceinline__ void wait()
    {
        asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
    }
};

#endif

#endif
