/* tlvision.h -- the whole public interface of libtlvision: the headers below and nothing else.
 *
 * A context owns everything; a model is a pure function of (parameters, input); every op's gradient
 * is written in ops; errors stick to the context.  docs/tour.md is the place to start. */
#ifndef TLVISION_H
#define TLVISION_H

#include "tensor/tensor.h"
#include "autograd/autograd.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "data/data.h"
#include "transfer/transfer.h"

#endif
