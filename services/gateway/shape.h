/* SPDX-License-Identifier: MIT */
/* Shape: how the answers of an endpoint look in JSON. A reply calls these to fill chunks of a stream
 * and whole answers; all write one choice object. */
#ifndef HALO_GATEWAY_SHAPE_H
#define HALO_GATEWAY_SHAPE_H

#include <stdint.h>

#include "common/buf.h"
#include "common/str.h"
#include "proto/frames.h"
#include "services/gateway/logprobs.h"
#include "services/gateway/request.h"

/* What is known of a choice when it is written. */
struct shape_choice {
    uint32_t index;
    struct str text; /* a chunk's, or all of it */
    const struct logprobs *logprobs; /* NULL: not asked for */
    enum finish finish; /* FINISH_NONE in the middle of a stream */
    struct str prompt; /* completions with echo, else empty */
};

struct shape {
    const char *id_prefix;
    const char *object; /* of a whole answer */
    const char *chunk_object;
    void (*write_opening)(const struct shape_choice *c,
                          struct buf *out); /* writes nothing if none */
    void (*write_delta)(const struct shape_choice *c, struct buf *out);
    void (*write_ending)(const struct shape_choice *c, struct buf *out);
    void (*write_whole)(const struct shape_choice *c, struct buf *out);
    void (*add_logprob)(struct logprobs *l, const struct rec_piece *p);
};

extern const struct shape shape_chat;
extern const struct shape shape_completions;

#endif
