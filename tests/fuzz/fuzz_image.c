/* fuzz_image.c -- the libFuzzer target for data/image.c, and through it for every decoder: make
 * fuzz T=60. */
#include "tests/fuzz_images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_image_or_abort(fuzz_any_image, data, n);
    return 0;
}
