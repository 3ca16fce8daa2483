/* autograd.h -- the ops, and reverse-mode gradients of any order.
 *
 * Every op below is differentiable to any order where it has a derivative, unless its comment says
 * "no gradient".  docs/ops.md, made from ops.def, lists formula, shapes and what each gradient keeps.
 * Errors that every op may give and comments do not repeat: TLV_ERR_SHAPE, TLV_ERR_DTYPE,
 * TLV_ERR_NOMEM, TLV_ERR_CTX, TLV_ERR_ENDED.  Inputs of one op have one dtype, f32 or f64.
 * Broadcasting is NumPy's: dims are matched from the last one; 1 stretches. */
#ifndef TLV_AUTOGRAD_H
#define TLV_AUTOGRAD_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tlv_op {
#define TLV_OP(id, kind, cost, args, reads, formula, shapes) TLV_OP_##id,
#include "autograd/ops.def"
#undef TLV_OP
    TLV_OP_COUNT
} tlv_op;

const char *tlv_op_name(tlv_op op);         /* "MATMUL" */

/* ---- gradients ---------------------------------------------------------------------------------- */

enum {
    TLV_CREATE_GRAPH = 1,       /* the gradients have history themselves */
    TLV_CONSUME = 2,            /* give buffers back as the sweep passes: the graph is used up */
    TLV_ZEROS = 4               /* zeros instead of NULL where a target is not reached */
};

/* out[i] = sum_j gy[j] * dy[j]/dwrt[i], for i < n.
 *   y      the tensor to differentiate;  gy  same shape, or NULL for 1 (y then has one element)
 *   wrt    leaves made with TLV_WANT_GRAD, parameters, or any tensor y was computed from
 *   out    gradients of the innermost scope, in the memory order of their targets; NULL means exactly
 *          zero.  On error all are NULL.
 * Errors: TLV_ERR_NOGRAD if y depends on none of wrt, TLV_ERR_CONSUMED, TLV_ERR_VERSION. */
tlv_status tlv_grad(tlv_ctx *c, const tlv_tensor *y, const tlv_tensor *gy, int n,
                    const tlv_tensor *const *wrt, tlv_tensor **out, int flags);

/* ---- ops of your own ------------------------------------------------------------------------------ *
 * forward computes y from in[] (its inner ops are not recorded); vjp fills d[i] for the inputs with
 * wants[i], in ops.  Both see the attrs that tlv_custom copied. */
typedef struct tlv_custom_call {
    int n_in;
    const tlv_tensor *const *in;
    const tlv_tensor *y, *g;    /* NULL in forward */
    const int *wants;
    const void *attrs;
} tlv_custom_call;

typedef struct tlv_custom_def {
    const char *name;           /* for error sentences */
    tlv_tensor *(*forward)(tlv_ctx *c, const tlv_custom_call *k);
    void (*vjp)(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d);
    size_t attr_bytes;
} tlv_custom_def;

/* def must live as long as the graph; at most 16 inputs. */
tlv_tensor *tlv_custom(tlv_ctx *c, const tlv_custom_def *def, int n_in, const tlv_tensor *const *in,
                       const void *attrs);

/* ---- axes ------------------------------------------------------------------------------------------ */

/* A set of axes; negative ones count from the end.  TLV_AXES(-1), TLV_AXES(0, 2, 3), TLV_ALL_AXES. */
typedef struct tlv_axes { int n; int axis[TLV_MAX_DIMS]; } tlv_axes;
#define TLV_AXES(...) ((tlv_axes){ (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), { __VA_ARGS__ } })
#define TLV_ALL_AXES ((tlv_axes){ -1, { 0 } })

enum { TLV_KEEPDIM = 1 };

/* ---- element-wise arithmetic (arith.c) ------------------------------------------------------------- */

tlv_tensor *tlv_add(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_sub(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_mul(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_div(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_neg(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_affine(tlv_ctx *c, const tlv_tensor *x, double a, double b);     /* a x + b */

/* ---- element-wise functions (func.c) ---------------------------------------------------------------- */

tlv_tensor *tlv_exp(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_log(tlv_ctx *c, const tlv_tensor *x);

/* ---- comparisons and choice (compare.c) -------------------------------------------------------------- */

/* ---- activations (act.c) ----------------------------------------------------------------------------- */

tlv_tensor *tlv_relu(tlv_ctx *c, const tlv_tensor *x);       /* y'(0) = 0 */

/* ---- reductions (reduce.c) --------------------------------------------------------------------------- */

/* The sum over what would be broadcast: x of shape s' -> shape s, where s broadcasts to s'. */
tlv_tensor *tlv_sum_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s);
tlv_tensor *tlv_sum(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
tlv_tensor *tlv_mean(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
tlv_tensor *tlv_sum_all(tlv_ctx *c, const tlv_tensor *x);    /* shape () */
tlv_tensor *tlv_mean_all(tlv_ctx *c, const tlv_tensor *x);

/* ---- shape (view.c) ---------------------------------------------------------------------------------- */

/* Row-major meaning: a view where strides allow, else a copy.  One dim may be -1: what is left. */
tlv_tensor *tlv_reshape(tlv_ctx *c, const tlv_tensor *x, tlv_shape s);
/* y's axis i is x's axis perm.axis[i]; a view. */
tlv_tensor *tlv_permute(tlv_ctx *c, const tlv_tensor *x, tlv_axes perm);
/* Broadcasts x to s; a view with zero strides. */
tlv_tensor *tlv_expand(tlv_ctx *c, const tlv_tensor *x, tlv_shape s);
/* The same values in another memory order; x itself if it has that order. */
typedef enum tlv_order { TLV_ROW_MAJOR = 0, TLV_CHANNELS_LAST = 1 } tlv_order;
tlv_tensor *tlv_to_order(tlv_ctx *c, const tlv_tensor *x, tlv_order order);

/* ---- joining and cutting (slice.c) -------------------------------------------------------------------- */

/* ---- indices (index.c) -------------------------------------------------------------------------------- */

/* ---- matrix products (matmul.c) ------------------------------------------------------------------------ */

typedef struct tlv_matmul_opts { int ta, tb; } tlv_matmul_opts;     /* 1: that operand transposed */

/* a [..,M,K] (ta: [..,K,M])  b [..,K,N] (tb: [..,N,K])  ->  [..,M,N]; leading dims broadcast.
 * Both have at least two dims; a plain matrix b against a batch of a is one product. */
tlv_tensor *tlv_matmul(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b, tlv_matmul_opts o);

/* ---- softmax and losses (softmax.c, loss.c) --------------------------------------------------------------- */

/* ---- convolution (conv.c) --------------------------------------------------------------------------------- */

/* ---- pooling (pool2d.c) ------------------------------------------------------------------------------------ */

/* ---- normalisation (norm.c) -------------------------------------------------------------------------------- */

/* ---- attention (attention.c) ------------------------------------------------------------------------------- */

/* ---- dropout (dropout.c) ----------------------------------------------------------------------------------- */

/* ---- resize (resize.c) -------------------------------------------------------------------------------------- */

/* ---- types (cast.c) ------------------------------------------------------------------------------------------ */

#ifdef __cplusplus
}
#endif
#endif
