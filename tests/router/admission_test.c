/* SPDX-License-Identifier: MIT */
/* A house of servers on a clock of the test's own: what is admitted, in which order it starts, and when
 * it ends. Nothing depends on the speed of the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "services/router/admission.h"
#include "services/router/queue.h"

enum { SERVERS_MAX = 16, REPLY_TOKENS = 100 };

static const uint64_t MS = 1000000;

struct server {
    struct request *q;
    uint64_t ends_ns;
};

struct house {
    struct queue queue;
    struct admission admission;
    struct tokenizer *tokenizer;
    struct server servers[SERVERS_MAX];
    size_t n_servers;
    uint64_t service_ns;
    uint64_t now;
    uint64_t next_req;
    uint64_t n_refused;
    uint64_t n_late; /* ended after their deadline */
    uint64_t n_ended;
    uint64_t n_started;
    uint64_t started_share[1000]; /* in order of start */
    uint32_t last_retry_ms;
    enum admit last_admit;
};

static void house_init(struct house *h, size_t n_servers, uint64_t service_ms, uint32_t limit)
{
    *h = (struct house){.n_servers = n_servers, .service_ns = service_ms * MS, .now = 1};
    queue_init(&h->queue, limit);
    admission_init(&h->admission, 3600000);
    h->tokenizer = queue_add_tokenizer(&h->queue, NULL);
}

static size_t n_busy(const struct house *h)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n_servers; i++)
        n += h->servers[i].q != NULL;
    return n;
}

static void forget(struct house *h, struct request *q)
{
    queue_quit(&h->queue, q);
    tokenizer_disown(q);
    request_free(q);
}

static bool start(void *ctx, struct request *q)
{
    struct house *h = ctx;
    size_t i = 0;
    while (i < h->n_servers && h->servers[i].q != NULL)
        i++;
    if (i == h->n_servers)
        return false;
    queue_take(&h->queue, q);
    q->placed_ns = h->now;
    h->servers[i] = (struct server){q, h->now + h->service_ns};
    if (h->n_started < 1000)
        h->started_share[h->n_started] = q->submit.share;
    h->n_started++;
    return true;
}

static void dispatch(struct house *h)
{
    while (queue_offer_next(&h->queue, start, h)) {
    }
    admission_note_full(&h->admission, 0, n_busy(h) == h->n_servers, h->now);
}

static bool ask(struct house *h, uint64_t share, uint32_t deadline_ms)
{
    uint32_t prompt[] = {1, 2, 3};
    struct frame_submit f = {.req = ++h->next_req,
                             .prompt = prompt,
                             .n_prompt = 3,
                             .sampling = {.max_tokens = REPLY_TOKENS},
                             .share = share};
    struct request *q;
    assert_int_equal(request_new(&f, &q), ERR_OK);
    if (deadline_ms > 0)
        q->deadline_ns = h->now + deadline_ms * MS;
    tokenizer_own(h->tokenizer, q);
    queue_join(&h->queue, q, admission_guess_tokens(&h->admission, q));
    if (n_busy(h) == h->n_servers) {
        struct answer a = admission_ask(&h->admission, &h->queue, q, h->now);
        h->last_admit = a.admit;
        if (a.admit != ADMIT_YES) {
            assert_in_range(a.retry_ms, OUTFLOW_RETRY_MIN_MS, OUTFLOW_RETRY_MAX_MS);
            h->last_retry_ms = a.retry_ms;
            h->n_refused++;
            forget(h, q);
            return false;
        }
    }
    queue_add(&h->queue, q);
    dispatch(h);
    return true;
}

/* Lets time pass until `until`; everything that ends in it ends. */
static void run(struct house *h, uint64_t until)
{
    for (;;) {
        struct server *next = NULL;
        for (size_t i = 0; i < h->n_servers; i++) {
            struct server *s = &h->servers[i];
            if (s->q != NULL && s->ends_ns <= until && (next == NULL || s->ends_ns < next->ends_ns))
                next = s;
        }
        if (next == NULL)
            break;
        h->now = next->ends_ns;
        struct request *q = next->q;
        next->q = NULL;
        for (size_t i = 0; i < REPLY_TOKENS; i++)
            request_record(q, 7);
        q->is_whole = true;
        h->n_late += q->deadline_ns > 0 && h->now > q->deadline_ns;
        h->n_ended++;
        admission_note_end(&h->admission, q, h->now);
        forget(h, q);
        dispatch(h);
    }
    h->now = until;
}

static void house_fini(struct house *h)
{
    run(h, h->now + UINT64_C(1000000) * MS);
    assert_true(queue_is_empty(&h->queue));
    queue_remove_tokenizer(&h->queue, h->tokenizer);
    assert_int_equal(h->queue.shares.n, 0);
    queue_fini(&h->queue);
}

/* Servers that were always busy for a while, so that their rate is known. */
static void warm_up(struct house *h)
{
    for (unsigned i = 0; i < 20 * h->n_servers; i++)
        assert_true(ask(h, 0, 0));
    run(h, h->now + 30 * h->service_ns);
    assert_true(queue_is_empty(&h->queue));
    h->n_started = 0;
    h->n_ended = 0;
}

static void a_keys_one_request_is_next_behind_anothers_flood(void **state)
{
    (void)state;
    for (size_t n_servers = 1; n_servers <= 8; n_servers *= 2) {
        struct house h;
        house_init(&h, n_servers, 100, 256);
        for (unsigned i = 0; i < 100; i++)
            assert_true(ask(&h, 1, 0));
        run(&h, h.now + 250 * MS); /* in the middle of the flood */
        uint64_t n = h.n_started;
        assert_true(ask(&h, 2, 0));
        run(&h, h.now + 100 * MS);
        assert_true(h.n_started > n);
        assert_int_equal(h.started_share[n], 2); /* nothing of the flood starts before it */
        house_fini(&h);
    }
}

static void shares_that_wait_take_turns(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 1, 100, 256);
    for (unsigned i = 0; i < 60; i++)
        assert_true(ask(&h, 1, 0));
    for (unsigned i = 0; i < 20; i++)
        assert_true(ask(&h, 2, 0));
    for (unsigned i = 0; i < 20; i++)
        assert_true(ask(&h, 3, 0));
    run(&h, h.now + 6001 * MS);
    unsigned n[4] = {0};
    for (size_t i = 0; i < 60; i++)
        n[h.started_share[i]]++;
    for (unsigned share = 1; share <= 3; share++)
        assert_in_range(n[share], 19, 21);
    house_fini(&h);
}

static void a_stream_of_newcomers_does_not_starve_who_waits(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 1, 100, 256);
    for (unsigned i = 0; i < 20; i++)
        assert_true(ask(&h, 1, 0));
    for (unsigned i = 0; i < 60; i++) { /* as fast as it can be served, a new key each time */
        assert_true(ask(&h, 100 + i, 0));
        run(&h, h.now + 100 * MS);
    }
    unsigned n = 0;
    for (size_t i = 0; i < h.n_started; i++)
        n += h.started_share[i] == 1;
    assert_true(n >= 8); /* less than half: each newcomer that waits is one more to share with */
    house_fini(&h);
}

static void a_request_waits_two_service_times_while_one_key_keeps_a_hundred(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 2, 100, 256);
    for (unsigned i = 0; i < 100; i++)
        assert_true(ask(&h, 1, 0));
    uint64_t req_2 = 0;
    for (unsigned round = 0; round < 50; round++) {
        run(&h, h.now + 37 * MS);
        while (h.queue.n_waiting < 100)
            assert_true(ask(&h, 1, 0));
        if (round % 10 != 5)
            continue;
        uint64_t n = h.n_started;
        assert_true(ask(&h, 2, 0));
        run(&h, h.now + 100 * MS); /* one service time: started; its own is the second */
        for (req_2 = n; req_2 < h.n_started && h.started_share[req_2] != 2; req_2++) {
        }
        assert_true(req_2 < h.n_started);
    }
    house_fini(&h);
}

static void at_ten_times_the_capacity_whoever_is_admitted_is_served_in_time(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 4, 100, 65536);
    warm_up(&h);
    uint64_t n_asked = 0;
    for (unsigned i = 0; i < 4000; i++) { /* 40 a second can be served; 400 come */
        n_asked++;
        (void)ask(&h, 1 + i % 3, 2000);
        run(&h, h.now + 2500 * MS / 1000);
    }
    uint64_t end = h.now;
    house_fini(&h);
    assert_int_equal(h.n_late, 0);
    assert_true(h.n_refused > n_asked * 8 / 10);
    /* And no server was idle for it: ten seconds of 40, and what waited at the end. */
    assert_true(end > 9000 * MS);
    assert_true(h.n_ended >= 390);
}

static void late_comers_make_nobody_late(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 1, 100, 65536);
    warm_up(&h);
    /* One key fills the queue as far as its deadlines allow; then ten others come at once, and again. */
    while (ask(&h, 1, 3000)) {
    }
    assert_int_equal(h.last_admit, ADMIT_TOO_LATE);
    uint64_t n_refused = h.n_refused;
    assert_true(ask(&h, 2, 3000)); /* room for one more share was kept */
    for (unsigned round = 0; round < 20; round++) {
        for (uint64_t share = 3; share < 13; share++)
            (void)ask(&h, share, 3000);
        run(&h, h.now + 100 * MS);
    }
    assert_true(h.n_refused > n_refused);
    house_fini(&h);
    assert_int_equal(h.n_late, 0);
}

static void who_is_turned_away_is_told_when_the_queue_has_drained(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 1, 400, 32);
    warm_up(&h);
    while (ask(&h, 0, 0)) {
    }
    assert_int_equal(h.last_admit, ADMIT_FULL);
    assert_in_range(h.last_retry_ms, 390, 410); /* one place */
    assert_false(ask(&h, 0, 0));
    assert_in_range(h.last_retry_ms, 790, 810); /* the next one */
    house_fini(&h);
}

static void a_wait_beyond_the_longest_is_refused_and_told(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 1, 1000, 65536);
    warm_up(&h);
    h.admission.longest_wait_ms = 10000;
    unsigned n = 0;
    while (ask(&h, 0, 0))
        n++;
    assert_int_equal(h.last_admit, ADMIT_TOO_SLOW);
    assert_in_range(n, 10, 12); /* one runs */
    assert_in_range(h.last_retry_ms, 900, 2100);
    house_fini(&h);
}

static void the_last_quarter_of_the_queue_is_for_others(void **state)
{
    (void)state;
    struct house h;
    house_init(&h, 1, 100, 64);
    unsigned n = 0;
    while (ask(&h, 1, 0))
        n++;
    assert_int_equal(n, 49); /* one runs */
    assert_int_equal(h.last_admit, ADMIT_FULL);
    for (uint64_t share = 2; share < 18; share++)
        assert_true(ask(&h, share, 0));
    assert_false(ask(&h, 20, 0)); /* full is full */
    house_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_keys_one_request_is_next_behind_anothers_flood),
        cmocka_unit_test(shares_that_wait_take_turns),
        cmocka_unit_test(a_stream_of_newcomers_does_not_starve_who_waits),
        cmocka_unit_test(a_request_waits_two_service_times_while_one_key_keeps_a_hundred),
        cmocka_unit_test(at_ten_times_the_capacity_whoever_is_admitted_is_served_in_time),
        cmocka_unit_test(late_comers_make_nobody_late),
        cmocka_unit_test(who_is_turned_away_is_told_when_the_queue_has_drained),
        cmocka_unit_test(a_wait_beyond_the_longest_is_refused_and_told),
        cmocka_unit_test(the_last_quarter_of_the_queue_is_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
