/* SPDX-License-Identifier: MIT */
/* What the models of cpu_graph_test and of tests/parity leave out: rarer keys, and refusals. */
#include "services/engine/rope_tables.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_CTX = 64, HALF = 16 };

static float cosines[N_CTX * HALF];
static float sines[N_CTX * HALF];

static struct model_config config_of(enum model_rope type, double factor)
{
    return (struct model_config){
        .head_dim = 2 * HALF,
        .n_ctx = N_CTX,
        .rope_theta = 10000,
        .rope_scaling = {.type = type,
                         .factor = factor,
                         .n_ctx_original = 16,
                         .low_freq_factor = 1,
                         .high_freq_factor = 4,
                         .beta_fast = 32,
                         .beta_slow = 1,
                         .is_truncated = true},
    };
}

static void expect_factor(const struct model_config *c, double factor)
{
    assert_true(rope_tables_fill(c, cosines, sines));
    for (uint32_t i = 0; i < HALF; i++) {
        double c1 = (double)cosines[HALF + i];
        double s1 = (double)sines[HALF + i];
        assert_true(fabs((double)cosines[i] - factor) < 1e-6 && sines[i] == 0.0F);
        assert_true(fabs(sqrt(c1 * c1 + s1 * s1) - factor) < 1e-6);
    }
}

static void the_attention_factor_is_taken_or_derived(void **state)
{
    (void)state;
    struct model_config c = config_of(MODEL_ROPE_DEFAULT, 0);
    expect_factor(&c, 1);
    c = config_of(MODEL_ROPE_YARN, 4);
    expect_factor(&c, 0.1 * log(4) + 1);
    c.rope_scaling.mscale = 0.7;
    expect_factor(&c, 0.1 * log(4) + 1);
    c.rope_scaling.mscale_all_dim = 0.9;
    expect_factor(&c, (0.07 * log(4) + 1) / (0.09 * log(4) + 1));
    c.rope_scaling.attention_factor = 1.5;
    expect_factor(&c, 1.5);
    c = config_of(MODEL_ROPE_YARN, 0.5);
    expect_factor(&c, 1);
}

/* Angle of pair i at position 1. */
static double angle(uint32_t i)
{
    return atan2((double)sines[HALF + i], (double)cosines[HALF + i]);
}

/* Frequencies that turn often stay, those that turn less than once are divided by the factor. With 16
 * positions and theta 10000, 2.55 turns at pair 0; one turn at 16 ln(16 / 2 pi) / ln 10000 = 1.62. */
static void yarn_ramps_between_whole_pairs_if_truncated(void **state)
{
    (void)state;
    struct model_config c = config_of(MODEL_ROPE_YARN, 4);
    c.rope_scaling.beta_fast = 2.5;
    assert_true(rope_tables_fill(&c, cosines, sines));
    assert_true(fabs(angle(0) - 1) < 1e-6);
    double f1 = pow(10000, -1.0 / 16);
    assert_true(fabs(angle(1) - f1 * (0.5 / 4 + 0.5)) < 1e-6);
    assert_true(fabs(angle(2) - pow(10000, -2.0 / 16) / 4) < 1e-6);

    c.rope_scaling.is_truncated = false;
    assert_true(rope_tables_fill(&c, cosines, sines));
    double low = 16 * log(16 / (2.5 * 2 * M_PI)) / log(10000);
    double high = 16 * log(16 / (2 * M_PI)) / log(10000);
    double g = (1 - low) / (high - low);
    assert_true(fabs(angle(1) - f1 * (g / 4 + 1 - g)) < 1e-6);
}

static void scalings_without_finite_angles_are_refused(void **state)
{
    (void)state;
    struct model_config c = config_of(MODEL_ROPE_LINEAR, 1e-5);
    assert_false(rope_tables_fill(&c, cosines, sines));
    c = config_of(MODEL_ROPE_LLAMA3, 1e-300);
    assert_false(rope_tables_fill(&c, cosines, sines));
    c = config_of(MODEL_ROPE_YARN, 1e-300);
    assert_false(rope_tables_fill(&c, cosines, sines));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_attention_factor_is_taken_or_derived),
        cmocka_unit_test(yarn_ramps_between_whole_pairs_if_truncated),
        cmocka_unit_test(scalings_without_finite_angles_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
