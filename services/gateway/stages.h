/* SPDX-License-Identifier: MIT */
/* Stages: what spans say of a request's way, as histograms of its model. */
#ifndef HALO_GATEWAY_STAGES_H
#define HALO_GATEWAY_STAGES_H

#include "proto/span.h"
#include "services/gateway/metrics.h"

/* The spans of one event; those of waiting count together. mm may be NULL. */
void stages_observe(struct metrics_model *mm, const struct rec_span *spans, size_t n);

#endif
