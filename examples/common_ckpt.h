/* common_ckpt.h -- checkpoints: everything that a training run needs to go on as if it had never
 * stopped, in one safetensors file.
 *
 * Tensors: "model.NAME" for every entry, "moment0.NAME" and "moment1.NAME" for the optimizer's, and
 * "steps", the optimizer's steps in all and for each entry.  Everything else (epoch, options, best
 * so far) is metadata, which the program chooses. */
#ifndef TLV_EXAMPLES_COMMON_CKPT_H
#define TLV_EXAMPLES_COMMON_CKPT_H

#include "examples/common.h"

/* Writes beside and renames: the file is the old one or the new one.  meta: key, value ... NULL. */
tlv_status cli_ckpt_save(tlv_ctx *c, const char *path, const tlv_params *p, tlv_optim *o,
                         const char *const *meta);

/* Fills p and o, which were opened as those that were saved.  Errors: TLV_ERR_FORMAT names what is
 * missing; TLV_ERR_SHAPE. */
tlv_status cli_ckpt_load(tlv_ctx *c, const tlv_file *f, tlv_params *p, tlv_optim *o);

/* A number of the metadata; sets TLV_ERR_FORMAT if it is not there. */
double cli_ckpt_number(tlv_ctx *c, const tlv_file *f, const char *key);

#endif
