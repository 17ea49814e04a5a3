/* SPDX-License-Identifier: MIT */
/* Options of halo-router. */
#ifndef HALO_ROUTER_OPTIONS_H
#define HALO_ROUTER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/tls.h"

struct options {
    const char *run;
    const char *log_level;
    const char *sandbox;
    uint32_t queue_limit;
    uint32_t queue_wait_ms;
    uint32_t engine_wait_ms;
    uint32_t dead_ms;
    uint32_t stall_ms;
    const char *prefill;
    const char *state;
    uint32_t shadow_share;
    uint32_t burnin_log_mb;
    /* Gates of a cutover; `halo cutover` asks for them and judges. */
    uint32_t gate_rounds;
    uint32_t gate_exact;
    uint32_t gate_latency;
    uint32_t gate_uptime_s;
    uint32_t gate_ppl;
    const char *gate_ppl_text;
    const char *listen_tls; /* NULL: engines of this machine only */
    struct tls_files tls;
    const char *tls_workers;
};

/* As opt_parse. */
bool options_parse(struct options *o, int argc, char **argv, int *ret_exit);

#endif
