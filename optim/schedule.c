/* schedule.c -- learning rates as pure functions of the step. */
#include <math.h>

#include "optim/optim.h"

static const double PI = 3.14159265358979323846;

double tlv_lr_step(double lr, int64_t t, int64_t every, double gamma)
{
    return every > 0 ? lr * pow(gamma, (double)(t / every)) : lr;
}

double tlv_lr_multistep(double lr, int64_t t, const int64_t *milestones, int n, double gamma)
{
    for (int i = 0; i < n && t >= milestones[i]; i++) lr *= gamma;
    return lr;
}

double tlv_lr_cosine(double lr, double lr_min, int64_t t, int64_t n)
{
    double x = n > 0 ? (double)(t < n ? t : n) / (double)n : 1;
    return lr_min + 0.5 * (lr - lr_min) * (1 + cos(PI * x));
}

static double anneal(double from, double to, double x)
{
    return to + 0.5 * (from - to) * (1 + cos(PI * x));
}

double tlv_lr_one_cycle(double lr_max, int64_t t, int64_t n, double pct, double div,
                        double final_div)
{
    double start = lr_max / div, end = start / final_div;
    double up = pct * (double)n - 1, down = (double)n - 1, x = (double)t;
    if (x <= up) return up > 0 ? anneal(start, lr_max, x / up) : lr_max;
    return down > up ? anneal(lr_max, end, x < down ? (x - up) / (down - up) : 1) : end;
}

double tlv_lr_warmup(double lr, int64_t t, int64_t warm)
{
    return t < warm ? lr * (double)(t + 1) / (double)warm : lr;
}
