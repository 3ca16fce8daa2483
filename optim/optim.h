/* optim.h -- optimizers, schedules, clipping, averages.
 *
 * A step takes parameters and their gradients (tlv_params_grad) and changes the parameters in
 * place; after an error in the context it does nothing.  A parameter whose gradient is NULL
 * (exactly zero: not reached, or frozen) is left alone, decay included, and counted. */
#ifndef TLV_OPTIM_H
#define TLV_OPTIM_H

#include "nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parameters whose names match take another rate or decay; the last match counts. */
typedef struct tlv_group {
    const char *pattern;
    double lr_scale;                /* times the optimizer's lr; 0 stops them */
    double weight_decay;            /* instead of the optimizer's */
} tlv_group;

typedef struct tlv_optim tlv_optim;

/* Zero is plain gradient descent.  As torch.optim.SGD. */
typedef struct tlv_sgd_opts {
    double lr, momentum, dampening, weight_decay;
    int nesterov;
    int decoupled;                  /* 1: p *= 1 - lr wd instead of g += wd p */
    const tlv_group *groups;        /* copied; patterns too */
    int n_groups;
} tlv_sgd_opts;

/* Start from tlv_adam_defaults() or tlv_adamw_defaults(). As torch.optim.Adam, AdamW. */
typedef struct tlv_adam_opts {
    double lr, beta1, beta2, eps, weight_decay;
    int decoupled;                  /* 1: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) */
    const tlv_group *groups;
    int n_groups;
} tlv_adam_opts;
tlv_adam_opts tlv_adam_defaults(
    void); /* 1e-3, 0.9, 0.999, 1e-8, 0  (Kingma & Ba 2015, arXiv:1412.6980) */
tlv_adam_opts tlv_adamw_defaults(void);     /* the same with decoupled decay 0.01 */

/* For sets of p's schema; moments start at zero.  NULL after an error. */
tlv_optim *tlv_sgd_open(tlv_ctx *c, const tlv_params *p, tlv_sgd_opts o);
tlv_optim *tlv_adam_open(tlv_ctx *c, const tlv_params *p, tlv_adam_opts o);
void tlv_optim_close(tlv_optim *o);                                     /* accepts NULL */

/* All or nothing.  p, g: the schema the optimizer was opened with (else TLV_ERR_NAME); NULL is
 * TLV_ERR_ARG. */
tlv_status tlv_optim_step(tlv_ctx *c, tlv_optim *o, tlv_params *p, const tlv_params *g);
void tlv_optim_set_lr(tlv_optim *o, double lr);             /* of the steps to come */
double tlv_optim_lr(const tlv_optim *o);                    /* the rate now */
int64_t tlv_optim_steps(const tlv_optim *o);                /* steps done */
int tlv_optim_skipped(const tlv_optim *o); /* parameters without gradient in the last step */

/* For checkpoints: moment sets (0: momentum or first, 1: second; NULL past the last), and steps a
 * slot. */
tlv_params *tlv_optim_moment(tlv_optim *o, int i);
int64_t tlv_optim_slot_steps(const tlv_optim *o, int slot);
void tlv_optim_set_steps(tlv_optim *o, int64_t steps,
                         const int64_t *slot_steps); /* slot_steps NULL: all the same */

/* ---- L-BFGS (lbfgs.c) ------------------------------------------------------------------------- *
 * Nocedal & Wright, Numerical Optimization, alg. 7.4 and 3.5; strong Wolfe with cubic
 * interpolation. */

/* Returns the loss at p as a scalar tensor with history. */
typedef tlv_tensor *(*tlv_loss_fn)(tlv_ctx *c, const tlv_params *p, void *user);

typedef struct tlv_lbfgs_opts {
    int max_iter, max_eval, history;        /* 0: 20, 1.25 max_iter, 100 (as torch.optim.LBFGS) */
    double lr, tol_grad, tol_change;        /* 0: 1, 1e-7, 1e-9 */
} tlv_lbfgs_opts;

typedef struct tlv_lbfgs_report {
    int iterations, evaluations;
    double loss, max_grad;                  /* at the end */
    const char *why; /* "gradient", "change", "iterations", "evaluations", "no descent",
                        "not finite" (a loss or gradient, with no way around it), "error" */
} tlv_lbfgs_report;

/* Minimises in place over the parameters that are not frozen.  Vectors are kept in double.  A trial
 * point whose loss or gradient is not finite counts as too high; after an error p is the last point
 * accepted.  report may be NULL. */
tlv_status tlv_lbfgs(tlv_ctx *c, tlv_params *p, tlv_loss_fn loss, void *user, tlv_lbfgs_opts o,
                     tlv_lbfgs_report *report);

/* ---- schedules (schedule.c): the rate at step t of n, t from 0 ------------------------------- */

/* lr gamma^floor(t / every) */
double tlv_lr_step(double lr, int64_t t, int64_t every, double gamma);
/* milestones ascending */
double tlv_lr_multistep(double lr, int64_t t, const int64_t *milestones, int n, double gamma);
double tlv_lr_cosine(double lr, double lr_min, int64_t t,
                     int64_t n); /* arXiv:1608.03983, without restarts */
/* As torch's OneCycleLR (cosine, two phases): from max/div up to max at pct n, down to
 * max/div/final_div. */
double tlv_lr_one_cycle(double lr_max, int64_t t, int64_t n, double pct, double div,
                        double final_div);
/* lr (t + 1) / warm before step warm, then lr: multiply into another schedule. */
double tlv_lr_warmup(double lr, int64_t t, int64_t warm);

/* ---- clipping (clip.c), averages (ema.c) ----------------------------------------------------- */

/* Scales g so that its L2 norm is at most max_norm (torch.nn.utils.clip_grad_norm_): a set of the
 * innermost scope; norm, if not NULL, receives the norm before. */
tlv_params *tlv_clip_norm(tlv_ctx *c, const tlv_params *g, double max_norm, double *norm);
tlv_params *tlv_clip_value(tlv_ctx *c, const tlv_params *g, double max_abs);

/* avg = decay avg + (1 - decay) p, buffers copied.  avg: a clone of p. */
tlv_status tlv_ema_update(tlv_ctx *c, tlv_params *avg, const tlv_params *p, double decay);

#ifdef __cplusplus
}
#endif
#endif
