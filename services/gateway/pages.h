/* SPDX-License-Identifier: MIT */
/* Pages: what can be answered at once from what the gateway knows. */
#ifndef HALO_GATEWAY_PAGES_H
#define HALO_GATEWAY_PAGES_H

#include "services/gateway/exchange.h"
#include "services/gateway/gateway.h"

void pages_models(struct gateway *g, struct exchange *take_x, uint32_t lane);
void pages_model(struct gateway *g, struct exchange *take_x, uint32_t lane, struct str name);
void pages_readyz(struct gateway *g, struct exchange *take_x);
void pages_traces(struct gateway *g, struct exchange *take_x);
void pages_trace(struct gateway *g, struct exchange *take_x, struct str id);
void pages_metrics(struct gateway *g, struct exchange *take_x);

#endif
