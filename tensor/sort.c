/* sort.c -- heap sort: no memory, no bad case for a file to choose. */
#include "tensor/sort.h"

static void sift_down(int32_t *x, int at, int n, tlvi_less_fn less, const void *arg)
{
    for (int child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && less(arg, x[child], x[child + 1])) child++;
        if (!less(arg, x[at], x[child])) return;
        int32_t t = x[at];
        x[at] = x[child];
        x[child] = t;
    }
}

void tlvi_sort_indices(int32_t *x, int n, tlvi_less_fn less, const void *arg)
{
    for (int i = 0; i < n; i++) x[i] = i;
    for (int i = n / 2 - 1; i >= 0; i--) sift_down(x, i, n, less, arg);
    for (int i = n - 1; i > 0; i--) {
        int32_t t = x[0];
        x[0] = x[i];
        x[i] = t;
        sift_down(x, 0, i, less, arg);
    }
}
