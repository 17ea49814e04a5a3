/* SPDX-License-Identifier: MIT */
/* Kernels with planted bugs: the harness must find each, and must not complain of the sound ones. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernels/hip_check.h"

/* Last: it has a macro KERNEL, as kernels.h has for a while. */
#include "kernels/hip/shim.h"

struct plant {
    uint32_t *out; /* [64] */
    bool is_sound;
};

enum { THREADS = 64 };

/* Each thread takes what its neighbour wrote. */
static void barrier_between(const void *p)
{
    const struct plant *a = p;
    uint32_t *shared = SHARED_MEMORY;
    shared[thread_id()] = thread_id() + 100;
    if (a->is_sound)
        barrier();
    a->out[thread_id()] = shared[(thread_id() + 1) % THREADS];
}

static void barrier_for_some(const void *p)
{
    const struct plant *a = p;
    if (a->is_sound || thread_id() != 5)
        barrier();
    a->out[thread_id()] = 1;
}

static void barrier_after_return(const void *p)
{
    const struct plant *a = p;
    if (!a->is_sound && thread_id() >= 32)
        return;
    barrier();
    a->out[thread_id()] = 1;
}

static void barriers_at_two_places(const void *p)
{
    const struct plant *a = p;
    if (a->is_sound || thread_id() % 2 == 0)
        barrier();
    else
        barrier();
    a->out[thread_id()] = 1;
}

static void exchange_for_some(const void *p)
{
    const struct plant *a = p;
    uint32_t v = thread_id();
    if (a->is_sound || thread_id() % 32 < 16)
        v += lane_xor_u32(v, 1);
    a->out[thread_id()] = v;
}

static void exchanges_at_two_places(const void *p)
{
    const struct plant *a = p;
    uint32_t v = thread_id();
    if (a->is_sound || thread_id() % 32 < 16)
        v = lane_xor_u32(v, 2);
    else
        v = lane_xor_u32(v, 2);
    a->out[thread_id()] = v;
}

static void write_to_shared(const void *p)
{
    const struct plant *a = p;
    uint32_t *shared = SHARED_MEMORY;
    shared[thread_id() + (a->is_sound ? 0 : 1)] = 1;
    barrier();
    a->out[thread_id()] = 1;
}

static void read_of_unwritten(const void *p)
{
    const struct plant *a = p;
    uint32_t *shared = SHARED_MEMORY;
    if (a->is_sound)
        shared[thread_id()] = 0;
    a->out[thread_id()] = shared[thread_id()];
}

static int launch(void (*run)(const void *), bool is_sound, uint32_t *out)
{
    static const uint32_t GRID[3] = {2, 1, 1};
    struct plant a = {.out = out, .is_sound = is_sound};
    memset(out, 0, THREADS * sizeof *out);
    return fiber_launch(run, &a, GRID, THREADS, THREADS * sizeof(uint32_t));
}

static void threads_that_part_end_the_launch(void **state)
{
    (void)state;
    static void (*const RUNS[])(const void *) = {
        barrier_for_some,  barrier_after_return,    barriers_at_two_places,
        exchange_for_some, exchanges_at_two_places,
    };
    uint32_t out[THREADS];
    for (size_t i = 0; i < sizeof RUNS / sizeof RUNS[0]; i++) {
        assert_int_equal(launch(RUNS[i], true, out), 0);
        assert_int_equal(launch(RUNS[i], false, out), -1);
        assert_int_equal(launch(RUNS[i], true, out), 0);
    }
}

static void a_missing_barrier_shows_in_every_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint32_t out[THREADS];
        uint32_t n_wrong = 0;
        hip_harness_seed(seed);
        assert_int_equal(launch(barrier_between, true, out), 0);
        for (uint32_t i = 0; i < THREADS; i++)
            assert_int_equal(out[i], (i + 1) % THREADS + 100);
        assert_int_equal(launch(barrier_between, false, out), 0);
        for (uint32_t i = 0; i < THREADS; i++)
            n_wrong += out[i] != (i + 1) % THREADS + 100;
        assert_true(n_wrong > THREADS / 8);
    }
    hip_harness_seed(1);
}

static void unwritten_shared_memory_is_poison(void **state)
{
    (void)state;
    uint32_t out[THREADS];
    assert_int_equal(launch(read_of_unwritten, false, out), 0);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(out[i], 0xfefefefe);
    assert_int_equal(launch(read_of_unwritten, true, out), 0);
    assert_int_equal(out[7], 0);
}

#if !defined(__SANITIZE_ADDRESS__)
static void an_overrun_of_shared_memory_is_found(void **state)
{
    (void)state;
    uint32_t out[THREADS];
    assert_int_equal(launch(write_to_shared, true, out), 0);
    assert_int_equal(launch(write_to_shared, false, out), -1);
}
#else
/* The sanitizer ends the process there: see that it does, in a child. */
static void an_overrun_of_shared_memory_is_found(void **state)
{
    (void)state;
    uint32_t out[THREADS];
    assert_int_equal(launch(write_to_shared, true, out), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)freopen("/dev/null", "w", stderr);
        _exit(launch(write_to_shared, false, out) == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_not_equal(status, 0);
}
#endif

static void wait_for_some(const void *p)
{
    const struct plant *a = p;
    if (a->is_sound || thread_id() != 7)
        wait_previous();
}

static void a_thread_that_does_not_wait_for_the_launch_ahead_is_found(void **state)
{
    (void)state;
    uint32_t out[THREADS];
    assert_int_equal(launch(wait_for_some, false, out), 0);
    fiber_must_wait(true);
    assert_int_equal(launch(wait_for_some, true, out), 0);
    assert_int_equal(launch(wait_for_some, false, out), -1);
    fiber_must_wait(false);
}

static void launches_of_a_wrong_shape_are_refused(void **state)
{
    (void)state;
    static const uint32_t GRID[3] = {1, 1, 1};
    static const uint32_t BLOCK[3] = {64, 1, 1};
    struct hip_finish_args a = {0};
    assert_int_equal(hip_harness_launch("halo_finish", GRID, BLOCK, 0, &a), -1);
    assert_int_equal(hip_harness_launch("halo_nothing", GRID, BLOCK, 0, &a), -1);
    assert_int_equal(fiber_launch(read_of_unwritten, &a, GRID, 33, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_part_end_the_launch),
        cmocka_unit_test(a_missing_barrier_shows_in_every_order),
        cmocka_unit_test(unwritten_shared_memory_is_poison),
        cmocka_unit_test(an_overrun_of_shared_memory_is_found),
        cmocka_unit_test(a_thread_that_does_not_wait_for_the_launch_ahead_is_found),
        cmocka_unit_test(launches_of_a_wrong_shape_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
