/* op.h -- what an op's file needs: recording, the view of a node that a gradient
 * sees, small helpers.  docs/adding-an-op.md walks through one op. */
#ifndef TLVI_OP_H
#define TLVI_OP_H

#include "autograd/autograd.h"
#include "tensor/core.h"

/* The gradient of op ID: fills d[i] for every input i that wants(n, i); NULL left there means
 * exactly zero.  g is the gradient of the first output, n->g1 of the second; with two outputs
 * either may be NULL.  Written in ops: with TLV_CREATE_GRAPH they are recorded, and so
 * differentiable themselves. */
#define TLVI_VJP(ID)                                                                               \
    void tlvi_vjp_##ID(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d);       \
    void tlvi_vjp_##ID(tlv_ctx *c TLVI_UNUSED, const tlvi_node *n TLVI_UNUSED,                     \
                       const tlv_tensor *g, tlv_tensor **d)

/* Computes the op again from its inputs and attributes: it calls the op's own front. */
#define TLVI_EXEC(ID)                                                                              \
    tlv_tensor *tlvi_exec_##ID(tlv_ctx *c, const tlvi_node *n);                                    \
    tlv_tensor *tlvi_exec_##ID(tlv_ctx *c, const tlvi_node *n)

typedef void (*tlvi_vjp_fn)(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d);
typedef tlv_tensor *(*tlvi_exec_fn)(tlv_ctx *c, const tlvi_node *n);

typedef struct tlvi_op_info {
    const char *name, *kind, *args, *reads, *formula, *shapes;
    tlvi_vjp_fn vjp;
    tlvi_exec_fn exec;
    int cheap;
} tlvi_op_info;

extern const tlvi_op_info tlvi_ops[TLV_OP_COUNT];

/* ---- recording (record.c) -------------------------------------------------------------------- */

typedef struct tlvi_record_args {
    tlv_op op;
    int n_in;
    const tlv_tensor *const *in;            /* NULL for an absent optional input */
    tlv_tensor *out[2];                     /* the second may be NULL */
    const tlv_tensor *aux[4];               /* saved values without history; NULL ends */
    const void *attr;                       /* copied */
    size_t attr_bytes;
} tlvi_record_args;

/* Puts a node on the tape if recording is on and an input wants gradients; returns out[0], or NULL
 * if that is NULL or there is no memory. */
tlv_tensor *tlvi_record(tlv_ctx *c, const tlvi_record_args *r);

/* The usual cases: one output, nothing saved but what ops.def declares. */
tlv_tensor *tlvi_record1(tlv_ctx *c, tlv_op op, tlv_tensor *y, const tlv_tensor *x,
                         const void *attr, size_t attr_bytes);
tlv_tensor *tlvi_record2(tlv_ctx *c, tlv_op op, tlv_tensor *y, const tlv_tensor *a,
                         const tlv_tensor *b, const void *attr, size_t attr_bytes);

/* True where ops are recorded: a vjp that has a fused path takes it only if this is false. */
static inline int tlvi_recording(const tlv_ctx *c) { return c->recording; }

/* ---- what a vjp and an exec see of their node ------------------------------------------------ */

static inline int wants(const tlvi_node *n, int i)
{
    return (int)(n->want >> (i < 63 ? i : 63) & 1);
}
/* Only inputs, outputs and aux that ops.def declares as read have data; every shape is there. */
static inline const tlv_tensor *tlvi_in(const tlvi_node *n, int i) { return n->slot[i].t; }
static inline const tlv_tensor *tlvi_out(const tlvi_node *n, int i)
{
    return n->slot[n->n_in + i].t;
}
static inline const tlv_tensor *tlvi_aux(const tlvi_node *n, int i)
{
    return n->slot[n->n_in + n->n_out + i].t;
}

/* ---- helpers in ops -------------------------------------------------------------------------- */

/* g summed over what broadcasting added, to the shape of `like`; g itself if nothing was added. */
tlv_tensor *tlvi_sum_to_like(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *like);
/* g as it is, for a vjp that hands its gradient on */
static inline tlv_tensor *tlvi_pass(const tlv_tensor *g) { return (tlv_tensor *)g; }

/* y = kernel(x; p, q) in x's memory order; y = kernel(a, b; p, q), broadcast, in the order of the
 * largest dense operand.  Checks dtypes and shapes; records nothing. */
tlv_tensor *tlvi_unary_apply(tlv_ctx *c, const char *op, tlvi_unary k, const tlv_tensor *x,
                             double p, double q);
tlv_tensor *tlvi_binary_apply(tlv_ctx *c, const char *op, tlvi_binary k, const tlv_tensor *a,
                              const tlv_tensor *b, double p, double q);
/* The output of an op on a and b: their broadcast shape in the order of the largest dense operand
 * (the first on a tie); NULL with the error set if they do not broadcast. */
tlv_tensor *tlvi_new_broadcast(tlv_ctx *c, const char *op, tlv_dtype d, const tlv_tensor *a,
                               const tlv_tensor *b);
/* The gradient g m(x) of an op that is linear between its kinks: the kernel k(g, x; p, q) at once,
 * or, where ops are recorded, a product of g with k(1, x; p, q), which is constant. */
tlv_tensor *tlvi_kinked_grad(tlv_ctx *c, const char *op, tlvi_binary k, const tlv_tensor *g,
                             const tlv_tensor *x, double p, double q);

/* ---- activations in fused ops (act.c) -------------------------------------------------------- */

/* The kernel of an activation for the last step of a product (tlvi_gemm_job.act), and its two
 * numbers (either pointer may be NULL); 0 for TLV_ACT_NONE. */
int tlvi_act_kernel(tlv_act act, double *a, double *b);
/* The kernel dz = f(g, v) of its gradient for a fused vjp, and its two numbers; v as below.  Not
 * for TLV_ACT_NONE. */
tlvi_binary tlvi_act_grad_kernel(tlv_act act, double *p, double *q);
/* 1: the gradient of act is had from its output y = act(z) alone; 0: it needs z. */
int tlvi_act_reads_output(tlv_act act);
/* dz = g act'(z), where v is y or z as tlvi_act_reads_output says: one fused kernel, or recorded
 * ops where ops are recorded.  TLV_ACT_NONE gives g and reads no v. */
tlv_tensor *tlvi_act_grad(tlv_ctx *c, tlv_act act, const tlv_tensor *g, const tlv_tensor *v);
/* The error sticks if act is no activation. */
int tlvi_act_ok(tlv_ctx *c, const char *op, tlv_act act);

/* The adjoint of tlv_resize from h x w to g's sides (resize.c). */
tlv_tensor *tlvi_resize_t(tlv_ctx *c, const tlv_tensor *g, int64_t h, int64_t w, tlv_resize_opts o);

/* Broken on purpose in the mutants build only: tests must notice. */
#ifdef TLVI_MUTANTS
enum {
    TLVI_MUT_NONE, TLVI_MUT_SCALE, TLVI_MUT_ZERO, TLVI_MUT_SWAP, TLVI_MUT_SUM_TO, TLVI_MUT_COUNT,
    TLVI_MUT_SPOIL                      /* of what is read, not of what comes out */
};
#endif

#endif
