/* support_image.h -- drawn images and their checksums, as tests/goldens/make_resample.py makes
 * them. */
#ifndef TLV_TESTS_SUPPORT_IMAGE_H
#define TLV_TESTS_SUPPORT_IMAGE_H

#include "data/data.h"

/* The script's picture(); 0 and a failed check if there is no memory. */
int support_picture(tlv_ctx *c, tlv_pixels kind, int h, int w, tlv_image *out);
uint32_t support_crc32(const void *bytes, size_t n);        /* of zlib */

#endif
