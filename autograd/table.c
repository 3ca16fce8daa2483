/* table.c -- the table of ops, made from ops.def. */
#include "autograd/op.h"

#define DECLARE_SMOOTH(id)                                                                         \
    void tlvi_vjp_##id(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d);       \
    tlv_tensor *tlvi_exec_##id(tlv_ctx *c, const tlvi_node *n);
#define DECLARE_KINKED(id) DECLARE_SMOOTH(id)
#define DECLARE_FLAT(id)
#define TLV_OP(id, kind, cost, args, reads, formula, shapes) DECLARE_##kind(id)
#include "autograd/ops.def"
#undef TLV_OP

#define LINK_SMOOTH(id) tlvi_vjp_##id, tlvi_exec_##id
#define LINK_KINKED(id) LINK_SMOOTH(id)
#define LINK_FLAT(id) NULL, NULL
#define COST_CHEAP 1
#define COST_FULL 0

const tlvi_op_info tlvi_ops[TLV_OP_COUNT] = {
#define TLV_OP(id, kind, cost, args, reads, formula, shapes)                                       \
    { #id, #kind, args, reads, formula, shapes, LINK_##kind(id), COST_##cost },
#include "autograd/ops.def"
#undef TLV_OP
};

const char *tlv_op_name(tlv_op op) { return (unsigned)op < TLV_OP_COUNT ? tlvi_ops[op].name : "?"; }
