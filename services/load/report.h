/* SPDX-License-Identifier: MIT */
/* report: the results as text, JSON and a table of the distributions. Rows and keys have the names that
 * `vllm bench serve` gives them, where it has them. */
#ifndef HALO_LOAD_REPORT_H
#define HALO_LOAD_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "services/load/options.h"
#include "services/load/processes.h"
#include "services/load/stats.h"

struct report {
    const struct options *options;
    const struct stats *stats;
    const struct processes *processes;
    const char *model;
    uint64_t n_connections; /* HTTP stages, else 0 */
    uint64_t n_stale;
};

void report_text(FILE *to, const struct report *r);

/* False, and a line on stderr, if the file cannot be written. */
bool report_json(const char *path, const struct report *r);
bool report_histogram(const char *path, const struct report *r);

/* Above 0.8 the generator may be what limits. Its share of one core. */
double report_own_share(const struct stats *s);

#endif
