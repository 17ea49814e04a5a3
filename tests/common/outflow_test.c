/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/outflow.h"

static const uint64_t MS = 1000000;
static const uint64_t S = 1000000000;

/* A full house in which a place becomes free each interval. */
static uint64_t run_full(struct outflow *d, uint64_t now, uint64_t interval, unsigned n)
{
    outflow_set_full(d, true, now);
    for (unsigned i = 0; i < n; i++) {
        now += interval;
        outflow_count(d, now);
        outflow_set_full(d, true, now);
    }
    return now;
}

static void nothing_is_known_before_a_place_became_free(void **state)
{
    (void)state;
    struct outflow d = {0};
    assert_int_equal(outflow_interval_ns(&d, S), 0);
    assert_int_equal(outflow_retry_ms(&d, 1000, S), OUTFLOW_RETRY_UNKNOWN_MS);
    outflow_count(&d, S); /* there was room: it says nothing about the rate */
    assert_int_equal(outflow_interval_ns(&d, S), 0);
}

static void the_interval_is_that_of_a_full_house(void **state)
{
    (void)state;
    struct outflow d = {0};
    uint64_t now = run_full(&d, S, 50 * MS, 100);
    assert_in_range(outflow_interval_ns(&d, now), 49 * MS, 51 * MS);
    /* An hour with room does not count. */
    outflow_set_full(&d, false, now);
    now += 3600 * S;
    outflow_count(&d, now);
    now = run_full(&d, now, 50 * MS, 1);
    assert_in_range(outflow_interval_ns(&d, now), 49 * MS, 51 * MS);
}

static void a_batch_that_ends_at_once_counts_as_what_it_is(void **state)
{
    (void)state;
    struct outflow d = {0};
    uint64_t now = S;
    outflow_set_full(&d, true, now);
    for (unsigned batch = 0; batch < 40; batch++) {
        now += 800 * MS;
        for (unsigned i = 0; i < 8; i++)
            outflow_count(&d, now);
    }
    assert_in_range(outflow_interval_ns(&d, now), 90 * MS, 110 * MS);
}

static void a_new_rate_is_learnt_and_a_stall_shows(void **state)
{
    (void)state;
    struct outflow d = {0};
    uint64_t now = run_full(&d, S, 10 * MS, 200);
    now = run_full(&d, now, 100 * MS, 300);
    assert_in_range(outflow_interval_ns(&d, now), 95 * MS, 101 * MS);
    assert_true(outflow_interval_ns(&d, now + 3600 * S) > 10 * S);
}

static void those_turned_away_come_back_one_place_apart(void **state)
{
    (void)state;
    struct outflow d = {0};
    uint64_t now = run_full(&d, S, 500 * MS, 50);
    uint32_t last = outflow_retry_ms(&d, 4, now);
    assert_in_range(last, 1990, 2010);
    for (unsigned i = 0; i < 20; i++) {
        uint32_t next = outflow_retry_ms(&d, 4, now);
        assert_in_range(next - last, 490, 510);
        last = next;
    }
    /* Later the line is as long as it is then. */
    outflow_set_full(&d, false, now);
    assert_in_range(outflow_retry_ms(&d, 4, now + 3600 * S), 1990, 2010);
}

static void nobody_is_sent_away_for_longer_than_a_client_believes(void **state)
{
    (void)state;
    struct outflow d = {0};
    uint64_t now = run_full(&d, S, 2 * S, 50);
    uint32_t least = UINT32_MAX;
    for (unsigned i = 0; i < 500; i++) {
        uint32_t ms = outflow_retry_ms(&d, 20, now);
        assert_in_range(ms, OUTFLOW_RETRY_MIN_MS, OUTFLOW_RETRY_MAX_MS);
        least = i > 30 && ms < least ? ms : least;
    }
    assert_in_range(least, OUTFLOW_RETRY_MAX_MS / 2 - 1,
                    OUTFLOW_RETRY_MAX_MS); /* and not all at once */
    assert_int_equal(outflow_retry_ms(&d, UINT64_MAX, now), OUTFLOW_RETRY_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_before_a_place_became_free),
        cmocka_unit_test(the_interval_is_that_of_a_full_house),
        cmocka_unit_test(a_batch_that_ends_at_once_counts_as_what_it_is),
        cmocka_unit_test(a_new_rate_is_learnt_and_a_stall_shows),
        cmocka_unit_test(those_turned_away_come_back_one_place_apart),
        cmocka_unit_test(nobody_is_sent_away_for_longer_than_a_client_believes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
