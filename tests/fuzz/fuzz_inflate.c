/* fuzz_inflate.c -- the libFuzzer target for data/inflate.c and data/deflate.c: make fuzz T=60. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz_inputs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .mem_limit = (size_t)100 << 20 });
    const char *why;
    if (fuzz_inflate(c, data, n, &why) < 0) {
        fprintf(stderr, "inflate: %s\n", why);
        abort();
    }
    tlv_ctx_close(c);
    return 0;
}
