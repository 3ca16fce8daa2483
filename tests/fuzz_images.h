/* fuzz_images.h -- one input each to the decoders of images: for fuzzers, and for tests that run a
 * corpus or mutations. */
#ifndef TLV_TESTS_FUZZ_IMAGES_H
#define TLV_TESTS_FUZZ_IMAGES_H

#include "data/data.h"

typedef tlv_status (*fuzz_decoder)(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                                   tlv_image *out);

/* tlv_image_decode as one of them. */
tlv_status fuzz_any_image(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                          tlv_image *out);

/* Decodes the n bytes, which lie in exactly so much memory, turns the image and converts it to
 * every kind.  Returns 1 if it was an image, 0 if it was refused with a sentence as TLV_ERR_FORMAT
 * or TLV_ERR_LIMIT; -1 if the decoder is wrong: *why says how. */
int fuzz_image(tlv_ctx *c, fuzz_decoder decode, const uint8_t *bytes, size_t n, const char **why);

/* The same in a context of 100 MB; ends the program if the decoder is wrong. */
void fuzz_image_or_abort(fuzz_decoder decode, const uint8_t *bytes, size_t n);

/* For tests: every file of fuzz/corpus/`name`, of which there are at least `least`; and$
 * all beginnings of a seed and `rounds` mutations of it. */
void fuzz_image_corpus(fuzz_decoder decode, const char *name, int least);
void fuzz_mutations(fuzz_decoder decode, const uint8_t *seed, size_t n, int rounds);

#endif
