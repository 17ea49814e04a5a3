/* SPDX-License-Identifier: MIT */
/* Stream: the events of a streamed reply that its client may come back for. It lies between the reply,
 * which appends events, and the exchange that reads them now, if one does: a journal of bytes, from
 * which any event can be sent again, byte for byte.
 *
 * Events are numbered from 1 and carry their numbers as SSE ids. A client that left may return within
 * keep_s; then the reply is told that it was dropped, and the journal goes. A reply that has ended is
 * kept as long. A second client takes the stream over from the first.
 *
 * Memory is bounded: a journal loses its oldest events beyond stream_bytes; beyond all_bytes for all of
 * them the oldest ended ones go first, then the writer's own oldest events.
 *
 * An id is 40 hexadecimal digits: 8 that name the process and 32 random ones. Loop thread. */
#ifndef HALO_GATEWAY_STREAM_H
#define HALO_GATEWAY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"
#include "common/str.h"
#include "services/gateway/exchange.h"
#include "services/gateway/keys.h"

enum {
    STREAM_TAG_LEN = 8, /* of an id: the process */
    STREAM_ID_LEN = 40,
};

struct streams; /* all of a process */
struct stream;

struct streams_config {
    struct loop *loop;
    uint64_t stream_bytes;
    uint64_t all_bytes;
    void (*gone)(void *ctx); /* a stream was forgotten */
    void *ctx;
};

enum stream_drop {
    STREAM_ABANDONED, /* nobody came back */
    STREAM_CANCELLED, /* by streams_cancel */
};

/* Tells the reply that its stream is no more. It must not touch the stream again. */
typedef void stream_dropped(void *ctx, enum stream_drop why);

struct streams *streams_new(const struct streams_config *config);
/* NULL is allowed. Their replies are not told. */
void streams_free(struct streams *all);

/* The first digits of every id of this process. */
const char *streams_tag(const struct streams *all);
size_t streams_n(const struct streams *all);
size_t streams_n_parked(const struct streams *all); /* of them unfinished ones without a client */
uint64_t streams_bytes(const struct streams *all);
uint64_t streams_n_continued(const struct streams *all); /* clients that came back */

/* The process ends and nobody can come back: forgets all without a client, now and from now on. */
void streams_close(struct streams *all);

/* The stream with this id if it belongs to this key (NULL: to nobody), else NULL. Takes the same time
 * whichever of both is wrong. */
struct stream *streams_find(const struct streams *all, struct str id, const struct key *key);

/* Ends a stream and its reply; a client that reads it gets an error event and a reset. */
void streams_cancel(struct stream *s);

/* Opens a stream of key's (or NULL) for x, whose answer is open; x is the stream's from now on. */
struct stream *stream_new(struct streams *all, struct key *key, uint32_t keep_s,
                          stream_dropped *dropped, void *ctx);
const char *stream_id(const struct stream *s);

/* What the client may ask for: the number of the last event it has. */
enum stream_from { STREAM_FROM_OK, STREAM_FROM_END, STREAM_FROM_LOST, STREAM_FROM_BEYOND };

/* Whether events after number `from` can be sent: yes; there will be none; they are forgotten; there is
 * no such number yet. */
enum stream_from stream_check(const struct stream *s, uint64_t from);
/* The first number that stream_check allows. */
uint64_t stream_first(const struct stream *s);

/* Sends what comes after event `from`, and everything from now on, to an exchange whose answer is open.
 * One that read before is cut off. */
void stream_attach(struct stream *s, struct exchange *take_x, uint64_t from);
/* The same for one whose client came back. */
void stream_continue(struct stream *s, struct exchange *take_x, uint64_t from);

/* Appends whole events, each ended by an empty line; `last` is the number of the last one. */
void stream_write(struct stream *s, struct str events, uint64_t last);

/* Sends a comment to the client that reads now, if one does; it is not kept. */
void stream_comment(struct stream *s, struct str comment);

/* The reply is over: complete, or failed, so that every reader is cut off after the last event. The
 * reply must not touch the stream again. */
void stream_end(struct stream *s);
void stream_fail(struct stream *s);

#endif
