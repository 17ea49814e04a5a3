/* SPDX-License-Identifier: MIT */
#include "services/engine/fast_head.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/check.h"
#include "common/mem.h"

enum {
    TASKS_PER_THREAD = 4,
    ROWS_ALIGN = 16, /* rows per task: a multiple of a cache line of floats */
};

struct fast_head {
    const struct model *model;
    const struct kernels *k;
    struct pool *pool;
    uint32_t rows_per_task;
    uint32_t n_ranges;
    void *memory; /* the copy */
    size_t memory_bytes;
    struct head8 packed;
    struct head8_input x;
    float *lower; /* [max_tokens][vocab] */
    float *least; /* [max_tokens] a logit below this is not wanted */

    const float *h; /* of the run in progress */
    const uint32_t *n_top;
    float *logits; /* upper bounds first */
    _Atomic uint64_t n_rescored;
};

static uint32_t range_end(const struct fast_head *f, uint32_t range)
{
    uint64_t end = (uint64_t)(range + 1) * f->rows_per_task;
    return end < f->model->config.n_vocab ? (uint32_t)end : f->model->config.n_vocab;
}

/* ---- a run ---- */

static void bound_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    f->k->head8_bounds(&f->packed, &f->x, range * f->rows_per_task, range_end(f, range), f->lower,
                       f->logits, f->model->config.n_vocab);
}

/* Puts v into the heap of the n largest so far, its smallest on top, in place of that one. */
static void replace_top(float *heap, uint32_t n, float v)
{
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= v)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = v;
}

static void least_task(void *ctx, uint32_t token)
{
    struct fast_head *f = ctx;
    uint32_t n_vocab = f->model->config.n_vocab;
    uint32_t n = f->n_top[token];
    const float *lower = f->lower + (size_t)token * n_vocab;
    if (n == 1) {
        f->least[token] = f->k->softmax_max(lower, n_vocab);
        return;
    }
    ASSERT(n > 0 && n <= FAST_HEAD_MAX_TOP);
    float heap[FAST_HEAD_MAX_TOP];
    for (uint32_t i = 0; i < n; i++)
        heap[i] = -INFINITY;
    for (uint32_t r = 0; r < n_vocab; r++) {
        if (lower[r] > heap[0])
            replace_top(heap, n, lower[r]);
    }
    f->least[token] = heap[0];
}

/* Upper bounds are never NaN: the radius is positive, and infinite where a row is not finite. */
static void finish_task(void *ctx, uint32_t i)
{
    struct fast_head *f = ctx;
    const struct model_config *c = &f->model->config;
    uint32_t token = i / f->n_ranges;
    uint32_t range = i % f->n_ranges;
    float *logits = f->logits + (size_t)token * c->n_vocab;
    float least = f->least[token];
    struct head_input in = {
        .h = f->h + (size_t)token * c->n_hidden, .stride = c->n_hidden, .n_tokens = 1};
    uint32_t n_rescored = 0;
    for (uint32_t r = range * f->rows_per_task; r < range_end(f, range); r++) {
        if (logits[r] < least) {
            logits[r] = -INFINITY;
        } else {
            f->k->head_logits(f->model->head, c->n_hidden, &in, r, r + 1, logits, c->n_vocab);
            n_rescored++;
        }
    }
    atomic_fetch_add_explicit(&f->n_rescored, n_rescored, memory_order_relaxed);
}

bool fast_head_run(struct fast_head *f, const float *h, const uint32_t *n_top, uint32_t n_tokens,
                   float *logits)
{
    size_t n_hidden = f->model->config.n_hidden;
    for (uint32_t t = 0; t < n_tokens; t++) {
        ASSERT(n_top[t] >= 1 && n_top[t] <= FAST_HEAD_MAX_TOP);
        if (!head8_quantize(h + t * n_hidden, n_hidden, &f->x, t))
            return false;
    }
    f->h = h;
    f->n_top = n_top;
    f->logits = logits;
    f->x.n_tokens = n_tokens;
    pool_run(f->pool, f->n_ranges, bound_task, f);
    pool_run(f->pool, n_tokens, least_task, f);
    pool_run(f->pool, n_tokens * f->n_ranges, finish_task, f);
    return true;
}

bool fast_head_agrees(const float *full, const float *got, uint32_t n_vocab, uint32_t n_top)
{
    uint32_t best = UINT32_MAX; /* of those left out */
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (memcmp(&full[i], &got[i], sizeof *got) == 0)
            continue;
        if (got[i] != -INFINITY)
            return false;
        if (best == UINT32_MAX || full[i] > full[best])
            best = i;
    }
    if (best == UINT32_MAX)
        return true;
    uint32_t n_better = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        n_better += full[i] > full[best] || (full[i] == full[best] && i < best);
    return n_better >= n_top;
}

uint64_t fast_head_n_rescored(const struct fast_head *f)
{
    return f->n_rescored;
}

/* ---- the copy ---- */

static size_t row_bytes(const struct model *m)
{
    return head8_stride(m->config.n_hidden) + 3 * sizeof(float);
}

uint64_t fast_head_bytes(const struct model *m)
{
    return (uint64_t)m->config.n_vocab * row_bytes(m);
}

static void pack_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    size_t n = f->model->config.n_hidden;
    float *w = mem_zalloc(n, sizeof *w);
    for (uint32_t r = range * f->rows_per_task; r < range_end(f, range); r++) {
        f->k->f16_decode(f->model->head + r * n, n, w);
        f->k->head8_pack(w, &f->packed, r);
    }
    free(w);
}

static bool take_memory(struct fast_head *f, uint32_t max_tokens)
{
    uint32_t n_vocab = f->model->config.n_vocab;
    size_t stride = head8_stride(f->model->config.n_hidden);
    f->memory_bytes = (size_t)n_vocab * row_bytes(f->model);
    void *p =
        mmap(NULL, f->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    (void)madvise(p, f->memory_bytes, MADV_HUGEPAGE);
    f->memory = p;
    f->packed.q = p;
    f->packed.scale = (void *)(f->packed.q + n_vocab * stride);
    f->packed.err = f->packed.scale + n_vocab;
    f->packed.norm = f->packed.err + n_vocab;
    f->lower = malloc(max_tokens * (size_t)n_vocab * sizeof *f->lower);
    f->x.p = aligned_alloc(64, max_tokens * stride * sizeof *f->x.p);
    f->x.xs = mem_zalloc(max_tokens, sizeof *f->x.xs);
    f->x.a = mem_zalloc(max_tokens, sizeof *f->x.a);
    f->x.b = mem_zalloc(max_tokens, sizeof *f->x.b);
    f->least = mem_zalloc(max_tokens, sizeof *f->least);
    return f->lower != NULL && f->x.p != NULL;
}

enum err fast_head_new(const struct model *m, const struct kernels *k, struct pool *pool,
                       uint32_t max_tokens, struct fast_head **ret_head)
{
    if (m->config.n_hidden > HEAD8_MAX_COLS)
        return ERR_RANGE;
    struct fast_head *f = mem_zalloc(1, sizeof *f);
    f->model = m;
    f->k = k;
    f->pool = pool;
    f->packed.n_cols = m->config.n_hidden;
    uint32_t n_tasks = pool_n_threads(pool) * TASKS_PER_THREAD;
    uint32_t per_task = (m->config.n_vocab + n_tasks - 1) / n_tasks;
    f->rows_per_task = (per_task + ROWS_ALIGN - 1) / ROWS_ALIGN * ROWS_ALIGN;
    f->n_ranges = (m->config.n_vocab + f->rows_per_task - 1) / f->rows_per_task;
    if (!take_memory(f, max_tokens)) {
        fast_head_free(f);
        return ERR_NOMEM;
    }
    pool_run(pool, f->n_ranges, pack_task, f);
    *ret_head = f;
    return ERR_OK;
}

void fast_head_free(struct fast_head *f)
{
    if (f == NULL)
        return;
    if (f->memory != NULL)
        (void)munmap(f->memory, f->memory_bytes);
    free(f->lower);
    free(f->x.p);
    free(f->x.xs);
    free(f->x.a);
    free(f->x.b);
    free(f->least);
    free(f);
}
