/* error.c -- sticky errors: the first failure stays in the context, as a code, a sentence, a
 * hint. */
#include <stdio.h>

#include "tensor/core.h"

static const struct { const char *name, *hint;
} CODES[TLV_STATUS_COUNT] = {
    [TLV_OK] = { "TLV_OK", "" },
    [TLV_ERR_ARG] = { "TLV_ERR_ARG", "see the comment above the function's declaration" },
    [TLV_ERR_SHAPE] = { "TLV_ERR_SHAPE",
                        "print the shapes with tlv_describe just before this call" },
    [TLV_ERR_DTYPE] = { "TLV_ERR_DTYPE", "convert with tlv_cast" },
    [TLV_ERR_NOMEM] = { "TLV_ERR_NOMEM", "use a smaller batch, open a scope with TLV_CHECKPOINT, "
                                         "or raise mem_limit" },
    [TLV_ERR_CTX] = { "TLV_ERR_CTX", "copy it over with tlv_copy_from" },
    [TLV_ERR_ENDED] = { "TLV_ERR_ENDED", "hand the tensor outwards with tlv_scope_end_keep" },
    [TLV_ERR_NOGRAD] = { "TLV_ERR_NOGRAD",
                         "make leaves with TLV_WANT_GRAD and look for tlv_detach or TLV_NO_GRAD" },
    [TLV_ERR_VERSION] = { "TLV_ERR_VERSION", "take the gradient before the optimizer's step" },
    [TLV_ERR_CONSUMED] = { "TLV_ERR_CONSUMED", "leave TLV_CONSUME out of the earlier tlv_grad" },
    [TLV_ERR_STATE] = { "TLV_ERR_STATE", "see the comment above the function's declaration" },
    [TLV_ERR_INDEX] = { "TLV_ERR_INDEX",
                        "check the labels or indices against the number of classes" },
    [TLV_ERR_NAME] = { "TLV_ERR_NAME", "list the names with tlv-inspect FILE" },
    [TLV_ERR_IO] = { "TLV_ERR_IO", "check that the path exists and may be read or written" },
    [TLV_ERR_FORMAT] = { "TLV_ERR_FORMAT",
                         "check that the file is complete and of the kind expected" },
    [TLV_ERR_ISA] = { "TLV_ERR_ISA", "leave TLV_ISA unset to take the widest one there is" },
    [TLV_ERR_USER] = { "TLV_ERR_USER", "the callback's author knows more" },
    [TLV_ERR_LIMIT] = { "TLV_ERR_LIMIT", "end scopes where their work is done" },
};

const char *tlv_status_name(tlv_status s)
{
    return (unsigned)s < TLV_STATUS_COUNT ? CODES[s].name : "TLV_ERR_UNKNOWN";
}

tlv_status tlv_error(const tlv_ctx *c) { return c ? c->err : TLV_ERR_NOMEM; }
const char *tlv_error_msg(const tlv_ctx *c)
{
    return !c ? "the context could not be opened: out of memory" : c->err ? c->msg : "";
}
const char *tlv_error_hint(const tlv_ctx *c)
{
    return !c ? CODES[TLV_ERR_NOMEM].hint : c->err ? c->hint : "";
}

/* " (layer3.0.conv2.weight)" for the parameters among the inputs of the op at work. */
static void append_names(tlv_ctx *c)
{
    size_t at = strlen(c->msg);
    for (int i = 0; i < 4 && c->in_hand[i]; i++) {
        const char *name = c->in_hand[i]->name;
        if (!name || strstr(c->msg, name)) continue;
        int n = snprintf(c->msg + at, sizeof c->msg - at, " (%s)", name);
        if (n < 0 || (size_t)n >= sizeof c->msg - at) return;
        at += (size_t)n;
    }
}

tlv_status tlvi_failv(tlv_ctx *c, tlv_status code, const char *hint, const char *fmt, va_list ap)
{
    if (c->err != TLV_OK) return c->err;
    c->err = code;
    vsnprintf(c->msg, sizeof c->msg, fmt, ap);
    snprintf(c->hint, sizeof c->hint, "%s", hint ? hint : CODES[code].hint);
    append_names(c);
    c->in_hand[0] = NULL;
    if (c->opts.on_error) c->opts.on_error(c->opts.on_error_user, c);
    return c->err;
}

tlv_status tlvi_fail(tlv_ctx *c, tlv_status code, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tlvi_failv(c, code, hint, fmt, ap);
    va_end(ap);
    return c->err;
}

tlv_status tlv_fail(tlv_ctx *c, tlv_status code, const char *hint, const char *fmt, ...)
{
    if (code <= TLV_OK || code >= TLV_STATUS_COUNT) code = TLV_ERR_USER;
    c->in_hand[0] = NULL;
    va_list ap;
    va_start(ap, fmt);
    tlvi_failv(c, code, hint, fmt, ap);
    va_end(ap);
    return c->err;
}

void tlv_error_clear(tlv_ctx *c)
{
    if (c->err == TLV_OK) return;
    int32_t mark = c->scope[c->depth].mark;
    for (tlv_tensor *t = c->scope[c->depth].first; t; t = t->next)
        if (t->node >= mark) t->node = -1;          // its place will be another node's
    tlvi_tape_cut(c, mark);
    c->err = TLV_OK;
    c->msg[0] = c->hint[0] = 0;
}
