/* SPDX-License-Identifier: MIT */
/* A reply must be the same tokens and the same log probabilities however it is scheduled. The first
 * part runs a small model; the second looks at the plans with a backend that only writes them down. */
#include "services/engine/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "services/engine/kv.h"
#include "tests/engine/scheduler_rig.h"
#include "tests/engine/testmodel.h"

enum { N_REQS = 6, MAX_PROMPT = 130, MAX_REPLY = 110 };

struct bench {
    struct model *model;
    uint32_t prompts[N_REQS][MAX_PROMPT];
    struct frame_submit submits[N_REQS];
    struct rig_reply alone[N_REQS]; /* each one by itself */
};

static int setup(void **state)
{
    static const uint32_t LENGTHS[N_REQS] = {1, 130, 40, 65, 100, 7};
    struct bench *t = calloc(1, sizeof *t);
    struct testmodel shape = TESTMODEL_TINY;
    t->model = testmodel_open(&shape);
    uint64_t rng = 5;
    for (uint32_t i = 0; i < N_REQS; i++) {
        for (uint32_t k = 0; k < LENGTHS[i]; k++)
            t->prompts[i][k] = (uint32_t)(testmodel_random(&rng) % shape.n_vocab);
        t->submits[i] = (struct frame_submit){
            .req = i,
            .prompt = t->prompts[i],
            .n_prompt = LENGTHS[i],
            .sampling = {.max_tokens = MAX_REPLY - 7 * i,
                         .temperature = i % 2 == 0 ? 0.0F : 1.0F,
                         .top_p = i == 3 ? 0.9F : 0.0F,
                         .repetition_penalty = i == 1 ? 1.2F : 0.0F,
                         .frequency_penalty = i == 4 ? 0.5F : 0.0F,
                         .seed = i,
                         .logprobs = true,
                         .ignore_eos = i != 5},
        };
        struct rig r = rig_new(t->model, &RIG_PLAIN);
        struct rig_reply replies[N_REQS] = {0};
        rig_submit(&r, &t->submits[i]);
        rig_run_out(&r, replies);
        t->alone[i] = replies[i];
        assert_true(replies[i].n > 5);
        rig_free(&r);
    }
    assert_int_equal(t->alone[1].n, MAX_REPLY - 7);
    assert_int_equal(t->alone[1].finish, FINISH_LENGTH);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct bench *t = *state;
    model_close(t->model);
    free(t);
    return 0;
}

/* ---- replies do not depend on the schedule ---- */

static void batches_and_budgets_do_not_show(void **state)
{
    const struct bench *t = *state;
    static const struct rig_setting SETTINGS[] = {
        {100, 8, 256, RIG_N_CTX, false, 6}, {100, 2, 33, RIG_N_CTX, false, 6},
        {100, 6, 6, RIG_N_CTX, false, 6},   {100, 1, 1, RIG_N_CTX, false, 6},
        {100, 3, 64, RIG_N_CTX, false, 6},
    };
    for (size_t i = 0; i < sizeof SETTINGS / sizeof SETTINGS[0]; i++) {
        struct rig r = rig_new(t->model, &SETTINGS[i]);
        struct rig_reply replies[N_REQS] = {0};
        for (uint32_t k = 0; k < N_REQS; k++)
            rig_submit(&r, &t->submits[k]);
        rig_run_out(&r, replies);
        for (uint32_t k = 0; k < N_REQS; k++)
            rig_expect_same_from(&replies[k], &t->alone[k], 0);
        rig_free(&r);
    }
}

/* Greedy, drawn and top-k replies, with penalties and without, and mixtures of them. */
static void the_fast_head_does_not_show(void **state)
{
    const struct bench *t = *state;
    struct frame_submit submits[N_REQS];
    struct rig_reply replies[2][N_REQS];
    memset(replies, 0, sizeof replies);
    for (uint32_t k = 0; k < N_REQS; k++) {
        submits[k] = t->submits[k];
        submits[k].sampling = (struct rec_sampling){.max_tokens = MAX_REPLY - 20 * k,
                                                    .temperature = k % 2 == 0 ? 0.0F : 1.0F,
                                                    .top_k = k == 1   ? 40
                                                             : k == 3 ? 7
                                                                      : 0,
                                                    .top_p = k == 3 ? 0.9F : 0.0F,
                                                    .frequency_penalty = k >= 4 ? 0.1F : 0.0F,
                                                    .min_tokens = k == 4 ? 3 : 0,
                                                    .seed = k,
                                                    .ignore_eos = k < 4};
    }
    for (uint32_t fast = 0; fast < 2; fast++) {
        struct rig r =
            rig_new(t->model, &(struct rig_setting){100, 6, 64, RIG_N_CTX, fast == 1, 6});
        for (uint32_t k = 0; k < N_REQS; k++)
            rig_submit(&r, &submits[k]);
        rig_run_out(&r, replies[fast]);
        rig_free(&r);
    }
    for (uint32_t k = 0; k < N_REQS; k++)
        rig_expect_same_from(&replies[1][k], &replies[0][k], 0);
    assert_int_equal(replies[1][0].n, MAX_REPLY);
}

static void preemption_does_not_show(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &(struct rig_setting){9, 6, 64, RIG_N_CTX, false, 6});
    struct rig_reply replies[N_REQS] = {0};
    for (uint32_t k = 0; k < N_REQS; k++)
        rig_submit(&r, &t->submits[k]);
    rig_run_out(&r, replies);
    for (uint32_t k = 0; k < N_REQS; k++)
        rig_expect_same_from(&replies[k], &t->alone[k], 0);
    assert_true(scheduler_load(r.sched).preemptions > 0);
    rig_free(&r);
}

static void a_resumed_reply_goes_on_as_if_nothing_happened(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &RIG_WIDE);
    for (uint32_t k = 0; k < N_REQS; k++) {
        for (uint32_t cut = 0; cut < t->alone[k].n; cut += 1 + cut / 3) {
            struct frame_submit f = t->submits[k];
            f.resume = t->alone[k].ids;
            f.n_resume = cut;
            struct rig_reply replies[N_REQS] = {0};
            rig_submit(&r, &f);
            rig_run_out(&r, replies);
            rig_expect_same_from(&replies[k], &t->alone[k], cut);
        }
    }
    rig_free(&r);
}

static void a_reply_that_was_complete_ends_at_once(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &RIG_WIDE);
    for (uint32_t k = 0; k < N_REQS; k++) {
        struct frame_submit f = t->submits[k];
        f.resume = t->alone[k].ids;
        f.n_resume = t->alone[k].n;
        struct rig_reply replies[N_REQS] = {0};
        rig_submit(&r, &f);
        assert_int_equal(rig_step(&r, replies), 1);
        assert_int_equal(replies[k].n, 0);
        assert_int_equal(replies[k].finish, t->alone[k].finish);
        assert_false(scheduler_has_work(r.sched));
    }
    rig_free(&r);
}

static void a_cached_prefix_does_not_show_but_is_reported(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &RIG_WIDE);
    struct rig_reply first[N_REQS] = {0};
    rig_submit(&r, &t->submits[1]);
    rig_run_out(&r, first);
    assert_int_equal(first[1].cached, 0);
    struct rig_reply second[N_REQS] = {0};
    rig_submit(&r, &t->submits[1]);
    rig_run_out(&r, second);
    assert_int_equal(second[1].cached, 128);
    rig_expect_same_from(&second[1], &t->alone[1], 0);
    struct frame_engine_load load = scheduler_load(r.sched);
    assert_int_equal(load.prefix_queries, 260);
    assert_int_equal(load.prefix_hits, 128);
    /* Another tenant's cache is another one. */
    struct frame_submit f = t->submits[1];
    f.tenant = 77;
    struct rig_reply third[N_REQS] = {0};
    rig_submit(&r, &f);
    rig_run_out(&r, third);
    assert_int_equal(third[1].cached, 0);
    rig_expect_same_from(&third[1], &t->alone[1], 0);
    rig_free(&r);
}

static void replies_that_share_a_prefill_are_the_same(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &(struct rig_setting){100, 8, 50, RIG_N_CTX, true, 6});
    struct rig_reply replies[8] = {0};
    for (uint32_t i = 0; i < 4; i++) {
        struct frame_submit f = t->submits[i % 2 == 0 ? 1 : 4];
        f.req = i;
        rig_submit(&r, &f);
    }
    rig_run_out(&r, replies);
    for (uint32_t i = 0; i < 4; i++)
        rig_expect_same_from(&replies[i], &t->alone[i % 2 == 0 ? 1 : 4], 0);
    assert_int_equal(replies[2].cached, 128);
    assert_int_equal(replies[3].cached, 96);
    rig_free(&r);
}

/* Replies come and go at random on a small cache. */
static void any_traffic_gives_the_same_replies(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &(struct rig_setting){9, 4, 48, RIG_N_CTX, false, 6});
    uint64_t rng = 1;
    struct rig_reply replies[N_REQS] = {0};
    bool is_out[N_REQS] = {false};
    uint32_t n_done = 0;
    for (uint32_t turn = 0; turn < 1500; turn++) {
        uint32_t k = (uint32_t)(testmodel_random(&rng) % (4 * N_REQS));
        if (k < N_REQS && !is_out[k]) {
            replies[k] = (struct rig_reply){0};
            rig_submit(&r, &t->submits[k]);
            is_out[k] = true;
        } else if (k < N_REQS && testmodel_random(&rng) % 8 == 0) {
            scheduler_cancel(r.sched, k);
            is_out[k] = false;
        }
        (void)rig_step(&r, replies);
        for (k = 0; k < N_REQS; k++) {
            if (!is_out[k] || replies[k].finish == FINISH_NONE)
                continue;
            rig_expect_same_from(&replies[k], &t->alone[k], 0);
            is_out[k] = false;
            n_done++;
        }
    }
    assert_true(n_done > 20);
    assert_true(scheduler_load(r.sched).preemptions > 0);
    rig_free(&r);
}

/* ---- how replies end ---- */

static void the_first_token_is_part_of_the_reply(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &RIG_WIDE);
    struct frame_submit f = t->submits[2];
    f.sampling.max_tokens = 1;
    struct rig_reply replies[N_REQS] = {0};
    rig_submit(&r, &f);
    assert_int_equal(rig_step(&r, replies), 1);
    assert_int_equal(replies[2].n, 1);
    assert_int_equal(replies[2].ids[0], t->alone[2].ids[0]);
    assert_int_equal(replies[2].finish, FINISH_LENGTH);
    rig_free(&r);
}

static void a_stop_token_ends_the_reply_and_is_sent(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &RIG_WIDE);
    struct frame_submit f = t->submits[1];
    const uint32_t stop = t->alone[1].ids[4];
    f.sampling.stop_ids = &stop;
    f.sampling.n_stop_ids = 1;
    struct rig_reply replies[N_REQS] = {0};
    rig_submit(&r, &f);
    rig_run_out(&r, replies);
    assert_int_equal(replies[1].finish, FINISH_STOP);
    assert_int_equal(replies[1].ids[replies[1].n - 1], stop);
    assert_true(replies[1].n <= 5);
    rig_free(&r);
}

static void the_context_ends_the_reply(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &(struct rig_setting){8, 2, 64, 140, false, 6});
    struct rig_reply replies[N_REQS] = {0};
    rig_submit(&r, &t->submits[1]);
    rig_run_out(&r, replies);
    assert_int_equal(replies[1].n, 10);
    assert_int_equal(replies[1].finish, FINISH_LENGTH);
    rig_free(&r);
}

static void a_deadline_ends_waiting_and_running_replies(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &(struct rig_setting){100, 1, 64, RIG_N_CTX, false, 6});
    struct rig_reply replies[N_REQS] = {0};
    char why[200];
    for (uint32_t k = 0; k < 2; k++) {
        struct seq *seq = NULL;
        assert_int_equal(seq_new(&t->submits[k], &r.limits, why, sizeof why, &seq), ERR_OK);
        seq->deadline_ns = 1; /* long ago */
        scheduler_add(r.sched, seq);
    }
    assert_int_equal(rig_step(&r, replies), 2);
    for (uint32_t k = 0; k < 2; k++) {
        assert_int_equal(replies[k].finish, FINISH_ERROR);
        assert_int_equal(replies[k].code, ERR_TIMEOUT);
    }
    assert_false(scheduler_has_work(r.sched));
    rig_free(&r);
}

static void cancelled_replies_are_silent(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &(struct rig_setting){100, 1, 256, RIG_N_CTX, false, 6});
    struct rig_reply replies[N_REQS] = {0};
    rig_submit(&r, &t->submits[1]);
    rig_submit(&r, &t->submits[2]);
    assert_int_equal(rig_step(&r, replies), 1);
    scheduler_cancel(r.sched, 1);
    scheduler_cancel(r.sched, 4711);
    assert_int_equal(rig_step(&r, replies), 1);
    assert_int_equal(replies[1].n, 1);
    assert_int_equal(replies[2].n, 1);
    rig_submit(&r, &t->submits[3]);
    scheduler_cancel_all(r.sched);
    assert_false(scheduler_has_work(r.sched));
    assert_int_equal(scheduler_load(r.sched).kv_blocks_used, 0);
    assert_int_equal(scheduler_load(r.sched).waiting + scheduler_load(r.sched).running, 0);
    rig_free(&r);
}

static void a_request_id_sent_again_replaces_the_first(void **state)
{
    const struct bench *t = *state;
    struct rig r = rig_new(t->model, &RIG_WIDE);
    struct rig_reply replies[N_REQS] = {0};
    rig_submit(&r, &t->submits[1]);
    (void)rig_step(&r, replies);
    replies[1] = (struct rig_reply){0};
    rig_submit(&r, &t->submits[1]);
    rig_run_out(&r, replies);
    rig_expect_same_from(&replies[1], &t->alone[1], 0);
    rig_free(&r);
}

static void bad_requests_are_refused(void **state)
{
    const struct bench *t = *state;
    const struct seq_limits limits = {&t->model->config, "cafe", 100, 7};
    char why[200];
    struct seq *seq = NULL;
    struct frame_submit f = t->submits[0];
    f.n_prompt = 0;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_RANGE);
    f = t->submits[4];
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_CONTEXT);
    f.n_prompt = 99;
    f.resume = t->alone[4].ids;
    f.n_resume = 2;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_CONTEXT);
    f = t->submits[0];
    f.model_hash = STR_LIT("beef");
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_MODEL_UNKNOWN);
    f = t->submits[0];
    const uint32_t beyond = t->model->config.n_vocab;
    f.prompt = &beyond;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_RANGE);
    f = t->submits[0];
    f.resume = &beyond;
    f.n_resume = 1;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_RANGE);
    f = t->submits[0];
    f.resume = t->alone[0].ids;
    f.n_resume = 5;
    f.sampling.max_tokens = 4;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_RANGE);
    f = t->submits[0];
    f.sampling.temperature = -1.0F;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_RANGE);
    f = t->submits[0];
    f.resume = t->alone[0].ids;
    f.n_resume = 1;
    f.numbers = 8;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_MODEL_UNKNOWN);
    f.numbers = 7;
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_OK);
    seq_free(seq);
    f.numbers = 8;
    f.n_resume = 0; /* nothing has come that another engine would go on with */
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_OK);
    seq_free(seq);
    f = t->submits[0];
    f.model_hash = STR_LIT("cafe");
    assert_int_equal(seq_new(&f, &limits, why, sizeof why, &seq), ERR_OK);
    seq_free(seq);
    seq_free(NULL);
}

/* ---- plans ---- */

enum { FAKE_ROWS = 64 }; /* most logits of a step */

struct fake {
    struct backend base;
    uint32_t n_tokens[64]; /* of the items of the last step */
    uint32_t n_items;
    enum err result;
    float logits[FAKE_ROWS][64];
    struct backend_logits got[FAKE_ROWS];
};

static const struct model_config FAKE_MODEL = {.n_vocab = 64, .n_eos = 1, .eos_ids = {63}};

static enum err fake_step(struct backend *b, struct backend_item *items, uint32_t n)
{
    struct fake *f = (struct fake *)b;
    f->n_items = n;
    for (uint32_t i = 0; i < n; i++) {
        f->n_tokens[i] = items[i].n_tokens;
        assert_true(items[i].n_logits <= FAKE_ROWS);
        items[i].got = f->got;
    }
    return f->result;
}

static void fake_free(struct backend *b)
{
    (void)b;
}

static struct rig fake_rig_drafting(struct fake *f, uint32_t max_seqs, uint32_t step_tokens,
                                    uint32_t n_spec)
{
    static const struct backend_ops OPS = {.step = fake_step, .free = fake_free};
    *f = (struct fake){.base = {.ops = &OPS,
                                .n_blocks = 1000,
                                .max_rows = step_tokens,
                                .max_logits = max_seqs + 2 * n_spec,
                                .base_rows = 3}};
    for (uint32_t i = 0; i < FAKE_ROWS; i++)
        f->logits[i][1] = 1.0F;
    for (uint32_t i = 0; i < FAKE_ROWS; i++)
        f->got[i] = (struct backend_logits){.values = f->logits[i], .n = 64};
    return (struct rig){.backend = &f->base,
                        .sched = scheduler_new(&(struct scheduler_config){
                            .model = &FAKE_MODEL,
                            .kernels = kernels_get(ISA_REF),
                            .backend = &f->base,
                            .n_ctx = 8000,
                            .max_seqs = max_seqs,
                            .spec_tokens = n_spec,
                            .step_tokens = step_tokens,
                            .max_waiting = 5,
                        }),
                        .limits = {&FAKE_MODEL, "", 8000, 0}};
}

static struct rig fake_rig(struct fake *f, uint32_t max_seqs, uint32_t step_tokens)
{
    return fake_rig_drafting(f, max_seqs, step_tokens, 0);
}

/* A prompt of n tokens that shares no prefix with other requests. */
static void submit_fake(struct rig *r, uint32_t req, uint32_t n)
{
    uint32_t *prompt = mem_zalloc(n, sizeof *prompt);
    prompt[0] = req;
    struct frame_submit f = {
        .req = req, .prompt = prompt, .n_prompt = n, .sampling = {.max_tokens = 100}};
    rig_submit(r, &f);
    free(prompt);
}

static void a_long_prompt_does_not_stall_running_replies(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 8, 64);
    struct rig_reply replies[8] = {0};
    submit_fake(&r, 0, 10);
    submit_fake(&r, 1, 20);
    (void)rig_step(&r, replies);
    submit_fake(&r, 2, 500);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(rig_step(&r, replies), 2);
        assert_int_equal(f.n_items, 3);
        assert_int_equal(f.n_tokens[0], 1);
        assert_int_equal(f.n_tokens[1], 1);
        assert_int_equal(f.n_tokens[2], 62);
    }
    assert_int_equal(rig_step(&r, replies), 3);
    rig_free(&r);
}

static void prompts_share_the_budget_and_the_oldest_gets_the_rest(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 8, 128);
    struct rig_reply replies[8] = {0};
    submit_fake(&r, 0, 1000);
    submit_fake(&r, 1, 20);
    submit_fake(&r, 2, 1000);
    (void)rig_step(&r, replies);
    assert_int_equal(f.n_items, 3);
    assert_int_equal(f.n_tokens[0], 128 - 20 - 42);
    assert_int_equal(f.n_tokens[1], 20);
    assert_int_equal(f.n_tokens[2], 42);
    assert_int_equal(replies[1].n, 1); /* the short one behind the long one is through */
    rig_free(&r);
}

static void no_more_prompts_are_begun_than_get_a_block_each(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 8, 64);
    struct rig_reply replies[8] = {0};
    for (uint32_t i = 0; i < 5; i++)
        submit_fake(&r, i, 200);
    (void)rig_step(&r, replies);
    assert_int_equal(f.n_items, 2);
    assert_int_equal(scheduler_load(r.sched).waiting, 3);
    assert_int_equal(f.n_tokens[0] + f.n_tokens[1], 64);
    rig_free(&r);
}

static void places_are_limited_and_given_in_order_of_arrival(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 2, 64);
    struct rig_reply replies[8] = {0};
    for (uint32_t i = 0; i < 4; i++)
        submit_fake(&r, i, 5);
    (void)rig_step(&r, replies);
    assert_int_equal(scheduler_load(r.sched).running, 2);
    scheduler_cancel(r.sched, 0);
    (void)rig_step(&r, replies);
    assert_int_equal(replies[2].n, 1);
    assert_int_equal(replies[3].n, 0);
    rig_free(&r);
}

static void one_prompt_asked_for_several_times_is_computed_once(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 4, 128);
    struct rig_reply replies[8] = {0};
    uint32_t prompt[300] = {0};
    for (uint32_t i = 0; i < 4; i++)
        rig_submit(&r, &(struct frame_submit){.req = i,
                                              .prompt = prompt,
                                              .n_prompt = i == 3 ? 150 : 300,
                                              .tenant = i == 2,
                                              .sampling = {.max_tokens = 9}});
    uint32_t n_tokens = 0;
    for (uint32_t turn = 0; replies[0].n * replies[1].n * replies[2].n * replies[3].n == 0;
         turn++) {
        assert_true(turn < 20);
        (void)rig_step(&r, replies);
        for (uint32_t i = 0; i < f.n_items; i++)
            n_tokens += f.n_tokens[i] > 1 ? f.n_tokens[i] : 0;
    }
    assert_int_equal(n_tokens, 2 * 300 + (300 - 288) + (150 - 128));
    assert_int_equal(replies[0].cached, 0);
    assert_int_equal(replies[1].cached, 288);
    assert_int_equal(replies[2].cached, 0); /* another tenant's */
    assert_int_equal(replies[3].cached, 128);
    rig_free(&r);
}

/* The one that the others wait for goes away in the middle. */
static void a_common_prompt_survives_its_first_sequence(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 4, 64);
    struct rig_reply replies[8] = {0};
    uint32_t prompt[300] = {0};
    for (uint32_t i = 0; i < 3; i++)
        rig_submit(&r,
                   &(struct frame_submit){
                       .req = i, .prompt = prompt, .n_prompt = 300, .sampling = {.max_tokens = 1}});
    (void)rig_step(&r, replies);
    (void)rig_step(&r, replies);
    assert_int_equal(f.n_items, 1);
    scheduler_cancel(r.sched, 0);
    (void)rig_step(&r, replies);
    assert_int_equal(f.n_items, 1);
    assert_int_equal(f.n_tokens[0], 64);
    for (uint32_t turn = 0; replies[1].n == 0 || replies[2].n == 0; turn++) {
        assert_true(turn < 20);
        (void)rig_step(&r, replies);
    }
    assert_int_equal(replies[1].cached, 128);
    assert_int_equal(replies[2].cached, 288);
    rig_free(&r);
}

/* Every reply is an endless 1, 1, 1. */
static void drafts_take_what_decodes_and_prompts_leave(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig_drafting(&f, 4, 64, 8);
    struct rig_reply replies[8] = {0};
    submit_fake(&r, 0, 5);
    submit_fake(&r, 1, 5);
    for (uint32_t i = 0; i < 16; i++)
        (void)rig_step(&r, replies);
    assert_int_equal(f.n_items, 2);
    assert_in_range(f.n_tokens[0], 3, 9);
    assert_in_range(f.n_tokens[1], 1, 9);
    submit_fake(&r, 2, 200);
    uint32_t n = replies[0].n;
    (void)rig_step(&r, replies);
    assert_int_equal(f.n_items, 3);
    assert_int_equal(f.n_tokens[0], 1);
    assert_int_equal(f.n_tokens[1], 1);
    assert_int_equal(f.n_tokens[2], 62);
    assert_int_equal(replies[0].n, n + 1);
    while (replies[0].finish == FINISH_NONE)
        (void)rig_step(&r, replies);
    assert_int_equal(replies[0].n, 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(replies[0].ids[i], 1);
    struct frame_engine_load load = scheduler_load(r.sched);
    assert_int_equal(load.draft_tokens, load.accepted_tokens);
    rig_free(&r);
}

/* The draft is 1, 1, 1 and reaches into the next block; the reply goes on with 2. */
static void a_block_with_wrong_drafts_is_not_published(void **state)
{
    (void)state;
    for (uint32_t n = KV_BLOCK - 8; n < KV_BLOCK - 1; n++) {
        struct fake f;
        struct rig r = fake_rig_drafting(&f, 4, 64, 8);
        struct rig_reply replies[8] = {0};
        uint32_t prompt[2 * KV_BLOCK];
        for (uint32_t i = 0; i < 2 * KV_BLOCK; i++)
            prompt[i] = 1;
        struct frame_submit submit = {
            .req = 0, .prompt = prompt, .n_prompt = n, .sampling = {.max_tokens = 100}};
        rig_submit(&r, &submit);
        (void)rig_step(&r, replies);
        for (uint32_t i = 0; i < FAKE_ROWS; i++)
            f.logits[i][2] = 2.0F;
        (void)rig_step(&r, replies);
        assert_int_equal(f.n_tokens[0], 4);
        assert_int_equal(replies[0].n, 2);
        assert_int_equal(replies[0].ids[1], 2);
        prompt[n + 1] = 2; /* what the block would be found by */
        submit.req = 1;
        submit.n_prompt = KV_BLOCK + 8;
        scheduler_cancel(r.sched, 0);
        rig_submit(&r, &submit);
        (void)rig_step(&r, replies);
        assert_int_equal(replies[1].n, 1);
        assert_int_equal(replies[1].cached, 0);
        rig_free(&r);
    }
}

static void the_queue_has_an_end(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 1, 64);
    struct rig_reply replies[8] = {0};
    for (uint32_t i = 0; i < 7; i++)
        submit_fake(&r, i, 5);
    assert_int_equal(rig_step(&r, replies), 3);
    assert_int_equal(replies[0].n, 1);
    assert_int_equal(replies[4].finish, FINISH_NONE);
    for (uint32_t i = 5; i < 7; i++) {
        assert_int_equal(replies[i].finish, FINISH_ERROR);
        assert_int_equal(replies[i].code, ERR_FULL);
    }
    rig_free(&r);
}

static void a_failing_backend_ends_the_step(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 2, 64);
    f.result = ERR_IO;
    submit_fake(&r, 0, 5);
    struct arena arena = {0};
    struct rec_token *items = NULL;
    size_t n = 0;
    assert_int_equal(scheduler_step(r.sched, &arena, &items, &n), ERR_IO);
    rig_free(&r);
}

static void impossible_logits_end_only_that_reply(void **state)
{
    (void)state;
    struct fake f;
    struct rig r = fake_rig(&f, 2, 64);
    struct rig_reply replies[8] = {0};
    for (uint32_t i = 0; i < 64; i++)
        f.logits[0][i] = __builtin_nanf("");
    submit_fake(&r, 3, 5);
    assert_int_equal(rig_step(&r, replies), 1);
    assert_int_equal(replies[3].finish, FINISH_ERROR);
    assert_int_equal(replies[3].code, ERR_INTERNAL);
    assert_false(scheduler_has_work(r.sched));
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_and_budgets_do_not_show),
        cmocka_unit_test(the_fast_head_does_not_show),
        cmocka_unit_test(preemption_does_not_show),
        cmocka_unit_test(a_resumed_reply_goes_on_as_if_nothing_happened),
        cmocka_unit_test(a_reply_that_was_complete_ends_at_once),
        cmocka_unit_test(a_cached_prefix_does_not_show_but_is_reported),
        cmocka_unit_test(replies_that_share_a_prefill_are_the_same),
        cmocka_unit_test(any_traffic_gives_the_same_replies),
        cmocka_unit_test(the_first_token_is_part_of_the_reply),
        cmocka_unit_test(a_stop_token_ends_the_reply_and_is_sent),
        cmocka_unit_test(the_context_ends_the_reply),
        cmocka_unit_test(a_deadline_ends_waiting_and_running_replies),
        cmocka_unit_test(cancelled_replies_are_silent),
        cmocka_unit_test(a_request_id_sent_again_replaces_the_first),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(a_long_prompt_does_not_stall_running_replies),
        cmocka_unit_test(prompts_share_the_budget_and_the_oldest_gets_the_rest),
        cmocka_unit_test(no_more_prompts_are_begun_than_get_a_block_each),
        cmocka_unit_test(places_are_limited_and_given_in_order_of_arrival),
        cmocka_unit_test(one_prompt_asked_for_several_times_is_computed_once),
        cmocka_unit_test(a_common_prompt_survives_its_first_sequence),
        cmocka_unit_test(drafts_take_what_decodes_and_prompts_leave),
        cmocka_unit_test(a_block_with_wrong_drafts_is_not_published),
        cmocka_unit_test(the_queue_has_an_end),
        cmocka_unit_test(a_failing_backend_ends_the_step),
        cmocka_unit_test(impossible_logits_end_only_that_reply),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
