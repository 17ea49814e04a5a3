/* SPDX-License-Identifier: MIT */
/* Pipe: messages between two processes over a stream socket, on the loop's own thread: a Unix socket on one
 * host, TLS over TCP between hosts.
 *
 * It speaks nng's wire, so that either end may be nng's pair0 over ipc://: both send eight bytes of
 * greeting, then each message is a byte 1, its length in eight bytes, most significant first, and the
 * message. nng itself passes each message through three threads, which costs 50 us of processor time a
 * message; here it is one call of recv or send. A pipe connects exactly two ends and never comes back.
 *
 * A pipe may be closed within its own events. */
#ifndef HALO_PROTO_PIPE_H
#define HALO_PROTO_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/loop.h"

enum { PIPE_HEAD = 9 }; /* bytes that a pipe puts before each message */

struct pipe;
struct tls;

struct pipe_events {
    /* The other end is there; pid 0 if it is not known. */
    void (*up)(void *ctx, pid_t pid);
    /* Valid during the call. */
    void (*message)(void *ctx, const void *data, size_t len);
    /* The pipe is of no more use and must be closed: ERR_CLOSED, ERR_PROTOCOL, ERR_TOO_LARGE, or what
     * the socket says. */
    void (*down)(void *ctx, enum err why);
    void *ctx;
};

/* Whether we speak to processes of that user: our own and root's. As root also to whom we called
 * ourselves (`is_dialled`): the services of another user, which root operates. */
bool pipe_trusts(uint64_t uid, bool is_dialled);

/* Connects to who listens at the path. */
MUST_CHECK enum err pipe_dial(struct loop *loop, const char *path, const struct pipe_events *events,
                              struct pipe **ret_pipe);

/* Waits at a path, made with mode 0600, for the first that calls and greets. Callers of other users than
 * ours and root are turned away. */
MUST_CHECK enum err pipe_listen(struct loop *loop, const char *path,
                                const struct pipe_events *events, struct pipe **ret_pipe);

/* Over a TCP socket that is connected or about to be, and does not block. Takes both, whatever comes. */
MUST_CHECK enum err pipe_open(struct loop *loop, int take_fd, struct tls *take_tls,
                              const struct pipe_events *events, struct pipe **ret_pipe);

/* Of a pipe over TLS: who the other end is by its certificate, once it is up, and what went wrong, in `down`;
 * else "". Lent until pipe_close. */
const char *pipe_peer_name(const struct pipe *p);
const char *pipe_why(const struct pipe *p);

/* Sends a message; the PIPE_HEAD bytes before it are the pipe's to write. What the socket does not take
 * at once waits in memory. Never blocks, never calls an event; a failure shows as `down` later. */
void pipe_send(struct pipe *p, char *head_and_message, size_t len);

/* Bytes that wait. */
size_t pipe_queued(const struct pipe *p);

/* Bytes that came so far, those of messages that are not whole yet among them. */
uint64_t pipe_received(const struct pipe *p);

/* Messages that the socket has taken still arrive. NULL is allowed. */
void pipe_close(struct pipe *p);

#endif
