/* test_slow_oom.c -- memory runs out at every request in turn, through a step of meta-learning
 * with a checkpoint and an optimizer, and through tasks: always TLV_ERR_NOMEM, nothing lost,
 * nothing half done, and the context works again afterwards. */
#include "tests/support.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "tensor/core.h"

enum {
    IN = 5,
    HIDDEN = 7,
    OUT = 3,
    ROWS = 6,
    INNER = 2,
    NUMBERS = IN * HIDDEN + HIDDEN + HIDDEN * OUT + OUT
};

typedef struct net { tlv_linear_layer a, b; } net;

typedef struct job {
    net m;
    tlv_params *p;
    tlv_optim *opt;
    double loss;
    float before[NUMBERS], after[NUMBERS];
} job;

static tlv_tensor *draw(tlv_ctx *c, int cols, uint64_t what)
{
    return tlv_randn(c, TLV_F32, tlv_shape2(ROWS, cols),
                     tlv_rng_fold(tlv_rng_stream(c, "data"), what));
}

static tlv_tensor *loss_of(tlv_ctx *c, const net *m, const tlv_params *p, uint64_t task)
{
    tlv_run r = { .c = c, .params = p };
    tlv_tensor *x = draw(c, IN, task), *y = draw(c, OUT, task + 100);
    tlv_scope s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    tlv_tensor *h = tlv_linear_fwd(&r, &m->a, x, TLV_ACT_TANH);
    tlv_tensor *e = tlv_sub(c, tlv_linear_fwd(&r, &m->b, h, TLV_ACT_NONE), y);
    return tlv_scope_end_keep(c, s, tlv_mean_all(c, tlv_mul(c, e, e)));
}

/* One step of MAML (Finn et al. 2017, alg. 2) with two inner steps. */
static void meta_step(tlv_ctx *c, job *j)
{
    tlv_scope s = tlv_scope_begin(c);
    const tlv_params *fast = j->p;
    for (int k = 0; k < INNER; k++) {
        tlv_tensor *loss = loss_of(c, &j->m, fast, 1);
        fast = tlv_params_axpy(c, fast, -0.1, tlv_params_grad(c, loss, fast, TLV_CREATE_GRAPH));
    }
    tlv_tensor *loss = loss_of(c, &j->m, fast, 2);
    tlv_params *g = tlv_clip_norm(c, tlv_params_grad(c, loss, j->p, 0), 1.0, NULL);
    tlv_optim_step(c, j->opt, j->p, g);
    j->loss = tlv_item(c, loss);
    tlv_scope_end(c, s);
}

/* The parameters as they are, whatever error the context holds. */
static void look(const tlv_params *p, float *out)
{
    for (int i = 0, at = 0; p && i < tlv_params_count(p); i++) {
        const tlv_tensor *t = tlv_params_get(p, i);
        memcpy(out + at, tlvi_f32(t), (size_t)tlv_numel(t) * sizeof *out);
        at += (int)tlv_numel(t);
    }
}

static tlv_status run_job(tlv_ctx *c, job *j)
{
    memset(j, 0, sizeof *j);
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    j->m.a = tlv_linear_init(b, "a", IN, HIDDEN, 1);
    j->m.b = tlv_linear_init(b, "b", HIDDEN, OUT, 1);
    j->p = tlv_build_end(b);
    if (!j->p) return tlv_error(c);
    j->opt = tlv_adam_open(c, j->p, tlv_adam_defaults());
    look(j->p, j->before);
    if (j->opt) meta_step(c, j);
    look(j->p, j->after);
    tlv_optim_close(j->opt);
    tlv_params_close(j->p);
    return tlv_error(c);
}

static void check_after_failure(tlv_ctx *c, const job *failed, const job *want, long long k)
{
    EXPECT(tlv_error(c) == TLV_ERR_NOMEM, "request %lld: %s, %s", k, tlv_status_name(tlv_error(c)),
           tlv_error_msg(c));
    EXPECT(strstr(tlv_error_msg(c), "memory"), "request %lld: \"%s\"", k, tlv_error_msg(c));
    int nothing = memcmp(failed->after, failed->before, sizeof failed->after) == 0;
    int all = memcmp(failed->after, want->after, sizeof want->after) == 0;
    EXPECT(nothing || all, "request %lld: the step was half done", k);
    EXPECT(c->depth == 0, "request %lld: %d scopes are open", k, c->depth);
    tlv_error_clear(c);
    job again;
    EXPECT(run_job(c, &again) == TLV_OK, "request %lld: then %s", k, tlv_error_msg(c));
    EXPECT(again.loss == want->loss, "request %lld: then a loss of %.9g, want %.9g", k, again.loss,
           want->loss);
    EXPECT(memcmp(again.after, want->after, sizeof want->after) == 0,
           "request %lld: then other parameters", k);
    EXPECT(tlv_mem_get(c).live_tensors == 0 && tlv_mem_get(c).tape_nodes == 0,
           "request %lld: %lld tensors and %lld nodes are left", k,
           (long long)tlv_mem_get(c).live_tensors, (long long)tlv_mem_get(c).tape_nodes);
}

static int undisturbed(job *j)
{
    tlv_ctx *c = support_open();
    int ok = EXPECT(c && run_job(c, j) == TLV_OK, "%s", tlv_error_msg(c));
    EXPECT(memcmp(j->before, j->after, sizeof j->before) != 0, "the step did nothing");
    tlv_ctx_close(c);
    return ok;
}

/* The context's own option: every request to the pool, warm or not. */
static void test_every_request_may_fail(void)
{
    job want, j;
    if (!undisturbed(&want)) return;
    long long k = 1;
    for (;; k++) {
        support_hook hook = { 0 };
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){
            .threads = 1, .seed = 7, .fail_at = k, .alloc = support_alloc, .alloc_user = &hook });
        tlv_status st = c ? run_job(c, &j) : TLV_ERR_NOMEM;
        if (c && st != TLV_OK) check_after_failure(c, &j, &want, k);
        tlv_ctx_close(c);
        EXPECT(hook.live == 0 && hook.wrong_size == 0, "request %lld: %lld blocks are lost", k,
               (long long)hook.live);
        if (st == TLV_OK || test_failures() > 20) break;
    }
    EXPECT(k > 200, "the step made %lld requests only", k);
}

/* The system itself: one call fails (the pool may find another way), or all from then on. */
static void test_every_call_of_the_hook_may_fail(void)
{
    job want, j;
    if (!undisturbed(&want)) return;
    for (int forever = 0; forever < 2; forever++)
        for (int64_t k = 1;; k++) {
            support_hook hook = { .fail_at = k, .forever = forever };
            tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){
                .threads = 1, .seed = 7, .alloc = support_alloc, .alloc_user = &hook });
            tlv_status st = c ? run_job(c, &j) : TLV_ERR_NOMEM;
            int reached = hook.asked >= k;
            hook.fail_at = 0;                               // there is memory again
            if (c && st != TLV_OK) check_after_failure(c, &j, &want, k);
            if (st == TLV_OK)
                EXPECT(j.loss == want.loss, "call %lld: a loss of %.9g", (long long)k, j.loss);
            tlv_ctx_close(c);
            EXPECT(hook.live == 0 && hook.wrong_size == 0, "call %lld: %lld blocks are lost",
                   (long long)k, (long long)hook.live);
            if (!reached || test_failures() > 20) break;
        }
}

/* ---- tasks ----------------------------------------------------------------------------------- */

typedef struct shared { net m; const tlv_params *p; double loss[4]; } shared;

static tlv_status one_task(tlv_ctx *child, int64_t i, void *user)
{
    shared *s = user;
    const tlv_params *p = tlv_params_borrow(child, s->p);
    tlv_tensor *loss = loss_of(child, &s->m, p, (uint64_t)i);
    const tlv_params *g = tlv_params_grad(child, loss, p, TLV_CREATE_GRAPH);
    loss = loss_of(child, &s->m, tlv_params_axpy(child, p, -0.1, g), (uint64_t)i + 10);
    tlv_params_grad(child, loss, p, 0);
    s->loss[i] = tlv_item(child, loss);
    return tlv_error(child);
}

static tlv_status run_tasks(tlv_ctx *c, shared *s)
{
    memset(s->loss, 0, sizeof s->loss);
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    s->m.a = tlv_linear_init(b, "a", IN, HIDDEN, 1);
    s->m.b = tlv_linear_init(b, "b", HIDDEN, OUT, 1);
    tlv_params *p = tlv_build_end(b);
    s->p = p;
    if (p) tlv_parallel_tasks(c, 4, one_task, s);
    tlv_params_close(p);
    return tlv_error(c);
}

static void test_tasks_run_out_of_memory(void)
{
    tlv_ctx_opts o = { .threads = 2, .seed = 7 };
    tlv_ctx *c = tlv_ctx_open(&o);
    shared want, s;
    REQUIRE(c && run_tasks(c, &want) == TLV_OK, "%s", tlv_error_msg(c));
    int64_t requests = (int64_t)tlv_mem_get(c).requests;
    tlv_ctx_close(c);
    int failed = 0;
    for (int64_t k = 1; k < requests + 10 && test_failures() <= 20; k++) {
        support_hook hook = { 0 };
        o.fail_at = k;
        o.alloc = support_alloc;
        o.alloc_user = &hook;
        c = tlv_ctx_open(&o);
        tlv_status st = c ? run_tasks(c, &s) : TLV_ERR_NOMEM;
        failed += st != TLV_OK;
        EXPECT(st == TLV_OK || st == TLV_ERR_NOMEM, "request %lld: %s", (long long)k,
               tlv_error_msg(c));
        if (c && st != TLV_OK) {
            tlv_error_clear(c);
            EXPECT(run_tasks(c, &s) == TLV_OK, "request %lld: then %s", (long long)k,
                   tlv_error_msg(c));
            EXPECT(memcmp(s.loss, want.loss, sizeof want.loss) == 0,
                   "request %lld: then other losses", (long long)k);
        }
        tlv_ctx_close(c);
        EXPECT(hook.live == 0 && hook.wrong_size == 0, "request %lld: %lld blocks are lost",
               (long long)k, (long long)hook.live);
    }
    EXPECT(failed > requests / 2, "%d of %lld requests failed", failed, (long long)requests);
}

TEST_MAIN(T(test_every_request_may_fail), T(test_every_call_of_the_hook_may_fail),
          T(test_tasks_run_out_of_memory))
