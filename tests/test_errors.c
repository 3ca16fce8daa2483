/* test_errors.c -- every status code: its number, its name, its hint, a call that gives it, and
 * what the sentence says; errors stick, in children too. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support.h"
#include "data/data.h"
#include "nn/nn.h"
#include "tensor/core.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

#define WRT(...) ((const tlv_tensor *[]){ __VA_ARGS__ })

/* ---- the codes ------------------------------------------------------------------------------- */

static void test_codes_are_pinned(void)
{
    static const struct {
        tlv_status code; int number; const char *name;
    } CODES[] = {
        { TLV_OK, 0, "TLV_OK" },
        { TLV_ERR_ARG, 1, "TLV_ERR_ARG" },
        { TLV_ERR_SHAPE, 2, "TLV_ERR_SHAPE" },
        { TLV_ERR_DTYPE, 3, "TLV_ERR_DTYPE" },
        { TLV_ERR_NOMEM, 4, "TLV_ERR_NOMEM" },
        { TLV_ERR_CTX, 5, "TLV_ERR_CTX" },
        { TLV_ERR_ENDED, 6, "TLV_ERR_ENDED" },
        { TLV_ERR_NOGRAD, 7, "TLV_ERR_NOGRAD" },
        { TLV_ERR_VERSION, 8, "TLV_ERR_VERSION" },
        { TLV_ERR_CONSUMED, 9, "TLV_ERR_CONSUMED" },
        { TLV_ERR_STATE, 10, "TLV_ERR_STATE" },
        { TLV_ERR_INDEX, 11, "TLV_ERR_INDEX" },
        { TLV_ERR_NAME, 12, "TLV_ERR_NAME" },
        { TLV_ERR_IO, 13, "TLV_ERR_IO" },
        { TLV_ERR_FORMAT, 14, "TLV_ERR_FORMAT" },
        { TLV_ERR_ISA, 15, "TLV_ERR_ISA" },
        { TLV_ERR_USER, 16, "TLV_ERR_USER" },
        { TLV_ERR_LIMIT, 17, "TLV_ERR_LIMIT" },
    };
    EXPECT_INT(sizeof CODES / sizeof CODES[0], TLV_STATUS_COUNT);
    for (int i = 0; i < (int)TLV_STATUS_COUNT; i++) {
        EXPECT_INT(CODES[i].code, CODES[i].number);
        EXPECT_STR(tlv_status_name(CODES[i].code), CODES[i].name);
    }
    EXPECT_STR(tlv_status_name((tlv_status)99), "TLV_ERR_UNKNOWN");
    EXPECT_STR(tlv_status_name((tlv_status)-1), "TLV_ERR_UNKNOWN");
}

static void test_dtypes_are_pinned(void)
{
    static const struct {
        const char *name; size_t size;
    } D[TLV_DTYPE_COUNT] = {
        { "f32", 4 }, { "f64", 8 }, { "i32", 4 },  { "u8", 1 },
        { "i64", 8 }, { "f16", 2 }, { "bf16", 2 },
    };
    for (int i = 0; i < TLV_DTYPE_COUNT; i++) {
        EXPECT_STR(tlv_dtype_name((tlv_dtype)i), D[i].name);
        EXPECT_INT(tlv_dtype_size((tlv_dtype)i), D[i].size);
    }
    EXPECT_STR(tlv_dtype_name((tlv_dtype)77), "?");
    EXPECT_INT(tlv_dtype_size((tlv_dtype)77), 0);
}

static void test_every_code_has_a_hint(void)
{
    OPEN(c);
    for (int i = 1; i < (int)TLV_STATUS_COUNT; i++) {
        EXPECT_STATUS(tlv_fail(c, (tlv_status)i, NULL, "number %d", i), i);
        EXPECT(strlen(tlv_error_hint(c)) > 10, "%s: hint \"%s\"", tlv_status_name((tlv_status)i),
               tlv_error_hint(c));
        char want[32];
        snprintf(want, sizeof want, "number %d", i);
        EXPECT_ERROR(c, i, want);
        EXPECT_STR(tlv_error_hint(c), "");
        EXPECT_STR(tlv_error_msg(c), "");
    }
    tlv_fail(c, TLV_OK, NULL, "no code");
    EXPECT_ERROR(c, TLV_ERR_USER, "no code");
    tlv_fail(c, (tlv_status)1000, NULL, "a code from elsewhere");
    EXPECT_ERROR(c, TLV_ERR_USER, "a code from elsewhere");
    tlv_ctx_close(c);
}

static void test_no_context_is_an_answer_too(void)
{
    EXPECT_STATUS(tlv_error(NULL), TLV_ERR_NOMEM);
    EXPECT(strstr(tlv_error_msg(NULL), "out of memory"), "%s", tlv_error_msg(NULL));
    EXPECT(tlv_error_hint(NULL)[0], "no hint");
    tlv_ctx_close(NULL);
}

/* ---- each provoked --------------------------------------------------------------------------- */

/* The sentence holds every one of the parts (NULL ends); clears the error. */
static void expect_parts(tlv_ctx *c, tlv_status code, const char *const *parts)
{
    for (int i = 1; parts[i]; i++)
        EXPECT(strstr(tlv_error_msg(c), parts[i]), "\"%s\" does not contain \"%s\"",
               tlv_error_msg(c), parts[i]);
    EXPECT_ERROR(c, code, parts[0]);
}
#define EXPECT_SENTENCE(c, code, ...) \
    expect_parts(c, code, (const char *const[]){ __VA_ARGS__, NULL })

static void test_shape_errors_name_op_and_shapes(void)
{
    OPEN(c);
    tlv_tensor *a = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3)),
               *b = tlv_zeros(c, TLV_F32, TLV_SHAPE(4, 5));
    EXPECT(!tlv_add(c, a, b), "added");
    EXPECT(strstr(tlv_error_hint(c), "from the last one"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "add", "[2,3]", "[4,5]", "broadcast");
    EXPECT(!tlv_matmul(c, a, b, (tlv_matmul_opts){ 0 }), "multiplied");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "matmul", "[2,3]", "[4,5]");
    EXPECT(!tlv_reshape(c, a, TLV_SHAPE(4, 2)), "reshaped");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "reshape", "[2,3]", "6 elements", "[4,2]");
    EXPECT(!tlv_reshape(c, a, TLV_SHAPE(-1, -1)), "reshaped");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "reshape", "[-1,-1]");
    EXPECT(!tlv_reshape(c, a, TLV_SHAPE(-1, 4)), "reshaped");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "[-1,4]");
    EXPECT(!tlv_expand(c, a, TLV_SHAPE(3, 3)), "expanded");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "expand", "[2,3]", "[3,3]");
    EXPECT(!tlv_expand(c, a, TLV_SHAPE(3)), "expanded to fewer dims");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "expand", "[3]");
    tlv_tensor *one = tlv_zeros(c, TLV_F32, TLV_SHAPE(1, 1));
    EXPECT(!tlv_expand(c, one, TLV_SHAPE(-1, 2)), "expanded to a negative dim");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "expand", "[-1,2]");
    EXPECT(!tlv_expand(c, one, TLV_SHAPE((int64_t)1 << 40, (int64_t)1 << 40)),
           "expanded beyond 64 bits");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "expand", "[1099511627776,1099511627776]");
    EXPECT(!tlv_sum_to(c, a, TLV_SHAPE(2)), "summed");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "sum_to", "[2,3]", "[2]");
    EXPECT(!tlv_to_order(c, a, TLV_CHANNELS_LAST), "ordered");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "to_order", "4 dims");
    EXPECT(tlv_item(c, a) == 0, "an item of six");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "item", "[2,3]", "6 elements");
    float room[4];
    EXPECT_STATUS(tlv_read(c, a, room, 4), TLV_ERR_SHAPE);
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "read", "6 elements", "4");
    EXPECT(!tlv_zeros(c, TLV_F32, TLV_SHAPE(2, -3)), "a negative dim");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "[2,-3]");
    EXPECT(!tlv_zeros(c, TLV_F32, TLV_SHAPE(INT64_MAX / 2, 4, 8)), "more than there is");
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "not possible");
    tlv_ctx_close(c);
}

static void test_argument_errors(void)
{
    OPEN(c);
    tlv_tensor *a = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3));
    EXPECT(!tlv_add(c, a, NULL), "added");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "add: input 1 is NULL");
    EXPECT(!tlv_permute(c, a, TLV_AXES(0, 0)), "permuted");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "permute", "[2,3]");
    EXPECT(!tlv_permute(c, a, TLV_AXES(0, 2)), "permuted");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "permute");
    EXPECT(!tlv_sum(c, a, TLV_AXES(2), 0), "summed");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "sum", "axis 2", "[2,3]");
    EXPECT(!tlv_sum(c, a, TLV_AXES(1, -1), 0), "an axis twice");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "axis -1");
    EXPECT(!tlv_arange(c, TLV_F32, 0, 3, -1), "backwards");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "start 0, stop 3, step -1");
    EXPECT(!tlv_full(c, TLV_U8, TLV_SHAPE(1), 256), "a byte of 256");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "256", "u8");
    EXPECT(!tlv_full(c, TLV_I32, TLV_SHAPE(1), 0.5), "half an integer");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "0.5", "i32");
    EXPECT(!tlv_from(c, TLV_SHAPE(1), NULL, 0), "data from nowhere");
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "data is NULL");
    EXPECT_STATUS(tlv_parallel_tasks(c, 1, NULL, NULL), TLV_ERR_ARG);
    EXPECT_SENTENCE(c, TLV_ERR_ARG, "fn is NULL");
    tlv_ctx_close(c);
}

static void test_dtype_errors(void)
{
    OPEN(c);
    tlv_tensor *f = tlv_zeros(c, TLV_F32, TLV_SHAPE(2)), *d = tlv_zeros(c, TLV_F64, TLV_SHAPE(2));
    tlv_tensor *i = tlv_zeros(c, TLV_I32, TLV_SHAPE(2));
    EXPECT(!tlv_add(c, f, d), "added");
    EXPECT(strstr(tlv_error_hint(c), "tlv_cast"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_DTYPE, "add", "f32[2]", "f64[2]");
    EXPECT(!tlv_exp(c, i), "an integer exponential");
    EXPECT_SENTENCE(c, TLV_ERR_DTYPE, "exp", "i32[2]");
    EXPECT(!tlv_leaf(c, i), "an integer leaf");
    EXPECT_SENTENCE(c, TLV_ERR_DTYPE, "leaf", "i32");
    EXPECT(!tlv_from_data(c, TLV_I32, TLV_SHAPE(1), &(int32_t){ 1 }, TLV_WANT_GRAD),
           "an integer leaf");
    EXPECT_SENTENCE(c, TLV_ERR_DTYPE, "i32");
    EXPECT(!tlv_full(c, TLV_BF16, TLV_SHAPE(1), 1), "a bf16");
    EXPECT_SENTENCE(c, TLV_ERR_DTYPE, "bf16");
    EXPECT(!tlv_zeros(c, (tlv_dtype)50, TLV_SHAPE(1)), "dtype 50");
    EXPECT_SENTENCE(c, TLV_ERR_DTYPE, "dtype 50");
    tlv_ctx_close(c);
}

static void test_a_tensor_of_another_context(void)
{
    OPEN(c);
    tlv_ctx *other = support_open();
    REQUIRE(other, "no context");
    tlv_tensor *mine = tlv_zeros(c, TLV_F32, TLV_SHAPE(2)),
               *foreign = tlv_full(other, TLV_F32, TLV_SHAPE(2), 3);
    EXPECT(!tlv_add(c, mine, foreign), "added");
    EXPECT(strstr(tlv_error_hint(c), "tlv_copy_from"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_CTX, "add: input 1, [2], belongs to another context");
    EXPECT_OK(other);
    tlv_tensor *copy = tlv_copy_from(c, foreign);
    EXPECT_VALUES(c, tlv_add(c, mine, copy), 0, 3, 3);
    tlv_fail(other, TLV_ERR_USER, NULL, "broken");
    EXPECT(!tlv_copy_from(c, foreign), "copied from a context with an error");
    EXPECT_SENTENCE(c, TLV_ERR_STATE, "broken");
    tlv_ctx_close(other);
    tlv_ctx_close(c);
}

static void test_memory_limit(void)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .mem_limit = 4 << 20 });
    REQUIRE(c, "no context");
    EXPECT_INT(tlv_mem_get(c).limit, 4 << 20);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, tlv_shape1(500000));
    EXPECT(x && !tlv_exp(c, tlv_exp(c, x)), "6 MB under a limit of 4 MB");
    EXPECT(strstr(tlv_error_hint(c), "mem_limit"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_NOMEM, "2.000 MB more", "the limit is 4.2 MB");
    tlv_scope_end(c, s);
    EXPECT(tlv_zeros(c, TLV_F32, tlv_shape1(700000)), "the memory did not come back: %s",
           tlv_error_msg(c));
    tlv_ctx_close(c);
}

static void test_state_limit_and_user(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_empty(c, TLV_F32, TLV_SHAPE(2));
    float *p = tlv_fill_ptr(c, x);
    REQUIRE(p, "no pointer");
    p[0] = p[1] = 1;
    EXPECT_VALUES(c, tlv_exp(c, x), 1e-6, 2.71828183, 2.71828183);
    EXPECT(!tlv_fill_ptr(c, x), "writable after it was read");
    EXPECT_SENTENCE(c, TLV_ERR_STATE, "tlv_fill_ptr", "[2]");
    EXPECT(!tlv_fill_ptr(c, tlv_zeros(c, TLV_F32, TLV_SHAPE(2))), "writable without tlv_empty");
    EXPECT_SENTENCE(c, TLV_ERR_STATE, "tlv_fill_ptr");
    tlv_shape deep = { .ndim = 9 };
    EXPECT(!tlv_zeros(c, TLV_F32, deep), "9 dims");
    EXPECT_SENTENCE(c, TLV_ERR_LIMIT, "9 dims", "8");
    EXPECT_STATUS(tlv_fail(c, TLV_ERR_USER, "try %% again", "task %d of %s", 3, "mine"),
                  TLV_ERR_USER);
    EXPECT_STR(tlv_error_msg(c), "task 3 of mine");
    tlv_error_clear(c);
    tlv_ctx_close(c);
}

/* VERSION, CONSUMED and NOGRAD of tlv_grad, ENDED of scopes: in test_grad.c and test_scope.c as
 * well. */
static void test_gradient_errors(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_full(c, TLV_F32, TLV_SHAPE(2), 1), *w = tlv_leaf(c, x), *d;
    tlv_grad(c, tlv_sum_all(c, x), NULL, 1, WRT(w), &d, 0);
    EXPECT(strstr(tlv_error_hint(c), "TLV_WANT_GRAD"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_NOGRAD, "grad");
    tlv_tensor *y = tlv_sum_all(c, tlv_exp(c, w));
    tlv_grad(c, y, NULL, 1, WRT(w), &d, TLV_CONSUME);
    tlv_grad(c, y, NULL, 1, WRT(w), &d, 0);
    EXPECT(strstr(tlv_error_hint(c), "TLV_CONSUME"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_CONSUMED, "consumed");
    y = tlv_sum_all(c, tlv_mul(c, w, w));
    w->buf->version++;
    tlv_grad(c, y, NULL, 1, WRT(w), &d, 0);
    EXPECT(strstr(tlv_error_hint(c), "before the optimizer"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_VERSION, "MUL", "[2]");
    tlv_scope s = tlv_scope_begin(c);
    y = tlv_exp(c, x);
    tlv_scope_end(c, s);
    tlv_exp(c, y);
    EXPECT(strstr(tlv_error_hint(c), "tlv_scope_end_keep"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_ENDED, "exp: input 0 has ended");
    tlv_ctx_close(c);
}

static void test_index_errors(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3)),
               *i = tlv_full(c, TLV_I32, TLV_SHAPE(4), 3);
    EXPECT(!tlv_gather(c, x, 1, i), "gathered");
    EXPECT(strstr(tlv_error_hint(c), "count from 0"), "%s", tlv_error_hint(c));
    EXPECT_SENTENCE(c, TLV_ERR_INDEX, "gather", "3");
    EXPECT(!tlv_gather(c, x, 0, tlv_full(c, TLV_I32, TLV_SHAPE(1), -1)), "gathered");
    EXPECT_SENTENCE(c, TLV_ERR_INDEX, "gather", "-1");
    EXPECT(!tlv_cross_entropy(c, x, tlv_full(c, TLV_I32, TLV_SHAPE(2), 7), (tlv_ce_opts){ 0 }),
           "a loss");
    EXPECT_SENTENCE(c, TLV_ERR_INDEX, "cross_entropy", "target is 7 in row 0", "0 .. 2");
    EXPECT(!tlv_gather(c, x, 0, x), "a float index");
    EXPECT_SENTENCE(c, TLV_ERR_DTYPE, "gather", "f32", "i32");
    tlv_ctx_close(c);
}

static void test_names_files_formats(void)
{
    OPEN(c);
    tlv_params *p[2];
    for (int i = 0; i < 2; i++) {
        tlv_build *b = tlv_build_begin(c, TLV_F32);
        tlv_build_param(b, i ? "weight" : "scale", TLV_SHAPE(2, 2), tlv_init_ones());
        p[i] = tlv_build_end(b);
    }
    EXPECT_STATUS(tlv_params_copy(c, p[0], p[1]), TLV_ERR_NAME);
    EXPECT_SENTENCE(c, TLV_ERR_NAME, "different names");
    tlv_params_close(p[0]);
    tlv_params_close(p[1]);
    EXPECT(!tlv_dataset_open(c, "idx:no-such-file,none", "train"), "opened");
    EXPECT_SENTENCE(c, TLV_ERR_IO, "no-such-file");
    char path[256], text[600];
    if (!test_temp_path(path, sizeof path, "broken.idx")) return;
    FILE *f = fopen(path, "wb");
    REQUIRE(f && fputs("this is no IDX file", f) >= 0 && fclose(f) == 0, "cannot write %s", path);
    snprintf(text, sizeof text, "idx:%s,%s", path, path);
    EXPECT(!tlv_dataset_open(c, text, "train"), "opened");
    EXPECT_SENTENCE(c, TLV_ERR_FORMAT, "broken.idx", "not an IDX file");
    tlv_ctx_close(c);
}

static void test_an_absent_instruction_set(void)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .isa = "sse9" });
    REQUIRE(c, "no context");
    EXPECT(!tlv_zeros(c, TLV_F32, TLV_SHAPE(1)), "a context without its instruction set works");
    EXPECT_SENTENCE(c, TLV_ERR_ISA, "'sse9'", tlv_isa_available());
    tlv_ctx_close(c);
    setenv("TLV_ISA", "sse8", 1);
    c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1 });
    EXPECT_SENTENCE(c, TLV_ERR_ISA, "'sse8'");
    tlv_ctx_close(c);
    c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .isa = "scalar" });    // the option comes first
    EXPECT_OK(c);
    EXPECT_STR(tlv_isa(c), "scalar");
    tlv_ctx_close(c);
    setenv("TLV_ISA", "scalar", 1);
    c = tlv_ctx_open(NULL);
    EXPECT_OK(c);
    EXPECT_STR(tlv_isa(c), "scalar");
    tlv_ctx_close(c);
    setenv("TLV_ISA", "", 1);
    c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1 });
    EXPECT_OK(c);
    EXPECT(strncmp(tlv_isa_available(), tlv_isa(c), strlen(tlv_isa(c))) == 0,
           "%s is not the widest of %s", tlv_isa(c), tlv_isa_available());
    tlv_ctx_close(c);
    unsetenv("TLV_ISA");
}

/* ---- how they behave ------------------------------------------------------------------------- */

static void test_the_first_error_stays(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_from(c, TLV_SHAPE(2), (float[]){ 1, 2 }, TLV_WANT_GRAD), *d = x;
    tlv_add(c, x, tlv_zeros(c, TLV_F32, TLV_SHAPE(3)));
    tlv_mem_stats before = tlv_mem_get(c);
    EXPECT(!tlv_exp(c, NULL) && !tlv_zeros(c, TLV_F32, TLV_SHAPE(1)) && !tlv_leaf(c, x)
               && !tlv_detach(c, x) && !tlv_arange(c, TLV_F32, 0, 1, 1)
               && !tlv_custom(c, NULL, 0, NULL, NULL),
           "a tensor after an error");
    EXPECT(tlv_item(c, x) == 0, "an item after an error");
    EXPECT_STATUS(tlv_read(c, x, &(float[2]){ 0 }, 2), TLV_ERR_SHAPE);
    EXPECT_STATUS(tlv_view_of(c, x, &(tlv_view){ 0 }), TLV_ERR_SHAPE);
    EXPECT_STATUS(tlv_grad(c, x, NULL, 1, WRT(x), &d, 0), TLV_ERR_SHAPE);
    EXPECT(d == NULL, "a gradient after an error");
    EXPECT_STATUS(tlv_parallel_tasks(c, 1, NULL, NULL), TLV_ERR_SHAPE);
    EXPECT_STATUS(tlv_fail(c, TLV_ERR_USER, NULL, "a later one"), TLV_ERR_SHAPE);
    EXPECT_INT(tlv_mem_get(c).live_tensors, before.live_tensors);
    EXPECT_INT(tlv_mem_get(c).requests, before.requests);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "add: a is [2] but b is [3]");
    EXPECT_VALUES(c, x, 0, 1, 2);
    tlv_error_clear(c);                                     // without an error nothing happens
    tlv_grad(c, tlv_sum_all(c, x), NULL, 1, WRT(x), &d, 0);
    EXPECT_VALUES(c, d, 0, 1, 1);
    tlv_ctx_close(c);
}

static void count_errors(void *user, tlv_ctx *c)
{
    int *n = user;
    *n += tlv_error(c) == TLV_ERR_SHAPE && strstr(tlv_error_msg(c), "add") ? 1 : 100;
}

static void test_the_hook_is_called_once_where_it_happens(void)
{
    int n = 0;
    tlv_ctx *c = tlv_ctx_open(
        &(tlv_ctx_opts){ .threads = 1, .on_error = count_errors, .on_error_user = &n });
    REQUIRE(c, "no context");
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(2));
    tlv_add(c, x, tlv_zeros(c, TLV_F32, TLV_SHAPE(3)));
    EXPECT_INT(n, 1);
    tlv_add(c, x, NULL);
    EXPECT_INT(n, 1);
    tlv_error_clear(c);
    tlv_add(c, x, tlv_zeros(c, TLV_F32, TLV_SHAPE(4)));
    EXPECT_INT(n, 2);
    tlv_error_clear(c);
    tlv_ctx_close(c);
}

static void test_a_sentence_names_the_parameter(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3)),
               *w = tlv_zeros(c, TLV_F32, TLV_SHAPE(4, 5));
    w->name = "layer3.0.conv2.weight";
    tlv_matmul(c, x, w, (tlv_matmul_opts){ 0 });
    EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "matmul", "(layer3.0.conv2.weight)");
    tlv_exp(c, NULL);
    EXPECT(!strstr(tlv_error_msg(c), "conv2"), "\"%s\" names a parameter of an earlier op",
           tlv_error_msg(c));
    tlv_error_clear(c);
    char name[700];                                         // longer than a sentence may be
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    w->name = name;
    tlv_add(c, x, w);
    EXPECT(strlen(tlv_error_msg(c)) < 600, "%zu characters", strlen(tlv_error_msg(c)));
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "add: a is [2,3]");
    tlv_ctx_close(c);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static tlv_status failing_task(tlv_ctx *child, int64_t i, void *user)
{
    (void)user;
    tlv_tensor *x = tlv_zeros(child, TLV_F32, tlv_shape1(2));
    if (i == 3 || i == 5) tlv_add(child, x, tlv_zeros(child, TLV_F32, tlv_shape1(i + 1)));
    return tlv_error(child);
}

static tlv_status foreign_task(tlv_ctx *child, int64_t i, void *user)
{
    (void)i;
    tlv_exp(child, user);                                   // a tensor of the parent
    return tlv_error(child);
}

static void test_errors_of_tasks_come_back_by_index(void)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2 });
    REQUIRE(c, "no context");
    for (int round = 0; round < 3; round++) {
        EXPECT_STATUS(tlv_parallel_tasks(c, 8, failing_task, NULL), TLV_ERR_SHAPE);
        EXPECT(tlv_error_hint(c)[0], "no hint");
        EXPECT_SENTENCE(c, TLV_ERR_SHAPE, "task 3", "add", "[2]", "[4]");
        // children are clean again
        EXPECT_STATUS(tlv_parallel_tasks(c, 3, failing_task, NULL), TLV_OK);
    }
    EXPECT_STATUS(tlv_parallel_tasks(c, 2, foreign_task, tlv_zeros(c, TLV_F32, TLV_SHAPE(1))),
                  TLV_ERR_CTX);
    EXPECT_SENTENCE(c, TLV_ERR_CTX, "task 0", "another context");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_codes_are_pinned), T(test_dtypes_are_pinned), T(test_every_code_has_a_hint),
          T(test_no_context_is_an_answer_too), T(test_shape_errors_name_op_and_shapes),
          T(test_argument_errors), T(test_dtype_errors), T(test_a_tensor_of_another_context),
          T(test_memory_limit), T(test_state_limit_and_user), T(test_gradient_errors),
          T(test_index_errors), T(test_names_files_formats), T(test_an_absent_instruction_set),
          T(test_the_first_error_stays), T(test_the_hook_is_called_once_where_it_happens),
          T(test_a_sentence_names_the_parameter), T(test_errors_of_tasks_come_back_by_index))
