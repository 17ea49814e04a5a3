/* SPDX-License-Identifier: MIT */
/* plot: a run as a picture (SVG): throughput and time to first token over time, and the distribution of
 * each latency. */
#ifndef HALO_LOAD_PLOT_H
#define HALO_LOAD_PLOT_H

#include <stdbool.h>

#include "services/load/stats.h"

/* False, and a line on stderr, if the file cannot be written. */
bool plot_write(const char *path, const char *title, const struct stats *s);

#endif
