/* SPDX-License-Identifier: MIT */
#include "services/engine/pick.h"

#include <math.h>

#include "kernels/math/math.h"

enum { LANES = 16 }; /* partial sums, for the compiler's vectors */

/* What masses may be off by, twice: the sampler adds n floats in 32 sums, this module likewise, and
 * the exponential function and its arguments are off by less than 1e-4. */
static double slack(const struct pick *p)
{
    return 1e-3 + p->n * 0x1p-28;
}

/* Below this all rows together have less than 1 % of the largest one's mass. */
static float low_end(const struct pick *p)
{
    return p->max_lower - (5.0F + math_log((float)p->n)) / p->scale;
}

/* Whether a row with logit x is likelier than the row `id` with logit `of`. */
static inline bool is_before(float x, uint32_t row, float of, uint32_t id)
{
    return x > of || (x == of && row < id);
}

void pick_begin(struct pick *p)
{
    p->state = PICK_LEAST;
    p->is_asking = false;
    p->cut_x = -INFINITY;
    p->cut_id = p->n;
}

/* ---- looking ---- */

static void look_for_least(const struct pick *p, uint32_t first, uint32_t end,
                           struct pick_part *part)
{
    for (uint32_t r = first; r < end; r++) {
        float lower = p->lower[r];
        part->max_lower = lower > part->max_lower ? lower : part->max_lower;
        part->max_upper = p->upper[r] > part->max_upper ? p->upper[r] : part->max_upper;
        float score = lower + p->noise[r];
        if (score > part->least && is_before(lower, r, p->cut_x, p->cut_id))
            part->least = score;
    }
}

static void look_for_best(const struct pick *p, uint32_t first, uint32_t end,
                          struct pick_part *part)
{
    for (uint32_t r = first; r < end; r++) {
        float upper = p->upper[r];
        float score = upper + p->noise[r];
        if (score < p->least || !is_before(upper, r, p->cut_x, p->cut_id))
            continue;
        if (upper != p->lower[r]) {
            part->n_open++;
        } else if (part->best == p->n || score > part->best_score) {
            part->best = r;
            part->best_score = score;
        }
    }
}

/* Adds up masses[0..n) of rows with these bounds, by whether they are before p->id. */
static void add_masses(const struct pick *p, const float *bounds, const float *masses,
                       uint32_t first, uint32_t n, float *ret_before, float *ret_rest)
{
    float before[LANES] = {0};
    float rest[LANES] = {0};
    for (uint32_t i = 0; i < n; i++) {
        bool is = is_before(bounds[i], first + i, p->x, p->id);
        before[i % LANES] += is ? masses[i] : 0.0F;
        rest[i % LANES] += is ? 0.0F : masses[i];
    }
    for (uint32_t i = 0; i < LANES; i++) {
        *ret_before += before[i];
        *ret_rest += rest[i];
    }
}

/* What may be before counts there in full, what is before for certain counts for little; so, too, for
 * the rest. A row that may be on either side counts on one of them in each pair. */
static void weigh(const struct pick *p, uint32_t first, uint32_t end, float *scratch,
                  struct pick_part *part)
{
    uint32_t n = end - first;
    const float *lower = p->lower + first;
    const float *upper = p->upper + first;
    float unused = 0.0F;
    (void)p->k->softmax_exp(upper, n, p->max_lower, p->scale, scratch);
    add_masses(p, upper, scratch, first, n, &part->before_high, &unused);
    add_masses(p, lower, scratch, first, n, &unused, &part->rest_high);
    (void)p->k->softmax_exp(lower, n, p->max_lower, p->scale, scratch);
    add_masses(p, lower, scratch, first, n, &part->before_low, &unused);
    add_masses(p, upper, scratch, first, n, &unused, &part->rest_low);
    float low = low_end(p);
    for (uint32_t i = 0; i < n; i++) {
        bool is_open = lower[i] != upper[i];
        part->n_open += is_open && is_before(upper[i], first + i, p->x, p->id);
        part->n_far += is_open && upper[i] > low;
        part->n_tops += is_open && upper[i] >= p->max_lower;
    }
}

void pick_look(const struct pick *p, uint32_t first, uint32_t end, float *scratch,
               struct pick_part *ret_part)
{
    *ret_part = (struct pick_part){.max_lower = -INFINITY,
                                   .max_upper = -INFINITY,
                                   .least = -INFINITY,
                                   .best_score = -INFINITY,
                                   .best = p->n};
    if (p->state == PICK_LEAST)
        look_for_least(p, first, end, ret_part);
    else if (p->state == PICK_BEST)
        look_for_best(p, first, end, ret_part);
    else if (p->state == PICK_WEIGH)
        weigh(p, first, end, scratch, ret_part);
}

/* ---- deciding ---- */

static void ask(struct pick *p, float x, uint32_t id, float least)
{
    p->is_asking = true;
    p->asked_x = x;
    p->asked_id = id;
    p->least = least;
}

static void decide_least(struct pick *p, const struct pick_part *parts, uint32_t n)
{
    p->least = -INFINITY;
    p->max_lower = -INFINITY;
    p->max_upper = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        p->least = parts[i].least > p->least ? parts[i].least : p->least;
        p->max_lower = parts[i].max_lower > p->max_lower ? parts[i].max_lower : p->max_lower;
        p->max_upper = parts[i].max_upper > p->max_upper ? parts[i].max_upper : p->max_upper;
    }
    p->state = isfinite(p->max_lower) ? PICK_BEST : PICK_LOST;
}

static void decide_best(struct pick *p, const struct pick_part *parts, uint32_t n)
{
    const struct pick_part *best = NULL;
    uint32_t n_open = 0;
    for (uint32_t i = 0; i < n; i++) { /* ids rise, so that of equals the first one stays */
        n_open += parts[i].n_open;
        if (parts[i].best < p->n && (best == NULL || parts[i].best_score > best->best_score))
            best = &parts[i];
    }
    if (n_open > 0) {
        ask(p, p->cut_x, p->cut_id, p->least);
        p->state = PICK_LEAST;
        return;
    }
    p->state = best != NULL ? PICK_WEIGH : PICK_LOST;
    if (best != NULL) {
        p->id = best->best;
        p->x = p->lower[p->id];
    }
}

enum verdict { OPEN, KEPT, CUT };

static enum verdict judge_top_p(const struct pick *p, const struct pick_part *sum)
{
    double top_p = (double)p->top_p;
    double low = 1.0 - slack(p);
    double high = 1.0 + slack(p);
    double before_high = (double)sum->before_high;
    double before_low = (double)sum->before_low;
    if (before_high * high < top_p * (before_high + (double)sum->rest_low) * low)
        return KEPT;
    if (before_low * low > top_p * (before_low + (double)sum->rest_high) * high)
        return CUT;
    return OPEN;
}

static enum verdict judge_min_p(const struct pick *p)
{
    if (math_exp((p->x - p->max_upper) * p->scale) >= 1.001F * p->min_p)
        return KEPT;
    if (math_exp((p->x - p->max_lower) * p->scale) < 0.999F * p->min_p)
        return CUT;
    return OPEN;
}

static void decide_weight(struct pick *p, const struct pick_part *parts, uint32_t n)
{
    struct pick_part sum = {0};
    for (uint32_t i = 0; i < n; i++) {
        sum.n_open += parts[i].n_open;
        sum.n_far += parts[i].n_far;
        sum.n_tops += parts[i].n_tops;
        sum.before_low += parts[i].before_low;
        sum.before_high += parts[i].before_high;
        sum.rest_low += parts[i].rest_low;
        sum.rest_high += parts[i].rest_high;
    }
    bool is_likeliest = sum.before_high == 0.0F && sum.n_open == 0 && p->x >= p->max_lower;
    enum verdict by_mass = judge_top_p(p, &sum);
    enum verdict by_share = p->min_p > 0.0F ? judge_min_p(p) : KEPT;
    p->state = PICK_LEAST;
    if (is_likeliest || (by_mass == KEPT && by_share == KEPT)) { /* the likeliest always is */
        p->state = PICK_DONE;
    } else if (by_mass == CUT || by_share == CUT) {
        p->cut_x = p->x;
        p->cut_id = p->id;
    } else if (by_share == OPEN && sum.n_tops > 0) {
        ask(p, p->max_lower, p->n, -INFINITY);
    } else if (by_mass == OPEN && sum.n_open > 0) {
        ask(p, p->x, p->id, -INFINITY);
    } else if (by_mass == OPEN && sum.n_far > 0) {
        ask(p, low_end(p), 0, -INFINITY);
    } else {
        p->state = PICK_LOST;
    }
}

void pick_decide(struct pick *p, const struct pick_part *parts, uint32_t n_parts)
{
    p->is_asking = false;
    if (p->state == PICK_LEAST)
        decide_least(p, parts, n_parts);
    else if (p->state == PICK_BEST)
        decide_best(p, parts, n_parts);
    else if (p->state == PICK_WEIGH)
        decide_weight(p, parts, n_parts);
}

bool pick_wants(const struct pick *p, uint32_t id)
{
    float upper = p->upper[id];
    return upper != p->lower[id] && is_before(upper, id, p->asked_x, p->asked_id) &&
           !(upper + p->noise[id] < p->least);
}
