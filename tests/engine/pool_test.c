/* SPDX-License-Identifier: MIT */
#include "services/engine/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { TASKS_MAX = 300 };

struct job {
    uint32_t done[TASKS_MAX]; /* not atomic: each task is one thread's */
    uint32_t input;
};

static void count_task(void *ctx, uint32_t i)
{
    struct job *job = ctx;
    job->done[i] += job->input;
}

static void each_task_runs_once_in_each_loop(void **state)
{
    (void)state;
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        struct pool *p = NULL;
        assert_int_equal(pool_new(n_threads, &p), ERR_OK);
        assert_int_equal(pool_n_threads(p), n_threads);
        for (uint32_t round = 0; round < 500; round++) {
            struct job job = {.input = round + 1};
            uint32_t n = round * 7 % TASKS_MAX;
            pool_run(p, n, count_task, &job);
            for (uint32_t i = 0; i < TASKS_MAX; i++)
                assert_int_equal(job.done[i], i < n ? round + 1 : 0);
        }
        pool_free(p);
    }
    pool_free(NULL);
}

static void wait_for_partner(void *ctx, uint32_t i)
{
    _Atomic uint32_t *n_here = ctx;
    (void)i;
    atomic_fetch_add(n_here, 1);
    while (atomic_load(n_here) < 2) {
    }
}

/* Two tasks that each wait for the other can only end when two threads run them. */
static void tasks_run_at_the_same_time(void **state)
{
    (void)state;
    struct pool *p = NULL;
    assert_int_equal(pool_new(2, &p), ERR_OK);
    for (uint32_t round = 0; round < 20; round++) {
        _Atomic uint32_t n_here = 0;
        pool_run(p, 2, wait_for_partner, &n_here);
        assert_int_equal(n_here, 2);
    }
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once_in_each_loop),
        cmocka_unit_test(tasks_run_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
