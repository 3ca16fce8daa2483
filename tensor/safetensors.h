/* safetensors.h -- what loaders and tests need beside the public tlv_file_*. */
#ifndef TLVI_SAFETENSORS_H
#define TLVI_SAFETENSORS_H

#include "tensor/core.h"

/* The same checks as tlv_file_open for bytes in memory, which must outlive the file; path is for
 * error sentences. */
tlv_file *tlvi_file_parse(tlv_ctx *c, const char *path, const void *bytes, size_t n);

/* The bytes of tensor i, as they stand in the file: row-major, little-endian, at any address. */
const void *tlvi_file_data(const tlv_file *f, int i, size_t *bytes);

#endif
