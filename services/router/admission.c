/* SPDX-License-Identifier: MIT */
#include "services/router/admission.h"

enum {
    REPLY_TOKENS = 128, /* the mean before there is one */
    SMOOTH = 8, /* a mean follows with 1/SMOOTH of what differs */
    MARGIN = 4, /* a reply may take this part of the mean longer */
};

void admission_init(struct admission *a, uint32_t longest_wait_ms)
{
    *a = (struct admission){.longest_wait_ms = longest_wait_ms, .reply_tokens = REPLY_TOKENS};
}

static double tokens_of(const struct admission *a, const struct request *q)
{
    double most = (double)(q->submit.sampling.max_tokens - q->n_ids);
    return most < a->reply_tokens ? most : a->reply_tokens;
}

uint32_t admission_guess_tokens(const struct admission *a, const struct request *q)
{
    return (uint32_t)tokens_of(a, q);
}

static double service_ns(const struct admission *a, const struct request *q)
{
    double mean = a->service_ns * (tokens_of(a, q) + 1) / (a->reply_tokens + 1);
    return mean + mean / MARGIN;
}

uint64_t admission_wait_ns(const struct admission *a, uint32_t group, uint32_t position,
                           uint64_t now_ns)
{
    return position * outflow_interval_ns(&a->outflows[group], now_ns);
}

/* ---- what is measured -------------------------------------------------------------------------- */

static void follow(double *mean, double value)
{
    *mean += (value - *mean) / SMOOTH;
}

void admission_note_end(struct admission *a, const struct request *q, uint64_t now_ns)
{
    outflow_count(&a->outflows[q->group], now_ns);
    if (!q->is_whole || q->placed_ns == 0)
        return;
    double took = (double)(now_ns - q->placed_ns);
    if (a->service_ns <= 0)
        a->service_ns = took;
    follow(&a->service_ns, took);
    follow(&a->reply_tokens, (double)q->n_ids);
}

void admission_note_full(struct admission *a, uint32_t group, bool is_full, uint64_t now_ns)
{
    outflow_set_full(&a->outflows[group], is_full, now_ns);
}

/* ---- the question ------------------------------------------------------------------------------ */

/* The end of a request that starts after `wait` intervals, against its deadline. */
static bool is_late(const struct admission *a, const struct request *q, double wait, uint64_t now)
{
    return q->deadline_ns > 0 && (double)now + wait + service_ns(a, q) > (double)q->deadline_ns;
}

/* Whether one behind it would be late for it that is not late anyway. n_ahead: of its group. */
static bool makes_late(const struct admission *a, const struct request *behind,
                       const struct request *q, uint32_t n_ahead, double interval, uint64_t now)
{
    for (uint32_t n = n_ahead + 1; behind != NULL; behind = TAILQ_NEXT(behind, place)) {
        if (behind->group != q->group)
            continue;
        if (is_late(a, behind, (n + 1) * interval, now) && !is_late(a, behind, n * interval, now))
            return true;
        n++;
    }
    return false;
}

static enum admit judge(const struct admission *a, const struct queue *s, const struct request *q,
                        struct answer *r, uint64_t now)
{
    const double interval = (double)outflow_interval_ns(&a->outflows[q->group], now);
    const struct request *at = TAILQ_FIRST(&s->waiting);
    uint32_t n_ahead = s->n_replays;
    for (; at != NULL && !queue_is_before(q, at); at = TAILQ_NEXT(at, place))
        n_ahead += at->group == q->group;
    r->position = n_ahead + 1;
    r->wait_ns = (uint64_t)(r->position * interval);
    if (!queue_has_room(s, q))
        return ADMIT_FULL;
    if (r->wait_ns / 1000000 > a->longest_wait_ms)
        return ADMIT_TOO_SLOW;
    /* One more share takes at most as many turns as this one has had. */
    double worst = (r->position + q->share->n_waiting + 1) * interval;
    if (interval > 0 && is_late(a, q, worst, now))
        return ADMIT_TOO_LATE;
    if (makes_late(a, at, q, n_ahead, interval, now))
        return ADMIT_OTHERS_LATE;
    return ADMIT_YES;
}

/* How many must leave before it might be let in; what cannot be said is one. */
static uint64_t n_to_leave(const struct admission *a, const struct request *q,
                           const struct answer *r, uint64_t now)
{
    double wait = (double)r->wait_ns;
    double interval = r->position > 0 ? wait / r->position : 0;
    double excess = 0;
    if (r->admit == ADMIT_TOO_SLOW)
        excess = wait - a->longest_wait_ms * 1e6;
    else if (r->admit == ADMIT_TOO_LATE)
        excess = (double)now + wait + (q->share->n_waiting + 1) * interval + service_ns(a, q) -
                 (double)q->deadline_ns;
    if (interval <= 0 || excess <= 0)
        return 1;
    return 1 + (uint64_t)(excess / interval);
}

struct answer admission_ask(struct admission *a, const struct queue *s, const struct request *q,
                            uint64_t now_ns)
{
    struct answer r = {0};
    r.admit = judge(a, s, q, &r, now_ns);
    if (r.admit != ADMIT_YES) {
        uint64_t n = n_to_leave(a, q, &r, now_ns);
        r.retry_ms = outflow_retry_ms(&a->outflows[q->group], n, now_ns);
    }
    return r;
}
