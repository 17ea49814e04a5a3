/* SPDX-License-Identifier: MIT */
/* Frames: the messages between Halo's processes, as structs. Everything here is made from
 * proto/frames.def, which is the definition; proto/PROTOCOL.md is the same as prose.
 *
 * A decoded frame borrows: texts point into the received bytes, lists into the arena; both must live
 * as long as the frame is used. */
#ifndef HALO_PROTO_FRAMES_H
#define HALO_PROTO_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/str.h"

enum {
    PROTO_VERSION = 2,
    PROTO_OLDEST = 1, /* peers from this version on are understood */
    FRAME_MAX_BYTES = 16 * 1024 * 1024, /* a longer message is neither sent nor received */
    FRAME_MAX_IDS = 1024 * 1024, /* token ids in one field */
};

enum finish {
    FINISH_NONE = 0,
    FINISH_STOP = 1, /* an end token or a stop string */
    FINISH_LENGTH = 2, /* max_tokens or the end of the context */
    FINISH_CANCELLED = 3, /* nobody waits for it any more */
    FINISH_ERROR = 4, /* see code and detail */
};

enum prompt_kind {
    PROMPT_CHAT = 1,
    PROMPT_TEXT = 2,
    PROMPT_IDS = 3,
};

enum frame_type {
#define FRAME(name, number, doc) FRAME_##name = number,
#include "proto/frames.def"
};

#define FRAME(name, number, doc) struct frame_##name {
#define RECORD(name, doc) struct rec_##name {
#define END(name)                                                                                  \
    char end_of_struct;                                                                            \
    }                                                                                              \
    ;
#define U32(key, name, req, since, doc) uint32_t name;
#define U64(key, name, req, since, doc) uint64_t name;
#define F32(key, name, req, since, doc) float name;
#define BOOL(key, name, req, since, doc) bool name;
#define STR(key, name, req, since, doc) struct str name;
#define TEXT(key, name, req, since, doc) struct str name;
#define IDS(key, name, req, since, doc)                                                            \
    const uint32_t *name;                                                                          \
    size_t n_##name;
#define STRS(key, name, cap, since, doc)                                                           \
    const struct str *name;                                                                        \
    size_t n_##name;
#define REC(key, name, record, req, since, doc) struct rec_##record name;
#define LIST(key, name, record, cap, since, doc)                                                   \
    const struct rec_##record *name;                                                               \
    size_t n_##name;
#include "proto/frames.def"

struct frame {
    enum frame_type type;
    uint64_t epoch; /* the sender's */
    const void *body; /* struct frame_<type> */
};

/* Appends the encoded frame to out. body is a struct frame_<type>. ERR_TOO_LARGE beyond
 * FRAME_MAX_BYTES or a field's cap; out is then unchanged. */
MUST_CHECK enum err frame_encode(struct buf *out, enum frame_type type, uint64_t epoch,
                                 const void *body);

/* Decodes one whole message. Everything is checked before memory is taken: nesting at most 8, every
 * count at most what the remaining bytes can hold. ERR_PROTOCOL (malformed, trailing bytes, a
 * missing field), ERR_DEPTH, ERR_TYPE, ERR_RANGE, ERR_TOO_LARGE (cap), ERR_UNKNOWN (frame number),
 * ERR_NOMEM. */
MUST_CHECK enum err frame_decode(const void *data, size_t len, struct arena *arena,
                                 struct frame *ret_frame);

/* "tokens" */
const char *frame_name(enum frame_type type);

/* Appends one line for people: tokens{items:[{req:7 has_id:true id:42}]}. Texts of users and models
 * appear as their lengths only. */
void frame_trace(struct buf *out, const struct frame *f);

/* Appends PROTOCOL.md. */
void frame_document(struct buf *out);

#endif
