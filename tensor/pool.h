/* pool.h -- the memory of one context.
 *
 * Below 64 KiB: size classes in slabs.  From 64 KiB on: best fit with split and coalesce over large
 * chunks that ask for huge pages.  Every request passes tlvi_pool_get, where the limit is checked,
 * statistics are kept and faults are injected; so a warm pool hides no failure path. */
#ifndef TLVI_POOL_H
#define TLVI_POOL_H

#include "tensor/tensor.h"

typedef struct tlvi_pool tlvi_pool;

/* parent: whose limit and hook are shared (thread-safe), or NULL for a pool of its own.  The pool's
 * own struct is taken from the hook too. */
tlvi_pool *tlvi_pool_open(tlv_alloc_fn alloc, void *user, size_t limit, int64_t fail_at,
                          tlvi_pool *parent);
void tlvi_pool_close(tlvi_pool *p);

void *tlvi_pool_get(tlvi_pool *p, size_t bytes); /* 64-byte aligned, or NULL; 0 bytes is fine */
void tlvi_pool_put(tlvi_pool *p, void *ptr, size_t bytes);
size_t tlvi_pool_trim(tlvi_pool *p);
/* The family's counts become exact as far as p is concerned. */
void tlvi_pool_settle(tlvi_pool *p);
void tlvi_pool_stats(const tlvi_pool *p, tlv_mem_stats *out);   /* fills the memory fields */
void tlvi_pool_reset_peak(tlvi_pool *p);
tlv_mem_phase tlvi_pool_phase(tlvi_pool *p, tlv_mem_phase phase);

/* sysmem.c: the one place where malloc stands. */
void *tlvi_sys_alloc(void *user, void *ptr, size_t old_size, size_t new_size);
/* For a large chunk just taken from the hook: asks the system for huge pages where it knows
 * them. */
void tlvi_sys_advise(void *ptr, size_t bytes);

#endif
