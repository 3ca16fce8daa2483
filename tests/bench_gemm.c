/* bench_gemm.c -- matrix products, C [M,N] = A [M,K] B [K,N], all row-major.
 *
 * NAME      into memory that is there, as a BLAS is called
 * NAME/op   tlv_matmul: a fresh result */
#include <stdio.h>

#include "tensor/gemm.h"
#include "tests/benchlib.h"

typedef struct shape { const char *name; int64_t m, n, k; } shape;

static const shape SHAPES[] = {
    { "sq64", 64, 64, 64 },
    { "sq128", 128, 128, 128 },
    { "sq256", 256, 256, 256 },
    { "sq512", 512, 512, 512 },
    { "sq1024", 1024, 1024, 1024 },
    { "sq2048", 2048, 2048, 2048 },
    { "sq4096", 4096, 4096, 4096 },
    { "vit_proj_b1", 197, 768, 768 },
    { "vit_fc1_b1", 197, 3072, 768 },
    { "vit_fc2_b1", 197, 768, 3072 },
    { "vit_qkv_b1", 197, 2304, 768 },
    { "vit_qkv_b8", 1576, 2304, 768 },
    { "vit_fc1_b8", 1576, 3072, 768 },
    { "vit_fc2_b8", 1576, 768, 3072 },
    { "rn_l1_3x3", 64, 3136, 576 },
    { "rn_l4_3x3", 512, 49, 4608 },
    { "rn50_l1_1x1", 256, 3136, 64 },
    { "rn50_l3_1x1", 1024, 196, 256 },
    { "rn50_l4_1x1", 2048, 49, 512 },
    { "head_b16", 16, 1000, 2048 },
    { "tall_skinny", 20000, 16, 64 },
    { "short_fat", 16, 20000, 64 },
    { "attn_qk", 197, 197, 64 },
    { "attn_pv", 197, 64, 197 },
    { "vec_m1", 1, 4096, 4096 },
    { "tiny5", 5, 5, 5 },
    { "tiny8", 8, 8, 8 },
    { "tiny16", 16, 16, 16 },
    { "tiny32", 32, 32, 32 },
    { "mlp_10x40x40", 10, 40, 40 },
    { "mlp_10x40x1", 10, 1, 40 },
    { "omni_fc", 5, 5, 64 },
};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

typedef struct operands { const tlv_tensor *a, *b; tlvi_gemm_job job; } operands;

static void call_body(tlv_ctx *c, void *arg)
{
    const operands *p = arg;
    tlvi_gemm(c, &p->job);
}

static void op_body(tlv_ctx *c, void *arg)
{
    const operands *p = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_matmul(c, p->a, p->b, (tlv_matmul_opts){ 0, 0 });
    tlv_scope_end(c, s);
}

static void product(bench *b, const shape *s, bench_body_fn body)
{
    operands p = { .a = bench_tensor(b, "a", tlv_shape2(s->m, s->k)),
                   .b = bench_tensor(b, "b", tlv_shape2(s->k, s->n)) };
    const tlv_tensor *y = tlv_zeros(b->c, TLV_F32, tlv_shape2(s->m, s->n));
    if (tlv_error(b->c)) return;
    p.job = (tlvi_gemm_job){ .dtype = TLV_F32, .m = s->m, .n = s->n, .k = s->k,
                             .a = tlvi_f32(p.a), .rsa = s->k, .csa = 1,
                             .b = tlvi_f32(p.b), .rsb = s->n, .csb = 1,
                             .c = tlvi_f32(y), .ldc = s->n };
    bench_time(b, 2e-9 * (double)s->m * (double)s->n * (double)s->k, "GFLOP/s", body, &p);
}

static void call_case(bench *b, const void *arg)
{
    product(b, arg, call_body);
}

static void contended_case(bench *b, const void *arg)
{
    b->contended = 1;
    product(b, arg, call_body);
}

static void op_case(bench *b, const void *arg)
{
    product(b, arg, op_body);
}

int main(void)
{
    bench b = bench_open();
    char name[64];
    for (int i = 0; i < N_SHAPES; i++) bench_case(&b, SHAPES[i].name, call_case, &SHAPES[i]);
    for (int i = 0; i < N_SHAPES; i++) {
        snprintf(name, sizeof name, "%s/op", SHAPES[i].name);
        bench_case(&b, name, op_case, &SHAPES[i]);
    }
    for (int i = 0; i < N_SHAPES; i++)
        if (!strcmp(SHAPES[i].name, "sq1024"))
            bench_case(&b, "sq1024/contended", contended_case, &SHAPES[i]);
    return bench_close(&b);
}
