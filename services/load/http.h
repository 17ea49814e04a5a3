/* SPDX-License-Identifier: MIT */
/* http: the target that speaks HTTP/1.1 to a gateway: as many connections as there are requests in
 * flight, on one epoll set. A stream that ends without a finish_reason and [DONE] was cut, however
 * cleanly the connection was closed. */
#ifndef HALO_LOAD_HTTP_H
#define HALO_LOAD_HTTP_H

#include "common/err.h"
#include "common/loop.h"
#include "services/load/ask.h"
#include "services/load/run.h"
#include "services/load/url.h"

struct http;

/* url and config are borrowed for the life of the target. */
MUST_CHECK enum err http_new(struct loop *loop, const struct url *url,
                             const struct ask_config *config, struct http **ret_http);

/* No request may be in flight. */
void http_free(struct http *h);

struct target *http_target(struct http *h);

/* Connections opened, and requests that were sent again because a kept connection had gone stale. */
uint64_t http_n_connections(const struct http *h);
uint64_t http_n_stale(const struct http *h);

#endif
