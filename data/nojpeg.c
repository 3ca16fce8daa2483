/* nojpeg.c -- stands where the JPEG decoder will be. */
#include "data/codec.h"

tlv_status tlvi_jpeg_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                            tlv_image *out)
{
    (void)bytes, (void)n, (void)out;
    return tlvi_fail(c, TLV_ERR_FORMAT, NULL, "%s is a JPEG file, which are not read yet", name);
}
