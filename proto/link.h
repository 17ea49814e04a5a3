/* SPDX-License-Identifier: MIT */
/* Links: frames between two processes: over a pipe of their own (pipe.h).
 *
 * A service listens on ipc://RUN/<service>.sock (rep0). A caller says hello there and is given a
 * socket of its own, so a broken connection never leaves frames for a successor, and two callers of one
 * kind live side by side. A dialing link comes back by itself: `down` is followed by `up` as soon as the
 * service answers again. An accepted link is gone after `down`.
 *
 * Between machines it is the same over TLS, where certificates say who may call: link_listen_remote and
 * link_dial_remote. There the worker calls: one open port, on the router's machine, serves all of
 * them, and they may sit behind any firewall or address translation.
 *
 * A link breaks when the peer dies (at once: the kernel's pidfd says so, nng's own word may be late, see
 * proto/closer.h), when it sends something malformed, when it is
 * silent for dead_ms, when its beat says "busy" for stall_ms without progress, or when more than
 * LINK_QUEUE_BYTES wait to be sent. A peer on this host must run as our user or root.
 *
 * All functions and callbacks belong to the loop's thread. A callback may call any function of any
 * link. */
#ifndef HALO_PROTO_LINK_H
#define HALO_PROTO_LINK_H

#include <stdint.h>

#include "common/loop.h"
#include "proto/frames.h"
#include "proto/tls.h"

enum {
    LINK_QUEUE_BYTES = 64 * 1024 * 1024,
    LINK_BEAT_MS = 250,
    LINK_DEAD_MS = 3000,
    LINK_STALL_MS = 20000,
};

struct link;
struct link_server;

struct link_handler {
    void (*up)(void *ctx, struct link *l);
    /* f and all it points to are valid during the call. Link-level frames (beat, bye) are not shown. */
    void (*frame)(void *ctx, struct link *l, const struct frame *f);
    /* why is ERR_OK after an orderly bye. An accepted link must not be used afterwards. */
    void (*down)(void *ctx, struct link *l, enum err why);
    void *ctx;
};

struct link_config {
    struct loop *loop;
    const char *run; /* run directory; borrowed for the life of the link */
    const char *service; /* who we are; borrowed */
    const char *instance; /* "" or which of several; borrowed */
    uint64_t epoch; /* drawn at our start, common to all our links */
    uint32_t dead_ms; /* 0: LINK_DEAD_MS */
    uint32_t stall_ms; /* 0: LINK_STALL_MS */
};

/* Starts to listen as config->service. ERR_IN_USE: another process serves that name in this run
 * directory. ERR_TOO_LARGE: the run directory's name is too long. */
MUST_CHECK enum err link_listen(const struct link_config *config,
                                const struct link_handler *handler,
                                struct link_server **ret_server);

/* Between machines; all borrowed. */
struct link_remote {
    const char *url; /* tls+tcp://HOST:PORT: to call, or, HOST being an address, to listen at */
    struct tls_files files;
    const char *workers; /* who may call, by the names in their certificates: "a,b"; "": all */
};

/* Lets engines on other machines call, too. Such a peer's instance is the name in its certificate, a dot
 * and what it calls itself. On failure `why` (TLS_WHY_CAP bytes) gets one line. */
MUST_CHECK enum err link_listen_remote(struct link_server *s, const struct link_remote *remote,
                                       char *why);

/* Seconds until the certificates that link_listen_remote uses end. */
int64_t link_remote_left_s(const struct link_server *s);

/* Breaks all accepted links (down is called for each) and stops listening. */
void link_server_close(struct link_server *s);

/* Starts to dial `service` in the run directory; it need not be there yet. */
MUST_CHECK enum err link_dial(const struct link_config *config, const char *service,
                              const struct link_handler *handler, struct link **ret_link);

/* The same to a service on another machine. On failure `why` (TLS_WHY_CAP bytes) gets one line. */
MUST_CHECK enum err link_dial_remote(const struct link_config *config,
                                     const struct link_remote *remote,
                                     const struct link_handler *handler, char *why,
                                     struct link **ret_link);

/* Sends a frame (struct frame_<type>). ERR_CLOSED when the link is not up. ERR_TOO_LARGE: the frame
 * cannot be encoded. Never blocks. */
MUST_CHECK enum err link_send(struct link *l, enum frame_type type, const void *body);

bool link_is_up(const struct link *l);

/* Says that no more frames will follow. `down` comes with ERR_OK when the peer has confirmed that it
 * received everything, or after 1 s. A dialing link does not come back. */
void link_bye(struct link *l);

/* Breaks the connection now; `down` is called with `why`. A dialing link dials again. */
void link_break(struct link *l, enum err why);

/* Ends and frees a dialing link without calling `down`. NULL is allowed. */
void link_close(struct link *l);

/* Before the process ends: waits until everything that was closed is released, at most timeout_ms.
 * Returns false if it is not, which does no harm. */
bool link_drain(uint32_t timeout_ms);

/* Who is at the other end, while the link is up. Valid until down. */
const char *link_peer_service(const struct link *l);
const char *link_peer_instance(const struct link *l);
const char *link_peer_build(const struct link *l);
uint64_t link_peer_epoch(const struct link *l);
uint32_t link_peer_pid(const struct link *l);

/* "10.0.0.2:45122" of a peer on another machine; "" on this one. */
const char *link_peer_address(const struct link *l);

/* What to add to CLOCK_MONOTONIC of its machine for ours, wrong by at most the way of a message; 0 on this
 * one. */
int64_t link_peer_clock_ns(const struct link *l);

/* Its protocol version: an older peer knows no frames that came since. */
uint32_t link_peer_protocol(const struct link *l);

/* A pointer of the owner's, kept with the link; NULL after up. */
void link_set_user(struct link *l, void *user);
void *link_user(const struct link *l);

#endif
