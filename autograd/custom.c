/* custom.c -- a user's op on the tape: forward and gradient are callbacks, the gradient in ops. */
#include "autograd/op.h"

enum { MAX_CUSTOM_INPUTS = 16 };

/* The node's attribute: the definition, then the user's own bytes. */
typedef struct custom_attr { const tlv_custom_def *def; } custom_attr;

static const void *user_attrs(const void *attr) { return (const char *)attr + sizeof(custom_attr); }

static int count_ready(tlv_ctx *c, const tlv_custom_def *def, int n_in, const tlv_tensor *const *in,
                       const void *attrs)
{
    if (c->err) return 0;
    if (!def || !def->forward || !def->vjp || !def->name || n_in < 1 || n_in > MAX_CUSTOM_INPUTS
        || (def->attr_bytes && !attrs) || def->attr_bytes > 4096) {
        tlvi_fail(c, TLV_ERR_ARG, "fill name, forward and vjp; attrs take at most 4096 bytes",
                  "custom: %s with %d inputs; 1 to %d are possible",
                  def && def->name ? def->name : "unnamed", n_in, MAX_CUSTOM_INPUTS);
        return 0;
    }
    return tlvi_ready_slow(c, def->name, n_in, in);
}

tlv_tensor *tlv_custom(tlv_ctx *c, const tlv_custom_def *def, int n_in, const tlv_tensor *const *in,
                       const void *attrs)
{
    if (!count_ready(c, def, n_in, in, attrs)) return NULL;
    tlv_custom_call call = { .n_in = n_in, .in = in, .attrs = attrs };
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *y = def->forward(c, &call);
    if (y && y->depth < c->depth) y = tlv_detach(c, y); // an input handed back: its own header
    y = tlv_scope_end_keep(c, s, y);
    TLVI_REQUIRE(c, y || c->err, TLV_ERR_USER, "return a tensor or report with tlv_fail",
                 "%s: forward returned NULL without an error", def->name);
    if (!y) return NULL;
    char attr[sizeof(custom_attr) + 4096];
    memcpy(attr, &(custom_attr){ def }, sizeof(custom_attr));
    if (def->attr_bytes) memcpy(attr + sizeof(custom_attr), attrs, def->attr_bytes);
    tlvi_record_args r = { .op = TLV_OP_CUSTOM, .n_in = n_in, .in = in, .out = { y }, .attr = attr,
                           .attr_bytes = sizeof(custom_attr) + def->attr_bytes };
    return tlvi_record(c, &r);
}

static const tlv_tensor *const *gather_inputs(const tlvi_node *n, const tlv_tensor **in)
{
    for (int i = 0; i < n->n_in; i++) in[i] = tlvi_in(n, i);
    return in;
}

TLVI_EXEC(CUSTOM)
{
    const tlv_tensor *in[MAX_CUSTOM_INPUTS];
    const custom_attr *a = n->attr;
    return tlv_custom(c, a->def, n->n_in, gather_inputs(n, in),
                      a->def->attr_bytes ? user_attrs(a) : NULL);
}

TLVI_VJP(CUSTOM)
{
    const tlv_tensor *in[MAX_CUSTOM_INPUTS];
    int want[MAX_CUSTOM_INPUTS];
    const custom_attr *a = n->attr;
    for (int i = 0; i < n->n_in; i++) want[i] = wants(n, i);
    tlv_custom_call call = { .n_in = n->n_in,
                             .in = gather_inputs(n, in),
                             .y = tlvi_out(n, 0),
                             .g = g,
                             .wants = want,
                             .attrs = a->def->attr_bytes ? user_attrs(a) : NULL };
    a->def->vjp(c, &call, d);
}
