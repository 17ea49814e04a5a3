/* SPDX-License-Identifier: MIT */
#include "services/engine/fast_head.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/engine/pick.h"

enum {
    TASKS_PER_THREAD = 4,
    ROWS_ALIGN = 16, /* rows per task: a multiple of a cache line of floats */
    TOKENS_FOR_TWO = 4, /* of so many the first two planes may be read at once */
    RUNS_OF_TWO = 15, /* before what the first one alone leaves is looked at again */
    FEW_ROWS = 8, /* of one range: computed from the full head at once */
    MOST_ROWS = 2048, /* that are computed from the full head to pick a token */
    LOSSES = 3, /* picks one after the other that took all logits in the end: */
    RUNS_WITHOUT = 32, /* so many are then not tried, for the distribution is too flat for bounds */
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
    float *upper; /* [max_tokens][vocab], of picks */
    float *masses; /* [max_tokens][vocab], of picks */
    struct pick *picks; /* [max_tokens] */
    struct pick_part *parts; /* [max_tokens][n_ranges] */
    uint8_t *last_plane; /* [vocab] of the row that was added to the sums */
    uint32_t *asked; /* [2][vocab] each range's rows that picks ask for, and those of one plane */
    bool *is_new; /* [vocab] whether a pick's bounds have no changes yet */
    uint32_t *n_asked; /* [n_ranges] */
    _Atomic uint32_t n_refined; /* rows that got one plane more in this turn */
    uint32_t n_known; /* rows that the picks of this run took from the full head */
    float *least; /* [max_tokens] a logit below this is not wanted */
    uint32_t *
        rows; /* [vocab] each range's rows that are still in question, from its first row's place on */
    uint32_t *n_rows; /* [n_ranges] */

    const float *h; /* of the run in progress */
    const struct backend_want *wants;
    float *logits; /* upper bounds first */
    struct backend_logits *got;
    unsigned plane; /* being read */
    unsigned n_losses; /* of picks, one after the other */
    unsigned n_without; /* runs whose picks shall not be tried */
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

/* What is picked is what is drawn, as a rule. */
static bool is_drawn(const struct backend_want *want)
{
    return want->kind == WANT_DRAW || want->kind == WANT_PICK;
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
        if (is_drawn(&f->wants[t]))
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
        if (is_drawn(&f->wants[t]))
            f->k->gumbel_noise(&f->wants[t].noise, first, n, f->noise + t * n_vocab + first);
    }
    if (f->plane == 0) {
        f->k->planes_sum(&f->packed, 0, &f->x, &all, f->sums, n_vocab);
    } else {
        f->k->planes_sum_top(&f->packed, &f->x, &all, f->sums, n_vocab);
        atomic_fetch_add_explicit(&f->n_read[0], n, memory_order_relaxed);
    }
    bound_rows(f, &all, range);
    memset(f->last_plane + first, (int)f->plane, n);
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
    for (uint32_t i = 0; i < f->n_rows[range]; i++)
        f->last_plane[f->rows[first + i]] = (uint8_t)f->plane;
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

/* ---- picks ----
 *
 * At first they are draws like others. Then all rows get bounds of their logits again, without noise and as
 * close as the planes that were read allow, and pick.h says which of them must be closer. */

static bool is_pick(const struct fast_head *f, uint32_t token)
{
    return f->wants[token].kind == WANT_PICK;
}

/* Changes to the bounds that are new. */
static void change_new(struct fast_head *f, uint32_t token, uint32_t range)
{
    const struct backend_want *want = &f->wants[token];
    float *lower = f->lower + (size_t)token * f->model->config.n_vocab;
    float *upper = f->upper + (size_t)token * f->model->config.n_vocab;
    for (uint32_t i = 0; i < want->n_changes; i++) {
        const struct backend_change *c = &want->changes[i];
        if (c->id < range_start(f, range) || c->id >= range_end(f, range) || !f->is_new[c->id])
            continue;
        lower[c->id] = backend_changed(lower[c->id], c);
        upper[c->id] = backend_changed(upper[c->id], c);
    }
}

static void mark_new(struct fast_head *f, const uint32_t *rows, uint32_t n, bool is_new)
{
    for (uint32_t i = 0; i < n; i++)
        f->is_new[rows[i]] = is_new;
}

/* Bounds of rows of which the same planes were read. */
static void bound_picks(struct fast_head *f, uint32_t range, unsigned plane, const uint32_t *list,
                        uint32_t n)
{
    const struct planes_rows rows = {.list = list, .n = n};
    f->k->planes_bound(&f->packed, plane, &f->x, &rows, f->sums, f->lower, f->upper,
                       f->model->config.n_vocab);
    mark_new(f, list, n, true);
    for (uint32_t t = 0; t < f->x.n_tokens; t++) {
        if (is_pick(f, t))
            change_new(f, t, range);
    }
    mark_new(f, list, n, false);
}

/* Logits of the full head are bounds of themselves; not a number is as low as can be (sampler.h). */
static void know_rows(struct fast_head *f, uint32_t token, uint32_t range, const float *logits,
                      const uint32_t *list, uint32_t n)
{
    size_t at = (size_t)token * f->model->config.n_vocab;
    for (uint32_t i = 0; i < n; i++) {
        float x = isnan(logits[list[i]]) ? -INFINITY : logits[list[i]];
        f->lower[at + list[i]] = x;
        f->upper[at + list[i]] = x;
    }
    mark_new(f, list, n, true);
    change_new(f, token, range);
    mark_new(f, list, n, false);
}

/* Those of the first n_asked rows of a range's list that have been read up to `plane`. */
static uint32_t list_rows(struct fast_head *f, uint32_t range, unsigned plane, uint32_t n_asked)
{
    const uint32_t *asked = f->asked + range_start(f, range);
    uint32_t *list = f->asked + f->model->config.n_vocab + range_start(f, range);
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_asked; i++) {
        list[n] = asked[i];
        n += f->last_plane[asked[i]] == plane;
    }
    return n;
}

static void begin_picks_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    uint32_t n_vocab = f->model->config.n_vocab;
    uint32_t first = range_start(f, range);
    uint32_t n_all = range_end(f, range) - first;
    uint32_t *list = f->asked + n_vocab + first;
    for (uint32_t i = 0; i < n_all; i++)
        f->asked[first + i] = first + i;
    for (unsigned plane = 0; plane < PLANES; plane++) {
        uint32_t n = list_rows(f, range, plane, n_all);
        bound_picks(f, range, plane, list, n);
    }
    for (uint32_t t = 0; t < f->x.n_tokens; t++) {
        const float *logits = f->logits + (size_t)t * n_vocab;
        uint32_t n = 0;
        for (uint32_t i = 0; i < f->n_rows[range] && is_pick(f, t); i++) {
            list[n] = f->rows[first + i];
            n += logits[list[n]] != -INFINITY;
        }
        know_rows(f, t, range, logits, list, n);
    }
}

static void look_task(void *ctx, uint32_t i)
{
    struct fast_head *f = ctx;
    uint32_t token = i / f->n_ranges;
    uint32_t range = i % f->n_ranges;
    uint32_t first = range_start(f, range);
    const struct pick *p = &f->picks[token];
    if (!pick_is_over(p))
        pick_look(p, first, range_end(f, range),
                  f->masses + (size_t)token * f->model->config.n_vocab + first, &f->parts[i]);
}

/* Computes from the full head what one pick asks for. */
static void know_asked(struct fast_head *f, uint32_t range, uint32_t token, uint32_t n_asked)
{
    const struct model_config *c = &f->model->config;
    uint32_t first = range_start(f, range);
    uint32_t *list = f->asked + c->n_vocab + first;
    float *logits = f->masses + (size_t)token * c->n_vocab; /* as good a place as any */
    struct head_input in = {
        .h = f->h + (size_t)token * c->n_hidden, .stride = c->n_hidden, .n_tokens = 1};
    uint32_t n_wanted = 0;
    for (uint32_t i = 0; i < n_asked; i++) {
        list[n_wanted] = f->asked[first + i];
        n_wanted += pick_wants(&f->picks[token], list[n_wanted]);
    }
    for (uint32_t i = 0; i < n_wanted; i++) {
        f->k->head_logits(f->model->head, c->n_hidden, &in, list[i], list[i] + 1, logits,
                          c->n_vocab);
        if ((i + 1) % RELEASE_ROWS == 0)
            model_release_head(f->model, first, range_end(f, range));
    }
    know_rows(f, token, range, logits, list, n_wanted);
    atomic_fetch_add_explicit(&f->n_rescored, n_wanted, memory_order_relaxed);
}

/* Brings rows that picks ask for one plane further, where there is one. */
static void refine_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    uint32_t n_vocab = f->model->config.n_vocab;
    uint32_t first = range_start(f, range);
    uint32_t *list = f->asked + n_vocab + first;
    uint32_t n_asked = 0;
    for (uint32_t r = first; r < range_end(f, range); r++) {
        bool is_asked = false;
        for (uint32_t t = 0; t < f->x.n_tokens && !is_asked; t++)
            is_asked = is_pick(f, t) && pick_is_asking(&f->picks[t]) && pick_wants(&f->picks[t], r);
        f->asked[first + n_asked] = r;
        n_asked += is_asked;
    }
    for (unsigned plane = PLANES - 1; plane > 0; plane--) {
        uint32_t n = list_rows(f, range, plane - 1, n_asked);
        bool are_all = n == range_end(f, range) - first; /* read in one stream, then */
        const struct planes_rows rows = {.list = are_all ? NULL : list, .first = first, .n = n};
        if (n == 0)
            continue;
        f->k->planes_sum(&f->packed, plane, &f->x, &rows, f->sums, n_vocab);
        atomic_fetch_add_explicit(&f->n_read[plane], n, memory_order_relaxed);
        for (uint32_t i = 0; i < n; i++)
            f->last_plane[list[i]] = (uint8_t)plane;
        bound_picks(f, range, plane, list, n);
        atomic_fetch_add(&f->n_refined, n);
    }
    f->n_asked[range] = n_asked;
}

static void know_task(void *ctx, uint32_t range)
{
    struct fast_head *f = ctx;
    for (uint32_t t = 0; t < f->x.n_tokens; t++) {
        if (is_pick(f, t) && pick_is_asking(&f->picks[t]))
            know_asked(f, range, t, f->n_asked[range]);
    }
}

/* Closer bounds for rows that picks ask for; if too many would have to be known, those give up. */
static void refine(struct fast_head *f)
{
    f->n_refined = 0;
    pool_run(f->pool, f->n_ranges, refine_task, f);
    if (f->n_refined > 0)
        return;
    for (uint32_t i = 0; i < f->n_ranges; i++)
        f->n_known += f->n_asked[i];
    if (f->n_known <= (uint64_t)MOST_ROWS * f->x.n_tokens) {
        pool_run(f->pool, f->n_ranges, know_task, f);
        return;
    }
    for (uint32_t t = 0; t < f->x.n_tokens; t++) {
        if (pick_is_asking(&f->picks[t]))
            pick_give_up(&f->picks[t]);
    }
}

static void begin_picks(struct fast_head *f)
{
    uint32_t n_vocab = f->model->config.n_vocab;
    f->n_known = 0;
    for (uint32_t t = 0; t < f->x.n_tokens; t++) {
        const struct backend_want *want = &f->wants[t];
        f->picks[t] = (struct pick){.k = f->k,
                                    .lower = f->lower + (size_t)t * n_vocab,
                                    .upper = f->upper + (size_t)t * n_vocab,
                                    .noise = f->noise + (size_t)t * n_vocab,
                                    .n = n_vocab,
                                    .top_p = want->top_p,
                                    .min_p = want->min_p,
                                    .scale = 1.0F / want->noise.scale};
        pick_begin(&f->picks[t]);
        if (!is_pick(f, t))
            f->picks[t].state = PICK_DONE;
    }
    pool_run(f->pool, f->n_ranges, begin_picks_task, f);
}

static void run_picks(struct fast_head *f)
{
    uint32_t n_tokens = f->x.n_tokens;
    begin_picks(f);
    for (bool is_any_left = true; is_any_left;) {
        bool is_asking = false;
        is_any_left = false;
        pool_run(f->pool, n_tokens * f->n_ranges, look_task, f);
        for (uint32_t t = 0; t < n_tokens; t++) {
            struct pick *p = &f->picks[t];
            if (!pick_is_over(p))
                pick_decide(p, f->parts + (size_t)t * f->n_ranges, f->n_ranges);
            is_any_left = is_any_left || !pick_is_over(p);
            is_asking = is_asking || pick_is_asking(p);
        }
        if (is_asking)
            refine(f);
    }
}

/* Where bounds decide nothing for some runs, the next ones do not try. */
static void count_losses(struct fast_head *f)
{
    bool is_any_found = false;
    for (uint32_t t = 0; t < f->x.n_tokens; t++)
        is_any_found = is_any_found || (is_pick(f, t) && f->picks[t].state == PICK_DONE);
    f->n_losses = is_any_found ? 0 : f->n_losses + 1;
    if (f->n_losses < LOSSES)
        return;
    f->n_losses = 0;
    f->n_without = RUNS_WITHOUT;
}

/* ---- all together ---- */

/* One logit of the full head. */
static float head_logit(struct fast_head *f, uint32_t token, uint32_t row)
{
    const struct model_config *c = &f->model->config;
    float *logits = f->logits + (size_t)token * c->n_vocab;
    struct head_input in = {
        .h = f->h + (size_t)token * c->n_hidden, .stride = c->n_hidden, .n_tokens = 1};
    f->k->head_logits(f->model->head, c->n_hidden, &in, row, row + 1, logits, c->n_vocab);
    return logits[row];
}

/* Puts what is left of a token's logits together. */
static void collect_task(void *ctx, uint32_t token)
{
    struct fast_head *f = ctx;
    float *logits = f->logits + (size_t)token * f->model->config.n_vocab;
    uint32_t *ids = (uint32_t *)f->sums + (size_t)token * f->model->config.n_vocab;
    uint32_t n = 0;
    if (is_pick(f, token) && f->picks[token].state == PICK_LOST)
        return;
    if (is_pick(f, token)) {
        ids[0] = f->picks[token].id;
        logits[0] = head_logit(f, token, ids[0]);
        f->got[token] = (struct backend_logits){.values = logits, .ids = ids, .n = 1};
        return;
    }
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
    uint32_t n_picks = 0;
    for (uint32_t t = 0; t < n_tokens; t++) {
        ASSERT(fast_head_can(&wants[t]));
        if (!planes_quantize(h + t * n_hidden, n_hidden, &f->x, t))
            return false;
        n_picks += wants[t].kind == WANT_PICK;
        pick_give_up(&f->picks[t]);
        ret_got[t] = (struct backend_logits){0};
    }
    bool does_try = n_picks > 0 && f->n_without == 0;
    if (n_picks > 0 && !does_try)
        f->n_without--;
    if (n_picks == n_tokens && !does_try)
        return true;
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
    if (does_try) {
        run_picks(f);
        count_losses(f);
    }
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
    case WANT_PICK:
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
    ASSERT(want->n_changes == 0 && want->kind != WANT_PICK);
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

float *fast_head_spare(struct fast_head *f)
{
    return f->upper;
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
    f->upper = malloc(max_tokens * (size_t)n_vocab * sizeof *f->upper);
    f->masses = malloc(max_tokens * (size_t)n_vocab * sizeof *f->masses);
    f->picks = mem_zalloc(max_tokens, sizeof *f->picks);
    f->parts = mem_zalloc((size_t)max_tokens * f->n_ranges, sizeof *f->parts);
    f->last_plane = mem_zalloc(n_vocab, sizeof *f->last_plane);
    f->n_asked = mem_zalloc(f->n_ranges, sizeof *f->n_asked);
    f->asked = mem_zalloc((size_t)2 * n_vocab, sizeof *f->asked);
    f->is_new = mem_zalloc(n_vocab, sizeof *f->is_new);
    return map_copy(f) && f->upper != NULL && f->masses != NULL && f->sums != NULL &&
           f->lower != NULL && f->noise != NULL && f->x.hi != NULL && f->x.lo != NULL;
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
    free(f->upper);
    free(f->masses);
    free(f->picks);
    free(f->parts);
    free(f->last_plane);
    free(f->asked);
    free(f->n_asked);
    free(f->is_new);
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
