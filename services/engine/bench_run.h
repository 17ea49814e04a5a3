/* SPDX-License-Identifier: MIT */
/* bench_run: the measurements of halo-bench. Everything runs on the backend alone: no scheduler, no
 * frames. A decoded token includes its greedy choice. Each run is preceded by a measurement of the
 * machine's limits, and its share of them is formed before averaging: both see the same noise. */
#ifndef HALO_ENGINE_BENCH_RUN_H
#define HALO_ENGINE_BENCH_RUN_H

#include <stdint.h>

#include "common/err.h"
#include "kernels/kernels.h"
#include "services/engine/bench_model.h"
#include "services/engine/kv.h"

enum {
    BENCH_MAX_LIST = 16, /* values of --pp, of --depth and of --batch */
    BENCH_MAX_RUNS = 100,
    BENCH_MAX_WAYS = 8, /* of sampling */
    BENCH_MAX_RESULTS = 2 * BENCH_MAX_LIST + BENCH_MAX_WAYS,
};

struct bench_list {
    uint32_t n;
    uint32_t values[BENCH_MAX_LIST];
};

struct bench_config {
    const struct model *model;
    const struct kernels *kernels;
    enum isa isa;
    uint32_t n_threads;
    uint32_t step_tokens;
    uint32_t runs;
    struct bench_list pp;
    uint32_t tg; /* 0: not measured */
    struct bench_list batch;
    uint64_t weight_bytes; /* of the model file or of the random weights */
    struct bench_list depth; /* of decode, in the order of measuring; with tg one at least */
    enum kv_type kv_type;
    bool has_fast_head;
    bool does_copy_weights;
    bool does_sample; /* decode in other ways than the greedy one, too */
};

struct bench_stat {
    double mean, sd, median;
};

/* Tokens per second of prefill ("pp512") or decode ("tg128", "tg128@1024" at a context depth,
 * "tg128/draw" sampled). */
struct bench_result {
    char name[32];
    bool is_decode;
    struct bench_stat speed; /* tokens per second */
    struct bench_stat share; /* of the limit: memory for decode, int8 for prefill; 0 if not known */
    double bytes_per_token; /* decode: codes, head and the KV read on average, by the last run */
    double kv_bytes_per_token;
    double head_bytes;
    uint32_t depth;
    /* Of decode at a depth, against the first decode measured, both from the medians: the part of its
     * tokens/s that is lost, and what reading the further KV bytes at the limit would lose. */
    double loss, loss_explained;
};

/* A line as llama-batched-bench prints it; times are medians. */
struct bench_batch {
    uint32_t pp, tg, n_seqs;
    double pp_s, tg_s;
};

struct bench_results {
    struct bench_stat read_limit; /* bytes per second */
    struct bench_stat int8_limit; /* multiply-adds per second */
    uint64_t head_bytes; /* of the head that a greedy token read, on average */
    uint32_t n_results;
    struct bench_result results[BENCH_MAX_RESULTS];
    uint64_t peak_bytes; /* resident, of this process but for the buffer of bench_limits */
    uint64_t kv_bytes; /* of the cache */
    uint32_t n_batches;
    struct bench_batch batches[BENCH_MAX_LIST];
};

/* Positions of the longest sequence that these measurements take. */
uint32_t bench_positions(const struct bench_config *c);

/* Calls note(text) before each measurement. ERR_NOMEM when the KV cache does not fit. */
MUST_CHECK enum err bench_run(const struct bench_config *config, void (*note)(const char *what),
                              struct bench_results *ret_results);

#endif
