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
    TOKENS_FOR_TWO = 4, /* of so many the first two planes may be read at once */
    RUNS_OF_TWO = 15, /* before what the first one alone leaves is looked at again */
    FEW_ROWS = 8, /* of one range: computed from the full head at once */
    RELEASE_ROWS = 512, /* of one range, computed from the full head, whose pages are then let go */
};

struct fast_head {
    const struct model *model;
    const struct kernels *k;
    struct pool *pool;
    uint32_t rows_per_task;
    uint32_t n_ranges;
    void *memory; /* the copy */
    size_t memory_bytes;
    struct planes packed;
    struct planes_input x;
    int32_t *sums; /* [max_tokens][vocab]; in the end the ids of what is given */
    float *lower; /* [max_tokens][vocab] */
    float *noise; /* [max_tokens][vocab], of draws */
    float *least; /* [max_tokens] a logit below this is not wanted */
    uint32_t *
        rows; /* [vocab] each range's rows that are still in question, from its first row's place on */
    uint32_t *n_rows; /* [n_ranges] */

    const float *h; /* of the run in progress */
    const struct backend_want *wants;
    float *logits; /* upper bounds first */
    struct backend_logits *got;
    unsigned plane; /* being read */
    unsigned n_two; /* runs for many tokens that shall begin with two planes */
    _Atomic uint64_t n_rescored;
    _Atomic uint64_t n_read[PLANES]; /* rows of each plane */
};

static uint32_t range_start(const struct fast_head *f, uint32_t range)
{
    return range * f->rows_per_task;
}

static uint32_t range_end(const struct fast_head *f, uint32_t range)
{
    uint64_t end = (uint64_t)(range + 1) * f->rows_per_task;
    return end < f->model->config.n_vocab ? (uint32_t)end : f->model->config.n_vocab;
}

/* ---- a run ---- */

/* What the changes make of bounds that were computed anew. A row that was given up has its last ones. */
static void change_bounds(const struct backend_want *want, uint32_t first, uint32_t end,
                          float *lower, float *upper)
{
    for (uint32_t i = 0; i < want->n_changes; i++) {
        const struct backend_change *c = &want->changes[i];
        if (c->id < first || c->id >= end || upper[c->id] == -INFINITY)
            continue;
        bool is_any = c->kind == CHANGE_ANY;
        lower[c->id] = is_any ? -INFINITY : backend_changed(lower[c->id], c);
        upper[c->id] = is_any ? INFINITY : backend_changed(upper[c->id], c);
    }
}

static void add_noise(const float *noise, const struct planes_rows *rows, float *lower,
                      float *upper)
{
    if (rows->list == NULL) {
        for (size_t r = rows->first; r < (size_t)rows->first + rows->n; r++) {
            lower[r] += noise[r];
            upper[r] += noise[r];
        }
        return;
    }
    for (uint32_t i = 0; i < rows->n; i++) {
        uint32_t r = rows->list[i];
        lower[r] += noise[r];
        upper[r] += noise[r];
    }
}

/* Bounds of what is compared: of logits after their changes and with their noise. */
static void bound_rows(struct fast_head *f, const struct planes_rows *rows, uint32_t range)
{
    uint32_t n_vocab = f->model->config.n_vocab;
    f->k->planes_bound(&f->packed, f->plane, &f->x, rows, f->sums, f->lower, f->logits, n_vocab);
    for (size_t t = 0; t < f->x.n_tokens; t++) {
        float *lower = f->lower + t * n_vocab;
        float *upper = f->logits + t * n_vocab;
        change_bounds(&f->wants[t], range_start(f, range), range_end(f, range), lower, upper);
        if (f->wants[t].kind == WANT_DRAW)
            add_noise(f->noise + t * n_vocab, rows, lower, upper);
    }
    atomic_fetch_add_explicit(&f->n_read[f->plane], rows->n, memory_order_relaxed);
}

static void first_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    uint32_t n_vocab = f->model->config.n_vocab;
    uint32_t first = range_start(f, range);
    uint32_t n = range_end(f, range) - first;
    const struct planes_rows all = {.first = first, .n = n};
    for (size_t t = 0; t < f->x.n_tokens; t++) {
        if (f->wants[t].kind == WANT_DRAW)
            f->k->gumbel_noise(&f->wants[t].noise, first, n, f->noise + t * n_vocab + first);
    }
    if (f->plane == 0) {
        f->k->planes_sum(&f->packed, 0, &f->x, &all, f->sums, n_vocab);
    } else {
        f->k->planes_sum_top(&f->packed, &f->x, &all, f->sums, n_vocab);
        atomic_fetch_add_explicit(&f->n_read[0], n, memory_order_relaxed);
    }
    bound_rows(f, &all, range);
    for (uint32_t i = 0; i < n; i++)
        f->rows[first + i] = first + i;
    f->n_rows[range] = n;
}

/* Keeps the rows that may be among the largest of some token; gives the others up. */
static void keep_rows(struct fast_head *f, uint32_t range)
{
    uint32_t n_vocab = f->model->config.n_vocab;
    uint32_t *rows = f->rows + range_start(f, range);
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < f->n_rows[range]; i++) {
        uint32_t r = rows[i];
        bool is_kept = false;
        for (uint32_t t = 0; t < f->x.n_tokens; t++)
            is_kept |= !(f->logits[(size_t)t * n_vocab + r] < f->least[t]);
        for (uint32_t t = 0; t < f->x.n_tokens && !is_kept; t++)
            f->logits[(size_t)t * n_vocab + r] = -INFINITY;
        rows[n_kept] = r;
        n_kept += is_kept;
    }
    f->n_rows[range] = n_kept;
}

/* A few rows are computed sooner than narrowed down. */
static void next_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    uint32_t first = range_start(f, range);
    keep_rows(f, range);
    bool are_all = f->n_rows[range] == range_end(f, range) - first; /* read in one stream, then */
    if (f->n_rows[range] <= FEW_ROWS)
        return;
    const struct planes_rows rows = {
        .list = are_all ? NULL : f->rows + first, .first = first, .n = f->n_rows[range]};
    f->k->planes_sum(&f->packed, f->plane, &f->x, &rows, f->sums, f->model->config.n_vocab);
    bound_rows(f, &rows, range);
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
    const struct backend_want *want = &f->wants[token];
    uint32_t n = want->n_top;
    const float *lower = f->lower + (size_t)token * n_vocab;
    if (want->kind != WANT_TOP || n == 1) {
        float max = f->k->softmax_max(lower, n_vocab);
        f->least[token] = want->kind == WANT_NEAR ? nextafterf(max - want->reach, -INFINITY) : max;
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
static void finish_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    const struct model_config *c = &f->model->config;
    const uint32_t *rows = f->rows + range_start(f, range);
    uint32_t n_rescored = 0;
    keep_rows(f, range);
    for (uint32_t t = 0; t < f->x.n_tokens; t++) {
        float *logits = f->logits + (size_t)t * c->n_vocab;
        struct head_input in = {
            .h = f->h + (size_t)t * c->n_hidden, .stride = c->n_hidden, .n_tokens = 1};
        for (uint32_t i = 0; i < f->n_rows[range]; i++) {
            uint32_t r = rows[i];
            if (logits[r] < f->least[t]) {
                logits[r] = -INFINITY;
            } else {
                f->k->head_logits(f->model->head, c->n_hidden, &in, r, r + 1, logits, c->n_vocab);
                if (++n_rescored % RELEASE_ROWS == 0)
                    model_release_head(f->model, range_start(f, range), range_end(f, range));
            }
        }
    }
    atomic_fetch_add_explicit(&f->n_rescored, n_rescored, memory_order_relaxed);
}

/* Puts what is left of a token's logits together. */
static void collect_task(void *ctx, uint32_t token)
{
    struct fast_head *f = ctx;
    float *logits = f->logits + (size_t)token * f->model->config.n_vocab;
    uint32_t *ids = (uint32_t *)f->sums + (size_t)token * f->model->config.n_vocab;
    uint32_t n = 0;
    for (uint32_t range = 0; range < f->n_ranges; range++) {
        const uint32_t *rows = f->rows + range_start(f, range);
        for (uint32_t i = 0; i < f->n_rows[range]; i++) {
            float x = logits[rows[i]];
            logits[n] = x; /* never ahead of what is read */
            ids[n] = rows[i];
            n += x != -INFINITY;
        }
    }
    f->got[token] = (struct backend_logits){.values = logits, .ids = ids, .n = n};
}

/* Whether a further plane is worth reading for some range. */
static bool are_many_in_question(const struct fast_head *f)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < f->n_ranges; i++)
        most = f->n_rows[i] > most ? f->n_rows[i] : most;
    return most > FEW_ROWS;
}

/* Where bounds are wide, of one token or for there are many, most rows need the second plane; then both are
 * read in one go, which is a third faster for many tokens. It does not show in what is given. */
static bool begins_with_two(struct fast_head *f, uint32_t n_tokens)
{
    if (n_tokens < TOKENS_FOR_TWO || f->n_two == 0)
        return false;
    f->n_two--;
    return f->model->config.n_hidden <= PLANES_TOP_COLS;
}

bool fast_head_can(const struct backend_want *want)
{
    return want->kind != WANT_ALL && (want->kind != WANT_TOP || want->n_top <= FAST_HEAD_MAX_TOP);
}

bool fast_head_run(struct fast_head *f, const float *h, const struct backend_want *wants,
                   uint32_t n_tokens, float *logits, struct backend_logits *ret_got)
{
    size_t n_hidden = f->model->config.n_hidden;
    uint32_t n_vocab = f->model->config.n_vocab;
    for (uint32_t t = 0; t < n_tokens; t++) {
        ASSERT(fast_head_can(&wants[t]));
        if (!planes_quantize(h + t * n_hidden, n_hidden, &f->x, t))
            return false;
    }
    f->h = h;
    f->wants = wants;
    f->logits = logits;
    f->got = ret_got;
    f->x.n_tokens = n_tokens;
    bool is_two = begins_with_two(f, n_tokens);
    f->plane = is_two ? 1 : 0;
    uint64_t n_second = f->n_read[1];
    pool_run(f->pool, f->n_ranges, first_task, f);
    pool_run(f->pool, n_tokens, least_task, f);
    for (f->plane++; f->plane < PLANES && are_many_in_question(f); f->plane++) {
        pool_run(f->pool, f->n_ranges, next_task, f);
        pool_run(f->pool, n_tokens, least_task, f);
    }
    if (n_tokens >= TOKENS_FOR_TWO && !is_two && f->n_read[1] - n_second > n_vocab / 2)
        f->n_two = RUNS_OF_TWO;
    pool_run(f->pool, f->n_ranges, finish_task, f);
    pool_run(f->pool, n_tokens, collect_task, f);
    return true;
}

/* ---- checks ---- */

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* Whether full[id] belongs to what is wanted without changes; `best` is the largest of what is compared. */
static bool is_wanted(const float *full, uint32_t n_vocab, const struct backend_want *want,
                      uint32_t id, float best)
{
    switch (want->kind) {
    case WANT_ALL:
        return true;
    case WANT_NEAR:
        return full[id] >= best - want->reach;
    case WANT_DRAW:
        return full[id] + gumbel_at(&want->noise, id) == best;
    case WANT_TOP:
        break;
    }
    uint32_t n_better = 0;
    for (uint32_t i = 0; i < n_vocab && n_better < want->n_top; i++)
        n_better += full[i] > full[id] || (i < id && full[i] == full[id]);
    return n_better < want->n_top;
}

static float best_of(const float *full, uint32_t n_vocab, const struct backend_want *want)
{
    float best = -INFINITY;
    for (uint32_t i = 0; i < n_vocab; i++) {
        float x = want->kind == WANT_DRAW ? full[i] + gumbel_at(&want->noise, i) : full[i];
        best = x > best ? x : best;
    }
    return best;
}

/* The largest of what was left out decides for all of them, but where there is noise. */
bool fast_head_agrees(const float *full, const struct backend_logits *got, uint32_t n_vocab,
                      const struct backend_want *want)
{
    ASSERT(want->n_changes == 0);
    float best = best_of(full, n_vocab, want);
    uint32_t left_out = UINT32_MAX;
    for (uint32_t i = 0, at = 0; i < n_vocab; i++) {
        if (at < got->n && (got->ids != NULL ? got->ids[at] : at) == i) {
            if (bits_of(full[i]) != bits_of(got->values[at++]))
                return false;
            continue;
        }
        if (want->kind == WANT_DRAW && is_wanted(full, n_vocab, want, i, best))
            return false;
        if (left_out == UINT32_MAX || full[i] > full[left_out])
            left_out = i;
    }
    return left_out == UINT32_MAX || want->kind == WANT_DRAW ||
           !is_wanted(full, n_vocab, want, left_out, best);
}

uint64_t fast_head_n_rescored(const struct fast_head *f)
{
    return f->n_rescored;
}

uint64_t fast_head_bytes_read(const struct fast_head *f)
{
    const struct model_config *c = &f->model->config;
    uint64_t bytes = f->n_rescored * 2 * c->n_hidden;
    for (unsigned k = 0; k < PLANES; k++)
        bytes += f->n_read[k] * (planes_row_bytes(c->n_hidden, k) + 3 * sizeof(float));
    return bytes;
}

/* ---- the copy ---- */

/* Memory that the copy takes. */
static uint64_t copy_bytes(const struct model *m)
{
    uint64_t row = (2 + PLANES) * sizeof(float); /* scale, norm, err */
    for (unsigned k = 0; k < PLANES; k++)
        row += planes_row_bytes(m->config.n_hidden, k);
    return m->config.n_vocab * row;
}

static void pack_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    size_t n = f->model->config.n_hidden;
    float *w = mem_zalloc(n, sizeof *w);
    for (uint32_t r = range * f->rows_per_task; r < range_end(f, range); r++) {
        f->k->f16_decode(f->model->head + r * n, n, w);
        f->k->planes_pack(w, &f->packed, r);
    }
    model_release_head(f->model, range * f->rows_per_task, range_end(f, range));
    free(w);
}

/* The copy in one mapping: planes one after the other, then what stands beside each row. */
static bool map_copy(struct fast_head *f)
{
    const struct model_config *c = &f->model->config;
    f->memory_bytes = (size_t)copy_bytes(f->model);
    void *p =
        mmap(NULL, f->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    (void)madvise(p, f->memory_bytes, MADV_HUGEPAGE);
    f->memory = p;
    uint8_t *at = p;
    for (unsigned k = 0; k < PLANES; k++) {
        f->packed.plane[k] = at;
        at += c->n_vocab * planes_row_bytes(c->n_hidden, k);
    }
    float *beside = (void *)at;
    f->packed.scale = beside;
    f->packed.norm = beside + c->n_vocab;
    for (unsigned k = 0; k < PLANES; k++)
        f->packed.err[k] = beside + (size_t)(2 + k) * c->n_vocab;
    return true;
}

static bool take_memory(struct fast_head *f, uint32_t max_tokens)
{
    uint32_t n_vocab = f->model->config.n_vocab;
    size_t stride = planes_stride(f->model->config.n_hidden);
    f->sums = malloc(max_tokens * (size_t)n_vocab * sizeof *f->sums);
    f->lower = malloc(max_tokens * (size_t)n_vocab * sizeof *f->lower);
    f->noise = malloc(max_tokens * (size_t)n_vocab * sizeof *f->noise);
    f->x.hi = aligned_alloc(64, max_tokens * stride);
    f->x.lo = aligned_alloc(64, max_tokens * stride);
    f->x.total = mem_zalloc(max_tokens, sizeof *f->x.total);
    f->x.xs = mem_zalloc(max_tokens, sizeof *f->x.xs);
    f->x.a = mem_zalloc(max_tokens, sizeof *f->x.a);
    f->x.b = mem_zalloc(max_tokens, sizeof *f->x.b);
    f->least = mem_zalloc(max_tokens, sizeof *f->least);
    f->rows = mem_zalloc(n_vocab, sizeof *f->rows);
    f->n_rows = mem_zalloc(f->n_ranges, sizeof *f->n_rows);
    return map_copy(f) && f->sums != NULL && f->lower != NULL && f->noise != NULL &&
           f->x.hi != NULL && f->x.lo != NULL;
}

enum err fast_head_new(const struct model *m, const struct kernels *k, struct pool *pool,
                       uint32_t max_tokens, struct fast_head **ret_head)
{
    if (m->config.n_hidden > PLANES_MAX_COLS)
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
    free(f->sums);
    free(f->lower);
    free(f->noise);
    free(f->rows);
    free(f->n_rows);
    free(f->x.hi);
    free(f->x.lo);
    free(f->x.total);
    free(f->x.xs);
    free(f->x.a);
    free(f->x.b);
    free(f->least);
    free(f);
}
