/* sysmem.c -- memory from the system.  malloc and free stand in this file only. */
#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "tensor/pool.h"

enum { HUGE_PAGE = 2 << 20 };

/* Large blocks that are whole huge pages start at one, so that all of them can be one. */
static void *take(size_t bytes)
{
#if defined(__linux__)
    if (bytes >= 2 * (size_t)HUGE_PAGE && bytes % HUGE_PAGE == 0)
        return aligned_alloc(HUGE_PAGE, bytes);
#endif
    return malloc(bytes);
}

void *tlvi_sys_alloc(void *user, void *ptr, size_t old_size, size_t new_size)
{
    (void)user;
    if (!ptr) return new_size ? take(new_size) : NULL;
    if (!new_size) {
        free(ptr);
        return NULL;
    }

    void *moved = take(new_size);
    if (!moved) return NULL;
    memcpy(moved, ptr, old_size < new_size ? old_size : new_size);
    free(ptr);
    return moved;
}

void tlvi_sys_advise(void *ptr, size_t bytes)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    uintptr_t page = HUGE_PAGE;
    uintptr_t begin = ((uintptr_t)ptr + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)ptr + bytes) & ~(page - 1);

    // Advice only: a kernel that does not take it changes nothing but speed.
    if (begin < end) (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)ptr;
    (void)bytes;
#endif
}
