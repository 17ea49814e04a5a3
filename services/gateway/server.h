/* SPDX-License-Identifier: MIT */
/* Server: h2o's event loop and HTTP engine, with our loop nested in it, and the listening sockets.
 * Every request becomes an exchange that is given to `dispatch`. */
#ifndef HALO_GATEWAY_SERVER_H
#define HALO_GATEWAY_SERVER_H

#include <stddef.h>

#include "common/loop.h"
#include "services/gateway/exchange.h"
#include "services/gateway/listen.h"
#include "services/gateway/options.h"

struct server;

struct server_events {
    void (*dispatch)(void *ctx, struct exchange *take_x);
    void (*answered)(void *ctx, const char *route, int status); /* an answer began */
    void (*ended)(void *ctx); /* h2o let a request go, or a connection is closed */
    void (*written)(void *ctx, uint64_t trace, const struct rec_span *s); /* see exchange.h */
    void *ctx;
};

/* Takes the listeners' descriptors; borrows loop and options. */
struct server *server_new(struct loop *loop, const struct options *o,
                          const struct listeners *take_listeners,
                          const struct server_events *events);

/* Before the process ends: closes the sockets but for those of open connections, which this version
 * of h2o cannot close from outside; they and h2o's memory go with the process. NULL is allowed. */
void server_close(struct server *s);

/* Accepts on one more socket, to the end. */
void server_listen_privately(struct server *s, int take_fd);

/* Serves until server_stop. */
void server_run(struct server *s);
void server_stop(struct server *s);

/* Leaves new connections in the sockets' queues, and takes them from there again. */
void server_hold(struct server *s);
void server_accept(struct server *s);

/* What exchanges are given to write is collected from true to false. */
void server_hold_writes(struct server *s, bool holds);

/* Accepts no more connections and lets the open ones end after their current request. */
void server_drain(struct server *s);

/* Requests that h2o still holds: answers that are not wholly written. */
size_t server_n_live(const struct server *s);

/* Open connections, idle ones included. */
size_t server_n_connections(const struct server *s);

#endif
