/* SPDX-License-Identifier: MIT */
/* Log probabilities in the two shapes of the OpenAI API. A list is filled token by token and then
 * written; a stream writes and empties it for each chunk. */
#ifndef HALO_GATEWAY_LOGPROBS_H
#define HALO_GATEWAY_LOGPROBS_H

#include <stdint.h>

#include "common/buf.h"
#include "proto/frames.h"

/* Zeros are an empty list. */
struct logprobs {
    struct buf tokens; /* chat: whole entries; completions: texts */
    struct buf values;
    struct buf tops;
    struct buf offsets;
    uint64_t n_chars; /* characters of all tokens so far, also of those already written */
    bool has_tops; /* completions: whether top_logprobs was asked for */
};

void logprobs_fini(struct logprobs *l);

/* Empties it; the count of characters goes on. */
void logprobs_reset(struct logprobs *l);

/* {"content":[{token, logprob, bytes, top_logprobs}],"refusal":null} */
void logprobs_add_chat(struct logprobs *l, const struct rec_piece *p);
void logprobs_write_chat(const struct logprobs *l, struct buf *out);

/* {"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]}; offsets count characters.
 * Bytes that are not UTF-8 are written as OpenAI does: "bytes:\xe2\x80". */
void logprobs_add_completion(struct logprobs *l, const struct rec_piece *p);
void logprobs_write_completion(const struct logprobs *l, struct buf *out);

#endif
