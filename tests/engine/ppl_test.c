/* SPDX-License-Identifier: MIT */
/* Perplexity must be that of probabilities computed in another way, each token counted once. */
#include "services/engine/ppl.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/oracle.h"
#include "tests/engine/testmodel.h"

enum { N_IDS = 300, BOS = 1 };

struct rig {
    struct model *model;
    uint32_t ids[N_IDS];
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->model = testmodel_open(&TESTMODEL_TINY);
    uint64_t rng = 5;
    for (uint32_t i = 0; i < N_IDS; i++)
        r->ids[i] = (uint32_t)(testmodel_random(&rng) % r->model->config.n_vocab);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    model_close(r->model);
    free(r);
    return 0;
}

static struct ppl_results measure(const struct rig *r, uint32_t window, uint32_t stride,
                                  bool has_bos, size_t n_ids)
{
    const struct ppl_config c = {
        .model = r->model,
        .kernels = kernels_get(kernels_best()),
        .n_threads = 2,
        .window = window,
        .stride = stride,
        .has_bos = has_bos,
    };
    struct ppl_results results;
    assert_int_equal(ppl_run(&c, r->ids, n_ids, &results), ERR_OK);
    return results;
}

/* Sum of -ln p of tokens[from..n), after those before, in double. */
static double oracle_nll(const struct rig *r, const uint32_t *tokens, uint32_t n, uint32_t from)
{
    uint32_t n_vocab = r->model->config.n_vocab;
    double *logits = oracle_forward(r->model, tokens, n);
    double all = 0.0;
    for (uint32_t i = from; i < n; i++) {
        const double *l = logits + (size_t)(i - 1) * n_vocab;
        double sum = 0.0;
        for (uint32_t k = 0; k < n_vocab; k++)
            sum += exp(l[k] - l[tokens[i]]);
        all += log(sum);
    }
    free(logits);
    return all;
}

static void one_window_has_the_perplexity_of_an_independent_forward_pass(void **state)
{
    const struct rig *r = *state;
    struct ppl_results got = measure(r, 64, 64, false, 50);
    assert_int_equal(got.nll.n, 49);
    assert_true(fabs(got.nll.sum - oracle_nll(r, r->ids, 50, 1)) < 49 * 0.02);
}

static void windows_start_anew_with_the_begin_token(void **state)
{
    const struct rig *r = *state;
    struct ppl_results got = measure(r, 41, 40, true, 80);
    uint32_t window[41] = {BOS};
    double want = 0.0;
    for (uint32_t i = 0; i < 80; i += 40) {
        memcpy(window + 1, r->ids + i, 40 * sizeof *window);
        want += oracle_nll(r, window, 41, 1);
    }
    assert_int_equal(got.nll.n, 80);
    assert_int_equal(got.n_windows, 2);
    assert_true(fabs(got.nll.sum - want) < 80 * 0.02);
}

static void of_overlapping_windows_only_the_last_tokens_count(void **state)
{
    const struct rig *r = *state;
    struct ppl_results got = measure(r, 32, 10, false, 52);
    double want = oracle_nll(r, r->ids, 32, 1);
    for (uint32_t from = 10; from <= 20; from += 10)
        want += oracle_nll(r, r->ids + from, 32, 22);
    assert_int_equal(got.n_windows, 3);
    assert_int_equal(got.nll.n, 51);
    assert_true(fabs(got.nll.sum - want) < 51 * 0.02);
}

/* Whatever the sizes, no token is left out or counted twice. */
static void every_token_counts_once(void **state)
{
    const struct rig *r = *state;
    uint64_t rng = 9;
    for (int round = 0; round < 60; round++) {
        uint32_t window = 2 + (uint32_t)(testmodel_random(&rng) % 60);
        bool has_bos = round % 2 == 0;
        uint32_t cap = window - has_bos;
        uint32_t stride = 1 + (uint32_t)(testmodel_random(&rng) % cap);
        size_t n = 2 + testmodel_random(&rng) % 100;
        struct ppl_results got = measure(r, window, stride, has_bos, n);
        /* Without a begin token nothing predicts the first token of a window that overlaps none. */
        size_t n_windows = stride == cap ? (n + cap - 1) / cap : 1;
        assert_int_equal(got.nll.n, has_bos ? n : n - n_windows);
        uint64_t n_in_buckets = 0;
        for (uint32_t i = 0; i < got.n_buckets; i++)
            n_in_buckets += got.buckets[i].nll.n;
        assert_int_equal(n_in_buckets, got.nll.n);
        assert_int_equal(got.buckets[got.n_buckets - 1].to, window);
    }
}

static void threads_and_instruction_sets_give_the_same_bits(void **state)
{
    const struct rig *r = *state;
    struct ppl_results want = measure(r, 100, 70, true, N_IDS);
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads += 2) {
        const struct ppl_config c = {
            .model = r->model,
            .kernels = kernels_get(n_threads == 1 ? ISA_REF : kernels_best()),
            .n_threads = n_threads,
            .window = 100,
            .stride = 70,
            .has_bos = true,
        };
        struct ppl_results got;
        assert_int_equal(ppl_run(&c, r->ids, N_IDS, &got), ERR_OK);
        assert_memory_equal(&got.nll, &want.nll, sizeof got.nll);
    }
}

static void the_fast_head_passes_its_check(void **state)
{
    const struct rig *r = *state;
    const struct ppl_config c = {
        .model = r->model,
        .kernels = kernels_get(kernels_best()),
        .n_threads = 2,
        .window = 200,
        .stride = 200,
        .check_top = 40,
    };
    struct ppl_results got;
    assert_int_equal(ppl_run(&c, r->ids, N_IDS, &got), ERR_OK);
    assert_int_equal(got.n_checked, N_IDS - 2);
    assert_int_equal(got.n_differing, 0);
}

static void a_rise_within_the_windows_is_called_drift(void **state)
{
    (void)state;
    struct ppl_results r = {.drift = {.n = 100, .sum = 10.0, .squares = 2.0}};
    assert_true(ppl_drifts(&r)); /* 0.1 ± 0.01 */
    r.drift.sum = -10.0;
    assert_false(ppl_drifts(&r));
    r.drift = (struct ppl_mean){.n = 100, .sum = 1.0, .squares = 2.0}; /* 0.01 ± 0.014 */
    assert_false(ppl_drifts(&r));
    r.drift = (struct ppl_mean){.n = 1, .sum = 1.0, .squares = 1.0};
    assert_false(ppl_drifts(&r));
}

static void a_text_without_a_token_to_predict_is_refused(void **state)
{
    const struct rig *r = *state;
    const struct ppl_config c = {.model = r->model,
                                 .kernels = kernels_get(ISA_REF),
                                 .n_threads = 1,
                                 .window = 8,
                                 .stride = 8};
    struct ppl_results got;
    assert_int_equal(ppl_run(&c, r->ids, 1, &got), ERR_RANGE);
    assert_int_equal(ppl_run(&c, r->ids, 0, &got), ERR_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_window_has_the_perplexity_of_an_independent_forward_pass),
        cmocka_unit_test(windows_start_anew_with_the_begin_token),
        cmocka_unit_test(of_overlapping_windows_only_the_last_tokens_count),
        cmocka_unit_test(every_token_counts_once),
        cmocka_unit_test(threads_and_instruction_sets_give_the_same_bits),
        cmocka_unit_test(the_fast_head_passes_its_check),
        cmocka_unit_test(a_rise_within_the_windows_is_called_drift),
        cmocka_unit_test(a_text_without_a_token_to_predict_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
