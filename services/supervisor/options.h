/* SPDX-License-Identifier: MIT */
/* Options of halo-supervisor. */
#ifndef HALO_SUPERVISOR_OPTIONS_H
#define HALO_SUPERVISOR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *run;
    const char *log_level;
    const char *sandbox;
    const char *bin;
    const char *model;
    const char *http;
    const char *engine_args;
    const char *gateway_args;
    const char *router_args;
    const char *candidate_args;
    const char *candidate_bin;
    uint32_t n_candidates;
    uint32_t n_engines;
    uint32_t watchdog_ms;
    uint32_t start_timeout_ms;
    uint32_t stop_timeout_ms;
};

/* As opt_parse; also resolves --model to an absolute path and checks that it can be read. */
bool options_parse(int argc, char **argv, struct options *ret_options, int *ret_exit);

#endif
