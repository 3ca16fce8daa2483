/* torture.h -- a decoder against the decoder collection: what Pillow opens opens, with the same
 * samples (goldens/torture.tsv); what it refuses is refused with a sentence, but for the files in
 * torture_opened.tsv. */
#ifndef TLV_TESTS_TORTURE_H
#define TLV_TESTS_TORTURE_H

#include "data/data.h"
#include "tests/test.h"

typedef tlv_status (*torture_decode)(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                                     tlv_image *out);

/* Every file that MANIFEST.tsv calls `format` ("png", "jpeg", "bmp", "pnm").  The test is skipped
 * where there is no data.  Returns the number of files that opened. */
int torture_check(const char *format, torture_decode decode);

#endif
