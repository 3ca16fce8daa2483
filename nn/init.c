/* init.c -- how parameters start, by PyTorch's rules for fans and gains. */
#include <math.h>

#include "nn/init.h"

tlv_init tlv_init_zeros(void) { return (tlv_init){ TLV_INIT_ZEROS, 0, 0 }; }
tlv_init tlv_init_ones(void) { return (tlv_init){ TLV_INIT_ONES, 0, 0 }; }
tlv_init tlv_init_uniform(double bound) { return (tlv_init){ TLV_INIT_UNIFORM, bound, 0 }; }
tlv_init tlv_init_normal(double std) { return (tlv_init){ TLV_INIT_NORMAL, std, 0 }; }
tlv_init tlv_init_trunc_normal(double std) { return (tlv_init){ TLV_INIT_TRUNC_NORMAL, std, 0 }; }
tlv_init tlv_init_kaiming_uniform(double slope)
{
    return (tlv_init){ TLV_INIT_KAIMING_UNIFORM, slope, 0 };
}
tlv_init tlv_init_kaiming_normal(int fan_out)
{
    return (tlv_init){ TLV_INIT_KAIMING_NORMAL, 0, fan_out };
}
tlv_init tlv_init_xavier_uniform(double gain)
{
    return (tlv_init){ TLV_INIT_XAVIER_UNIFORM, gain, 0 };
}
tlv_init tlv_init_xavier_normal(double gain)
{
    return (tlv_init){ TLV_INIT_XAVIER_NORMAL, gain, 0 };
}

/* torch.nn.init._calculate_fan_in_and_fan_out: dim 1 (dim 0) times the receptive field. */
static void fans(tlv_shape s, double *in, double *out)
{
    double field = 1;
    for (int i = 2; i < s.ndim; i++) field *= (double)s.dim[i];
    *out = (s.ndim > 0 ? (double)s.dim[0] : 1) * field;
    *in = s.ndim > 1 ? (double)s.dim[1] * field : *out;
}

/* Bound (uniform) or standard deviation (normal); normal tells which. */
static double spread(tlv_init init, tlv_shape s, int *normal)
{
    double in, out;
    fans(s, &in, &out);
    double gain = sqrt(2.0 / (1.0 + init.a * init.a)), fan = init.fan_out ? out : in;
    *normal = init.kind == TLV_INIT_NORMAL || init.kind == TLV_INIT_TRUNC_NORMAL
              || init.kind == TLV_INIT_KAIMING_NORMAL || init.kind == TLV_INIT_XAVIER_NORMAL;
    switch (init.kind) {
    case TLV_INIT_KAIMING_UNIFORM: return gain * sqrt(3.0 / fan);
    case TLV_INIT_KAIMING_NORMAL: return gain / sqrt(fan);
    case TLV_INIT_XAVIER_UNIFORM: return init.a * sqrt(6.0 / (in + out));
    case TLV_INIT_XAVIER_NORMAL: return init.a * sqrt(2.0 / (in + out));
    default: return init.a;
    }
}

/* Standard normal draws; truncated: drawn again while beyond two standard deviations. */
static double draw(tlv_init_kind kind, tlv_rng_key key, uint64_t i, uint64_t n)
{
    double v = tlv_rng_normal(key, i);
    for (uint64_t k = 1; kind == TLV_INIT_TRUNC_NORMAL && fabs(v) > 2; k++)
        v = tlv_rng_normal(key, i + k * n);
    return v;
}

static void put(tlv_tensor *t, int64_t i, double v)
{
    if (t->dtype == TLV_F32) tlvi_f32(t)[i] = (float)v;
    else if (t->dtype == TLV_F64) ((double *)tlvi_ptr(t))[i] = v;
    else ((int64_t *)tlvi_ptr(t))[i] = (int64_t)v;
}

void tlvi_init_fill(tlv_tensor *t, tlv_init init, tlv_rng_key key)
{
    int64_t n = tlvi_numel(t);
    if (init.kind <= TLV_INIT_CONST) {
        double v = init.kind == TLV_INIT_ZEROS ? 0 : init.kind == TLV_INIT_ONES ? 1 : init.a;
        for (int64_t i = 0; i < n; i++) put(t, i, v);
        return;
    }
    int normal;
    double a = spread(init, tlv_shape_of(t), &normal);
    for (int64_t i = 0; i < n; i++)
        put(t, i, normal ? a * draw(init.kind, key, (uint64_t)i, (uint64_t)n)
                         : a * (2 * tlv_rng_uniform(key, (uint64_t)i) - 1));
}
