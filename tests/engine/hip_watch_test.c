/* SPDX-License-Identifier: MIT */
#include "services/engine/hip_watch.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"

struct hang {
    sem_t happened;
    uint32_t limit_ms;
};

static void on_hang(void *ctx, uint32_t limit_ms)
{
    struct hang *h = ctx;
    h->limit_ms = limit_ms;
    (void)sem_post(&h->happened);
}

static void a_step_that_does_not_end_is_noticed(void **state)
{
    (void)state;
    struct hang h = {0};
    assert_int_equal(sem_init(&h.happened, 0, 0), 0);
    struct hip_watch *w = NULL;
    uint64_t t0 = clock_now_ms();
    assert_int_equal(hip_watch_new(50, on_hang, &h, &w), ERR_OK);
    hip_watch_begin(w);
    hip_watch_end(w);
    hip_watch_begin(w);
    assert_int_equal(sem_wait(&h.happened), 0);
    assert_int_equal(h.limit_ms, 50);
    assert_true(clock_now_ms() - t0 >= 50);
    hip_watch_end(w);
    hip_watch_free(w);
    assert_int_equal(sem_destroy(&h.happened), 0);
}

/* More time in steps than the limit, but not in one. */
static void many_short_steps_are_no_hang(void **state)
{
    (void)state;
    enum { LIMIT_MS = 1000 };
    struct hang h = {0};
    assert_int_equal(sem_init(&h.happened, 0, 0), 0);
    struct hip_watch *w = NULL;
    assert_int_equal(hip_watch_new(LIMIT_MS, on_hang, &h, &w), ERR_OK);
    uint64_t end = clock_now_ms() + LIMIT_MS + LIMIT_MS / 4;
    uint64_t n = 0;
    while (clock_now_ms() < end) {
        hip_watch_begin(w);
        for (uint64_t until = clock_now_ms() + 5; clock_now_ms() < until;)
            n++;
        hip_watch_end(w);
    }
    assert_true(n > 0);
    assert_int_equal(sem_trywait(&h.happened), -1);
    hip_watch_free(w);
    assert_int_equal(sem_destroy(&h.happened), 0);
}

static void no_watch_is_a_watch_too(void **state)
{
    (void)state;
    hip_watch_begin(NULL);
    hip_watch_end(NULL);
    hip_watch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_does_not_end_is_noticed),
        cmocka_unit_test(many_short_steps_are_no_hang),
        cmocka_unit_test(no_watch_is_a_watch_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
