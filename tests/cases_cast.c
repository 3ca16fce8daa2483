/* cases_cast.c -- casts: to f64 and back, which is the identity and changes nothing in f64.  Casts
 * to the other dtypes are tested one by one in test_cast.c. */
#include "tests/opcase.h"

static tlv_tensor *cast_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    (void)k;
    return tlv_cast(c, tlv_cast(c, in[0], TLV_F64), tlv_dtype_of(in[0]));
}

static void cast_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = in[0][i];
}

int case_CAST(int i, op_case *k);
int case_CAST(int i, op_case *k)
{
    if (!case_unary(i, k, -2, 2)) return 0;
    k->call = cast_call;
    k->ref = cast_ref;
    k->no_second = 1;
    return 1;
}
