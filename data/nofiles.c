/* nofiles.c -- stands in for what streams sets of files until that lands (delete with it). */
#include "data/reader.h"

tlv_status tlv_dataset_image(tlv_ctx *c, const tlv_dataset *d, int64_t i, tlv_image *out)
{
    if (!d->pixels) return tlvi_fail(c, TLV_ERR_STATE, NULL, "sets of files are not decoded yet");
    tlv_pixels kind = d->channels == 1 ? TLV_GREY : TLV_RGB;
    if (tlv_image_new(c, d->h, d->w, kind, 8, out) != TLV_OK) return c->err;
    memcpy(out->samples, tlv_dataset_pixels(d, i), out->bytes);
    return TLV_OK;
}

int64_t tlv_dataset_drop_bad(tlv_ctx *c, tlv_dataset *d, tlv_bad_file *bad, int64_t room)
{
    (void)d, (void)bad, (void)room;
    tlvi_fail(c, TLV_ERR_STATE, NULL, "sets of files are not decoded yet");
    return -1;
}
