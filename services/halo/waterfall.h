/* SPDX-License-Identifier: MIT */
/* Waterfall: one request's trace, as the gateway gives it (JSON), drawn for a terminal or as Chrome's
 * trace events. */
#ifndef HALO_HALO_WATERFALL_H
#define HALO_HALO_WATERFALL_H

#include <jansson.h>

#include "common/buf.h"

/* Appends lines: who it is, then a line for each span in the order of their beginning, indented under
 * the one that it happened in, with a bar. */
void waterfall_draw(const json_t *trace, struct buf *out);

/* The trace in the format that chrome://tracing and Perfetto read: a process for each process, and in
 * it a thread for each kind of span. Times count from the request's arrival. The caller's reference. */
json_t *waterfall_chrome(const json_t *trace);

#endif
