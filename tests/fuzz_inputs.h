/* fuzz_inputs.h -- one input each to what reads files of strangers: for fuzzers, and for tests that
 * run a corpus or mutations. */
#ifndef TLV_TESTS_FUZZ_INPUTS_H
#define TLV_TESTS_FUZZ_INPUTS_H

#include "tests/test.h"

/* Opens the n bytes as a safetensors file and reads all that is in it.  Returns 1 if it was a file,
 * 0 if it was refused as TLV_ERR_FORMAT; -1 if the reader is wrong: *why says how. */
int fuzz_safetensors(tlv_ctx *c, const void *bytes, size_t n, const char **why);

/* A file with every dtype, an empty tensor, a scalar, escapes and metadata, to begin mutations
 * from.  Returns its length. */
size_t fuzz_safetensors_seed(void *buf, size_t cap);

/* Decodes the n bytes as a JPEG file; 1, 0 (refused as TLV_ERR_FORMAT or TLV_ERR_LIMIT) or -1, as
 * above.  The context may have a limit of 100 MB. */
int fuzz_jpeg(tlv_ctx *c, const void *bytes, size_t n, const char **why);

/* Decodes the n bytes as a PNG file.  1, 0 (refused as TLV_ERR_FORMAT or TLV_ERR_LIMIT) or -1, as
 * above.  The context may have a limit of 100 MB: TLV_ERR_NOMEM is right only if the image is there
 * where there is more. */
int fuzz_png(tlv_ctx *c, const void *bytes, size_t n, const char **why);

/* Inflates bytes[1 ..], wrapped as the first byte says, twice, by pieces of different sizes: both
 * give the same.  Deflates all bytes, and they come back.  1: the stream had an end; 0 or -1. */
int fuzz_inflate(tlv_ctx *c, const void *bytes, size_t n, const char **why);

/* Runs fn over every file of tests/fuzz/corpus/NAME, under a limit of 100 MB, and checks that none
 * gives -1.  The number of files. */
typedef int (*fuzz_fn)(tlv_ctx *c, const void *bytes, size_t n, const char **why);
int fuzz_corpus(const char *name, fuzz_fn fn);

#endif
