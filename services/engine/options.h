/* SPDX-License-Identifier: MIT */
/* options: what the operator asked halo-engine for, and the sizes that follow from it. */
#ifndef HALO_ENGINE_OPTIONS_H
#define HALO_ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/tls.h"
#include "services/engine/model.h"

struct options {
    const char *run;
    const char *log_level;
    const char *sandbox;
    const char *model;
    const char *name;
    const char *served_name;
    const char *backend;
    const char *gpu;
    const char *gpu_library; /* NULL: looked for */
    uint32_t gpu_timeout_ms;
    const char *isa;
    const char *head;
    const char *kv_type;
    bool does_verify;
    bool does_copy_weights;
    uint32_t threads; /* 0: as many as processors, at most 4 */
    uint32_t kv_tokens;
    uint32_t max_seqs;
    uint32_t frame_ms;
    uint32_t max_waiting;
    uint32_t step_tokens;
    uint32_t spec_tokens;
    uint32_t stretch;
    uint32_t lane;
    bool is_standby;
    uint32_t keep_kv_mb;
    const char *router; /* NULL: that of the run directory */
    struct tls_files tls;
};

/* Parses the command line. False when the program should end with *ret_exit. */
bool options_parse(struct options *o, int argc, char **argv, int *ret_exit);

/* For sandbox_enter. */
unsigned options_rights(const struct options *o, bool has_gpu);

/* Threads when --threads is 0. */
uint32_t options_default_threads(void);

struct sizes {
    uint32_t n_threads;
    uint32_t n_blocks; /* KV blocks */
    uint32_t n_ctx; /* the model's context, or what the KV blocks hold if that is less */
};

/* Fills in what was left open: threads from the processors that this process may use; KV blocks for
 * max_seqs sequences of full length, but at most for kv_room bytes. */
struct sizes options_sizes(const struct options *o, const struct model *m, uint64_t kv_room);

/* A quarter of the machine's memory, in bytes. */
uint64_t options_kv_room(void);

#endif
