/* opcheck.h -- the generic checks of an op, driven by its cases (opcase.h).
 *
 * Inputs are multiples of 2^-12, directions of 2^-6 and steps 2^-14: every point where a derivative
 * is measured is exact in f32 too.  The number that is differentiated is
 *     F1 = sum(u * op(x)),   F2 = sum_i <w_i, dF1/dx_i>,
 *     F3 = sum_i <z_i, dF2/dx_i> + <z_u, dF2/du>
 * with random u, w, z; u is a leaf like the x_i. */
#ifndef TLV_TESTS_OPCHECK_H
#define TLV_TESTS_OPCHECK_H

#include "tests/opcase.h"
#include "tests/support.h"

typedef enum op_kind { OP_SMOOTH, OP_KINKED, OP_FLAT } op_kind;

typedef struct op_line {
    const char *name;
    tlv_op op;
    op_kind kind;
    int (*gen)(int i, op_case *k);
} op_line;

extern const op_line op_lines[TLV_OP_COUNT];

enum { OP_U = CASE_MAX_IN, OP_LEAVES };                 /* leaf OP_U is the projection's weight */

/* One case at work.  With quiet set, failures are counted but not reported: the mutants want
 * them. */
typedef struct op_run {
    const op_line *op;
    op_case k;
    int index;                          /* of the case */
    int quiet;
    int failures;
    double *x[OP_LEAVES];               /* the values of the inputs, and of u */
    double *w[4][OP_LEAVES];     /* w[2], w[3]: weights of F2, F3; w[0]: direction of differences */
    struct op_block *blocks;            /* of scratch memory */
} op_run;

/* Makes case `index` of the op; 0 if there is none.  op_run_end frees what the checks took. */
int op_run_begin(op_run *r, const op_line *op, int index);
void op_run_end(op_run *r);
double *op_doubles(op_run *r, int64_t n);               /* zeroed scratch, freed by op_run_end */
/* Counts one check; the message names op and case.  Returns cond. */
int op_expect(op_run *r, int cond, const char *fmt, ...) TEST_PRINTF(3, 4);

/* ---- one computation ------------------------------------------------------------------------- */

/* OP_AFTER_CHEAP: every input is the output of a cheap node, which a context with recompute =
 * cheap may make again. */
typedef enum op_wrap { OP_PLAIN, OP_IN_SCOPE, OP_IN_CHECKPOINT, OP_AFTER_CHEAP } op_wrap;

typedef struct op_plan {
    tlv_dtype dtype;
    support_order order;
    unsigned mask;                      /* leaves that want gradients; 0: all */
    unsigned wrt;                       /* leaves that tlv_grad is asked for; 0: those in mask */
    int flags;                          /* of the last tlv_grad */
    int level;               /* 0: the output only, 1: and the gradient of F1, 2: of F2, 3: of F3 */
    op_wrap wrap;
} op_plan;

/* What came out, row-major; g[i] is NULL for a leaf that was not asked for. */
typedef struct op_result {
    int64_t n_y;
    double *y, *g[OP_LEAVES];
    int64_t n_g[OP_LEAVES];
} op_result;

/* Runs the case by plan in context c; 0 and a counted failure on any error. */
int op_compute(op_run *r, tlv_ctx *c, op_plan p, op_result *out);

/* The value of the level's F at the inputs moved by step * v in leaf `leaf` (v NULL: not moved);
 * f64. */
int op_value(op_run *r, tlv_ctx *c, int level, int leaf, const double *v, double step,
             double *value);

int op_is_real(const op_run *r, int i);                 /* input i is differentiated */
unsigned op_all(const op_run *r);                       /* every such input, and u */
int64_t op_leaf_numel(op_run *r, int leaf);             /* u has the output's */
/* |a - b| <= tol * max |b| for every element; tol 0: the same bits. */
int op_close(op_run *r, const char *what, int64_t n, const double *a, const double *b, double tol);
int op_same(op_run *r, const char *what, const op_result *a, const op_result *b, double tol);

/* ---- the checks ------------------------------------------------------------------------------ */

void op_check_values(op_run *r, tlv_ctx *c);       /* against ref, f32 against f64, memory orders */
void op_check_gradients(op_run *r, tlv_ctx *c);         /* first and second order, both paths */
void op_check_third(op_run *r, tlv_ctx *c);
void op_check_replay(op_run *r, tlv_ctx *c);
void op_check_masks(op_run *r, tlv_ctx *c);
void op_check_recompute(op_run *r, tlv_ctx *c, tlv_ctx *cheap);     /* cheap: recomputes */
/* All but recompute; third: with third order. */
void op_check_all(op_run *r, tlv_ctx *c, int third);

#endif
