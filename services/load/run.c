/* SPDX-License-Identifier: MIT */
#include "services/load/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"

enum { REST_MS = 100, WAITING_MAX = 1000000 };

struct run {
    struct run_config config;
    struct arrivals arrivals;
    struct loop_watch tick; /* timerfd: when something is to be sent or to end */
    struct request_list waiting; /* arrived, for want of concurrency not sent */
    struct request_list flying;
    uint32_t n_flying;
    uint32_t n_waiting;
    uint64_t n_made;
    uint64_t start_ns;
    uint64_t start_cpu_ns;
    uint64_t next_ns; /* open loop: the next arrival, after the start */
    uint64_t rest_ns; /* closed loop: nothing is sent before, because nobody listens */
    bool is_closed; /* nothing more arrives */
    bool is_pumping;
    bool is_over;
};

static uint64_t own_cpu_ns(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

uint64_t run_age_ns(const struct run *r)
{
    return clock_now_ns() - r->start_ns;
}

static void wake_at(struct run *r, uint64_t at_ns)
{
    uint64_t due = r->start_ns + at_ns;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due / 1000000000U), .tv_nsec = (long)(due % 1000000000U)}};
    ASSERT(timerfd_settime(r->tick.fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void request_free(struct request *q)
{
    prompt_fini(&q->prompt);
    buf_fini(&q->text);
    free(q->ids);
    free(q);
}

static void finish_if_over(struct run *r)
{
    if (r->is_over || !r->is_closed || r->n_flying > 0 || r->n_waiting > 0)
        return;
    r->is_over = true;
    r->config.stats->own_cpu_ns = own_cpu_ns() - r->start_cpu_ns;
    if (r->config.stats->duration_ns == 0)
        r->config.stats->duration_ns = run_age_ns(r);
}

static void pump(struct run *r);

void run_end(struct request *take_q, enum failure f, const char *detail)
{
    struct request *q = take_q;
    struct run *r = q->run;
    struct record *k = &q->record;
    loop_timer_cancel(r->config.loop, &q->timeout);
    TAILQ_REMOVE(&r->flying, q, entry);
    r->n_flying--;
    k->end_ns = run_age_ns(r);
    k->failure = f;
    if (k->n_out == 0)
        k->n_out = q->n_chunks;
    if (k->n_in == 0)
        k->n_in = (uint32_t)q->prompt.n_ids;
    if (f != FAILURE_none)
        stats_add_detail(r->config.stats, f, detail);
    stats_add_record(r->config.stats, k, &r->config.goodput);
    prompts_answer(r->config.prompts, &q->prompt, buf_str(&q->text), q->ids, q->n_ids,
                   f == FAILURE_none);
    if (f == FAILURE_refused)
        r->rest_ns = k->end_ns + REST_MS * UINT64_C(1000000);
    request_free(q);
    pump(r);
}

static void give_up(struct request *q, enum failure f)
{
    struct target *t = q->run->config.target;
    t->cancel(t, q);
    run_end(q, f, failure_text(f));
}

static void on_timeout(struct loop_timer *t)
{
    give_up((struct request *)(void *)((char *)t - offsetof(struct request, timeout)),
            FAILURE_timeout);
}

/* Arrived, and given up without having been sent. */
static void drop_unsent(struct run *r, struct request *q, const char *why)
{
    q->record.end_ns = run_age_ns(r);
    q->record.failure = FAILURE_stopped;
    stats_add_detail(r->config.stats, FAILURE_stopped, why);
    stats_add_record(r->config.stats, &q->record, &r->config.goodput);
    request_free(q);
}

void run_stop(struct run *r)
{
    struct request *next;
    r->is_closed = true;
    for (struct request *q = TAILQ_FIRST(&r->waiting); q != NULL; q = next) {
        next = TAILQ_NEXT(q, entry);
        drop_unsent(r, q, "before it was sent");
    }
    TAILQ_INIT(&r->waiting);
    r->n_waiting = 0;
    for (struct request *q = TAILQ_FIRST(&r->flying); q != NULL; q = next) {
        next = TAILQ_NEXT(q, entry); /* it stays: nothing is sent or ended beside */
        give_up(q, FAILURE_stopped);
    }
    finish_if_over(r);
}

/* ---- sending ----------------------------------------------------------------------------------- */

static struct request *make(struct run *r, uint64_t intended_ns)
{
    struct request *q = mem_zalloc(1, sizeof *q);
    q->run = r;
    q->id = ++r->n_made;
    q->record.intended_ns = intended_ns;
    q->timeout.fire = on_timeout;
    return q;
}

static void send_request(struct run *r, struct request *q)
{
    TAILQ_INSERT_TAIL(&r->flying, q, entry);
    r->n_flying++;
    if (r->n_flying > r->config.stats->peak)
        r->config.stats->peak = r->n_flying;
    prompts_next(r->config.prompts, &q->prompt);
    if (r->config.timeout_ns > 0)
        loop_timer_set(r->config.loop, &q->timeout, r->config.timeout_ns / 1000000U);
    r->config.target->start(r->config.target, q);
}

/* How many may be in flight now. */
static uint32_t allowance(const struct run *r, uint64_t now)
{
    const struct run_config *c = &r->config;
    if (c->concurrency == 0)
        return UINT32_MAX;
    double ramp_ns = c->ramp_s * 1e9;
    if (c->rate > 0 || (double)now >= ramp_ns)
        return c->concurrency;
    uint32_t n = (uint32_t)((double)now / ramp_ns * c->concurrency) + 1;
    return n < c->concurrency ? n : c->concurrency;
}

static bool has_made_all(const struct run *r)
{
    return r->config.n_requests > 0 && r->n_made >= r->config.n_requests;
}

static void take_arrivals(struct run *r, uint64_t now)
{
    uint64_t end = r->config.duration_ns > 0 ? r->config.duration_ns : UINT64_MAX;
    while (!r->is_closed && r->next_ns <= now && r->next_ns < end) {
        struct request *q = make(r, r->next_ns);
        if (r->n_waiting < WAITING_MAX) {
            TAILQ_INSERT_TAIL(&r->waiting, q, entry);
            r->n_waiting++;
        } else {
            drop_unsent(r, q, "too many waited to be sent");
        }
        r->is_closed = has_made_all(r);
        r->next_ns = arrivals_next(&r->arrivals);
    }
    if (r->next_ns >= end)
        r->is_closed = true;
}

/* Closed loop: one more arrives whenever there is room. */
static bool take_next(struct run *r, uint64_t now)
{
    if (r->config.rate > 0 || r->is_closed || now < r->rest_ns)
        return false;
    struct request *q = make(r, now);
    TAILQ_INSERT_TAIL(&r->waiting, q, entry);
    r->n_waiting++;
    r->is_closed = has_made_all(r);
    return true;
}

/* When to look again if nothing else happens; 0: never. */
static uint64_t next_look(const struct run *r, uint64_t now)
{
    const struct run_config *c = &r->config;
    uint64_t at = 0;
    if (!r->is_closed && c->rate > 0) {
        at = r->next_ns;
    } else if (!r->is_closed && now < r->rest_ns) {
        at = r->rest_ns;
    } else if (!r->is_closed && (double)now < c->ramp_s * 1e9) {
        double step = c->ramp_s * 1e9 / c->concurrency;
        at = (uint64_t)(((double)(uint64_t)((double)now / step) + 1) * step) + 1;
    }
    uint64_t end = c->duration_ns;
    if (end > 0 && now >= end)
        end += c->drain_ns;
    if (end > 0 && (at == 0 || end < at))
        at = end;
    return at;
}

static void pump(struct run *r)
{
    if (r->is_pumping || r->is_over)
        return;
    r->is_pumping = true;
    uint64_t now = run_age_ns(r);
    const struct run_config *c = &r->config;
    if (c->duration_ns > 0 && now >= c->duration_ns && c->rate <= 0)
        r->is_closed = true;
    if (c->rate > 0)
        take_arrivals(r, now);
    while (r->n_flying < allowance(r, now) && (r->n_waiting > 0 || take_next(r, now))) {
        struct request *q = TAILQ_FIRST(&r->waiting);
        TAILQ_REMOVE(&r->waiting, q, entry);
        r->n_waiting--;
        send_request(r, q);
        now = run_age_ns(r);
    }
    r->is_pumping = false;
    finish_if_over(r);
    uint64_t at = r->is_over ? 0 : next_look(r, now);
    if (at > 0)
        wake_at(r, at);
}

static void on_tick(struct loop_watch *w, uint32_t events)
{
    struct run *r = (struct run *)(void *)((char *)w - offsetof(struct run, tick));
    uint64_t count;
    (void)events;
    ssize_t n = read(w->fd, &count, sizeof count);
    (void)n; /* the clock decides */
    const struct run_config *c = &r->config;
    if (!r->is_over && c->duration_ns > 0 && run_age_ns(r) >= c->duration_ns + c->drain_ns)
        run_stop(r);
    pump(r);
}

/* ---- what targets report ----------------------------------------------------------------------- */

void run_sent(struct request *q)
{
    q->record.sent_ns = run_age_ns(q->run);
}

void run_output(struct request *q, struct str text, const uint32_t *id)
{
    struct record *k = &q->record;
    uint64_t now = run_age_ns(q->run);
    stats_add_chunk(q->run->config.stats, now, k->first_ns > 0 ? now - k->last_ns : 0);
    if (k->first_ns == 0)
        k->first_ns = now;
    k->last_ns = now;
    q->n_chunks++;
    if (q->run->config.received != NULL)
        q->run->config.received(q->run->config.received_ctx, 1);
    if (q->prompt.talk == NULL)
        return;
    buf_add_str(&q->text, text);
    if (id != NULL) {
        q->ids = mem_resize(q->ids, q->n_ids + 1, sizeof *q->ids);
        q->ids[q->n_ids++] = *id;
    }
}

void run_usage(struct request *q, uint32_t n_in, uint32_t n_out, uint32_t n_cached)
{
    q->record.n_in = n_in;
    q->record.n_out = n_out;
    q->record.n_cached = n_cached;
}

/* ---- life -------------------------------------------------------------------------------------- */

enum err run_new(const struct run_config *config, struct run **ret_run)
{
    struct run *r = mem_zalloc(1, sizeof *r);
    r->config = *config;
    ASSERT(config->rate > 0 || config->concurrency > 0);
    TAILQ_INIT(&r->waiting);
    TAILQ_INIT(&r->flying);
    r->tick.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    r->tick.ready = on_tick;
    enum err e =
        r->tick.fd < 0 ? err_from_errno(errno) : loop_watch_add(config->loop, &r->tick, EPOLLIN);
    if (e != ERR_OK) {
        run_free(r);
        return e;
    }
    *ret_run = r;
    return ERR_OK;
}

void run_start(struct run *r)
{
    r->start_ns = clock_now_ns();
    r->start_cpu_ns = own_cpu_ns();
    if (r->config.rate > 0) {
        arrivals_init(&r->arrivals, r->config.seed, r->config.rate, r->config.burstiness,
                      r->config.ramp_s);
        r->next_ns = arrivals_next(&r->arrivals);
    }
    pump(r);
}

bool run_is_over(const struct run *r)
{
    return r->is_over;
}

uint32_t run_n_in_flight(const struct run *r)
{
    return r->n_flying;
}

void run_free(struct run *r)
{
    if (r == NULL)
        return;
    ASSERT(r->n_flying == 0 && r->n_waiting == 0);
    if (r->tick.fd >= 0) {
        loop_watch_remove(r->config.loop, &r->tick);
        (void)close(r->tick.fd);
    }
    free(r);
}
