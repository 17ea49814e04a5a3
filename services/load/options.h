/* SPDX-License-Identifier: MIT */
/* options: what halo-load was asked to do. */
#ifndef HALO_LOAD_OPTIONS_H
#define HALO_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "proto/frames.h"
#include "services/load/stats.h"

enum stage { STAGE_STACK, STAGE_GATEWAY, STAGE_TOKENIZER, STAGE_ROUTER, STAGE_ENGINE };

struct options {
    /* As given. */
    const char *stage_name;
    const char *url;
    const char *run;
    const char *bin;
    const char *model_file;
    const char *child_args;
    const char *model;
    const char *rate_text;
    const char *burstiness_text;
    const char *ramp_text;
    const char *duration_text;
    const char *drain_text;
    const char *timeout_text;
    const char *range_text;
    const char *temperature_text;
    const char *goodput_text;
    const char *api;
    const char *over;
    const char *prompts_file;
    const char *body;
    const char *header;
    const char *json;
    const char *histogram;
    const char *svg;
    uint32_t concurrency; /* 0: not given */
    uint32_t warmup;
    uint32_t input_len;
    uint32_t prefix_len;
    uint32_t n_prefixes;
    uint32_t n_turns;
    uint32_t max_tokens;
    uint32_t vocab; /* 0: not given */
    uint32_t token_rate;
    uint32_t n_fake_engines;
    uint32_t rounds;
    uint64_t n_requests; /* 0: not given */
    uint64_t seed; /* never 0 afterwards */
    bool does_ignore_eos;
    bool does_keep_alive;
    bool does_compare;
    bool does_footprint;
    bool is_over_tcp;
    /* As understood. */
    enum stage stage;
    enum prompt_kind kind;
    double rate;
    double burstiness;
    double ramp_s;
    double duration_s;
    double drain_s;
    double timeout_s;
    double range;
    double temperature;
    struct goodput goodput;
    struct buf members; /* of the request's body, each after a comma */
    struct buf headers; /* of the request, each with its line end */
};

/* False when the program should end with *ret_exit. */
bool options_parse(struct options *o, int argc, char **argv, int *ret_exit);
void options_fini(struct options *o);

#endif
