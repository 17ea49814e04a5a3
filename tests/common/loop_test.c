/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/loop.h"

static struct loop *new_loop(void)
{
    struct loop *l;
    assert_int_equal(loop_new(&l), ERR_OK);
    return l;
}

/* ---- timers ---- */

enum { TIMERS = 200 };

static struct timers {
    struct loop *loop;
    struct loop_timer t[TIMERS];
    uint64_t want_ms[TIMERS]; /* not before this; 0: must not fire */
    size_t n_left;
    size_t order[TIMERS];
    size_t n_fired;
} timers;

static void on_fire(struct loop_timer *t)
{
    size_t i = (size_t)(t - timers.t);
    assert_true(timers.want_ms[i] != 0);
    assert_true(clock_now_ms() + 1 >= timers.want_ms[i]);
    timers.want_ms[i] = 0; /* once only */
    timers.order[timers.n_fired++] = i;
    if (--timers.n_left == 0)
        loop_stop(timers.loop);
}

/* Sets, moves and cancels at random; what is left fires once, in order of its time. */
static void timers_fire_once_in_order_and_not_early(void **state)
{
    (void)state;
    uint64_t due[TIMERS] = {0};
    timers.loop = new_loop();
    srand(5);
    for (int round = 0; round < 2000; round++) {
        size_t i = (size_t)rand() % TIMERS;
        timers.t[i].fire = on_fire;
        if (rand() % 4 == 0) {
            loop_timer_cancel(timers.loop, &timers.t[i]);
            due[i] = 0;
        } else {
            uint64_t delay = 40 + (uint64_t)rand() % 80;
            loop_timer_set(timers.loop, &timers.t[i], delay);
            due[i] = timers.t[i].due_ns;
        }
    }
    for (size_t i = 0; i < TIMERS; i++) {
        timers.want_ms[i] = due[i] / 1000000;
        timers.n_left += due[i] != 0;
    }
    size_t n = timers.n_left;
    assert_true(n > TIMERS / 2);
    loop_run(timers.loop);
    assert_int_equal(timers.n_fired, n);
    for (size_t i = 1; i < n; i++)
        assert_true(due[timers.order[i - 1]] <= due[timers.order[i]]);
    loop_free(timers.loop);
}

static struct loop *again_loop;
static int n_again;

static void fire_again(struct loop_timer *t)
{
    n_again++;
    if (n_again == 5)
        loop_stop(again_loop);
    else
        loop_timer_set(again_loop, t, 1);
}

static void a_timer_may_set_itself_again(void **state)
{
    (void)state;
    struct loop_timer t = {.fire = fire_again};
    again_loop = new_loop();
    loop_timer_set(again_loop, &t, 0);
    loop_run(again_loop);
    assert_int_equal(n_again, 5);
    assert_int_equal(t.slot, 0);
    loop_free(again_loop);
}

/* ---- tasks ---- */

enum { THREADS = 4, POSTS = 2000 };

struct job {
    struct loop_task task;
    struct poster *poster;
    int number;
};

struct poster {
    struct loop *loop;
    pthread_t thread;
    int n_run;
};

static int n_jobs_left;

static void run_job(struct loop_task *t)
{
    struct job *j = (struct job *)(void *)t;
    assert_int_equal(j->number, j->poster->n_run); /* in the order of posting */
    j->poster->n_run++;
    if (--n_jobs_left == 0)
        loop_stop(j->poster->loop);
    free(j);
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) {
        struct job *j = calloc(1, sizeof *j);
        if (j == NULL)
            abort();
        *j = (struct job){.task.run = run_job, .poster = p, .number = i};
        loop_post(p->loop, &j->task);
    }
    return NULL;
}

static void tasks_of_many_threads_all_run_in_order(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct poster p[THREADS] = {0};
    n_jobs_left = THREADS * POSTS;
    for (int i = 0; i < THREADS; i++) {
        p[i].loop = l;
        assert_int_equal(pthread_create(&p[i].thread, NULL, post_all, &p[i]), 0);
    }
    loop_run(l);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(p[i].thread, NULL), 0);
        assert_int_equal(p[i].n_run, POSTS);
    }
    loop_free(l);
}

static void queued_tasks_run_before_the_loop_is_gone(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct poster p = {.loop = l};
    n_jobs_left = 2 * POSTS; /* never reached */
    (void)post_all(&p);
    loop_free(l);
    assert_int_equal(p.n_run, POSTS);
}

/* ---- descriptors, signals, nesting ---- */

struct reader {
    struct loop_watch watch;
    struct loop *loop;
    int n_bytes;
    struct reader *other; /* removed by the first that reads */
};

static void on_readable(struct loop_watch *w, uint32_t events)
{
    struct reader *r = (struct reader *)(void *)w;
    char c;
    assert_true((events & EPOLLIN) != 0);
    assert_int_equal(read(w->fd, &c, 1), 1);
    r->n_bytes++;
    if (r->other != NULL)
        loop_watch_remove(r->loop, &r->other->watch);
}

static void a_removed_watch_is_not_called_any_more(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    int a[2];
    int b[2];
    assert_int_equal(pipe(a), 0);
    assert_int_equal(pipe(b), 0);
    struct reader r[2] = {{.watch = {a[0], on_readable}, .loop = l},
                          {.watch = {b[0], on_readable}, .loop = l}};
    r[0].other = &r[1];
    r[1].other = &r[0];
    assert_int_equal(loop_watch_add(l, &r[0].watch, EPOLLIN), ERR_OK);
    assert_int_equal(loop_watch_add(l, &r[1].watch, EPOLLIN), ERR_OK);
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    loop_turn(l, 1000); /* both are ready; the first removes the other */
    loop_turn(l, 0);
    assert_int_equal(r[0].n_bytes + r[1].n_bytes, 1);
    loop_free(l);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(close(a[i]), 0);
        assert_int_equal(close(b[i]), 0);
    }
}

static int n_terminate;

static void on_terminate(void *ctx)
{
    n_terminate++;
    loop_stop(ctx);
}

static void sigterm_reaches_the_handler_on_the_loop(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    assert_int_equal(loop_on_terminate(l, on_terminate, l), ERR_OK);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(n_terminate, 0);
    loop_run(l);
    assert_int_equal(n_terminate, 1);
    assert_true(loop_is_stopping(l));
    loop_free(l);
}

static void its_descriptor_is_readable_when_there_is_something_to_do(void **state)
{
    (void)state;
    struct loop *l = new_loop();
    struct loop_timer t = {.fire = fire_again};
    struct epoll_event event = {.events = EPOLLIN};
    int outer = epoll_create1(EPOLL_CLOEXEC);
    assert_true(outer >= 0);
    assert_int_equal(epoll_ctl(outer, EPOLL_CTL_ADD, loop_fd(l), &event), 0);
    assert_int_equal(epoll_wait(outer, &event, 1, 0), 0);
    n_again = 10;
    again_loop = l;
    loop_timer_set(l, &t, 5);
    assert_int_equal(epoll_wait(outer, &event, 1, 5000), 1);
    loop_timer_cancel(l, &t);
    loop_turn(l, 0);
    assert_int_equal(n_again, 10);
    assert_int_equal(epoll_wait(outer, &event, 1, 0), 0);
    loop_free(l);
    assert_int_equal(close(outer), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_once_in_order_and_not_early),
        cmocka_unit_test(a_timer_may_set_itself_again),
        cmocka_unit_test(tasks_of_many_threads_all_run_in_order),
        cmocka_unit_test(queued_tasks_run_before_the_loop_is_gone),
        cmocka_unit_test(a_removed_watch_is_not_called_any_more),
        cmocka_unit_test(sigterm_reaches_the_handler_on_the_loop),
        cmocka_unit_test(its_descriptor_is_readable_when_there_is_something_to_do),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
