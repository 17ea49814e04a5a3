/* SPDX-License-Identifier: MIT */
#include "services/engine/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST = 256 };

/* A machine on which a step takes base + n_decode * decode + n_prompt * prompt. */
struct machine {
    double base_ns, decode_ns, prompt_ns;
    uint32_t disturb_every; /* one step in so many takes 20 times as long; 0: none */
};

struct run {
    uint32_t n_probes; /* steps without prompts */
    uint32_t n_within; /* steps with prompts that kept the share, undisturbed */
    uint32_t n_mixed;
    uint32_t budget; /* the last one */
};

static struct run run(struct pace *p, const struct machine *m, uint32_t n_decode, uint32_t n_steps)
{
    struct run r = {0};
    double alone = m->base_ns + n_decode * m->decode_ns;
    for (uint32_t i = 1; i <= n_steps; i++) {
        uint32_t n = pace_budget(p, n_decode, MOST);
        double ns = alone + n * m->prompt_ns;
        r.n_within += n > 0 && ns <= 2.0 * alone;
        r.n_mixed += n > 0;
        r.n_probes += n == 0;
        if (n > 0)
            r.budget = n;
        if (m->disturb_every > 0 && i % m->disturb_every == 0)
            ns *= 20.0;
        pace_note(p, n_decode, n, (uint64_t)ns);
    }
    return r;
}

static void prompts_lengthen_steps_by_the_share_given(void **state)
{
    (void)state;
    /* 75 % of 1 ms hold 3 tokens of 250 us, 30 of 25 us, and more than MOST of 1 us */
    static const struct {
        double prompt_ns;
        uint32_t least, most;
    } CASES[] = {{250e3, 2, 4}, {25e3, 25, 36}, {1e3, MOST, MOST}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct pace p;
        struct machine m = {0.8e6, 0.2e6, CASES[i].prompt_ns, 0};
        pace_init(&p, 75);
        (void)run(&p, &m, 1, 200);
        struct run r = run(&p, &m, 1, 200);
        assert_in_range(r.budget, CASES[i].least, CASES[i].most);
        assert_in_range(r.n_within, r.n_mixed * 3 / 4, r.n_mixed);
    }
}

static void disturbed_steps_change_little(void **state)
{
    (void)state;
    struct pace p;
    struct machine m = {0.8e6, 0.2e6, 25e3, 5};
    pace_init(&p, 75);
    (void)run(&p, &m, 1, 400);
    struct run r = run(&p, &m, 1, 400);
    assert_in_range(r.budget, 15, 40);
}

static void steps_without_prompts_are_measured_now_and_then(void **state)
{
    (void)state;
    struct pace p;
    struct machine m = {0.8e6, 0.2e6, 25e3, 0};
    pace_init(&p, 75);
    assert_int_equal(pace_budget(&p, 1, MOST), 0);
    assert_int_equal(run(&p, &m, 1, 1 + PACE_PROBE_STEPS).n_probes, 1);
    assert_int_equal(run(&p, &m, 1, 2).n_probes, 2); /* the first one right after a prompt's */
    assert_int_equal(run(&p, &m, 1, PACE_PROBE_STEPS).n_probes, 0);
    assert_int_equal(pace_budget(&p, 1, MOST), 0);
    assert_int_equal(pace_budget(&p, 9, MOST), 0); /* another number of sequences */
}

static void a_machine_that_slows_down_is_followed(void **state)
{
    (void)state;
    struct pace p;
    struct machine m = {0.8e6, 0.2e6, 25e3, 0};
    pace_init(&p, 75);
    (void)run(&p, &m, 1, 200);
    m.prompt_ns *= 4;
    (void)run(&p, &m, 1, 100);
    assert_in_range(run(&p, &m, 1, 10).budget, 5, 9);
}

static void every_step_beside_replies_takes_a_token_of_the_slowest_prompt(void **state)
{
    (void)state;
    struct pace p;
    struct machine m = {0.8e6, 0.2e6, 100e6, 0};
    pace_init(&p, 75);
    (void)run(&p, &m, 1, 500);
    assert_int_equal(run(&p, &m, 1, 40).budget, 1);
}

static void without_replies_or_without_a_share_nothing_is_held_back(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 75);
    assert_int_equal(pace_budget(&p, 0, MOST), MOST);
    pace_init(&p, 0);
    assert_int_equal(pace_budget(&p, 3, MOST), MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_lengthen_steps_by_the_share_given),
        cmocka_unit_test(disturbed_steps_change_little),
        cmocka_unit_test(steps_without_prompts_are_measured_now_and_then),
        cmocka_unit_test(a_machine_that_slows_down_is_followed),
        cmocka_unit_test(every_step_beside_replies_takes_a_token_of_the_slowest_prompt),
        cmocka_unit_test(without_replies_or_without_a_share_nothing_is_held_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
