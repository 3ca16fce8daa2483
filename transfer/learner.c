/* learner.c -- a learner that learns to learn: options, outer steps.  How a task is learned is the
 * methods' matter. */
#include "transfer/meta.h"

#include <math.h>
#include <stdio.h>

#include "optim/segments.h"

static const tlvi_meta_method *const METHODS[TLV_META_METHODS] = {
    [TLV_MAML] = &tlvi_maml,
    [TLV_FOMAML] = &tlvi_fomaml,
    [TLV_ANIL] = &tlvi_anil,
    [TLV_BOIL] = &tlvi_boil,
    [TLV_META_SGD] = &tlvi_meta_sgd,
    [TLV_MAML_PLUS_PLUS] = &tlvi_maml_plus_plus,
    [TLV_IMAML] = &tlvi_imaml,
    [TLV_REPTILE] = &tlvi_reptile,
    [TLV_PROTONET] = &tlvi_protonet,
    [TLV_MATCHING_NET] = &tlvi_matching_net,
};

/* ---- names and options ----------------------------------------------------------------------- */

const char *tlv_meta_method_name(tlv_meta_method m)
{
    return (unsigned)m < TLV_META_METHODS ? METHODS[m]->name : "?";
}

int tlv_meta_method_find(const char *name)
{
    for (int i = 0; name && i < TLV_META_METHODS; i++)
        if (strcmp(METHODS[i]->name, name) == 0) return i;
    return -1;
}

const char *tlv_meta_bn_name(tlv_meta_bn b)
{
    static const char *const NAMES[3] = { "batch", "running", "per-step" };
    return (unsigned)b < 3 ? NAMES[b] : "?";
}

tlv_meta_opts tlv_meta_defaults(tlv_meta_method method, int ways, int shots)
{
    if ((unsigned)method >= TLV_META_METHODS) method = TLV_MAML;
    tlv_meta_opts o = METHODS[method]->defaults;
    o.method = method;
    o.ways = ways;
    o.shots = shots;
    if (o.queries == 0) o.queries = shots;
    if (ways >= 20 && METHODS[method]->direction == tlvi_maml.direction) {
        o.inner_lr = 0.1;
        o.inner_steps = o.eval_steps = 5;
        o.tasks = 16;
    }
    if (ways >= 20 && method == TLV_REPTILE) {
        o.inner_lr = 5e-4;
        o.inner_steps = 10;
        o.inner_batch = 20;
        o.eval_batch = 10;
    }
    return o;
}

static tlv_status check(tlv_ctx *c, const tlv_model *m, const tlv_meta_opts *o)
{
    TLVI_CHECK(c, (unsigned)o->method < TLV_META_METHODS, TLV_ERR_ARG, "see tlv_meta_method",
               "meta_open: there is no method %d", (int)o->method);
    TLVI_CHECK(c, o->ways >= 2 && o->shots >= 1 && o->queries >= 1 && o->train_ways >= 0
                      && o->train_shots >= 0,
               TLV_ERR_ARG, "start from tlv_meta_defaults(method, ways, shots)",
               "meta_open: %d ways, %d shots, %d queries", o->ways, o->shots, o->queries);
    TLVI_CHECK(c, o->tasks >= 1 && o->inner_steps >= 0 && o->eval_steps >= 0 && o->iterations >= 1,
               TLV_ERR_ARG, "start from tlv_meta_defaults(method, ways, shots)",
               "meta_open: %d tasks, %d and %d inner steps, %lld iterations", o->tasks,
               o->inner_steps, o->eval_steps, (long long)o->iterations);
    TLVI_CHECK(c, o->lr >= 0 && o->lr_end >= 0 && o->inner_lr >= 0 && o->clip >= 0, TLV_ERR_ARG,
               "rates and the clip are at least 0", "meta_open: lr %g to %g, inner lr %g, clip %g",
               o->lr, o->lr_end, o->inner_lr, o->clip);
    TLVI_CHECK(c, o->inner_batch >= 0 && o->eval_batch >= 0, TLV_ERR_ARG,
               "0 is the whole support set", "meta_open: %d and %d images an inner step",
               o->inner_batch, o->eval_batch);
    TLVI_CHECK(c, !o->adapt || strlen(o->adapt) < TLVI_ADAPT, TLV_ERR_LIMIT, "use '*' in patterns",
               "meta_open: adapt has more than %d characters", TLVI_ADAPT - 1);
    const tlvi_meta_method *how = METHODS[o->method];
    TLVI_CHECK(c, how != &tlvi_imaml || (o->proximal > 0 && o->cg_steps >= 1), TLV_ERR_ARG,
               "start from tlv_meta_defaults(method, ways, shots)",
               "meta_open: proximal %g, %d steps of conjugate gradients", o->proximal, o->cg_steps);
    TLVI_CHECK(c, o->bn != TLV_META_BN_PER_STEP || how->step_norms, TLV_ERR_ARG,
               "maml++ has them; others take batch or running statistics",
               "meta_open: %s has no batch norms of single steps", how->name);
    int ways = o->train_ways ? o->train_ways : o->ways;
    TLVI_CHECK(c, how->embeds || (tlv_model_classes(m) == o->ways && ways == o->ways), TLV_ERR_ARG,
               "give the model a head of that many classes (tlv_model_new_head)",
               "meta_open: %s learns %d ways (%d in training), but the model has %d classes",
               how->name, o->ways, ways, tlv_model_classes(m));
    return c->err;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The learner's adapt option with the model's own name for "head" in front of a pattern. */
static int matches(const void *learner, const char *name)
{
    const tlv_meta *l = learner;
    const char *head = tlv_model_head(l->m), *pattern = l->o.adapt;
    size_t n = strlen(head);
    int in_head = strncmp(name, head, n) == 0 && name[n] == '.';
    if (l->o.method == TLV_ANIL && !pattern) return in_head;
    if (l->o.method == TLV_BOIL && !pattern) return !in_head;
    if (!pattern || tlv_match(pattern, name)) return 1;
    if (!in_head) return 0;
    char alias[300];
    snprintf(alias, sizeof alias, "head%s", name + n);
    return tlv_match(pattern, alias);
}

static int is_lora(const char *name)
{
    size_t n = strlen(name);
    return n > 7 && (strcmp(name + n - 7, ".lora_a") == 0 || strcmp(name + n - 7, ".lora_b") == 0);
}

static void find_slots(tlv_meta *l)
{
    const tlv_params *model = tlv_model_params(l->m);
    char name[80];
    snprintf(name, sizeof name, "%s.weight", tlv_model_head(l->m));
    l->head_w = tlv_params_find(model, name);
    snprintf(name, sizeof name, "%s.bias", tlv_model_head(l->m));
    l->head_b = tlv_params_find(model, name);
}

static tlv_status find_adapted(tlv_meta *l)
{
    int any = 0;
    l->adapted = tlvi_alloc(l->c, (size_t)l->own);
    for (int i = 0; l->adapted && i < l->own; i++) {
        const char *name = tlv_params_name(l->p, i);
        l->adapted[i] = !tlv_params_is_buffer(l->p, i) && !tlv_params_is_frozen(l->p, i)
                     && !(l->how->step_norms && tlvi_is_batch_norm(l->p, i))
                     && (l->o.lora_rank > 0 ? is_lora(name) : matches(l, name));
        any |= l->adapted[i];
    }
    TLVI_CHECK(l->c, any, TLV_ERR_ARG, "see the names with tlv-inspect",
               "meta_open: no parameter matches adapt = '%s'", l->o.adapt ? l->o.adapt : "*");
    l->head_alone = tlv_model_about(l->m)->linear_head && l->head_w >= 0 && !l->how->step_norms;
    for (int i = 0; i < l->own; i++)
        if (l->adapted[i] && i != l->head_w && i != l->head_b) l->head_alone = 0;
    return l->c->err;
}

/* p with what `more` holds behind it (NULL: a copy); `more` and p are closed. */
static tlv_params *append(tlv_ctx *c, tlv_params *p, tlv_params *more)
{
    if (!more) return p;
    tlv_params *q = p ? tlv_params_edit(c, p, NULL, more) : NULL;
    tlv_params_close(p);
    tlv_params_close(more);
    return q;
}

static void build(tlv_meta *l)
{
    tlv_ctx *c = l->c;
    l->p = tlv_params_clone(c, tlv_model_params(l->m));
    if (l->p && l->o.lora_rank > 0)
        l->p = append(c, l->p, tlvi_lora_entries(c, l->p, matches, l, l->o.lora_rank));
    l->own = tlv_params_count(l->p);
    if (!l->p || find_adapted(l) != TLV_OK) return;
    if (l->how->own) l->p = append(c, l->p, l->how->own(c, l));
    l->entries = tlv_params_count(l->p);
    if (c->err) return;
    tlv_adam_opts adam = tlv_adam_defaults();
    adam.lr = l->o.lr;
    l->opt = l->how->sgd ? tlv_sgd_open(c, l->p, (tlv_sgd_opts){ .lr = l->o.lr })
                         : tlv_adam_open(c, l->p, adam);
}

tlv_meta *tlv_meta_open(tlv_ctx *c, const tlv_model *m, tlv_meta_opts o)
{
    if (c->err || check(c, m, &o) != TLV_OK) return NULL;
    tlv_meta *l = tlvi_alloc(c, sizeof *l);
    if (!l) return NULL;
    *l = (tlv_meta){ .c = c, .m = m, .how = METHODS[o.method], .o = o };
    if (o.adapt) l->o.adapt = strcpy(l->adapt, o.adapt);
    l->key = tlv_rng_stream(c, "episodes");
    find_slots(l);
    build(l);
    if (c->err == TLV_OK) return l;
    tlv_meta_close(l);
    return NULL;
}

void tlv_meta_close(tlv_meta *l)
{
    if (!l) return;
    tlv_optim_close(l->opt);
    tlv_params_close(l->p);
    if (l->adapted) tlvi_free(l->c, l->adapted, (size_t)l->own);
    tlvi_free(l->c, l, sizeof *l);
}

const tlv_meta_opts *tlv_meta_options(const tlv_meta *l) { return &l->o; }
int64_t tlv_meta_iteration(const tlv_meta *l) { return l->iteration; }
tlv_params *tlv_meta_params(const tlv_meta *l) { return l->p; }

tlv_status tlv_meta_to_model(const tlv_meta *l, tlv_model *m)
{
    tlv_ctx *c = l->c;
    tlv_params *to = tlv_model_params(m);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    const tlv_params *from = l->o.lora_rank > 0 ? tlv_lora_merge(c, l->p, 1) : l->p;
    from = tlvi_step_norms(c, l, from, 0);
    for (int i = 0; from && i < tlv_params_count(to) && c->err == TLV_OK; i++)
        if (strcmp(tlv_params_name(to, i), tlv_params_name(from, i)) != 0)
            tlvi_fail(c, TLV_ERR_NAME, "pass the model that the learner was opened with",
                      "meta_to_model: entry %d is %s, but %s was learned", i,
                      tlv_params_name(to, i), tlv_params_name(from, i));
        else tlv_params_set(c, to, i, tlv_params_get(from, i));
    tlv_scope_end(c, s);
    return c->err;
}

/* ---- the outer step -------------------------------------------------------------------------- */

/* Cosine from lr to lr_end, a straight line for Reptile (its annealing). */
static double rate_at(const tlv_meta *l)
{
    double t = fmin(1, (double)l->iteration / (double)l->o.iterations);
    double down = l->how->sgd ? t : 0.5 * (1 - cos(3.141592653589793 * t));
    return l->o.lr + (l->o.lr_end - l->o.lr) * down;
}

typedef struct outer {
    const tlv_meta *l;
    const tlv_episodes *e;
    double *result;                     /* [tasks][2]: loss, accuracy */
} outer;

static tlv_params *one_task(tlv_ctx *child, const tlv_params *p, int64_t task, void *user)
{
    const outer *j = user;
    const tlv_meta *l = j->l;
    const tlv_meta_opts *o = &l->o;
    tlv_rng_key key = tlv_rng_fold(tlv_rng_fold(l->key, (uint64_t)l->iteration), (uint64_t)task);
    int ways = o->train_ways ? o->train_ways : o->ways;
    int shots = o->train_shots ? o->train_shots : o->shots;
    tlv_episode e = tlv_episode_draw(child, j->e, ways, shots, o->queries, key);
    tlvi_meta_task t = { .c = child, .l = l, .p = p, .e = &e, .training = 1,
                         .iteration = l->iteration, .key = tlv_rng_fold(key, 1) };
    tlvi_meta_start(&t);
    tlv_params *d = child->err ? NULL : l->how->direction(&t);
    j->result[2 * task] = t.loss;
    j->result[2 * task + 1] = t.accuracy;
    for (int i = 0; d && t.observed && i < l->entries; i++)
        if (t.observed->value[i]) d->value[i] = t.observed->value[i];
    return d;
}

/* running = (1 - momentum) running + momentum (mean over the tasks); then the entry is done.  What
 * a method carries on has momentum 1. */
static void update_running(tlv_meta *l, tlv_params *mean)
{
    tlv_ctx *c = l->c;
    for (int i = 0; i < l->entries && c->err == TLV_OK; i++) {
        if (!tlv_params_is_buffer(l->p, i) || !mean->value[i]) continue;
        int carried = i >= l->own && l->how->carries;
        double momentum = carried ? 1 : tlv_model_about(l->m)->momentum;
        tlv_tensor *old = tlv_affine(c, tlv_params_get(l->p, i), 1 - momentum, 0);
        tlv_params_set(c, l->p, i, tlv_add(c, old, tlv_affine(c, mean->value[i], momentum, 0)));
        mean->value[i] = NULL;
    }
}

static tlv_status sum_up(tlv_meta *l, const double *result, tlv_meta_progress *out)
{
    *out = (tlv_meta_progress){ .lr = rate_at(l) };
    for (int i = 0; i < l->o.tasks; i++) {
        TLVI_CHECK(l->c, isfinite(result[2 * i]), TLV_ERR_ARG, "take a smaller inner_lr or lr",
                   "meta_step: the loss of task %d in step %lld is %g", i,
                   (long long)l->iteration, result[2 * i]);
        out->loss += result[2 * i] / l->o.tasks;
        out->accuracy += result[2 * i + 1] / l->o.tasks;
    }
    return l->c->err;
}

static void outer_step(tlv_meta *l, const tlv_episodes *e, double *result, tlv_meta_progress *out)
{
    tlv_ctx *c = l->c;
    outer j = { l, e, result };
    tlv_params *mean = tlv_task_mean(c, l->p, l->o.tasks, one_task, &j);
    if (!mean || sum_up(l, result, out) != TLV_OK) return;
    update_running(l, mean);
    if (l->o.clip > 0) mean = tlv_clip_value(c, mean, l->o.clip);
    tlv_optim_set_lr(l->opt, out->lr);
    if (mean && tlv_optim_step(c, l->opt, l->p, mean) == TLV_OK) l->iteration++;
}

tlv_status tlv_meta_step(tlv_meta *l, const tlv_episodes *e, tlv_meta_progress *report)
{
    tlv_ctx *c = l->c;
    tlv_meta_progress none;
    if (c->err) return c->err;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *result = tlvi_new(c, TLV_F64, TLV_SHAPE(l->o.tasks, 2));
    if (result) outer_step(l, e, tlvi_ptr(result), report ? report : &none);
    tlv_scope_end(c, s);
    return c->err;
}
