/* filled.c -- see filled.h. */
#include "tests/filled.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"

/* FNV-1a, 64 bits (Fowler, Noll, Vo). */
static uint64_t fnv1a(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

/* Steele, Lea, Flood 2014: output number i (from 1) of the generator with this seed. */
static uint64_t splitmix64(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + i * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void filled_values(const char *name, int64_t n, double lo, double hi, double *v)
{
    uint64_t seed = fnv1a(name);
    for (int64_t i = 0; i < n; i++) {
        double u = (double)(splitmix64(seed, (uint64_t)i + 1) >> 40) / 16777216.0;
        v[i] = (float)(lo + (hi - lo) * u);
    }
}

tlv_tensor *filled_tensor(tlv_ctx *c, tlv_dtype d, tlv_shape s, const char *name, double lo,
                          double hi)
{
    int64_t n = 1;
    for (int i = 0; i < s.ndim; i++) n *= s.dim[i];
    double *v = malloc(((size_t)n + 1) * sizeof *v);
    if (!v) return NULL;
    filled_values(name, n, lo, hi, v);
    tlv_tensor *t = support_tensor(c, d, s, v, 0, SUPPORT_ROW_MAJOR);
    free(v);
    return t;
}

tlv_tensor *filled_labels(tlv_ctx *c, int64_t n, int classes)
{
    int32_t v[256];
    if (!EXPECT(n <= 256, "%lld labels", (long long)n)) return NULL;
    for (int64_t i = 0; i < n; i++) v[i] = (int32_t)((7 * i + 3) % classes);
    return tlv_from_data(c, TLV_I32, tlv_shape1(n), v, 0);
}

/* Biases of batch norms near 3 or -3. */
static tlv_tensor *far_bias(tlv_ctx *c, tlv_dtype d, tlv_shape s, const char *name, int apart)
{
    double v[4096];
    if (!EXPECT(s.dim[0] <= 4096, "%s has %lld numbers", name, (long long)s.dim[0])) return NULL;
    filled_values(name, s.dim[0], -0.1, 0.1, v);
    int all = tlv_match(apart == FILLED_BASIC ? "*bn2*,*downsample*" : "*bn3*,*downsample*", name);
    for (int64_t i = 0; i < s.dim[0]; i++) v[i] = (float)(v[i] + (all || v[i] > 0 ? 3 : -3));
    return support_tensor(c, d, s, v, 0, SUPPORT_ROW_MAJOR);
}

static tlv_tensor *parameter(tlv_ctx *c, const char *name, const tlv_tensor *like, int apart)
{
    tlv_shape s = tlv_shape_of(like);
    tlv_dtype d = tlv_dtype_of(like);
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    if (strcmp(last, "num_batches_tracked") == 0) return tlv_zeros(c, d, s);
    if (strcmp(last, "running_mean") == 0) return filled_tensor(c, d, s, name, -0.2, 0.2);
    if (strcmp(last, "running_var") == 0) return filled_tensor(c, d, s, name, 0.5, 1.5);
    if (apart && tlv_match("*bn1.bias,*bn2.bias,*bn3.bias,*downsample.1.bias", name))
        return far_bias(c, d, s, name, apart);
    if (strcmp(last, "bias") == 0) return filled_tensor(c, d, s, name, -0.1, 0.1);
    if (tlv_match("*bn3.weight", name)) return filled_tensor(c, d, s, name, 0.2, 0.4);
    if (s.ndim == 1) return filled_tensor(c, d, s, name, 0.75, 1.25);
    double bound = sqrt(6.0 / ((double)tlv_numel(like) / (double)s.dim[0]));
    return filled_tensor(c, d, s, name, -bound, bound);
}

tlv_status filled_params(tlv_ctx *c, tlv_params *p, int apart)
{
    for (int i = 0; i < tlv_params_count(p); i++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_params_set(c, p, i, parameter(c, tlv_params_name(p, i), tlv_params_get(p, i), apart));
        tlv_scope_end(c, s);
    }
    return tlv_error(c);
}
