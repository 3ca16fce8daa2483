/* dice.h -- random numbers for drawing: splitmix64 (Steele, Lea, Flood 2014, OOPSLA), since an
 * image takes thousands of them.  Made of integers, and of floats' +, -, *, / and sqrt: the bits
 * are the same everywhere, if a statement throws the dice once: C does not fix the order of
 * arguments. */
#ifndef TLVI_DICE_H
#define TLVI_DICE_H

#include <math.h>
#include <stdint.h>

typedef struct tlvi_dice { uint64_t s; } tlvi_dice;

static inline uint64_t tlvi_dice_u64(tlvi_dice *d)
{
    uint64_t z = (d->s += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
/* [0, 1) in steps of 2^-24, exact in a float */
static inline float tlvi_dice_unit(tlvi_dice *d)
{
    return (float)(int32_t)(tlvi_dice_u64(d) >> 40) * 0x1p-24f;
}
static inline float tlvi_dice_in(tlvi_dice *d, float lo, float hi)
{
    return lo + (hi - lo) * tlvi_dice_unit(d);
}
static inline int tlvi_dice_below(tlvi_dice *d, int n)              /* 0 .. n-1 */
{
    return (int)(((tlvi_dice_u64(d) >> 32) * (uint64_t)n) >> 32);
}
/* A direction: a point of the unit circle, without sines. */
static inline void tlvi_dice_turn(tlvi_dice *d, float out[2])
{
    float x, y, r;
    do {
        x = tlvi_dice_in(d, -1, 1);
        y = tlvi_dice_in(d, -1, 1);
        r = x * x + y * y;
    } while (r > 1 || r < 0.01f);
    r = sqrtf(r);
    out[0] = x / r;
    out[1] = y / r;
}

#endif
