/* SPDX-License-Identifier: MIT */
#include "services/gateway/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_has(const struct metrics *m, const char *line, bool expected)
{
    struct buf out = {0};
    metrics_write(m, &out);
    const char *found = strstr(buf_str(&out).ptr, line);
    if ((found != NULL) != expected)
        print_error("%s: %s\n", expected ? "missing" : "unexpected", line);
    assert_int_equal(found != NULL, expected);
    buf_fini(&out);
}

static void buckets_are_cumulative_and_inclusive(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metrics_model *mm = metrics_of_model(m, "a");
    metrics_observe(mm, HISTOGRAM_params_n, 1);
    metrics_observe(mm, HISTOGRAM_params_n, 2);
    metrics_observe(mm, HISTOGRAM_params_n, 3);
    metrics_observe(mm, HISTOGRAM_params_n, 1000);
    assert_has(m, "vllm:request_params_n_bucket{engine=\"0\",model_name=\"a\",le=\"1\"} 1\n", true);
    assert_has(m, "vllm:request_params_n_bucket{engine=\"0\",model_name=\"a\",le=\"2\"} 2\n", true);
    assert_has(m, "vllm:request_params_n_bucket{engine=\"0\",model_name=\"a\",le=\"5\"} 3\n", true);
    assert_has(m, "vllm:request_params_n_bucket{engine=\"0\",model_name=\"a\",le=\"20\"} 3\n",
               true);
    assert_has(m, "vllm:request_params_n_bucket{engine=\"0\",model_name=\"a\",le=\"+Inf\"} 4\n",
               true);
    assert_has(m, "vllm:request_params_n_sum{engine=\"0\",model_name=\"a\"} 1006\n", true);
    assert_has(m, "vllm:request_params_n_count{engine=\"0\",model_name=\"a\"} 4\n", true);
    metrics_free(m);
}

static void labels_are_escaped(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_add(metrics_of_model(m, "a\"b\\c\nd"), MODEL_COUNT_prompt_tokens, 5);
    assert_has(m, "vllm:prompt_tokens_total{engine=\"0\",model_name=\"a\\\"b\\\\c\\nd\"} 5\n",
               true);
    metrics_free(m);
}

static void models_beyond_the_cap_share_the_last_place(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    for (int i = 0; i < 100; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", i);
        metrics_add(metrics_of_model(m, name), MODEL_COUNT_generation_tokens, 1);
    }
    assert_has(m, "vllm:generation_tokens_total{engine=\"0\",model_name=\"m62\"} 1\n", true);
    assert_has(m, "model_name=\"m63\"", false);
    assert_has(m, "vllm:generation_tokens_total{engine=\"0\",model_name=\"other\"} 37\n", true);
    metrics_free(m);
}

static void http_answers_are_counted_by_route_and_status(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_count_http(m, "/x", 200);
    metrics_count_http(m, "/x", 200);
    metrics_count_http(m, "/x", 404);
    assert_has(m, "halo_http_requests_total{route=\"/x\",code=\"200\"} 2\n", true);
    assert_has(m, "halo_http_requests_total{route=\"/x\",code=\"404\"} 1\n", true);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_are_cumulative_and_inclusive),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(models_beyond_the_cap_share_the_last_place),
        cmocka_unit_test(http_answers_are_counted_by_route_and_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
