/* SPDX-License-Identifier: MIT */
/* Exchange: one HTTP request and its answer, over h2o. Hides HTTP/1 and HTTP/2, notices a client that
 * leaves, holds what a slow client has not taken yet, and gives that client up at a limit.
 *
 * An exchange lives exactly as long as h2o's request. Its answer is one of
 *   exchange_answer, exchange_refuse           whole at once
 *   exchange_open, exchange_write..., then exchange_end (complete) or exchange_reset (cut off)
 * The function that completes the answer takes the exchange: it must not be used afterwards. Until
 * then its owner is told once, by `closed`, when the client left or was given up; that too takes it. */
#ifndef HALO_GATEWAY_EXCHANGE_H
#define HALO_GATEWAY_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/loop.h"
#include "common/str.h"
#include "proto/span.h"
#include "services/gateway/errors.h"
#include "services/gateway/trace_context.h"

struct exchange;
struct st_h2o_req_t;

enum exchange_end {
    EXCHANGE_LEFT, /* the client closed the connection or reset the stream */
    EXCHANGE_STALLED, /* it did not read for stall_ms, or more than max_pending bytes waited */
};

TAILQ_HEAD(exchange_list, exchange);

/* What all exchanges of a server share. */
struct exchange_host {
    struct loop *loop;
    const char *cors_origin; /* NULL: none */
    uint64_t max_pending;
    uint32_t stall_ms;
    uint32_t ping_ms;
    size_t n_live; /* exchanges that h2o still holds */
    bool holds; /* exchange_write collects */
    struct exchange_list held; /* exchanges with something to write when that ends */
    void (*answered)(void *ctx, const char *route, int status);
    void (*ended)(void *ctx);
    /* The last byte of an exchange with a trace is with the client, or it is cut off. */
    void (*written)(void *ctx, uint64_t trace, const struct rec_span *s);
    void *ctx;
};

/* Writes what was collected while host->holds. */
void exchange_write_held(struct exchange_host *host);

/* host is borrowed for the life of the exchange. */
struct exchange *exchange_new(struct st_h2o_req_t *req, struct exchange_host *host);

/* The request. Valid as long as the exchange. */
struct str exchange_method(const struct exchange *x);
struct str exchange_path(const struct exchange *x); /* decoded, without the query */
struct str exchange_query(const struct exchange *x); /* what follows the "?", as it was sent */
struct str exchange_body(const struct exchange *x);
struct str exchange_header(const struct exchange *x,
                           const char *name); /* lower case; "" if absent */
const char *
exchange_id(const struct exchange *x); /* x-request-id, or "req_" and 32 hexadecimal digits */
uint64_t exchange_start_ns(const struct exchange *x); /* when it had come */
const struct trace_context *exchange_context(const struct exchange *x);

/* Replaces the id that is given back as x-request-id. */
void exchange_set_id(struct exchange *x, struct str id);

/* The number that `written` gets. */
void exchange_set_trace(struct exchange *x, uint64_t trace);

/* Names the route in the count of answers; lives as long as the process. */
void exchange_set_route(struct exchange *x, const char *route);

/* Adds a header to the answer; name is lower case and lives as long as the process. */
void exchange_add_header(struct exchange *x, const char *name, struct str value);

/* Who is told. Needed before anything is awaited. Called again, it passes the exchange on. */
void exchange_own(struct exchange *x, void (*closed)(void *ctx, enum exchange_end why), void *ctx);

/* Answers with a whole body. */
void exchange_answer(struct exchange *x, int status, const char *content_type, struct str body);

/* Answers with an error object. */
void exchange_refuse(struct exchange *x, const struct api_error *e);

/* Begins an answer of unknown length; status 200. Nothing reaches the client before the first
 * write. */
void exchange_open(struct exchange *x, const char *content_type);

/* Calls `ping` while nothing was written for ping_ms, from now on. */
void exchange_ping(struct exchange *x, void (*ping)(void *ctx));

/* Copies the bytes. Never calls `closed` itself. */
void exchange_write(struct exchange *x, struct str bytes);

/* Calls `more` each time the client has taken all that was written, while the answer is open. */
void exchange_feed(struct exchange *x, void (*more)(void *ctx));

/* Bytes that were written and that the client has not taken. */
size_t exchange_n_pending(const struct exchange *x);

/* Completes the answer once all is written. */
void exchange_end(struct exchange *x);

/* Cuts the answer off once all is written, so that no client takes it for complete: RST on TCP, a
 * broken chunk on a Unix socket, RST_STREAM in HTTP/2. */
void exchange_reset(struct exchange *x);

#endif
