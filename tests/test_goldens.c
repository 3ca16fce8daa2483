/* test_goldens.c -- every op against PyTorch: outputs and input gradients of
 * tests/goldens/ops.safetensors (make_ops.py says what a case holds), in f32 and f64, by the fast
 * path and the graph path, from row-major and from channels-last images. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/autograd.h"
#include "tests/support.h"

enum { INPUTS = 6, ATTRS = 16, NAME = 96 };

typedef struct golden {
    tlv_ctx *c;
    tlv_tensor *in[INPUTS];                 /* NULL: absent */
    double a[ATTRS];
    int n_attr;
    tlv_tensor *mean, *var;                 /* of batch_norm */
} golden;

typedef tlv_tensor *(*unary_fn)(tlv_ctx *, const tlv_tensor *);
typedef tlv_tensor *(*binary_fn)(tlv_ctx *, const tlv_tensor *, const tlv_tensor *);
typedef tlv_tensor *(*fold_fn)(tlv_ctx *, const tlv_tensor *, tlv_axes, int);

/* An op by its name in the file: one of the four. */
typedef struct op_entry {
    const char *name;
    unary_fn unary;
    binary_fn binary;
    fold_fn fold;
    tlv_tensor *(*call)(golden *k);
} op_entry;

/* ---- calls ----------------------------------------------------------------------------------- */

static tlv_axes axes_of(const golden *k)
{
    tlv_axes axes = { 0 };
    if (k->n_attr == 2) return TLV_ALL_AXES;
    for (int i = 2; i < k->n_attr; i++) axes.axis[axes.n++] = (int)k->a[i];
    return axes;
}

static int keep_of(const golden *k) { return k->a[1] != 0 ? TLV_KEEPDIM : 0; }

static tlv_conv2d_opts conv_opts(const double *a)
{
    return (tlv_conv2d_opts){ .stride = (int)a[0],
                              .stride_w = (int)a[1],
                              .pad = { (int)a[2], (int)a[3], (int)a[4], (int)a[5] },
                              .dilation = (int)a[6],
                              .dilation_w = (int)a[7],
                              .groups = (int)a[8] };
}

static tlv_pool2d_opts pool_opts(const double *a)
{
    return (tlv_pool2d_opts){ .k = (int)a[0],
                              .k_w = (int)a[1],
                              .stride = (int)a[2],
                              .stride_w = (int)a[3],
                              .pad = { (int)a[4], (int)a[5], (int)a[6], (int)a[7] },
                              .dilation = (int)a[8],
                              .ceil_mode = (int)a[9],
                              .exclude_pad = (int)a[10] };
}

#define CALL(name) static tlv_tensor *call_##name(golden *k)
#define IN(i) (k->in[i])
#define INT(i) ((int)k->a[i])

CALL(powf) { return tlv_powf(k->c, IN(0), k->a[0]); }
CALL(clamp) { return tlv_clamp(k->c, IN(0), k->a[0], k->a[1]); }
CALL(where) { return tlv_where(k->c, IN(0), IN(1), IN(2)); }
CALL(leaky_relu) { return tlv_leaky_relu(k->c, IN(0), k->a[0]); }
CALL(var) { return tlv_var(k->c, IN(0), axes_of(k), INT(0), keep_of(k)); }
CALL(std) { return tlv_std(k->c, IN(0), axes_of(k), INT(0), keep_of(k)); }
CALL(softmax) { return tlv_softmax(k->c, IN(0), INT(0)); }
CALL(log_softmax) { return tlv_log_softmax(k->c, IN(0), INT(0)); }
CALL(matmul) { return tlv_matmul(k->c, IN(0), IN(1), (tlv_matmul_opts){ INT(0), INT(1) }); }
CALL(linear) { return tlv_linear(k->c, IN(0), IN(1), IN(2), (tlv_act)INT(0)); }
CALL(conv2d) { return tlv_conv2d(k->c, IN(0), IN(1), IN(2), conv_opts(k->a)); }
CALL(max_pool2d) { return tlv_max_pool2d(k->c, IN(0), pool_opts(k->a)); }
CALL(avg_pool2d) { return tlv_avg_pool2d(k->c, IN(0), pool_opts(k->a)); }
CALL(adaptive_avg_pool2d) { return tlv_adaptive_avg_pool2d(k->c, IN(0), INT(0), INT(1)); }
CALL(adaptive_max_pool2d) { return tlv_adaptive_max_pool2d(k->c, IN(0), INT(0), INT(1)); }
CALL(layer_norm) { return tlv_layer_norm(k->c, IN(0), INT(0), IN(1), IN(2), k->a[1]); }
CALL(group_norm) { return tlv_group_norm(k->c, IN(0), INT(0), IN(1), IN(2), k->a[1]); }
CALL(mse_loss) { return tlv_mse_loss(k->c, IN(0), IN(1), (tlv_reduction)INT(0)); }
CALL(gather) { return tlv_gather(k->c, IN(0), INT(0), IN(1)); }
CALL(take_along) { return tlv_take_along(k->c, IN(0), INT(0), IN(1)); }
CALL(pad) { return tlv_pad(k->c, IN(0), INT(0), INT(1), INT(2), k->a[3]); }

CALL(conv2d_fused)
{
    tlv_conv2d_fuse f = { IN(2), IN(3), IN(4), (tlv_act)INT(9) };
    return tlv_conv2d_fused(k->c, IN(0), IN(1), conv_opts(k->a), f);
}

CALL(conv2d_dx) { return tlv_conv2d_dx(k->c, IN(0), IN(1), INT(9), INT(10), conv_opts(k->a)); }

CALL(batch_norm)
{
    return tlv_batch_norm(k->c, IN(0), IN(1), IN(2), k->a[0], IN(3), (tlv_act)INT(1), &k->mean,
                          &k->var);
}

CALL(batch_norm_with)
{
    return tlv_batch_norm_with(k->c, IN(0), IN(1), IN(2), IN(3), IN(4), k->a[0], IN(5),
                               (tlv_act)INT(1));
}

CALL(cross_entropy)
{
    tlv_ce_opts o = { k->a[0], IN(2), INT(1), INT(2), (tlv_reduction)INT(3) };
    return tlv_cross_entropy(k->c, IN(0), IN(1), o);
}

CALL(bce_with_logits)
{
    tlv_bce_opts o = { IN(2), IN(3), (tlv_reduction)INT(0) };
    return tlv_bce_with_logits(k->c, IN(0), IN(1), o);
}

CALL(smooth_l1_loss)
{
    return tlv_smooth_l1_loss(k->c, IN(0), IN(1), k->a[0], (tlv_reduction)INT(1));
}

CALL(attention)
{
    return tlv_attention(k->c, IN(0), IN(1), IN(2),
                         (tlv_attention_opts){ k->a[0], INT(1), IN(3), IN(4) });
}

CALL(attention_packed)
{
    return tlv_attention_packed(k->c, IN(0),
                                (tlv_attention_opts){ .scale = k->a[0], .causal = INT(1) });
}

CALL(resize)
{
    tlv_resize_opts o = { (tlv_resize_mode)INT(2), INT(3), INT(4) };
    return tlv_resize(k->c, IN(0), INT(0), INT(1), o);
}

#define UNARY(name) { #name, tlv_##name, NULL, NULL, NULL }
#define BINARY(name) { #name, NULL, tlv_##name, NULL, NULL }
#define FOLD(name) { #name, NULL, NULL, tlv_##name, NULL }
#define OTHER(name) { #name, NULL, NULL, NULL, call_##name }

static const op_entry OPS[] = {
    UNARY(exp),
    UNARY(log),
    UNARY(sqrt),
    UNARY(rsqrt),
    UNARY(abs),
    UNARY(sin),
    UNARY(cos),
    UNARY(erf),
    UNARY(relu),
    UNARY(relu6),
    UNARY(sigmoid),
    UNARY(tanh),
    UNARY(silu),
    UNARY(hard_swish),
    UNARY(hard_sigmoid),
    UNARY(softplus),
    UNARY(gelu),
    UNARY(gelu_tanh),
    UNARY(quick_gelu),
    UNARY(global_avg_pool),
    BINARY(add),
    BINARY(sub),
    BINARY(mul),
    BINARY(div),
    BINARY(maximum),
    BINARY(minimum),
    BINARY(pow),
    FOLD(sum),
    FOLD(mean),
    FOLD(prod),
    FOLD(max),
    FOLD(min),
    FOLD(logsumexp),
    OTHER(powf),
    OTHER(clamp),
    OTHER(where),
    OTHER(leaky_relu),
    OTHER(var),
    OTHER(std),
    OTHER(softmax),
    OTHER(log_softmax),
    OTHER(matmul),
    OTHER(linear),
    OTHER(conv2d),
    OTHER(conv2d_fused),
    OTHER(conv2d_dx),
    OTHER(max_pool2d),
    OTHER(avg_pool2d),
    OTHER(adaptive_avg_pool2d),
    OTHER(adaptive_max_pool2d),
    OTHER(batch_norm),
    OTHER(batch_norm_with),
    OTHER(layer_norm),
    OTHER(group_norm),
    OTHER(cross_entropy),
    OTHER(bce_with_logits),
    OTHER(mse_loss),
    OTHER(smooth_l1_loss),
    OTHER(gather),
    OTHER(take_along),
    OTHER(pad),
    OTHER(attention),
    OTHER(attention_packed),
    OTHER(resize),
};
enum { N_OPS = sizeof OPS / sizeof OPS[0] };

static tlv_tensor *call(const op_entry *op, golden *k)
{
    if (op->unary) return op->unary(k->c, k->in[0]);
    if (op->binary) return op->binary(k->c, k->in[0], k->in[1]);
    if (op->fold) return op->fold(k->c, k->in[0], axes_of(k), keep_of(k));
    return op->call(k);
}

/* "conv2d_dx.groups/out" -> the op conv2d_dx; -1 if there is none. */
static int op_of(const char *name)
{
    size_t n = strcspn(name, ".");
    for (int i = 0; i < N_OPS; i++)
        if (strlen(OPS[i].name) == n && strncmp(OPS[i].name, name, n) == 0) return i;
    return -1;
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* A part of a case as doubles (the caller frees), or NULL if the file has none. */
static double *values_of(tlv_ctx *c, const tlv_file *f, const char *name, const char *part, int *at)
{
    char full[NAME + 8];
    snprintf(full, sizeof full, "%s/%s", name, part);
    *at = tlv_file_find(f, full);
    if (*at < 0) return NULL;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *t = tlv_file_read(c, f, *at);
    double *v = calloc((size_t)tlv_numel(t) + 1, sizeof *v);
    if (v) support_read(c, t, v, tlv_numel(t));
    tlv_scope_end(c, s);
    return v;
}

/* t agrees with the file to tol, relative to the largest magnitude, or to `least`. */
static void compare(tlv_ctx *c, const tlv_file *f, const char *name, const char *part,
                    const tlv_tensor *t, double tol, double least, const char *how)
{
    int at;
    double *want = values_of(c, f, name, part, &at);
    if (!EXPECT(want && t, "%s/%s %s: %s", name, part, how,
                t ? "not in the file" : tlv_error_msg(c))) {
        free(want);
        return;
    }
    int64_t n = tlv_numel(t);
    double *got = calloc((size_t)n + 1, sizeof *got), largest = 0, worst = 0;
    if (got && support_check_shape(t, tlv_file_shape(f, at), __FILE__, __LINE__, name)
        && support_read(c, t, got, n)) {
        for (int64_t i = 0; i < n; i++) {
            double gap = fabs(got[i] - want[i]);
            largest = fmax(largest, fabs(want[i]));
            worst = gap > worst || isnan(gap) ? gap : worst;
        }
        EXPECT(worst <= tol * largest + least,
               "%s/%s %s: off by %.3g of %.3g, relative %.3g > %.0e", name, part, how, worst,
               largest, worst / largest, tol);
    }
    free(got);
    free(want);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static tlv_dtype input_dtype(const tlv_file *f, int at, tlv_dtype d)
{
    tlv_dtype stored = tlv_file_dtype(f, at);
    return stored == TLV_F32 ? d : stored;
}

/* Reads the inputs as dtype d; those with a gradient in the file become leaves. */
static void fill(golden *k, const tlv_file *f, const char *name, tlv_dtype d, support_order order)
{
    int at;
    for (int i = 0; i < INPUTS; i++) {
        char in[8], grad[NAME + 8];
        snprintf(in, sizeof in, "in%d", i);
        snprintf(grad, sizeof grad, "%s/d%d", name, i);
        double *v = values_of(k->c, f, name, in, &at);
        if (v) {
            int flags = tlv_file_find(f, grad) >= 0 ? TLV_WANT_GRAD : 0;
            tlv_dtype type = input_dtype(f, at, d);
            k->in[i] = support_tensor(k->c, type, tlv_file_shape(f, at), v, flags, order);
        }
        free(v);
    }
    double *a = values_of(k->c, f, name, "attr", &at);
    if (a) k->n_attr = (int)tlv_file_shape(f, at).dim[0];
    if (EXPECT(k->n_attr <= ATTRS, "%s has %d attributes", name, k->n_attr) && a)
        memcpy(k->a, a, (size_t)k->n_attr * sizeof *a);
    free(a);
}

/* The derivatives y (1 - y) and 1 - y^2 are computed from y.  Far out, where y is near 1, it is off
 * by half a unit in the last place, 2^-25, and they by that much or twice it, however small they
 * are. */
static double rounding_of_y(const char *name, tlv_dtype d, const double *g, int64_t n)
{
    double largest = 0;
    if (d != TLV_F32 || (strcmp(name, "sigmoid.far") != 0 && strcmp(name, "tanh.far") != 0))
        return 0;
    for (int64_t i = 0; g && i < n; i++) largest = fmax(largest, fabs(g[i]));
    return ldexp(largest, -24);
}

static void run_case(tlv_ctx *c, const tlv_file *f, const op_entry *op, const char *name,
                     tlv_dtype d, support_order order, int flags)
{
    char how[64], part[8];
    double tol = d == TLV_F64 ? 1e-9 : 1e-5;
    snprintf(how, sizeof how, "(%s, order %d, %s)", tlv_dtype_name(d), (int)order,
             flags ? "graph path" : "fast path");
    golden k = { .c = c };
    fill(&k, f, name, d, order);
    tlv_tensor *y = call(op, &k);
    compare(c, f, name, "out", y, tol, 0, how);
    if (k.mean) {
        compare(c, f, name, "mean", k.mean, tol, 0, how);
        compare(c, f, name, "var", k.var, tol, 0, how);
    }

    int at, n = 0, number[INPUTS];
    const tlv_tensor *wrt[INPUTS];
    tlv_tensor *grad[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        if (!k.in[i] || !tlv_wants_grad(k.in[i])) continue;
        wrt[n] = k.in[i];
        number[n++] = i;
    }
    double *gy = values_of(c, f, name, "g", &at);
    tlv_tensor *g = gy && y ? support_tensor(c, d, tlv_shape_of(y), gy, 0, SUPPORT_ROW_MAJOR)
                            : NULL;
    EXPECT(n > 0 && tlv_grad(c, y, g, n, wrt, grad, flags) == TLV_OK, "%s %s: %s", name, how,
           tlv_error_msg(c));
    double least = rounding_of_y(name, d, gy, tlv_numel(y));
    for (int i = 0; i < n && tlv_error(c) == TLV_OK; i++) {
        snprintf(part, sizeof part, "d%d", number[i]);
        compare(c, f, name, part, grad[i], tol, least, how);
    }
    free(gy);
    if (tlv_error(c) != TLV_OK) tlv_error_clear(c);
}

static void run_all(tlv_dtype d)
{
    char path[512];
    if (!test_file_path(path, sizeof path, "goldens/ops.safetensors")) return;
    tlv_ctx *c = support_open();
    tlv_file *f = tlv_file_open(c, path);
    REQUIRE(f, "%s", tlv_error_msg(c));
    int used[N_OPS] = { 0 }, cases = 0;
    for (int i = 0; i < tlv_file_count(f); i++) {
        char name[NAME];
        snprintf(name, sizeof name, "%s", tlv_file_name(f, i));
        char *slash = strrchr(name, '/');
        if (!slash || strcmp(slash, "/out") != 0) continue;
        *slash = 0;
        int op = op_of(name);
        cases++;
        if (!EXPECT(op >= 0, "no op for the case %s", name)) continue;
        used[op] = 1;
        for (int v = 0; v < 4; v++) {
            tlv_scope s = tlv_scope_begin(c);
            run_case(c, f, &OPS[op], name, d, v & 1 ? SUPPORT_CHANNELS_LAST : SUPPORT_ROW_MAJOR,
                     v & 2 ? TLV_CREATE_GRAPH : 0);
            tlv_scope_end(c, s);
        }
    }
    for (int i = 0; i < N_OPS; i++) EXPECT(used[i], "the file has no case of %s", OPS[i].name);
    const char *count = tlv_file_meta(f, "cases");
    EXPECT(count && atoi(count) == cases && cases >= 253, "%d cases, the file says %s", cases,
           count);
    EXPECT(tlv_file_meta(f, "torch") != NULL, "the file does not name its PyTorch");
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void test_ops_agree_with_pytorch_in_f32(void) { run_all(TLV_F32); }
static void test_ops_agree_with_pytorch_in_f64(void) { run_all(TLV_F64); }

TEST_MAIN(T(test_ops_agree_with_pytorch_in_f32), T(test_ops_agree_with_pytorch_in_f64))
