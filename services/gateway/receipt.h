/* SPDX-License-Identifier: MIT */
/* Receipt: what a reply is a pure function of, and hashes of what came of it, so that anybody who has the
 * request can make the reply again and see that it is the same: `halo verify`. It is the member "halo" of
 * a whole answer and of the last chunk with choices or usage of a streamed one.
 *
 *   {"version": 1, "id": "chatcmpl-…", "created": …, "endpoint": "chat", "model": "…", "model_hash": "…",
 *    "numerics": "kv-f16", "build": "…", "protocol": 2, "seed": …, "prompt": "…", "sampling": "…",
 *    "choices": [{"index": 0, "finish": "stop", "n": 17, "tokens": "…", "text": "…"}]}
 *
 * model_hash is that of the model file. prompt, sampling, tokens and text are SHA-256 in hexadecimal: of the
 * prompts (messages after checking, or texts, or ids) with the template's arguments; of all parameters that
 * the tokens depend on but the seed; of the token ids, four bytes each, least first; of the text in UTF-8. */
#ifndef HALO_GATEWAY_RECEIPT_H
#define HALO_GATEWAY_RECEIPT_H

#include <stdint.h>

#include "common/buf.h"
#include "services/gateway/request.h"

struct receipt {
    const char *id;
    uint64_t created_s;
    const char *model_hash;
    const char *numerics; /* "" if no engine said so */
    const struct request *request;
};

/* Appends everything up to the choices. */
void receipt_begin(const struct receipt *r, struct buf *out);
/* `ids` are the bytes of the token ids. The first one has is_first. */
void receipt_add_choice(struct buf *out, bool is_first, uint32_t index, enum finish finish,
                        struct str ids, struct str text);
void receipt_end(struct buf *out);

/* Appends a token id as its four bytes. */
void receipt_add_id(struct buf *ids, uint32_t id);

#endif
