/* fuzz_pnm.c -- the libFuzzer target for data/pnm.c: make fuzz T=60. */
#include "data/codec.h"
#include "tests/fuzz_images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_image_or_abort(tlvi_pnm_decode, data, n);
    return 0;
}
