/* SPDX-License-Identifier: MIT */
#include "services/engine/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "kernels/math/math.h"

#define GREEDY_BELOW 1e-5F

/* A logit, in a form that sorts as a number, and its token. */
struct keyed {
    uint32_t key, id;
};

struct sampler_bench {
    const struct kernels *k;
    uint32_t n_vocab;
    struct keyed *keyed[2]; /* [n_vocab], for sorting */
    float *raw; /* logits as they came in */
    float *p;
    uint32_t *ids; /* places in the list of logits, which rise as ids do */
};

/* How often a token was seen. */
struct seen {
    uint32_t n_reply;
    bool is_seen; /* in the prompt or the reply */
};

struct sampler {
    struct rec_sampling p; /* lists are owned copies */
    struct rec_bias *bias;
    uint32_t n_ends;
    uint32_t ends[MODEL_EOS_MAX + SAMPLER_MAX_STOPS];
    struct seen *seen; /* [n_vocab], NULL without penalties */
    uint32_t *seen_ids;
    size_t n_seen_ids;
    size_t cap_seen_ids;
    struct backend_change *changes; /* as listed last */
    uint32_t n_changes;
    uint32_t cap_changes;
};

struct sampler_bench *sampler_bench_new(const struct kernels *k, uint32_t n_vocab)
{
    struct sampler_bench *b = mem_zalloc(1, sizeof *b);
    b->k = k;
    b->n_vocab = n_vocab;
    b->raw = mem_zalloc(n_vocab, sizeof *b->raw);
    b->p = mem_zalloc(n_vocab, sizeof *b->p);
    b->ids = mem_zalloc(n_vocab, sizeof *b->ids);
    b->keyed[0] = mem_zalloc(n_vocab, sizeof *b->keyed[0]);
    b->keyed[1] = mem_zalloc(n_vocab, sizeof *b->keyed[1]);
    return b;
}

void sampler_bench_free(struct sampler_bench *b)
{
    if (b == NULL)
        return;
    free(b->raw);
    free(b->p);
    free(b->ids);
    free(b->keyed[0]);
    free(b->keyed[1]);
    free(b);
}

/* ---- parameters ---- */

enum err sampler_check(const struct rec_sampling *p, uint32_t n_vocab, char *why, size_t cap_why)
{
    const struct {
        const char *name;
        float value, low, high;
    } RANGES[] = {
        {"temperature", p->temperature, 0.0F, 100.0F},
        {"top_p", p->top_p, 0.0F, 1.0F},
        {"min_p", p->min_p, 0.0F, 1.0F},
        {"repetition_penalty", p->repetition_penalty, 0.0F, 100.0F},
        {"frequency_penalty", p->frequency_penalty, -100.0F, 100.0F},
        {"presence_penalty", p->presence_penalty, -100.0F, 100.0F},
    };
    for (size_t i = 0; i < sizeof RANGES / sizeof RANGES[0]; i++) {
        if (!(RANGES[i].value >= RANGES[i].low && RANGES[i].value <= RANGES[i].high)) {
            (void)snprintf(why, cap_why, "%s must be between %g and %g", RANGES[i].name,
                           (double)RANGES[i].low, (double)RANGES[i].high);
            return ERR_RANGE;
        }
    }
    if (p->max_tokens < 1) {
        (void)snprintf(why, cap_why, "max_tokens must be at least 1");
        return ERR_RANGE;
    }
    if (p->top_logprobs > SAMPLER_MAX_TOP) {
        (void)snprintf(why, cap_why, "top_logprobs must be at most %d", SAMPLER_MAX_TOP);
        return ERR_RANGE;
    }
    if (p->n_stop_ids > SAMPLER_MAX_STOPS) {
        (void)snprintf(why, cap_why, "at most %d stop_token_ids are allowed", SAMPLER_MAX_STOPS);
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < p->n_stop_ids; i++) {
        if (p->stop_ids[i] >= n_vocab) {
            (void)snprintf(why, cap_why, "stop_token_ids: the vocabulary has %u tokens", n_vocab);
            return ERR_RANGE;
        }
    }
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        if (p->logit_bias[i].id >= n_vocab || !(fabsf(p->logit_bias[i].bias) <= 1e6F)) {
            (void)snprintf(why, cap_why, "logit_bias: the vocabulary has %u tokens", n_vocab);
            return ERR_RANGE;
        }
    }
    return ERR_OK;
}

static bool has_penalty(const struct rec_sampling *p)
{
    return (p->repetition_penalty != 0.0F && p->repetition_penalty != 1.0F) ||
           p->frequency_penalty != 0.0F || p->presence_penalty != 0.0F;
}

struct sampler *sampler_new(const struct rec_sampling *p, const struct model_config *config)
{
    struct sampler *s = mem_zalloc(1, sizeof *s);
    s->p = *p;
    if (p->n_logit_bias > 0) {
        s->bias = mem_zalloc(p->n_logit_bias, sizeof *s->bias);
        memcpy(s->bias, p->logit_bias, p->n_logit_bias * sizeof *s->bias);
    }
    s->p.logit_bias = s->bias;
    for (uint32_t i = 0; i < config->n_eos && !p->ignore_eos; i++)
        s->ends[s->n_ends++] = config->eos_ids[i];
    for (size_t i = 0; i < p->n_stop_ids; i++)
        s->ends[s->n_ends++] = p->stop_ids[i];
    s->p.stop_ids = NULL;
    s->p.n_stop_ids = 0;
    if (has_penalty(p))
        s->seen = mem_zalloc(config->n_vocab, sizeof *s->seen);
    return s;
}

void sampler_free(struct sampler *s)
{
    if (s == NULL)
        return;
    free(s->bias);
    free(s->seen);
    free(s->seen_ids);
    free(s->changes);
    free(s);
}

void sampler_saw(struct sampler *s, const uint32_t *tokens, size_t n, bool is_reply)
{
    if (s->seen == NULL)
        return;
    for (size_t i = 0; i < n; i++) {
        struct seen *seen = &s->seen[tokens[i]];
        seen->n_reply += is_reply;
        if (seen->is_seen)
            continue;
        seen->is_seen = true;
        if (s->n_seen_ids == s->cap_seen_ids) {
            s->cap_seen_ids = s->cap_seen_ids * 2 + 64;
            s->seen_ids = mem_resize(s->seen_ids, s->cap_seen_ids, sizeof *s->seen_ids);
        }
        s->seen_ids[s->n_seen_ids++] = tokens[i];
    }
}

bool sampler_is_end(const struct sampler *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->n_ends; i++) {
        if (s->ends[i] == id)
            return true;
    }
    return false;
}

/* ---- steps 1 to 3 ---- */

static struct backend_change *add_change(struct sampler *s, uint32_t id,
                                         enum backend_change_kind kind, float value)
{
    if (s->n_changes == s->cap_changes) {
        s->cap_changes = s->cap_changes * 2 + 64;
        s->changes = mem_resize(s->changes, s->cap_changes, sizeof *s->changes);
    }
    s->changes[s->n_changes] = (struct backend_change){.id = id, .kind = kind, .value = value};
    return &s->changes[s->n_changes++];
}

/* Steps 1 to 3 as a list, but for end tokens that are ruled out. */
static void list_changes(struct sampler *s)
{
    s->n_changes = 0;
    for (size_t i = 0; i < s->p.n_logit_bias; i++)
        add_change(s, s->bias[i].id, CHANGE_ADD, s->bias[i].bias);
    float r = s->p.repetition_penalty;
    for (size_t i = 0; i < s->n_seen_ids; i++) {
        uint32_t id = s->seen_ids[i];
        if (r != 0.0F && r != 1.0F)
            add_change(s, id, CHANGE_SCALE, r);
        uint32_t n = s->seen[id].n_reply;
        if (n > 0 && s->p.frequency_penalty != 0.0F)
            add_change(s, id, CHANGE_ADD, -(s->p.frequency_penalty * (float)n));
        if (n > 0 && s->p.presence_penalty != 0.0F)
            add_change(s, id, CHANGE_ADD, -s->p.presence_penalty);
    }
}

/* The place of a token's logit, or NULL. */
static float *find_logit(const struct backend_logits *l, uint32_t id)
{
    if (l->ids == NULL)
        return id < l->n ? &l->values[id] : NULL;
    uint32_t low = 0;
    uint32_t high = l->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < l->n && l->ids[low] == id ? &l->values[low] : NULL;
}

static void adjust(struct sampler *s, const struct backend_logits *l, uint32_t index)
{
    list_changes(s);
    for (uint32_t i = 0; i < s->n_changes; i++) {
        float *x = find_logit(l, s->changes[i].id);
        if (x != NULL)
            *x = backend_changed(*x, &s->changes[i]);
    }
    for (uint32_t i = 0; i < s->n_ends && index < s->p.min_tokens; i++) {
        float *x = find_logit(l, s->ends[i]);
        if (x != NULL)
            *x = -INFINITY;
    }
}

/* ---- log probabilities ---- */

static bool is_better(const float *logits, uint32_t a, uint32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* The n best ids, best first. Returns how many there are. */
static uint32_t find_top(const float *logits, uint32_t n_vocab, uint32_t n, uint32_t *ret_ids)
{
    uint32_t found = 0;
    for (uint32_t id = 0; id < n_vocab && n > 0; id++) {
        if (found == n && !is_better(logits, id, ret_ids[n - 1]))
            continue;
        uint32_t at = found < n ? found++ : n - 1;
        for (; at > 0 && is_better(logits, id, ret_ids[at - 1]); at--)
            ret_ids[at] = ret_ids[at - 1];
        ret_ids[at] = id;
    }
    return found;
}

/* Clients' JSON has no -inf; OpenAI writes -9999. */
static float floor_logprob(float x)
{
    return x > -9999.0F ? x : -9999.0F;
}

static void fill_logprobs(struct sampler_bench *b, const struct sampler *s,
                          struct sampler_choice *c)
{
    float max = b->k->softmax_max(b->raw, b->n_vocab);
    float log_sum = math_log(b->k->softmax_exp(b->raw, b->n_vocab, max, 1.0F, b->p));
    c->logprob = floor_logprob((b->raw[c->id] - max) - log_sum);
    uint32_t ids[SAMPLER_MAX_TOP];
    c->n_top = find_top(b->raw, b->n_vocab, s->p.top_logprobs, ids);
    for (uint32_t i = 0; i < c->n_top; i++) {
        c->top[i].id = ids[i];
        c->top[i].logprob = floor_logprob((b->raw[ids[i]] - max) - log_sum);
    }
}

/* ---- steps 4 to 7 ---- */

static uint32_t choose_greedy(const float *logits, uint32_t n_vocab, float max)
{
    uint32_t id = 0;
    while (id + 1 < n_vocab && logits[id] != max)
        id++;
    return id;
}

/* Restores the heap (best id on top) below `at`. */
static void sift_down(const float *logits, uint32_t *heap, uint32_t n, uint32_t at)
{
    uint32_t id = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_better(logits, heap[child + 1], heap[child]))
            child++;
        if (!is_better(logits, heap[child], id))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = id;
}

/* Takes the best id out of heap[0..n) and puts it to heap[n - 1]. */
static void pop_best(const float *logits, uint32_t *heap, uint32_t n)
{
    uint32_t best = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = best;
    sift_down(logits, heap, n - 1, 0);
}

static bool has_top_p(const struct rec_sampling *s)
{
    return s->top_p > 0.0F && s->top_p < 1.0F;
}

/* Puts those whose logit is at least `least` and whose p is above 0 into b->ids; returns how many. */
static uint32_t gather(struct sampler_bench *b, const struct backend_logits *l, float least)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        b->ids[n] = i;
        n += l->values[i] >= least && b->p[i] > 0.0F;
    }
    return n;
}

/* Whether b->ids[0..n), all ids down to exp(-nats) of the likeliest, hold all that step 6 can keep. */
static bool is_enough(const struct sampler_bench *b, const struct rec_sampling *s, uint32_t n,
                      float nats, float sum)
{
    if (s->top_k > 0 && n >= s->top_k)
        return true;
    if (s->min_p > 0.0F && math_exp(-nats) < 0.9F * s->min_p)
        return s->top_k == 0 || !has_top_p(s);
    if (s->top_k > 0 || !has_top_p(s))
        return false;
    double mass = 0.0;
    for (uint32_t i = 0; i < n; i++)
        mass += (double)b->p[b->ids[i]];
    return mass * (1.0 - 1e-9) > (double)s->top_p * (double)sum;
}

/* Fills b->ids with what step 6 chooses from; returns how many. Of a large vocabulary a few tokens
 * have nearly all of the mass: sorting only these is ten times faster than sorting all of 128 k. */
static uint32_t find_candidates(struct sampler_bench *b, const struct rec_sampling *s,
                                const struct backend_logits *l, float max, float sum)
{
    static const float NATS[] = {5.0F, 12.0F};
    for (size_t i = 0; i < ARRAY_LEN(NATS); i++) {
        uint32_t n = gather(b, l, max - NATS[i] * s->temperature);
        if (is_enough(b, s, n, NATS[i], sum))
            return n;
    }
    return gather(b, l, -INFINITY);
}

/* ---- sorting ----
 *
 * Step 6 takes candidates from a heap, best first, until it has enough. Of a flat distribution that is
 * most of the vocabulary, and 128 k of them took 45 ms; a radix sort takes less than 1 ms. */

enum { DIGITS = 3, DIGIT_BITS = 11, DIGIT_VALUES = 1 << DIGIT_BITS, HEAP_MOST = 2048 };

static uint32_t digit(uint32_t key, uint32_t d)
{
    return key >> d * DIGIT_BITS & (DIGIT_VALUES - 1);
}

/* Finite floats to numbers that are ordered as they are, -0 as +0. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0F;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ (bits >> 31 != 0 ? UINT32_MAX : 1U << 31);
}

/* Moves pairs to `to` in the order of one digit, equal ones in the order they had. */
static void sort_by_digit(const struct keyed *from, struct keyed *to, uint32_t n, uint32_t d,
                          const uint32_t counts[DIGIT_VALUES])
{
    uint32_t at[DIGIT_VALUES];
    uint32_t sum = 0;
    for (uint32_t v = 0; v < DIGIT_VALUES; v++) {
        at[v] = sum;
        sum += counts[v];
    }
    for (uint32_t i = 0; i < n; i++)
        to[at[digit(from[i].key, d)]++] = from[i];
}

/* Sorts b->ids[0..n), which rise, so that the best is the last one. */
static void sort_ids(struct sampler_bench *b, const float *logits, uint32_t n)
{
    uint32_t counts[DIGITS][DIGIT_VALUES] = {0};
    struct keyed *from = b->keyed[0];
    struct keyed *to = b->keyed[1];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = b->ids[n - 1 - i]; /* of equal logits the lower id is better */
        from[i] = (struct keyed){key_of(logits[id]), id};
        for (uint32_t d = 0; d < DIGITS; d++)
            counts[d][digit(from[i].key, d)]++;
    }
    for (uint32_t d = 0; d < DIGITS; d++) {
        sort_by_digit(from, to, n, d, counts[d]);
        struct keyed *swap = from;
        from = to;
        to = swap;
    }
    for (uint32_t i = 0; i < n; i++)
        b->ids[i] = from[i].id;
}

/* Whether b->ids[0..n) are all sorted, rather than made a heap of. */
static bool sort_if_many(struct sampler_bench *b, const struct rec_sampling *s, const float *logits,
                         uint32_t n)
{
    if (n <= HEAP_MOST || (s->top_k > 0 && s->top_k <= HEAP_MOST)) {
        for (uint32_t i = n / 2; i > 0; i--)
            sift_down(logits, b->ids, n, i - 1);
        return false;
    }
    sort_ids(b, logits, n);
    return true;
}

/* Step 6. b->ids[0..n) are the candidates, `sum` is the sum of all p. Returns how many are kept: the
 * last ones of ids, the best one at the very end. */
static uint32_t keep_likeliest(struct sampler_bench *b, const struct rec_sampling *s,
                               const float *logits, uint32_t n, double sum)
{
    const float *p = b->p;
    uint32_t *ids = b->ids;
    uint32_t most = n;
    uint32_t n_sorted = sort_if_many(b, s, logits, n) ? n : 0;
    if (s->top_k > 0 && s->top_k < n)
        most = s->top_k;
    if (s->top_k > 0 && has_top_p(s)) {
        sum = 0.0;
        for (; n_sorted < most; n_sorted++)
            pop_best(logits, ids, n - n_sorted);
        for (uint32_t i = 0; i < most; i++)
            sum += (double)p[ids[n - 1 - i]];
    }
    double target = has_top_p(s) ? (double)s->top_p * sum : INFINITY;
    double kept = 0.0;
    uint32_t n_kept = 0;
    while (n_kept < most && kept < target) {
        if (n_kept == n_sorted) {
            pop_best(logits, ids, n - n_sorted);
            n_sorted++;
        }
        float next = p[ids[n - 1 - n_kept]];
        if (n_kept > 0 && next < s->min_p * p[ids[n - 1]])
            break;
        kept += (double)next;
        n_kept++;
    }
    return n_kept;
}

static struct gumbel noise_of(const struct sampler *s, uint32_t index)
{
    return (struct gumbel){.seed = s->p.seed, .index = index, .scale = s->p.temperature};
}

/* Step 7 among the logits in the places at[0..n). */
static uint32_t draw_kept(const struct backend_logits *l, const struct gumbel *g,
                          const uint32_t *at, uint32_t n)
{
    uint32_t best = 0;
    float best_score = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = l->ids != NULL ? l->ids[at[i]] : at[i];
        float score = l->values[at[i]] + gumbel_at(g, id);
        if (i > 0 && (score < best_score || (score == best_score && at[i] > best)))
            continue;
        best = at[i];
        best_score = score;
    }
    return best;
}

/* Step 7 among all logits. */
static uint32_t draw_any(struct sampler_bench *b, const struct backend_logits *l,
                         const struct gumbel *g)
{
    if (l->ids == NULL) {
        b->k->gumbel_noise(g, 0, l->n, b->p);
    } else {
        for (uint32_t i = 0; i < l->n; i++)
            b->p[i] = gumbel_at(g, l->ids[i]);
    }
    for (uint32_t i = 0; i < l->n; i++)
        b->p[i] += l->values[i];
    return choose_greedy(b->p, l->n, b->k->softmax_max(b->p, l->n));
}

static uint32_t choose_random(struct sampler_bench *b, const struct sampler *s,
                              const struct backend_logits *l, uint32_t index, float max)
{
    const struct rec_sampling *p = &s->p;
    const struct gumbel noise = noise_of(s, index);
    if (p->top_k == 0 && !has_top_p(p) && p->min_p <= 0.0F)
        return draw_any(b, l, &noise);
    float sum = b->k->softmax_exp(l->values, l->n, max, 1.0F / p->temperature, b->p);
    uint32_t n = find_candidates(b, p, l, max, sum);
    uint32_t n_kept = keep_likeliest(b, p, l->values, n, (double)sum);
    return draw_kept(l, &noise, b->ids + (n - n_kept), n_kept);
}

/* ---- what the backend is asked for ---- */

/* How far below the largest a logit may be for step 6 to keep it, with room for what the exponential
 * function and the differences are rounded by. */
static float reach_of(const struct rec_sampling *p)
{
    return p->temperature * (1e-3F - 1.0001F * math_log(p->min_p));
}

struct backend_want sampler_want(struct sampler *s, uint32_t index, const uint32_t *drafts,
                                 uint32_t n_drafts)
{
    struct backend_want w = {.kind = WANT_ALL, .noise = noise_of(s, index)};
    bool has_any = (s->n_ends > 0 && index < s->p.min_tokens) || (n_drafts > 0 && s->seen != NULL);
    if (s->p.logprobs)
        return w;
    if (s->p.temperature < GREEDY_BELOW || s->p.top_k > 0) {
        w.kind = WANT_TOP;
        w.n_top = s->p.temperature < GREEDY_BELOW ? 1 : s->p.top_k;
    } else if (has_top_p(&s->p) && has_any) {
        return w;
    } else if (s->p.min_p > 0.0F && has_any) {
        w.kind = WANT_NEAR;
        w.reach = reach_of(&s->p);
    } else if (has_top_p(&s->p) || s->p.min_p > 0.0F) {
        w.kind = WANT_PICK;
        w.top_p = has_top_p(&s->p) ? s->p.top_p : INFINITY;
        w.min_p = s->p.min_p;
        w.reach = has_top_p(&s->p) ? INFINITY : reach_of(&s->p);
    } else {
        w.kind = WANT_DRAW;
    }
    list_changes(s);
    for (uint32_t i = 0; i < s->n_ends && index < s->p.min_tokens; i++)
        add_change(s, s->ends[i], CHANGE_ANY, 0.0F);
    for (uint32_t i = 0; i < n_drafts && s->seen != NULL; i++)
        add_change(s, drafts[i], CHANGE_ANY, 0.0F);
    w.changes = s->changes;
    w.n_changes = s->n_changes;
    return w;
}

enum err sampler_choose(struct sampler_bench *b, struct sampler *s, const struct backend_logits *l,
                        uint32_t index, struct sampler_choice *ret_choice)
{
    ASSERT(l->n <= b->n_vocab && (l->ids == NULL || !s->p.logprobs));
    for (uint32_t i = 0; i < l->n; i++)
        l->values[i] = isnan(l->values[i]) ? -INFINITY : l->values[i];
    if (s->p.logprobs)
        memcpy(b->raw, l->values, l->n * sizeof *b->raw);
    adjust(s, l, index);
    float max = b->k->softmax_max(l->values, l->n);
    if (!isfinite(max))
        return ERR_INTERNAL;
    struct sampler_choice c = {0};
    if (s->p.temperature < GREEDY_BELOW)
        c.id = choose_greedy(l->values, l->n, max);
    else
        c.id = choose_random(b, s, l, index, max);
    c.id = l->ids != NULL ? l->ids[c.id] : c.id;
    if (s->p.logprobs)
        fill_logprobs(b, s, &c);
    *ret_choice = c;
    return ERR_OK;
}
