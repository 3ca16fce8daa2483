/* opcase.h -- what the generic op tests know of an op: for each line of ops.def a generator of
 * cases.
 *
 *   int case_ADD(int i, op_case *k)     fills case i (from 0) and returns 1; past the last 0
 *
 * It stands in tests/cases_<file>.c beside the op's file autograd/<file>.c.  The driver makes the
 * inputs, runs the op in f64 and f32, in several memory orders, and checks: value against ref,
 * every gradient to second (once an op: third) order against finite differences, fast against graph
 * path, replay against forward, every need-mask, threads and instruction sets.  Cases should cover:
 * empty dims, dims of 1, odd sizes, broadcasting, every option.  Keep shapes small (some hundred
 * elements). */
#ifndef TLV_TEST_OPCASE_H
#define TLV_TEST_OPCASE_H

#include "autograd/autograd.h"

enum { CASE_MAX_IN = 6 };

typedef enum case_kind {
    CASE_REAL = 0,      /* uniform in [lo, hi], differentiated */
    CASE_CONST,         /* the same, but never differentiated (a mask, a target) */
    CASE_INDEX,         /* i32, uniform in [lo, hi] */
    CASE_BYTE           /* u8, 0 or 1 */
} case_kind;

typedef struct case_input {
    tlv_shape shape;
    case_kind kind;
    double lo, hi;      /* both 0: [-1.5, 1.5] */
    /* Keep values of one tensor this far apart (for max, sort), at least 0.01: a shuffled grid,
     * wider than [lo, hi] where it must be. */
    double gap;
    double kinks[4];    /* stay away from these points... */
    int n_kinks;        /* ...at least 0.05 far */
} case_input;

typedef struct op_case op_case;
struct op_case {
    const char *text;                       /* "3x3, stride 2, groups 2"; for messages */
    int n_in;
    case_input in[CASE_MAX_IN];
    /* Calls the op.  in[] has the case's inputs (f32 or f64, any memory order). */
    tlv_tensor *(*call)(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k);
    /* The naive loop in f64: in[] and out are row-major; NULL only for ops without arithmetic of
     * their own that another case checks.  Index and byte inputs come as doubles too. */
    void (*ref)(const op_case *k, const double *const *in, double *out);
    double opt[12];                         /* the op's options, for call and ref */
    tlv_shape out;                          /* expected shape of the output */
    /* 1: the second derivative in x is zero everywhere (the check of mixed derivatives in the
     * output's weights still runs). */
    int no_second;
    double f32_tol;                         /* 0: 1e-5 relative to the largest output */
    /* Other values, for when an inner value lies on a kink, or a gradient is a sum that happens to
     * cancel. */
    int seed;
};

/* Row-major helpers for ref functions. */
int64_t case_numel(tlv_shape s);
/* Index into a tensor of shape `from` of element i of shape `to`, which `from` broadcasts to. */
int64_t case_broadcast(tlv_shape from, tlv_shape to, int64_t i);

/* Shapes for ops on one input, for case i from 0: 1 dim to 5, dims of 1, odd sizes, a scalar,
 * empty ones. Returns 0 past the last. */
int case_shape(int i, tlv_shape *s, const char **text);
/* The same for ops on two that broadcast; out is what they broadcast to. */
int case_shapes2(int i, tlv_shape *a, tlv_shape *b, tlv_shape *out, const char **text);
/* Fills k for an element-wise op: shapes of case i, inputs in [lo, hi].  Returns 0 past the
 * last. */
int case_unary(int i, op_case *k, double lo, double hi);
int case_binary(int i, op_case *k, double lo, double hi);

#endif
