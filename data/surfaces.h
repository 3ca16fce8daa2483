/* surfaces.h -- what drawing an inspected surface consists of: the plate, its light, its flaw.
 *
 * Everything is made of +, -, *, / and sqrt of floats, so that the bits are the same everywhere. */
#ifndef TLVI_SURFACES_H
#define TLVI_SURFACES_H

#include "data/data.h"
#include "data/dice.h"
#include "tensor/core.h"

enum { TLVI_TABLE = 128 };              /* a power of two */

typedef struct tlvi_plate {
    int side;
    float *rgb;                         /* [side,side,3], 0 .. 255 */
    float *cover;                       /* [side,side] of the flaw at work, 0 .. 1 */
    float *mark;                        /* [side,side] of all flaws: what the mask is made of */
    uint8_t *table;                     /* [TLVI_TABLE,TLVI_TABLE] random heights */
    float light[2];                     /* the direction that light comes from */
} tlvi_plate;

/* Soft noise, 0 .. 1: the table's heights, joined smoothly; it repeats after TLVI_TABLE. */
float tlvi_plate_noise(const tlvi_plate *p, float u, float v);

/* Draws flaws of one kind onto the plate: none, one, or some. */
void tlvi_defects_draw(tlvi_plate *p, tlv_defect kind, tlvi_dice *d);       /* defects.c */

#endif
