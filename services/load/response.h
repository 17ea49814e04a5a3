/* SPDX-License-Identifier: MIT */
/* response: reads one HTTP/1.1 response as it arrives, and the server-sent events in it.
 *
 * It owns no socket: bytes are fed in, and events come out while they are. Chunked bodies, bodies of a
 * known length and bodies that end with the connection. */
#ifndef HALO_LOAD_RESPONSE_H
#define HALO_LOAD_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/str.h"

enum { RESPONSE_HEAD_MAX = 64 * 1024, RESPONSE_EVENT_MAX = 1024 * 1024 };

enum response_state {
    RESPONSE_HEAD,
    RESPONSE_SIZE, /* the line before a chunk */
    RESPONSE_DATA, /* of a chunk or of a body of known length */
    RESPONSE_DATA_END, /* the line end after a chunk */
    RESPONSE_TRAILER,
    RESPONSE_UNTIL_CLOSE,
    RESPONSE_DONE,
    RESPONSE_BAD,
};

struct response {
    enum response_state state;
    int status; /* 0 before the head is complete */
    bool is_stream; /* text/event-stream */
    bool is_chunked;
    bool does_close; /* the server will close the connection after it */
    uint64_t left; /* bytes of the chunk or of the body */
    struct buf head; /* also lines of the chunked coding */
    struct buf line; /* of a stream, incomplete */
    struct buf data; /* of the event at hand */
    bool has_data;
    struct buf body; /* of other answers, at most body_cap bytes */
    size_t body_cap;
    void (*event)(void *ctx, struct str data); /* the data of one event */
    void *ctx;
};

/* Ready for the next response; keeps memory, body_cap, event and ctx. */
void response_reset(struct response *r);
void response_fini(struct response *r);

/* Takes bytes; gives how many belonged to this response. Afterwards state says where it is. */
size_t response_feed(struct response *r, const char *bytes, size_t n);

/* The peer has closed. True if the response is complete by that. */
bool response_close(struct response *r);

#endif
