/* SPDX-License-Identifier: MIT */
/* Options of halo-gateway. */
#ifndef HALO_GATEWAY_OPTIONS_H
#define HALO_GATEWAY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *run;
    const char *log_level;
    const char *sandbox;
    const char *listen; /* HOST:PORT, or "none" */
    const char *unix_path; /* NULL: none */
    const char *unix_mode; /* "0600" or "0660" */
    const char *keys; /* NULL: no key is needed */
    const char *cors_origin; /* NULL: none */
    uint64_t max_body;
    uint64_t max_pending;
    uint32_t max_streams;
    uint32_t request_timeout_ms;
    uint32_t resume_ms;
    uint32_t drain_ms;
    uint32_t idle_ms;
    uint32_t stall_ms;
    uint32_t ping_ms;
    uint32_t keep_s;
    uint32_t keep_max_s;
    uint64_t keep_stream_bytes;
    uint64_t keep_bytes;
    uint32_t n_traces;
    const char *reply_log; /* NULL: none */
    uint64_t reply_log_bytes;
    uint32_t reply_log_files;
    bool is_h2c;
    bool print_fields;
};

/* As opt_parse. */
bool options_parse(struct options *o, int argc, char **argv, int *ret_exit);

#endif
