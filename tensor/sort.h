/* sort.h -- order without memory of its own. */
#ifndef TLVI_SORT_H
#define TLVI_SORT_H

#include <stdint.h>

/* 1 if what a stands for comes before what b stands for. */
typedef int (*tlvi_less_fn)(const void *arg, int32_t a, int32_t b);

/* x[n] becomes 0 .. n-1 in the order of less; of equal ones any may come first.  n is at most
 * 2^30. */
void tlvi_sort_indices(int32_t *x, int n, tlvi_less_fn less, const void *arg);

#endif
