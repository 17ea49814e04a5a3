/* SPDX-License-Identifier: MIT */
/* Relay: answers a request for a stream that another gateway process holds, one that has handed its
 * sockets over and finishes its replies. Such a process listens at relay_path, a Unix socket of mode
 * 0600 in the run directory, and serves there what it always served; the request goes there with its
 * headers of authorization, and the answer comes back through us. It checks the key itself.
 *
 * An answer of events that does not end with [DONE] is cut off here, too. Loop thread. */
#ifndef HALO_GATEWAY_RELAY_H
#define HALO_GATEWAY_RELAY_H

#include <stdbool.h>

#include "common/buf.h"
#include "services/gateway/exchange.h"
#include "services/gateway/gateway.h"

/* Appends the path of the socket of the process whose streams' ids begin with `tag`. */
void relay_path(const char *run, struct str tag, struct buf *out);

/* Passes a request on; false, and the exchange is still the caller's, if no process listens there. */
bool relay_start(struct gateway *g, struct exchange *take_x, struct str tag);

/* Forgets all: the process ends. */
void relay_free_all(struct gateway *g);

#endif
