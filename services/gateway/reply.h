/* SPDX-License-Identifier: MIT */
/* Reply: the answer to one request for text, from its checked fields to its last byte. It owns one
 * job per choice, writes their pieces into the exchange as they come (stream) or gathers them, and
 * turns failures into an HTTP status before the first byte and into an in-band error followed by a
 * reset after it. */
#ifndef HALO_GATEWAY_REPLY_H
#define HALO_GATEWAY_REPLY_H

#include "services/gateway/exchange.h"
#include "services/gateway/gateway.h"
#include "services/gateway/request.h"

/* Answers the exchange, now or later. key is whose request it is, or NULL. */
void reply_start(struct gateway *g, struct exchange *take_x, enum endpoint endpoint, uint32_t lane,
                 struct key *key);

/* Fails every reply in flight: the time for draining is over. */
void reply_fail_all(struct gateway *g, enum err why, const char *detail);

#endif
