/* SPDX-License-Identifier: MIT */
/* Routes: from method and path to what answers. */
#ifndef HALO_GATEWAY_ROUTES_H
#define HALO_GATEWAY_ROUTES_H

#include "services/gateway/exchange.h"
#include "services/gateway/gateway.h"

/* Answers the exchange, now or later. */
void routes_dispatch(struct gateway *g, struct exchange *take_x);

#endif
