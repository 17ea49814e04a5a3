/* SPDX-License-Identifier: MIT */
#include "services/engine/ppl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/fast_head.h"
#include "services/engine/pool.h"
#include "services/engine/sampler.h"

enum {
    STEP_ROWS = 256,
    LOGITS_BYTES = 64 << 20, /* of one step; a large vocabulary makes steps shorter */
    MIN_STEP_ROWS = 16,
};

struct ppl {
    const struct ppl_config *config;
    struct ppl_results *results;
    struct backend *backend;
    struct pool *pool;
    uint32_t n_rows; /* most of a step */
    uint32_t *window; /* [config->window] the tokens being computed */
    uint32_t *blocks;
    double *nll; /* [config->window] nll[i] of window[i] */
    float *full; /* [n_rows][vocab] logits to compare with; NULL: no check */

    const struct backend_item *item; /* of the step in progress */
    uint8_t *is_same; /* [n_rows] */
    float *row; /* [vocab] of `full`, for the sampler to change */
    struct sampler_bench *bench;
};

/* ---- means ---- */

static void add_value(struct ppl_mean *m, double x)
{
    m->n++;
    m->sum += x;
    m->squares += x * x;
}

double ppl_mean_of(const struct ppl_mean *m)
{
    return m->n > 0 ? m->sum / (double)m->n : 0.0;
}

double ppl_error_of(const struct ppl_mean *m)
{
    if (m->n < 2)
        return 0.0;
    double mean = ppl_mean_of(m);
    double variance = (m->squares - (double)m->n * mean * mean) / ((double)m->n - 1.0);
    return sqrt((variance > 0.0 ? variance : 0.0) / (double)m->n);
}

bool ppl_drifts(const struct ppl_results *r)
{
    return r->drift.n >= 2 && ppl_mean_of(&r->drift) > 2.0 * ppl_error_of(&r->drift);
}

/* ---- one step ---- */

/* -ln of the probability that logits[n] give to `id`. */
static double nll_of(const float *logits, uint32_t n, uint32_t id)
{
    double max = -INFINITY;
    for (uint32_t i = 0; i < n; i++)
        max = (double)logits[i] > max ? (double)logits[i] : max;
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return log(fmax(sum, 1.0)) - ((double)logits[id] - max); /* the largest one alone gives 1 */
}

/* Row i of the wanted logits predicts the token after its own. */
static void nll_task(void *ctx, uint32_t i)
{
    struct ppl *p = ctx;
    const struct backend_item *item = p->item;
    uint32_t n_vocab = p->config->model->config.n_vocab;
    uint32_t target = item->pos0 + item->n_tokens - item->n_logits + i + 1;
    p->nll[target] = nll_of(item->got[i].values, n_vocab, p->window[target]);
}

static void compare_task(void *ctx, uint32_t i)
{
    struct ppl *p = ctx;
    size_t n_vocab = p->config->model->config.n_vocab;
    struct backend_want want = p->item->want;
    want.noise.index += i;
    if (!fast_head_agrees(p->full + i * n_vocab, &p->item->got[i], (uint32_t)n_vocab, &want))
        p->is_same[i] = 0;
}

/* With top_p or min_p not the logits are compared but what the sampler chooses from them. */
static enum err check_picks(struct ppl *p, struct backend_item *item)
{
    const struct rec_sampling ways[] = {
        {.max_tokens = 1, .temperature = 1.0F, .top_p = 0.9F, .seed = item->pos0},
        {.max_tokens = 1, .temperature = 0.7F, .top_p = 0.95F, .seed = item->pos0},
        {.max_tokens = 1, .temperature = 1.5F, .top_p = 0.7F, .min_p = 0.01F},
        {.max_tokens = 1, .temperature = 2.0F, .min_p = 0.05F, .seed = item->pos0},
    };
    const struct model_config *config = &p->config->model->config;
    enum err e = ERR_OK;
    for (size_t k = 0; k < ARRAY_LEN(ways) && !e; k++) {
        struct sampler *s = sampler_new(&ways[k], config);
        item->want = sampler_want(s, 0, NULL, 0);
        e = backend_step(p->backend, item, 1);
        for (uint32_t i = 0; i < item->n_logits && !e; i++) {
            const struct backend_logits all = {.values = p->row, .n = config->n_vocab};
            struct sampler_choice from_all = {0};
            struct sampler_choice picked = {0};
            memcpy(p->row, p->full + (size_t)i * config->n_vocab, all.n * sizeof *p->row);
            p->results->n_picks++;
            p->results->n_picked += item->got[i].ids != NULL;
            e = sampler_choose(p->bench, s, &all, i, &from_all);
            if (!e)
                e = sampler_choose(p->bench, s, &item->got[i], i, &picked);
            if (from_all.id != picked.id)
                p->is_same[i] = 0;
        }
        sampler_free(s);
    }
    return e;
}

/* Computes the step again as decoding would, with the fast head. */
static enum err check_step(struct ppl *p, struct backend_item *item)
{
    size_t n_vocab = p->config->model->config.n_vocab;
    memcpy(p->full, item->got->values, item->n_logits * n_vocab * sizeof *p->full);
    memset(p->is_same, 1, item->n_logits);
    const struct backend_want wants[] = {
        {.kind = WANT_TOP, .n_top = 1},
        {.kind = WANT_TOP, .n_top = p->config->check_top},
        {.kind = WANT_NEAR, .reach = 3.0F},
        {.kind = WANT_DRAW, .noise = {.seed = item->pos0, .scale = 1.0F}},
    };
    for (size_t k = 0; k < ARRAY_LEN(wants); k++) {
        item->want = wants[k];
        enum err e = backend_step(p->backend, item, 1);
        if (e)
            return e;
        pool_run(p->pool, item->n_logits, compare_task, p);
    }
    enum err e = check_picks(p, item);
    if (e)
        return e;
    for (uint32_t i = 0; i < item->n_logits; i++)
        p->results->n_differing += p->is_same[i] == 0;
    p->results->n_checked += item->n_logits;
    return ERR_OK;
}

/* Tokens [at, at + n) of the window; those after scored_from are to be predicted. */
static enum err run_step(struct ppl *p, uint32_t at, uint32_t n, uint32_t scored_from)
{
    uint32_t first = scored_from > at + 1 ? scored_from - 1 - at : 0; /* row that is wanted */
    struct backend_item item = {
        .tokens = p->window + at,
        .n_tokens = n,
        .pos0 = at,
        .blocks = p->blocks,
        .n_logits = first < n ? n - first : 0,
    };
    enum err e = backend_step(p->backend, &item, 1);
    p->item = &item;
    if (!e && item.n_logits > 0) {
        pool_run(p->pool, item.n_logits, nll_task, p);
        if (p->full != NULL)
            e = check_step(p, &item);
    }
    p->item = NULL;
    return e;
}

/* ---- windows ---- */

static enum err count_window(struct ppl *p, uint32_t n, uint32_t scored_from)
{
    struct ppl_results *r = p->results;
    struct ppl_mean second_quarter = {0};
    struct ppl_mean last_half = {0};
    for (uint32_t i = scored_from; i < n; i++) {
        double x = p->nll[i];
        if (!isfinite(x))
            return ERR_INTERNAL;
        add_value(&r->nll, x);
        uint32_t k = 0;
        while (i >= r->buckets[k].to)
            k++;
        add_value(&r->buckets[k].nll, x);
        if (i >= n / 2)
            add_value(&last_half, x);
        else if (i >= n / 4)
            add_value(&second_quarter, x);
    }
    if (n == p->config->window && scored_from == 1 && second_quarter.n > 0)
        add_value(&r->drift, ppl_mean_of(&last_half) - ppl_mean_of(&second_quarter));
    r->n_windows++;
    return ERR_OK;
}

/* The first n tokens of the window, of which those from scored_from on count. The last one is only
 * predicted, never computed. */
static enum err run_window(struct ppl *p, uint32_t n, uint32_t scored_from)
{
    enum err e = ERR_OK;
    for (uint32_t at = 0; at < n - 1 && !e; at += p->n_rows) {
        uint32_t left = n - 1 - at;
        e = run_step(p, at, left < p->n_rows ? left : p->n_rows, scored_from);
    }
    return e ? e : count_window(p, n, scored_from);
}

static enum err run_all(struct ppl *p, const uint32_t *ids, size_t n_ids)
{
    const struct ppl_config *c = p->config;
    uint32_t n_bos = c->has_bos ? 1 : 0;
    uint32_t cap = c->window - n_bos; /* of the text */
    p->window[0] = c->model->config.bos_id;
    size_t scored = 0; /* tokens of the text that are done */
    for (size_t from = 0; scored < n_ids; from += c->stride) {
        uint32_t n = n_ids - from < cap ? (uint32_t)(n_ids - from) : cap;
        uint32_t scored_from = (uint32_t)(scored - from) + n_bos;
        scored_from = scored_from > 0 ? scored_from : 1;
        memcpy(p->window + n_bos, ids + from, n * sizeof *ids);
        scored = from + n;
        if (n + n_bos < 2)
            continue;
        enum err e = run_window(p, n + n_bos, scored_from);
        if (e)
            return e;
        if (c->progress != NULL)
            c->progress(c->ctx, scored, n_ids, ppl_mean_of(&p->results->nll));
    }
    return p->results->nll.n > 0 ? ERR_OK : ERR_RANGE;
}

/* ---- setting up ---- */

static void set_buckets(struct ppl *p)
{
    struct ppl_results *r = p->results;
    uint32_t from = 1;
    uint32_t to = PPL_FIRST_BUCKET;
    for (;; to *= 2) {
        struct ppl_bucket *b = &r->buckets[r->n_buckets++];
        *b = (struct ppl_bucket){.from = from, .to = to};
        if (to + to / 4 >= p->config->window) { /* no bucket for a few last positions */
            b->to = p->config->window;
            return;
        }
        from = to;
    }
}

static enum err set_up(struct ppl *p)
{
    const struct ppl_config *c = p->config;
    uint64_t row_bytes = (uint64_t)c->model->config.n_vocab * sizeof(float);
    uint64_t rows = LOGITS_BYTES / row_bytes;
    rows = rows < STEP_ROWS ? rows : STEP_ROWS;
    p->n_rows = rows > MIN_STEP_ROWS ? (uint32_t)rows : MIN_STEP_ROWS;
    uint32_t n_blocks = (c->window + KV_BLOCK - 1) / KV_BLOCK;
    p->window = mem_zalloc(c->window, sizeof *p->window);
    p->nll = mem_zalloc(c->window, sizeof *p->nll);
    p->is_same = mem_zalloc(p->n_rows, sizeof *p->is_same);
    p->blocks = mem_zalloc(n_blocks, sizeof *p->blocks);
    for (uint32_t i = 0; i < n_blocks; i++)
        p->blocks[i] = i;
    if (c->check_top > 0) {
        p->full = mem_zalloc(p->n_rows, row_bytes);
        p->row = mem_zalloc(1, row_bytes);
        p->bench = sampler_bench_new(c->kernels, c->model->config.n_vocab);
    }
    set_buckets(p);
    enum err e = pool_new(c->n_threads, &p->pool);
    const struct backend_cpu_config config = {
        .model = c->model,
        .kernels = c->kernels,
        .n_threads = c->n_threads,
        .kv_type = c->kv_type,
        .n_blocks = n_blocks,
        .max_rows = p->n_rows,
        .max_logits = p->n_rows,
        .has_fast_head = c->check_top > 0,
    };
    return e ? e : backend_cpu_new(&config, &p->backend);
}

enum err ppl_run(const struct ppl_config *config, const uint32_t *ids, size_t n_ids,
                 struct ppl_results *ret_results)
{
    struct ppl p = {.config = config, .results = ret_results};
    *ret_results = (struct ppl_results){0};
    enum err e = set_up(&p);
    uint64_t t0 = clock_now_ns();
    if (!e)
        e = run_all(&p, ids, n_ids);
    ret_results->seconds = (double)(clock_now_ns() - t0) * 1e-9;
    backend_free(p.backend);
    pool_free(p.pool);
    free(p.window);
    free(p.nll);
    free(p.is_same);
    free(p.blocks);
    free(p.full);
    free(p.row);
    sampler_bench_free(p.bench);
    return e;
}
