/* SPDX-License-Identifier: MIT */
#include "services/engine/bench_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/bench_limits.h"
#include "services/engine/kv.h"
#include "services/engine/pool.h"
#include "services/engine/sampler.h"

enum { WARM_TOKENS = 2 };

struct bench {
    const struct bench_config *config;
    void (*note)(const char *what);
    struct bench_results *results;
    struct pool *pool;
    struct bench_limits *limits;
    struct backend *backend;
    struct sampler_bench *sampler_bench;
    struct sampler *sampler; /* as the measurement wants it */

    uint32_t max_seqs;
    uint32_t max_positions; /* of a sequence */
    uint32_t *prompt; /* [max_positions] random tokens, the same for all sequences */
    uint32_t *blocks; /* [max_seqs][blocks per sequence] */
    uint32_t *next; /* [max_seqs] token to decode */
    struct backend_item *items; /* [max_seqs] */

    double read_limits[BENCH_MAX_RUNS * BENCH_MAX_RESULTS];
    double int8_limits[BENCH_MAX_RUNS * BENCH_MAX_RESULTS];
    uint32_t n_limits;
};

/* ---- numbers ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

/* Sorts the values. */
static struct bench_stat stat_of(double *values, uint32_t n)
{
    struct bench_stat s = {0};
    if (n == 0)
        return s;
    for (uint32_t i = 0; i < n; i++)
        s.mean += values[i] / n;
    for (uint32_t i = 0; i < n && n > 1; i++)
        s.sd += (values[i] - s.mean) * (values[i] - s.mean) / (n - 1);
    s.sd = sqrt(s.sd);
    qsort(values, n, sizeof *values, compare_doubles);
    s.median = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
    return s;
}

static uint32_t largest(const struct bench_list *list)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < list->n; i++)
        most = list->values[i] > most ? list->values[i] : most;
    return most;
}

/* ---- steps ---- */

static uint32_t blocks_per_seq(const struct bench *b)
{
    return (b->max_positions + KV_BLOCK - 1) / KV_BLOCK;
}

/* Computes the first n tokens of the prompt for n_seqs sequences, in steps of at most step_tokens. */
static enum err prefill(struct bench *b, uint32_t n_seqs, uint32_t n)
{
    uint32_t n_items = 0;
    uint32_t left = b->config->step_tokens;
    for (uint32_t seq = 0; seq < n_seqs; seq++) {
        for (uint32_t at = 0; at < n;) {
            uint32_t take = n - at < left ? n - at : left;
            bool is_last = seq + 1 == n_seqs && at + take == n;
            b->items[n_items++] = (struct backend_item){
                .tokens = b->prompt + at,
                .n_tokens = take,
                .pos0 = at,
                .blocks = b->blocks + (size_t)seq * blocks_per_seq(b),
                .n_logits = at + take == n,
                .want = {.kind = WANT_TOP, .n_top = 1},
            };
            at += take;
            left -= take;
            if (left > 0 && !is_last)
                continue;
            enum err e = backend_step(b->backend, b->items, n_items);
            if (e)
                return e;
            n_items = 0;
            left = b->config->step_tokens;
        }
    }
    return ERR_OK;
}

/* Decodes n tokens in each of n_seqs sequences, from position pos0 on. */
static enum err decode(struct bench *b, uint32_t n_seqs, uint32_t pos0, uint32_t n)
{
    for (uint32_t i = 0; i < n_seqs; i++)
        b->next[i] = b->prompt[i % b->max_positions];
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t i = 0; i < n_seqs; i++)
            b->items[i] = (struct backend_item){
                .tokens = &b->next[i],
                .n_tokens = 1,
                .pos0 = pos0 + k,
                .blocks = b->blocks + (size_t)i * blocks_per_seq(b),
                .n_logits = 1,
                .want = sampler_want(b->sampler, k, NULL, 0),
            };
        enum err e = backend_step(b->backend, b->items, n_seqs);
        for (uint32_t i = 0; i < n_seqs && !e; i++) {
            struct sampler_choice c;
            e = sampler_choose(b->sampler_bench, b->sampler, b->items[i].got, k, &c);
            b->next[i] = c.id;
        }
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- measurements ---- */

static void measure_limits(struct bench *b, double *ret_read, double *ret_int8)
{
    *ret_read = bench_limits_read(b->limits);
    *ret_int8 = bench_limits_int8(b->limits);
    b->read_limits[b->n_limits] = *ret_read;
    b->int8_limits[b->n_limits] = *ret_int8;
    b->n_limits++;
}

static enum err measure_pp(struct bench *b, uint32_t n)
{
    struct bench_result *r = &b->results->results[b->results->n_results++];
    (void)snprintf(r->name, sizeof r->name, "pp%u", n);
    b->note(r->name);
    double work = (double)bench_model_n_weights(b->config->model);
    double speeds[BENCH_MAX_RUNS];
    double shares[BENCH_MAX_RUNS];
    for (uint32_t i = 0; i < b->config->runs; i++) {
        double read = 0.0;
        double int8 = 0.0;
        measure_limits(b, &read, &int8);
        uint64_t t0 = clock_now_ns();
        enum err e = prefill(b, 1, n);
        if (e)
            return e;
        speeds[i] = n / ((double)(clock_now_ns() - t0) * 1e-9);
        shares[i] = int8 > 0.0 ? speeds[i] * work / int8 : 0.0;
    }
    r->speed = stat_of(speeds, b->config->runs);
    r->share = stat_of(shares, b->config->runs);
    return ERR_OK;
}

/* Against the first decode of the results. */
static void explain_loss(const struct bench_results *all, struct bench_result *r, double read)
{
    const struct bench_result *first = all->results;
    while (!first->is_decode)
        first++;
    double t0 = 1.0 / first->speed.median;
    double t = t0 + (r->kv_bytes_per_token - first->kv_bytes_per_token) / read;
    r->loss = 1.0 - r->speed.median / first->speed.median;
    r->loss_explained = 1.0 - t0 / t;
}

/* Ways to choose a token; the first is what all measurements but those of measure_ways take. */
static const struct {
    const char *name;
    struct rec_sampling sampling;
} WAYS[] = {
    {"greedy", {.max_tokens = 1}},
    {"draw", {.max_tokens = 1, .temperature = 1.0F}},
    {"penalty", {.max_tokens = 1, .temperature = 1.0F, .frequency_penalty = 0.5F}},
    {"min-p", {.max_tokens = 1, .temperature = 1.0F, .min_p = 0.05F}},
    {"top-k", {.max_tokens = 1, .temperature = 1.0F, .top_k = 40}},
    {"top-p", {.max_tokens = 1, .temperature = 1.0F, .top_p = 0.9F}},
    {"logprobs", {.max_tokens = 1, .temperature = 1.0F, .logprobs = true}},
};
_Static_assert(ARRAY_LEN(WAYS) <= BENCH_MAX_WAYS, "a result for each");

static void set_way(struct bench *b, size_t way)
{
    sampler_free(b->sampler);
    b->sampler = sampler_new(&WAYS[way].sampling, &b->config->model->config);
    sampler_saw(b->sampler, b->prompt, b->max_positions, true);
}

/* `way` is NULL for the greedy one. */
static enum err measure_tg(struct bench *b, uint32_t depth, uint32_t n, const char *way)
{
    struct bench_result *r = &b->results->results[b->results->n_results++];
    if (depth > 0)
        (void)snprintf(r->name, sizeof r->name, "tg%u@%u", n, depth);
    else if (way != NULL)
        (void)snprintf(r->name, sizeof r->name, "tg%u/%s", n, way);
    else
        (void)snprintf(r->name, sizeof r->name, "tg%u", n);
    b->note(r->name);
    const struct model *m = b->config->model;
    r->is_decode = true;
    r->depth = depth;
    r->kv_bytes_per_token =
        (double)backend_cpu_block_bytes(m, b->config->kv_type) / KV_BLOCK * (depth + (n + 1) / 2.0);
    double speeds[BENCH_MAX_RUNS];
    double shares[BENCH_MAX_RUNS];
    double reads[BENCH_MAX_RUNS];
    for (uint32_t i = 0; i < b->config->runs; i++) {
        double read = 0.0;
        double int8 = 0.0;
        measure_limits(b, &read, &int8);
        uint64_t head0 = backend_cpu_head_bytes(b->backend);
        uint64_t t0 = clock_now_ns();
        enum err e = decode(b, 1, depth, n);
        if (e)
            return e;
        speeds[i] = n / ((double)(clock_now_ns() - t0) * 1e-9);
        r->head_bytes = (double)(backend_cpu_head_bytes(b->backend) - head0) / n;
        r->bytes_per_token =
            (double)bench_model_code_bytes(m) + r->head_bytes + r->kv_bytes_per_token;
        shares[i] = speeds[i] * r->bytes_per_token / read;
        reads[i] = read;
    }
    r->speed = stat_of(speeds, b->config->runs);
    r->share = stat_of(shares, b->config->runs);
    if (way == NULL)
        b->results->head_bytes = (uint64_t)r->head_bytes;
    explain_loss(b->results, r, stat_of(reads, b->config->runs).median);
    return ERR_OK;
}

static enum err measure_batch(struct bench *b, uint32_t n_seqs)
{
    struct bench_batch *r = &b->results->batches[b->results->n_batches++];
    *r = (struct bench_batch){.pp = b->config->pp.values[0], .tg = b->config->tg};
    r->n_seqs = n_seqs;
    char what[32];
    (void)snprintf(what, sizeof what, "batch %u", n_seqs);
    b->note(what);
    double pp_s[BENCH_MAX_RUNS];
    double tg_s[BENCH_MAX_RUNS];
    for (uint32_t i = 0; i < b->config->runs; i++) {
        uint64_t t0 = clock_now_ns();
        enum err e = prefill(b, n_seqs, r->pp);
        uint64_t t1 = clock_now_ns();
        if (!e)
            e = decode(b, n_seqs, r->pp, r->tg);
        if (e)
            return e;
        pp_s[i] = (double)(t1 - t0) * 1e-9;
        tg_s[i] = (double)(clock_now_ns() - t1) * 1e-9;
    }
    r->pp_s = stat_of(pp_s, b->config->runs).median;
    r->tg_s = stat_of(tg_s, b->config->runs).median;
    return ERR_OK;
}

static enum err measure_all(struct bench *b)
{
    const struct bench_config *c = b->config;
    uint32_t warm = b->max_positions < WARM_TOKENS ? b->max_positions : WARM_TOKENS;
    enum err e = decode(b, 1, 0, warm);
    for (uint32_t i = 0; i < c->pp.n && !e; i++)
        e = measure_pp(b, c->pp.values[i]);
    for (uint32_t i = 0; i < c->depth.n && c->tg > 0 && !e; i++)
        e = measure_tg(b, c->depth.values[i], c->tg, NULL);
    for (size_t way = 1; way < ARRAY_LEN(WAYS) && c->does_sample && c->tg > 0 && !e; way++) {
        set_way(b, way);
        e = measure_tg(b, 0, c->tg, WAYS[way].name);
    }
    set_way(b, 0);
    for (uint32_t i = 0; i < c->batch.n && !e; i++)
        e = measure_batch(b, c->batch.values[i]);
    b->results->read_limit = stat_of(b->read_limits, b->n_limits);
    b->results->int8_limit = stat_of(b->int8_limits, b->n_limits);
    return e;
}

/* ---- setting up ---- */

uint32_t bench_positions(const struct bench_config *c)
{
    uint32_t most = largest(&c->depth) + c->tg;
    uint32_t pp = largest(&c->pp);
    most = pp > most ? pp : most;
    if (c->batch.n > 0 && c->pp.values[0] + c->tg > most)
        most = c->pp.values[0] + c->tg;
    return most > 0 ? most : 1;
}

static void set_sizes(struct bench *b)
{
    const struct bench_config *c = b->config;
    b->max_positions = bench_positions(c);
    uint32_t n_seqs = largest(&c->batch);
    b->max_seqs = n_seqs > 0 ? n_seqs : 1;
}

static void fill(struct bench *b)
{
    uint32_t per_seq = blocks_per_seq(b);
    b->blocks = mem_zalloc((size_t)b->max_seqs * per_seq, sizeof *b->blocks);
    for (uint32_t i = 0; i < b->max_seqs * per_seq; i++)
        b->blocks[i] = i;
    b->prompt = mem_zalloc(b->max_positions, sizeof *b->prompt);
    uint32_t state = 1;
    for (uint32_t i = 0; i < b->max_positions; i++) {
        state = state * 1664525U + 1013904223U;
        b->prompt[i] = (state >> 8) % b->config->model->config.n_vocab;
    }
    b->next = mem_zalloc(b->max_seqs, sizeof *b->next);
    b->items = mem_zalloc(b->max_seqs, sizeof *b->items);
    set_way(b, 0);
    b->sampler_bench = sampler_bench_new(b->config->kernels, b->config->model->config.n_vocab);
}

static enum err set_up(struct bench *b)
{
    const struct bench_config *c = b->config;
    set_sizes(b);
    fill(b);
    enum err e = pool_new(c->n_threads, &b->pool);
    if (e)
        return e;
    b->limits = bench_limits_new(b->pool, c->isa);
    const struct backend_cpu_config config = {
        .model = c->model,
        .kernels = c->kernels,
        .n_threads = c->n_threads,
        .kv_type = c->kv_type,
        .n_blocks = b->max_seqs * blocks_per_seq(b),
        .max_rows = c->step_tokens > b->max_seqs ? c->step_tokens : b->max_seqs,
        .max_logits = b->max_seqs,
        .has_fast_head = c->has_fast_head,
    };
    b->results->kv_bytes = config.n_blocks * backend_cpu_block_bytes(c->model, c->kv_type);
    e = backend_cpu_new(&config, &b->backend);
    if (!e && largest(&c->depth) > 0)
        backend_cpu_fill_cache(b->backend); /* as a prefill of that length would, but at once */
    return e;
}

/* Peak of resident memory; 0 if the system does not say. */
static uint64_t peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

enum err bench_run(const struct bench_config *config, void (*note)(const char *what),
                   struct bench_results *ret_results)
{
    struct bench *b = mem_zalloc(1, sizeof *b);
    b->config = config;
    b->note = note;
    b->results = ret_results;
    enum err e = set_up(b);
    if (!e)
        e = measure_all(b);
    if (!e)
        ret_results->peak_bytes = peak_bytes() - bench_limits_bytes(b->limits);
    backend_free(b->backend);
    bench_limits_free(b->limits);
    pool_free(b->pool);
    sampler_free(b->sampler);
    sampler_bench_free(b->sampler_bench);
    free(b->prompt);
    free(b->blocks);
    free(b->next);
    free(b->items);
    free(b);
    return e;
}
