/* autograd.h -- the ops, and reverse-mode gradients of any order.
 *
 * Every op below is differentiable to any order where it has a derivative, unless its comment says
 * "no gradient".  docs/ops.md, made from ops.def, lists formula, shapes and what each gradient
 * keeps. Errors that every op may give and comments do not repeat: TLV_ERR_SHAPE, TLV_ERR_DTYPE,
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

/* ---- gradients ------------------------------------------------------------------------------- */

enum {
    TLV_CREATE_GRAPH = 1,       /* the gradients have history themselves */
    TLV_CONSUME = 2,            /* give buffers back as the sweep passes: the graph is used up */
    TLV_ZEROS = 4               /* zeros instead of NULL where a target is not reached */
};

/* out[i] = sum_j gy[j] * dy[j]/dwrt[i], for i < n.
 *   y      the tensor to differentiate;  gy  same shape, or NULL for 1 (y then has one element)
 *   wrt    leaves made with TLV_WANT_GRAD, parameters, or any tensor y was computed from
 *   out    gradients of the innermost scope, in the memory order of their targets; NULL means
 *          exactly zero.  On error all are NULL.
 * Errors: TLV_ERR_NOGRAD if y depends on none of wrt, TLV_ERR_CONSUMED, TLV_ERR_VERSION. */
tlv_status tlv_grad(tlv_ctx *c, const tlv_tensor *y, const tlv_tensor *gy, int n,
                    const tlv_tensor *const *wrt, tlv_tensor **out, int flags);

/* ---- ops of your own -------------------------------------------------------------------------- *
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

/* ---- axes ------------------------------------------------------------------------------------ */

/* A set of axes; negative ones count from the end.  TLV_AXES(-1), TLV_AXES(0, 2, 3),
 * TLV_ALL_AXES. */
typedef struct tlv_axes { int n; int axis[TLV_MAX_DIMS]; } tlv_axes;
#define TLV_AXES(...) \
    ((tlv_axes){ (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), { __VA_ARGS__ } })
#define TLV_ALL_AXES ((tlv_axes){ -1, { 0 } })

enum { TLV_KEEPDIM = 1 };

/* ---- element-wise arithmetic (arith.c) ------------------------------------------------------- */

tlv_tensor *tlv_add(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_sub(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_mul(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_div(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_neg(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_affine(tlv_ctx *c, const tlv_tensor *x, double a, double b);     /* a x + b */

/* ---- element-wise functions (func.c) --------------------------------------------------------- */

tlv_tensor *tlv_exp(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_log(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_sqrt(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_rsqrt(tlv_ctx *c, const tlv_tensor *x);                          /* 1 / sqrt x */
tlv_tensor *tlv_square(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_recip(tlv_ctx *c, const tlv_tensor *x);                          /* 1 / x */
tlv_tensor *tlv_abs(tlv_ctx *c, const tlv_tensor *x);                            /* y'(0) = 0 */
tlv_tensor *tlv_sin(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_cos(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_erf(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_powf(tlv_ctx *c, const tlv_tensor *x, double p);                 /* x^p */
/* a^b with gradients in both; the gradient in b is 0 where a = 0 (PyTorch's rule). */
tlv_tensor *tlv_pow(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
/* Passes the gradient where lo <= x <= hi.  Errors: TLV_ERR_ARG unless lo <= hi. */
tlv_tensor *tlv_clamp(tlv_ctx *c, const tlv_tensor *x, double lo, double hi);
tlv_tensor *tlv_sign(tlv_ctx *c, const tlv_tensor *x);                           /* no gradient */
tlv_tensor *tlv_round(tlv_ctx *c, const tlv_tensor *x); /* half to even; no gradient */
tlv_tensor *tlv_floor(tlv_ctx *c, const tlv_tensor *x);                          /* no gradient */

/* ---- comparisons and choice (compare.c) ------------------------------------------------------ */

/* Bytes 0 or 1, broadcast; NaN compares false but for ne.  No gradient. */
tlv_tensor *tlv_eq(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_ne(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_lt(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_le(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_gt(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_ge(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
/* mask (u8) ? a : b, all three broadcast. */
tlv_tensor *tlv_where(tlv_ctx *c, const tlv_tensor *mask, const tlv_tensor *a, const tlv_tensor *b);
/* Where both are equal the gradient is halved between them (PyTorch's rule). NaN wins. */
tlv_tensor *tlv_maximum(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);
tlv_tensor *tlv_minimum(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);

/* ---- activations (act.c) --------------------------------------------------------------------- */

tlv_tensor *tlv_relu(tlv_ctx *c, const tlv_tensor *x);                           /* y'(0) = 0 */
tlv_tensor *tlv_leaky_relu(tlv_ctx *c, const tlv_tensor *x, double slope);       /* y'(0) = slope */
tlv_tensor *tlv_relu6(tlv_ctx *c, const tlv_tensor *x); /* y'(0) = y'(6) = 0 */
tlv_tensor *tlv_sigmoid(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_tanh(tlv_ctx *c, const tlv_tensor *x);
tlv_tensor *tlv_silu(tlv_ctx *c, const tlv_tensor *x);                           /* x sigmoid(x) */
tlv_tensor *tlv_hard_swish(tlv_ctx *c, const tlv_tensor *x);   /* x relu6(x + 3) / 6 */
tlv_tensor *tlv_hard_sigmoid(tlv_ctx *c, const tlv_tensor *x); /* relu6(x + 3) / 6 */
tlv_tensor *tlv_softplus(tlv_ctx *c, const tlv_tensor *x);                       /* log(1 + e^x) */
tlv_tensor *tlv_gelu(tlv_ctx *c, const tlv_tensor *x);       /* x Phi(x), by erf */
tlv_tensor *tlv_gelu_tanh(tlv_ctx *c, const tlv_tensor *x);  /* the tanh approximation */
tlv_tensor *tlv_quick_gelu(tlv_ctx *c, const tlv_tensor *x); /* x sigmoid(1.702 x) */

/* The same by name, for fused ops and models. */
typedef enum tlv_act {
    TLV_ACT_NONE = 0,
    TLV_ACT_RELU = 1,
    TLV_ACT_RELU6 = 2,
    TLV_ACT_SILU = 3,
    TLV_ACT_HARD_SWISH = 4,
    TLV_ACT_GELU = 5,
    TLV_ACT_GELU_TANH = 6,
    TLV_ACT_QUICK_GELU = 7,
    TLV_ACT_SIGMOID = 8,
    TLV_ACT_TANH = 9,
    TLV_ACT_HARD_SIGMOID = 10
} tlv_act;
tlv_tensor *tlv_activate(tlv_ctx *c, const tlv_tensor *x, tlv_act act);

/* ---- reductions (reduce.c) ------------------------------------------------------------------- */

/* The sum over what would be broadcast: x of shape s' -> shape s, where s broadcasts to s'. */
tlv_tensor *tlv_sum_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s);
/* Over a set of axes; flags: TLV_KEEPDIM leaves them as 1. */
tlv_tensor *tlv_sum(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
/* of nothing: NaN */
tlv_tensor *tlv_mean(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
/* var and std divide by n - correction (PyTorch's unbiased: 1).  Where std is 0, so is its
 * gradient. */
tlv_tensor *tlv_var(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int correction, int flags);
tlv_tensor *tlv_std(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int correction, int flags);
/* right with zeros too */
tlv_tensor *tlv_prod(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
/* Equal extremes share the gradient evenly (PyTorch's amax).  Empty: TLV_ERR_SHAPE. NaN wins. */
tlv_tensor *tlv_max(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
tlv_tensor *tlv_min(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
/* Stable; of nothing, or of -inf alone, -inf with gradient 0. */
tlv_tensor *tlv_logsumexp(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags);
/* i32, the first one; NaN wins; no gradient */
tlv_tensor *tlv_argmax(tlv_ctx *c, const tlv_tensor *x, int axis, int flags);
tlv_tensor *tlv_sum_all(tlv_ctx *c, const tlv_tensor *x);                            /* shape () */
tlv_tensor *tlv_mean_all(tlv_ctx *c, const tlv_tensor *x);  /* shape () */

/* ---- shape (view.c) -------------------------------------------------------------------------- */

/* Row-major meaning: a view where strides allow, else a copy.  One dim may be -1: what is left. */
tlv_tensor *tlv_reshape(tlv_ctx *c, const tlv_tensor *x, tlv_shape s);
/* y's axis i is x's axis perm.axis[i]; a view. */
tlv_tensor *tlv_permute(tlv_ctx *c, const tlv_tensor *x, tlv_axes perm);
/* Broadcasts x to s; a view with zero strides. */
tlv_tensor *tlv_expand(tlv_ctx *c, const tlv_tensor *x, tlv_shape s);
/* The same values in another memory order; x itself if it has that order. */
typedef enum tlv_order { TLV_ROW_MAJOR = 0, TLV_CHANNELS_LAST = 1 } tlv_order;
tlv_tensor *tlv_to_order(tlv_ctx *c, const tlv_tensor *x, tlv_order order);

/* ---- joining and cutting (slice.c) ----------------------------------------------------------- */

/* Elements start, start + step, ... < stop of one axis; a view.  Negative start and stop count from
 * the end (Python's rule, clipped); step >= 1. */
tlv_tensor *tlv_slice(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t start, int64_t stop,
                      int64_t step);
/* The adjoint of slice and constant padding: x at start, start + step, ... of an axis of size n,
 * the rest holds value. */
tlv_tensor *tlv_place(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t n, int64_t start,
                      int64_t step, double value);
/* before and after elements of value on one axis; negative ones crop. */
tlv_tensor *tlv_pad(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t before, int64_t after,
                    double value);
/* any number; equal but on axis */
tlv_tensor *tlv_cat(tlv_ctx *c, int n, const tlv_tensor *const *x, int axis);
tlv_tensor *tlv_stack(tlv_ctx *c, int n, const tlv_tensor *const *x, int axis);  /* a new axis */
tlv_tensor *tlv_flip(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes);
/* y[(i + shift) mod n] = x[i] */
tlv_tensor *tlv_roll(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t shift);

/* ---- indices (index.c) ------------------------------------------------------------------------ *
 * Index tensors are i32; a value outside its range is TLV_ERR_INDEX with its place.  No gradient in
 * them. */

/* y[.., i.., ..] = x[.., index[i..], ..]: index of any shape takes the place of axis (PyTorch's
 * index_select / embedding).  Embedding: tlv_gather(c, table [V,D], 0, ids [B,T]) -> [B,T,D]. */
tlv_tensor *tlv_gather(tlv_ctx *c, const tlv_tensor *x, int axis, const tlv_tensor *index);
/* Its adjoint: zeros of size n on axis, with g's slices added at index, in index order. */
tlv_tensor *tlv_scatter_add(tlv_ctx *c, const tlv_tensor *g, int axis, const tlv_tensor *index,
                            int64_t n);
/* y[i0.., k, ..] = x[i0.., index[i0.., k, ..], ..] (PyTorch's gather): index has x's dims, on axis
 * any size. */
tlv_tensor *tlv_take_along(tlv_ctx *c, const tlv_tensor *x, int axis, const tlv_tensor *index);
tlv_tensor *tlv_put_along(tlv_ctx *c, const tlv_tensor *g, int axis, const tlv_tensor *index,
                          int64_t n);
/* index [..] -> [.., n] of d (f32 or f64), 1 at the index; a negative index gives a row of
 * zeros. */
tlv_tensor *tlv_one_hot(tlv_ctx *c, const tlv_tensor *index, int64_t n, tlv_dtype d);

/* ---- matrix products (matmul.c) -------------------------------------------------------------- */

typedef struct tlv_matmul_opts { int ta, tb; } tlv_matmul_opts;     /* 1: that operand transposed */

/* a [..,M,K] (ta: [..,K,M])  b [..,K,N] (tb: [..,N,K])  ->  [..,M,N]; leading dims broadcast.
 * Both have at least two dims; a plain matrix b against a batch of a is one product. */
tlv_tensor *tlv_matmul(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b, tlv_matmul_opts o);

/* x [..,in]  w [out,in]  bias [out] or NULL  ->  act(x w^T + bias) [..,out] */
tlv_tensor *tlv_linear(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w, const tlv_tensor *bias,
                       tlv_act act);

/* ---- softmax and losses (softmax.c, loss.c) -------------------------------------------------- */

tlv_tensor *tlv_softmax(tlv_ctx *c, const tlv_tensor *x, int axis);
tlv_tensor *tlv_log_softmax(tlv_ctx *c, const tlv_tensor *x, int axis);

typedef enum tlv_reduction { TLV_MEAN = 0, TLV_SUM = 1, TLV_NONE = 2 } tlv_reduction;

/* Zero is PyTorch's default everywhere but ignore_index, which is on only with use_ignore_index. */
typedef struct tlv_ce_opts {
    double smoothing;               /* label smoothing, 0 .. 1 */
    const tlv_tensor *weight;       /* [classes] or NULL; a constant */
    int use_ignore_index;
    int ignore_index;               /* labels of this value count nothing */
    tlv_reduction reduction;        /* TLV_MEAN divides by the weights of the targets that count;
                                       if none does it is NaN, and its gradient 0 */
} tlv_ce_opts;

/* logits [B,classes] (or [B,classes,..]), target i32 [B] (or [B,..]) -> () or target's shape.
 * Or soft target f32|f64 of logits' shape, differentiated too: then mean divides by B (and the
 * rest). */
tlv_tensor *tlv_cross_entropy(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *target,
                              tlv_ce_opts o);

typedef struct tlv_bce_opts {
    const tlv_tensor *weight;       /* broadcasts to logits; a constant; or NULL */
    const tlv_tensor *pos_weight;   /* of the positive term; broadcasts; a constant; or NULL */
    tlv_reduction reduction;
} tlv_bce_opts;
/* logits and target (0..1) of one shape. */
tlv_tensor *tlv_bce_with_logits(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *target,
                                tlv_bce_opts o);
/* (x - y)^2, x and y of one shape. */
tlv_tensor *tlv_mse_loss(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *y, tlv_reduction r);
/* 0.5 d^2 / beta where |d| < beta, else |d| - beta / 2;  beta 0 is the absolute difference. */
tlv_tensor *tlv_smooth_l1_loss(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *y, double beta,
                               tlv_reduction r);

/* ---- convolution (conv.c) -------------------------------------------------------------------- */

/* 0 in stride, dilation and groups means 1.  stride and dilation hold one number for both
 * directions unless the second is set.  pad: top, bottom, left, right. */
typedef struct tlv_conv2d_opts {
    int stride, stride_w;
    int pad[4];
    int dilation, dilation_w;
    int groups;
} tlv_conv2d_opts;

/* 2-D convolution (cross-correlation); channels-last memory, planar input is converted.
 *   x [B,C,H,W]  w [O,C/groups,KH,KW]  bias [O] or NULL   ->   y [B,O,OH,OW]
 *   OH = floor((H + pad[0] + pad[1] - dil*(KH-1) - 1) / stride) + 1, OW likewise; both >= 1.
 * Source: Dumoulin & Visin 2016, arXiv:1603.07285 (shape arithmetic). */
tlv_tensor *tlv_conv2d(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w, const tlv_tensor *bias,
                       tlv_conv2d_opts o);

/* What may follow a convolution in one pass:  act(conv(x, w) * scale[o] + shift[o] + residual).
 * scale, shift [O] (an eval or frozen batch norm, or scale NULL and shift a bias), residual of y's
 * shape; each may be NULL.  Where gradients are wanted, an activation that is not none, relu,
 * relu6, sigmoid or tanh runs as an op of its own: its gradient needs what came before it. */
typedef struct tlv_conv2d_fuse {
    const tlv_tensor *scale, *shift, *residual;
    tlv_act act;
} tlv_conv2d_fuse;
tlv_tensor *tlv_conv2d_fused(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w,
                             tlv_conv2d_opts o, tlv_conv2d_fuse f);

/* The adjoint in x: g [B,O,OH,OW], w -> [B,C,h,w_].  Also the transposed convolution (PyTorch's
 * conv_transpose2d with weight [O,C/groups,KH,KW]): choose h, w_ = (OH-1)*stride - pads + dil*(K-1)
 * + 1 + output_padding. */
tlv_tensor *tlv_conv2d_dx(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *w, int64_t h,
                          int64_t w_, tlv_conv2d_opts o);
/* The adjoint in w: g [B,O,OH,OW], x [B,C,H,W] -> [O,C/groups,kh,kw]. */
tlv_tensor *tlv_conv2d_dw(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *x, int64_t kh,
                          int64_t kw, tlv_conv2d_opts o);

/* How this context convolves (tlv_ctx_opts.conv), "auto-2", "direct", "winograd-1": a name that
 * changes whenever the same inputs may give other bits, for what is kept beyond a run (features on
 * disk). */
const char *tlv_conv_algorithm(const tlv_ctx *c);

/* ---- pooling (pool2d.c) ---------------------------------------------------------------------- */

/* stride 0 means the kernel size; k_w, stride_w 0 mean the same as k, stride.  pad: top, bottom,
 * left, right. */
typedef struct tlv_pool2d_opts {
    int k, k_w, stride, stride_w;
    int pad[4];
    int dilation;                   /* max pooling only */
    int ceil_mode;   /* PyTorch's: a window must begin inside the input or its left padding */
    int exclude_pad; /* average: divide by the elements inside (count_include_pad=False) */
} tlv_pool2d_opts;
/* The first maximum in row-major order of the window takes the gradient; NaN wins.  Padding is
 * smaller than the (dilated) window; a window without a pixel of x gives -inf and no gradient, and
 * an average of 0. */
tlv_tensor *tlv_max_pool2d(tlv_ctx *c, const tlv_tensor *x, tlv_pool2d_opts o);
tlv_tensor *tlv_avg_pool2d(tlv_ctx *c, const tlv_tensor *x, tlv_pool2d_opts o);
/* Windows from floor(i H / oh) to ceil((i+1) H / oh). */
tlv_tensor *tlv_adaptive_avg_pool2d(tlv_ctx *c, const tlv_tensor *x, int64_t oh, int64_t ow);
tlv_tensor *tlv_adaptive_max_pool2d(tlv_ctx *c, const tlv_tensor *x, int64_t oh, int64_t ow);
tlv_tensor *tlv_global_avg_pool(tlv_ctx *c, const tlv_tensor *x); /* [B,C,H,W] -> [B,C] */

/* ---- normalisation (norm.c, batchnorm.c) ----------------------------------------------------- */

/* Over the batch's own statistics (biased variance):  x [B,C,..], gamma, beta [C] or NULL.
 *   y = act(gamma (x - mean) / sqrt(var + eps) + beta + residual)
 * mean, var: if not NULL they receive [C] tensors without history (var unbiased, as running
 * statistics take it; 0 where a channel has fewer than two values).  residual of x's shape or NULL.
 * Memory: C innermost (channels-last).  ReLU and ReLU6 ride in the same pass; their gradient needs
 * y. */
tlv_tensor *tlv_batch_norm(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *gamma,
                           const tlv_tensor *beta, double eps, const tlv_tensor *residual,
                           tlv_act act, tlv_tensor **mean, tlv_tensor **var);
/* Over given statistics mean, var [C] (no gradient in them): frozen (gamma, beta may want
 * gradients) and eval. */
tlv_tensor *tlv_batch_norm_with(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *mean,
                                const tlv_tensor *var, const tlv_tensor *gamma,
                                const tlv_tensor *beta, double eps, const tlv_tensor *residual,
                                tlv_act act);
/* Over the last n_dims dims (gamma, beta have those dims, or NULL). */
tlv_tensor *tlv_layer_norm(tlv_ctx *c, const tlv_tensor *x, int n_dims, const tlv_tensor *gamma,
                           const tlv_tensor *beta, double eps);
/* x [B,C,..]: over each of `groups` groups of channels; gamma, beta [C] or NULL. */
tlv_tensor *tlv_group_norm(tlv_ctx *c, const tlv_tensor *x, int groups, const tlv_tensor *gamma,
                           const tlv_tensor *beta, double eps);

/* ---- attention (attention.c) ----------------------------------------------------------------- */

typedef struct tlv_attention_opts {
    double scale;                   /* 0: 1 / sqrt(D) */
    int causal;                     /* query i sees keys <= i + (TK - TQ) */
    const tlv_tensor *bias;         /* f32|f64, broadcasts to [B,H,TQ,TK], with gradient; or NULL */
    const tlv_tensor *key_mask;     /* u8 [B,TK], 0 hides a key; or NULL */
} tlv_attention_opts;
/* softmax(scale q k^T + bias) v, never holding a TQ x TK matrix for more than a block of rows.
 *   q [B,H,TQ,D]  k [B,H,TK,D]  v [B,H,TK,DV]  ->  [B,H,TQ,DV].  A row with no visible key, one
 * whose scores are all -inf among them, is zeros and has no gradient.  With TLV_CREATE_GRAPH its
 * gradient does hold TQ x TK matrices. */
tlv_tensor *tlv_attention(tlv_ctx *c, const tlv_tensor *q, const tlv_tensor *k, const tlv_tensor *v,
                          tlv_attention_opts o);
/* qkv [B,T,3,H,D] -> [B,T,H*D]: the packed form; one gradient for all three. */
tlv_tensor *tlv_attention_packed(tlv_ctx *c, const tlv_tensor *qkv, tlv_attention_opts o);

/* ---- dropout (dropout.c) --------------------------------------------------------------------- */

/* Zeroes each element with probability p and scales the others by 1/(1-p); which ones depends on
 * key and place only.  p = 0 returns x; p = 1 zeros. */
tlv_tensor *tlv_dropout(tlv_ctx *c, const tlv_tensor *x, double p, tlv_rng_key key);
/* Drop path (stochastic depth, Huang et al. 2016): whole examples, x [B,..]. */
tlv_tensor *tlv_drop_path(tlv_ctx *c, const tlv_tensor *x, double p, tlv_rng_key key);

/* ---- resize (resize.c) ----------------------------------------------------------------------- */

typedef enum tlv_resize_mode { TLV_NEAREST = 0, TLV_BILINEAR = 1, TLV_BICUBIC = 2 } tlv_resize_mode;
typedef struct tlv_resize_opts {
    tlv_resize_mode mode;
    int align_corners;              /* bilinear, bicubic */
    int antialias; /* bilinear, bicubic; bicubic then takes a = -0.5 instead of -0.75 */
} tlv_resize_opts;
/* x [B,C,H,W] -> [B,C,oh,ow] by the rules of torch.nn.functional.interpolate(size=...).  Nearest
 * picks its pixel with the rounding of PyTorch's f32, in f64 too. */
tlv_tensor *tlv_resize(tlv_ctx *c, const tlv_tensor *x, int64_t oh, int64_t ow, tlv_resize_opts o);

/* ---- types (cast.c) -------------------------------------------------------------------------- */

/* Any dtype to any; x itself if it has it.  f32 <-> f64 has a gradient; to integers values are
 * truncated and saturated; f16 and bf16 round to nearest even. */
tlv_tensor *tlv_cast(tlv_ctx *c, const tlv_tensor *x, tlv_dtype d);

#ifdef __cplusplus
}
#endif
#endif
