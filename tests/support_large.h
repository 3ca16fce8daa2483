/* support_large.h -- ops on tensors large enough that work is cut into blocks, where the generic
 * checks with their small cases do not come. */
#ifndef TLV_TESTS_SUPPORT_LARGE_H
#define TLV_TESTS_SUPPORT_LARGE_H

#include "autograd/autograd.h"
#include "tests/support.h"

typedef struct support_large {
    const char *text;
    tlv_tensor *(*call)(tlv_ctx *c, const tlv_tensor *const *in);
    int n_in;
    tlv_shape in[4];                    /* all are differentiated; values in [-1, 1.5] */
    support_order order;
} support_large;

/* Output and gradients of sum(u y): the same bits with 1 and 3 threads in f32 and f64; f32 near f64
 * by tol of the largest value; the fast path near the graph path by 1e-9 in f64. */
void support_check_large(const support_large *l, double tol);

#endif
