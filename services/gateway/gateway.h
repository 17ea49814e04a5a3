/* SPDX-License-Identifier: MIT */
/* Gateway: what the process holds, and the way of a request: route, check, reply. */
#ifndef HALO_GATEWAY_GATEWAY_H
#define HALO_GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/loop.h"
#include "common/outflow.h"
#include "services/gateway/handover.h"
#include "services/gateway/keys.h"
#include "services/gateway/listen.h"
#include "services/gateway/metrics.h"
#include "services/gateway/options.h"
#include "services/gateway/server.h"
#include "services/gateway/traces.h"
#include "services/gateway/upstream.h"

struct relay;
struct reply;
struct reply_log;
struct streams;

struct gateway {
    const struct options *options;
    struct loop *loop;
    struct listeners listeners;
    struct handover handover;
    struct server *server;
    struct upstream *upstream;
    struct metrics *metrics;
    struct traces *traces;
    struct keys *keys; /* NULL: none are needed */
    struct reply *replies; /* in flight */
    size_t n_replies;
    struct reply_log *reply_log; /* NULL: replies are not logged */
    struct outflow outflow; /* how fast replies end while there are max-streams */
    struct streams *streams; /* whose clients may come back */
    struct relay *relays;
    char *relay_path; /* our socket for a successor's; NULL: none yet */
    uint64_t started_s; /* Unix time */
    bool is_draining; /* takes no new connections */
    bool is_ending; /* was told to stop, and has drain-ms left */
    bool was_ready;
    bool was_serving; /* as last written to the log */
    struct loop_timer drain;
    struct loop_timer linger;
    bool is_holding; /* accepts nothing yet, for as long as `hold` at most */
    struct loop_timer hold;
};

/* Opens the sockets and starts to dial; `argv` is main's. On failure prints one line and returns false;
 * gateway_fini in any case. */
bool gateway_init(struct gateway *g, const struct options *o, struct loop *loop, char *const *argv);
void gateway_fini(struct gateway *g);

/* Serves until SIGTERM or SIGINT, or until SIGHUP has brought a successor; then finishes what was
 * accepted. */
void gateway_run(struct gateway *g);

/* The reply module tells that one ended; the drain may be waiting for it. */
void gateway_reply_ended(struct gateway *g);

#endif
