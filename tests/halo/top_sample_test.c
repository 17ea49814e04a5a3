/* SPDX-License-Identifier: MIT */
#include "services/halo/top_sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Of floating point that was made by few operations. */
#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-9)

static const char FIRST[] =
    "# HELP vllm:generation_tokens_total tokens\n"
    "vllm:generation_tokens_total{engine=\"0\",model_name=\"a\"} 100\n"
    "vllm:generation_tokens_total{engine=\"0\",model_name=\"b \\\" {}\"} 50\n"
    "vllm:generation_tokens_total_other 7\n"
    "halo_replies_in_flight 3\n"
    "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n"
    "vllm:prefix_cache_queries_total{engine=\"0\"} 10\n"
    "vllm:time_to_first_token_seconds_bucket{le=\"0.001\",model_name=\"a\"} 0\n"
    "vllm:time_to_first_token_seconds_bucket{le=\"0.01\",model_name=\"a\"} 0\n"
    "vllm:time_to_first_token_seconds_bucket{le=\"+Inf\",model_name=\"a\"} 0\n"
    "vllm:generation_tokens_total 1000000"; /* cut off: no newline */

static const char SECOND[] =
    "vllm:generation_tokens_total{engine=\"0\",model_name=\"a\"} 350\n"
    "vllm:prefix_cache_queries_total{engine=\"0\"} 30\n"
    "vllm:prefix_cache_hits_total{engine=\"0\"} 5\n"
    "vllm:time_to_first_token_seconds_bucket{le=\"0.001\",model_name=\"a\"} 40\n"
    "vllm:time_to_first_token_seconds_bucket{le=\"0.01\",model_name=\"a\"} 80\n"
    "vllm:time_to_first_token_seconds_bucket{le=\"+Inf\",model_name=\"a\"} 100\n";

static struct top_reading read_text(const char *text, uint64_t at_s)
{
    struct top_reading r;
    top_read(str_from(text), at_s * UINT64_C(1000000000), &r);
    return r;
}

static void rows_of_one_name_are_added_up(void **state)
{
    (void)state;
    struct top_reading r = read_text(FIRST, 1);
    assert_near(r.generated, 150);
    assert_near(r.in_flight, 3);
    assert_near(r.kv_share, 0.25);
    assert_near(r.prompts, 0);
    assert_int_equal(r.ttft.n, 3);
    assert_true(isinf(r.ttft.bound[2]));
}

static void rates_and_percentiles_are_of_the_time_between(void **state)
{
    (void)state;
    struct top_reading a = read_text(FIRST, 1);
    struct top_reading b = read_text(SECOND, 3);
    struct top_rates r;
    top_compare(&a, &b, &r);
    assert_near(r.generated, (350 - 150) / 2.0);
    assert_near(r.prefix_share, 5 / 20.0);
    assert_near(r.draft_share, -1); /* nothing was drafted */
    assert_near(r.ttft_p50, 0.001 + 0.009 * 10 / 40); /* the 50th of 40 + 40 + 20 */
    assert_near(r.ttft_p99, 0.01); /* beyond the last bound nothing is known */
    assert_near(r.itl_p50, -1);
}

static void a_counter_that_started_anew_counts_from_zero(void **state)
{
    (void)state;
    struct top_reading a = read_text(SECOND, 1);
    struct top_reading b = read_text(FIRST, 2);
    struct top_rates r;
    top_compare(&a, &b, &r);
    assert_near(r.generated, 150);
    assert_near(r.ttft_p50, -1);
}

static void nothing_is_read_from_nothing(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"", "\n", "x\n", "vllm:generation_tokens_total\n", "# x"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        struct top_reading r = read_text(TEXTS[i], 1);
        struct top_rates rates;
        assert_near(r.generated, 0);
        top_compare(&r, &r, &rates);
        assert_near(rates.generated, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_one_name_are_added_up),
        cmocka_unit_test(rates_and_percentiles_are_of_the_time_between),
        cmocka_unit_test(a_counter_that_started_anew_counts_from_zero),
        cmocka_unit_test(nothing_is_read_from_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
