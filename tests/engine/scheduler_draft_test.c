/* SPDX-License-Identifier: MIT */
/* Drafts change the number of steps that a reply takes, and nothing else of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "services/engine/kv.h"
#include "tests/engine/scheduler_rig.h"
#include "tests/engine/testmodel.h"

enum { N_DRAFTED = 10, MAX_PROMPT = 130, MAX_PERIOD = 40 };

static uint64_t n_accepted(const struct rig *r)
{
    return scheduler_load(r->sched).accepted_tokens;
}

/* Requests that repeat themselves, with every way of choosing tokens. Prompts share their beginnings. */
static void make_repetitive(const struct model *m, uint32_t period,
                            uint32_t prompts[N_DRAFTED][MAX_PROMPT],
                            struct frame_submit submits[N_DRAFTED])
{
    static const struct rec_sampling SAMPLINGS[N_DRAFTED] = {
        {.temperature = 0.0F},
        {.temperature = 0.3F, .seed = 3},
        {.temperature = 1.0F, .top_k = 2, .seed = 4},
        {.temperature = 0.0F, .frequency_penalty = 0.02F, .presence_penalty = 0.1F},
        {.temperature = 0.5F, .repetition_penalty = 1.05F, .seed = 5, .top_p = 0.5F},
        {.temperature = 0.0F, .min_tokens = 60},
        {.temperature = 0.2F, .min_p = 0.1F, .seed = 6},
        {.temperature = 0.3F, .frequency_penalty = 0.02F, .seed = 7},
        {.temperature = 0.3F, .min_tokens = 40, .seed = 8},
        {.temperature = 0.3F, .min_p = 0.01F, .repetition_penalty = 1.02F, .seed = 9},
    };
    uint32_t base[MAX_PERIOD];
    uint64_t rng = 5;
    for (uint32_t k = 0; k < MAX_PERIOD; k++)
        base[k] = (uint32_t)(testmodel_random(&rng) % m->config.n_vocab);
    for (uint32_t i = 0; i < N_DRAFTED; i++) {
        for (uint32_t k = 0; k < MAX_PROMPT; k++)
            prompts[i][k] = base[k % period];
        submits[i] = (struct frame_submit){.req = i,
                                           .prompt = prompts[i],
                                           .n_prompt = 70 + 10 * (i % 7),
                                           .sampling = SAMPLINGS[i]};
        submits[i].sampling.max_tokens = 120 - 5 * i;
        submits[i].sampling.logprobs = i % 2 == 1 && i < 7;
        submits[i].sampling.top_logprobs = i == 3 ? 5 : 0;
        submits[i].sampling.ignore_eos = i != 5 && i != 8;
    }
}

static void run_each_plainly(const struct model *m, const struct frame_submit *submits,
                             struct rig_reply *alone)
{
    for (uint32_t i = 0; i < N_DRAFTED; i++) {
        struct rig r = rig_new(m, &RIG_PLAIN);
        rig_submit(&r, &submits[i]);
        rig_run_out(&r, alone);
        assert_int_equal(scheduler_load(r.sched).draft_tokens, 0);
        rig_free(&r);
    }
}

static void drafts_do_not_show(void **state)
{
    const struct model *m = *state;
    static const struct rig_setting SETTINGS[] = {
        {100, 1, 256, RIG_N_CTX, false, 1}, {100, 1, 64, RIG_N_CTX, true, 64},
        {100, 8, 256, RIG_N_CTX, true, 8},  {12, 5, 24, RIG_N_CTX, false, 8},
        {8, 2, 9, RIG_N_CTX, false, 16},
    };
    uint32_t prompts[N_DRAFTED][MAX_PROMPT];
    struct frame_submit submits[N_DRAFTED];
    for (uint32_t period = 3; period < MAX_PERIOD; period += 9) {
        struct rig_reply alone[N_DRAFTED] = {0};
        make_repetitive(m, period, prompts, submits);
        run_each_plainly(m, submits, alone);
        for (size_t i = 0; i < sizeof SETTINGS / sizeof SETTINGS[0]; i++) {
            struct rig r = rig_new(m, &SETTINGS[i]);
            struct rig_reply replies[N_DRAFTED] = {0};
            for (uint32_t k = 0; k < N_DRAFTED; k++)
                rig_submit(&r, &submits[k]);
            rig_run_out(&r, replies);
            for (uint32_t k = 0; k < N_DRAFTED; k++)
                rig_expect_same_from(&replies[k], &alone[k], 0);
            struct frame_engine_load load = scheduler_load(r.sched);
            assert_true(load.accepted_tokens > 20);
            assert_true(load.draft_tokens >= load.accepted_tokens);
            assert_true(i < 3 || load.preemptions > 0 || SETTINGS[i].max_seqs < 3);
            rig_free(&r);
        }
    }
}

static void every_kind_of_sampling_accepts_drafts(void **state)
{
    const struct model *m = *state;
    uint32_t prompts[N_DRAFTED][MAX_PROMPT];
    struct frame_submit submits[N_DRAFTED];
    uint64_t n[N_DRAFTED] = {0};
    for (uint32_t period = 3; period < MAX_PERIOD; period += 9) {
        make_repetitive(m, period, prompts, submits);
        for (uint32_t k = 0; k < N_DRAFTED; k++) {
            struct rig r = rig_new(m, &RIG_WIDE);
            struct rig_reply replies[N_DRAFTED] = {0};
            rig_submit(&r, &submits[k]);
            rig_run_out(&r, replies);
            n[k] += n_accepted(&r);
            rig_free(&r);
        }
    }
    for (uint32_t k = 0; k < N_DRAFTED; k++) {
        if (n[k] == 0)
            fail_msg("request %u", k);
    }
}

/* Each length and each stop token comes at a time in the middle of a draft that is right. */
static void a_reply_ends_in_the_middle_of_a_draft(void **state)
{
    const struct model *m = *state;
    struct rig plain = rig_new(m, &RIG_PLAIN);
    struct rig r = rig_new(m, &RIG_WIDE);
    uint32_t prompts[N_DRAFTED][MAX_PROMPT];
    struct frame_submit submits[N_DRAFTED];
    make_repetitive(m, 12, prompts, submits);
    for (uint32_t n = 1; n < 80; n++) {
        struct rig_reply want[N_DRAFTED] = {0};
        struct rig_reply got[N_DRAFTED] = {0};
        struct frame_submit f = submits[0];
        f.sampling.max_tokens = n;
        rig_submit(&plain, &f);
        rig_run_out(&plain, want);
        rig_submit(&r, &f);
        rig_run_out(&r, got);
        assert_int_equal(got[0].n, n);
        rig_expect_same_from(&got[0], &want[0], 0);
        const uint32_t stop = want[0].ids[n - 1];
        f.sampling = (struct rec_sampling){
            .max_tokens = 100, .min_tokens = n, .stop_ids = &stop, .n_stop_ids = 1};
        memset(want, 0, sizeof want);
        memset(got, 0, sizeof got);
        rig_submit(&plain, &f);
        rig_run_out(&plain, want);
        rig_submit(&r, &f);
        rig_run_out(&r, got);
        rig_expect_same_from(&got[0], &want[0], 0);
    }
    assert_true(n_accepted(&r) > 100);
    rig_free(&r);
    rig_free(&plain);
}

/* What wrong drafts wrote must never be found in the prefix cache. */
static void a_second_turn_finds_nothing_of_wrong_drafts(void **state)
{
    const struct model *m = *state;
    uint32_t prompts[N_DRAFTED][MAX_PROMPT];
    struct frame_submit submits[N_DRAFTED];
    struct rig_reply first[N_DRAFTED] = {0};
    struct rig_reply want[N_DRAFTED] = {0};
    make_repetitive(m, 12, prompts, submits);
    struct rig r = rig_new(m, &RIG_WIDE);
    for (uint32_t k = 0; k < N_DRAFTED; k++) {
        rig_submit(&r, &submits[k]);
        rig_run_out(&r, first);
        struct frame_submit f = submits[k];
        uint32_t again[RIG_N_CTX];
        memcpy(again, f.prompt, f.n_prompt * sizeof *again);
        memcpy(again + f.n_prompt, first[k].ids, first[k].n * sizeof *again);
        f.prompt = again;
        f.n_prompt += first[k].n;
        f.sampling.max_tokens = 20;
        f.sampling.min_tokens = 0;
        struct rig_reply second[N_DRAFTED] = {0};
        rig_submit(&r, &f);
        rig_run_out(&r, second);
        assert_true(second[k].cached >= (f.n_prompt - 1) / KV_BLOCK * KV_BLOCK);
        struct rig plain = rig_new(m, &RIG_PLAIN);
        rig_submit(&plain, &f);
        rig_run_out(&plain, want);
        rig_free(&plain);
        rig_expect_same_from(&second[k], &want[k], 0);
    }
    struct frame_engine_load load = scheduler_load(r.sched);
    assert_true(load.accepted_tokens > 0 && load.draft_tokens > load.accepted_tokens);
    rig_free(&r);
}

/* Replies come, go and are taken up in the middle, on a cache that is too small for them. */
static void drafts_survive_any_traffic(void **state)
{
    const struct model *m = *state;
    uint32_t prompts[N_DRAFTED][MAX_PROMPT];
    struct frame_submit submits[N_DRAFTED];
    struct rig_reply alone[N_DRAFTED] = {0};
    struct rig_reply replies[N_DRAFTED] = {0};
    uint32_t from[N_DRAFTED] = {0};
    bool is_out[N_DRAFTED] = {false};
    make_repetitive(m, 21, prompts, submits);
    run_each_plainly(m, submits, alone);
    struct rig r = rig_new(m, &(struct rig_setting){11, 4, 48, RIG_N_CTX, true, 8});
    uint64_t rng = 9;
    uint32_t n_done = 0;
    for (uint32_t turn = 0; turn < 1200; turn++) {
        uint32_t k = (uint32_t)(testmodel_random(&rng) % N_DRAFTED);
        if (!is_out[k] || testmodel_random(&rng) % 16 == 0) { /* the same id replaces the first */
            struct frame_submit f = submits[k];
            from[k] = (uint32_t)(testmodel_random(&rng) % alone[k].n);
            f.resume = alone[k].ids;
            f.n_resume = from[k];
            replies[k] = (struct rig_reply){0};
            rig_submit(&r, &f);
            is_out[k] = true;
        }
        (void)rig_step(&r, replies);
        for (k = 0; k < N_DRAFTED; k++) {
            if (!is_out[k] || replies[k].finish == FINISH_NONE)
                continue;
            rig_expect_same_from(&replies[k], &alone[k], from[k]);
            is_out[k] = false;
            n_done++;
        }
    }
    assert_true(n_done > 20);
    assert_true(n_accepted(&r) > 50);
    assert_true(scheduler_load(r.sched).preemptions > 0);
    rig_free(&r);
}

static int setup(void **state)
{
    struct testmodel shape = TESTMODEL_TINY;
    *state = testmodel_open(&shape);
    return 0;
}

static int teardown(void **state)
{
    model_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_do_not_show),
        cmocka_unit_test(every_kind_of_sampling_accepts_drafts),
        cmocka_unit_test(a_reply_ends_in_the_middle_of_a_draft),
        cmocka_unit_test(a_second_turn_finds_nothing_of_wrong_drafts),
        cmocka_unit_test(drafts_survive_any_traffic),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
