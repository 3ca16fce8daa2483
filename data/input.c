/* input.c -- one image as the input of a network, without a data set. */
#include "tensor/core.h"
#include "data/data.h"

tlv_tensor *tlv_image_input(tlv_ctx *c, const tlv_image *m, const tlv_recipe *recipe)
{
    if (c->err) return NULL;
    c->in_hand[0] = NULL;                               // no op is at work
    TLVI_REQUIRE(c, m && m->samples && recipe && recipe->size > 0, TLV_ERR_ARG,
                 "pass an image from tlv_image_read and a recipe such as tlv_model_recipe's",
                 "image_input: %s", !m || !m->samples ? "the image is empty" : "no recipe");
    tlv_image ready = { 0 };
    tlv_rng_key none = { 0 };
    if (tlv_image_prepare(m, recipe, NULL, none, &ready) != TLV_OK) return NULL;
    tlv_tensor *x = tlvi_new_image(c, TLV_F32, tlv_shape4(1, 3, recipe->size, recipe->size));
    if (x) tlv_image_normalize(&ready, recipe, tlvi_f32(x));
    tlv_image_close(&ready);
    return x;
}
