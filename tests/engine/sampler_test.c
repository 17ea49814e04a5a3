/* SPDX-License-Identifier: MIT */
#include "services/engine/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "kernels/gumbel/gumbel.h"
#include "tests/engine/testmodel.h"

enum { N = 8, DRAWS = 20000 };

/* End token 6. */
static const struct model_config CONFIG = {.n_vocab = N, .n_eos = 1, .eos_ids = {6}};

/* Log probabilities of 0.5, 0.3, 0.15, 0.05 for tokens 3, 0, 5, 1; nothing for the others. */
static const uint32_t LIKELY[4] = {3, 0, 5, 1};
static const double P[4] = {0.5, 0.3, 0.15, 0.05};

static void fill_logits(float *logits)
{
    for (uint32_t i = 0; i < N; i++)
        logits[i] = -INFINITY;
    for (uint32_t i = 0; i < 4; i++)
        logits[LIKELY[i]] = (float)log(P[i]) + 3.0F;
}

static struct rec_sampling params(float temperature)
{
    return (struct rec_sampling){.max_tokens = 10, .temperature = temperature, .seed = 99};
}

/* Among all of the vocabulary. */
static enum err choose_among(struct sampler_bench *b, struct sampler *s, float *logits, uint32_t n,
                             uint32_t index, struct sampler_choice *ret_choice)
{
    return sampler_choose(b, s, &(struct backend_logits){.values = logits, .n = n}, index,
                          ret_choice);
}

static struct sampler_choice choose(struct sampler *s, float *logits, uint32_t index)
{
    struct sampler_bench *b = sampler_bench_new(kernels_get(ISA_REF), N);
    struct sampler_choice c;
    assert_int_equal(choose_among(b, s, logits, N, index, &c), ERR_OK);
    sampler_bench_free(b);
    return c;
}

static uint32_t choose_once(const struct rec_sampling *p, const float *logits, uint32_t index)
{
    struct sampler *s = sampler_new(p, &CONFIG);
    float copy[N];
    memcpy(copy, logits, sizeof copy);
    uint32_t id = choose(s, copy, index).id;
    sampler_free(s);
    return id;
}

/* Draws from the four likely tokens; the counts must fit the probabilities q (0: never). */
static void expect_distribution(const struct rec_sampling *p, const double q[4])
{
    char why[100];
    assert_int_equal(sampler_check(p, N, why, sizeof why), ERR_OK);
    struct sampler_bench *b = sampler_bench_new(kernels_get(ISA_REF), N);
    struct sampler *s = sampler_new(p, &CONFIG);
    uint32_t count[N] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        float logits[N];
        fill_logits(logits);
        struct sampler_choice c;
        assert_int_equal(choose_among(b, s, logits, N, i, &c), ERR_OK);
        count[c.id]++;
    }
    double chi2 = 0.0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < 4; i++) {
        n += count[LIKELY[i]];
        if (q[i] <= 0.0) {
            assert_int_equal(count[LIKELY[i]], 0);
            continue;
        }
        double d = count[LIKELY[i]] - q[i] * DRAWS;
        chi2 += d * d / (q[i] * DRAWS);
    }
    assert_int_equal(n, DRAWS);
    assert_true(chi2 < 21.1); /* three degrees of freedom: exceeded once in 10000 */
    sampler_free(s);
    sampler_bench_free(b);
}

static void greedy_takes_the_largest_and_of_equals_the_first(void **state)
{
    (void)state;
    struct rec_sampling p = params(0.0F);
    const float logits[N] = {1, 4, -3, 9, 9, 2, 9, -INFINITY};
    assert_int_equal(choose_once(&p, logits, 0), 3);
    p.temperature = 1e-6F;
    assert_int_equal(choose_once(&p, logits, 0), 3);
    const float negative[N] = {-5, -4, -3, -2, -2, -8, -9, -7};
    assert_int_equal(choose_once(&p, negative, 0), 3);
}

static void nan_is_never_chosen(void **state)
{
    (void)state;
    const float logits[N] = {NAN, 1, NAN, 0, -NAN, 2, NAN, NAN};
    struct rec_sampling p = params(0.0F);
    assert_int_equal(choose_once(&p, logits, 0), 5);
    p.temperature = 1.0F;
    p.logprobs = true;
    p.top_logprobs = 2;
    struct sampler *s = sampler_new(&p, &CONFIG);
    for (uint32_t i = 0; i < 200; i++) {
        float copy[N];
        memcpy(copy, logits, sizeof copy);
        struct sampler_choice c = choose(s, copy, i);
        assert_true(c.id == 1 || c.id == 3 || c.id == 5);
        assert_true(c.logprob < 0.0F && c.top[0].id == 5 && c.top[1].id == 1);
    }
    sampler_free(s);
}

static void without_a_possible_token_it_is_an_error(void **state)
{
    (void)state;
    static const float ALL[][N] = {
        {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, NAN, NAN},
        {0, 1, INFINITY, 2, 3, 4, 5, 6},
    };
    struct rec_sampling p = params(1.0F);
    struct sampler *s = sampler_new(&p, &CONFIG);
    struct sampler_bench *b = sampler_bench_new(kernels_get(ISA_REF), N);
    for (size_t i = 0; i < 2; i++) {
        float logits[N];
        memcpy(logits, ALL[i], sizeof logits);
        struct sampler_choice c;
        assert_int_equal(choose_among(b, s, logits, N, 0, &c), ERR_INTERNAL);
    }
    sampler_bench_free(b);
    sampler_free(s);
}

static void bias_is_added_before_anything_else(void **state)
{
    (void)state;
    const struct rec_bias bias[] = {{.id = 2, .bias = 5.0F}, {.id = 1, .bias = -1.5F}};
    struct rec_sampling p = params(0.0F);
    p.logit_bias = bias;
    p.n_logit_bias = 2;
    p.repetition_penalty = 2.0F;
    struct sampler *s = sampler_new(&p, &CONFIG);
    sampler_saw(s, (const uint32_t[]){2}, 1, false);
    float logits[N] = {3, 3.5F, -1, 0, 0, 0, 0, 0};
    assert_int_equal(choose(s, logits, 0).id, 0);
    assert_true(logits[2] == 2.0F); /* (-1 + 5) / 2 */
    assert_true(logits[1] == 2.0F);
    sampler_free(s);
}

static void penalties_follow_prompt_and_reply(void **state)
{
    (void)state;
    struct rec_sampling p = params(0.0F);
    p.repetition_penalty = 1.25F;
    p.frequency_penalty = 0.5F;
    p.presence_penalty = 0.25F;
    struct sampler *s = sampler_new(&p, &CONFIG);
    sampler_saw(s, (const uint32_t[]){0, 1, 1}, 3, false);
    sampler_saw(s, (const uint32_t[]){1, 3, 3, 3}, 4, true);
    float logits[N] = {5, 5, 5, 5, -4, 0, 0, 0};
    assert_int_equal(choose(s, logits, 4).id, 2);
    assert_true(logits[0] == 4.0F); /* prompt only: / 1.25 */
    assert_true(logits[1] == 4.0F - 0.5F - 0.25F); /* once in the reply */
    assert_true(logits[2] == 5.0F); /* not seen */
    assert_true(logits[3] == 4.0F - 1.5F - 0.25F); /* three times */
    assert_true(logits[4] == -4.0F);
    sampler_saw(s, (const uint32_t[]){4}, 1, false);
    logits[4] = -4.0F;
    (void)choose(s, logits, 4);
    assert_true(logits[4] == -5.0F); /* negative ones are multiplied */
    sampler_free(s);
}

static void end_tokens_wait_for_min_tokens(void **state)
{
    (void)state;
    const uint32_t stops[] = {4};
    const float logits[N] = {0, 1, 0, 0, 7, 0, 9, 0};
    struct rec_sampling p = params(0.0F);
    p.min_tokens = 3;
    p.stop_ids = stops;
    p.n_stop_ids = 1;
    assert_int_equal(choose_once(&p, logits, 0), 1);
    assert_int_equal(choose_once(&p, logits, 2), 1);
    assert_int_equal(choose_once(&p, logits, 3), 6);
    p.ignore_eos = true;
    assert_int_equal(choose_once(&p, logits, 2), 6);
}

static void end_tokens_are_those_of_the_model_and_the_request(void **state)
{
    (void)state;
    const uint32_t stops[] = {4, 0};
    struct rec_sampling p = params(0.0F);
    p.stop_ids = stops;
    p.n_stop_ids = 2;
    struct sampler *s = sampler_new(&p, &CONFIG);
    assert_true(sampler_is_end(s, 6) && sampler_is_end(s, 4) && sampler_is_end(s, 0));
    assert_false(sampler_is_end(s, 5));
    sampler_free(s);
    p.ignore_eos = true;
    s = sampler_new(&p, &CONFIG);
    assert_true(!sampler_is_end(s, 6) && sampler_is_end(s, 4));
    sampler_free(s);
}

static void draws_follow_the_softmax(void **state)
{
    (void)state;
    struct rec_sampling p = params(1.0F);
    expect_distribution(&p, P);
    p.seed = UINT64_MAX;
    expect_distribution(&p, P);
}

static void temperature_flattens_and_sharpens(void **state)
{
    (void)state;
    static const float TEMPERATURES[] = {0.5F, 2.0F, 1.3F};
    for (size_t t = 0; t < 3; t++) {
        double q[4];
        double sum = 0.0;
        for (uint32_t i = 0; i < 4; i++)
            sum += q[i] = pow(P[i], 1.0 / (double)TEMPERATURES[t]);
        for (uint32_t i = 0; i < 4; i++)
            q[i] /= sum;
        struct rec_sampling p = params(TEMPERATURES[t]);
        expect_distribution(&p, q);
    }
}

static void top_k_keeps_the_likeliest(void **state)
{
    (void)state;
    struct rec_sampling p = params(1.0F);
    p.top_k = 2;
    expect_distribution(&p, (const double[]){0.5 / 0.8, 0.3 / 0.8, 0, 0});
    p.top_k = 1;
    expect_distribution(&p, (const double[]){1, 0, 0, 0});
    p.top_k = 100;
    expect_distribution(&p, P);
}

static void top_p_keeps_the_fewest_that_reach_it(void **state)
{
    (void)state;
    struct rec_sampling p = params(1.0F);
    p.top_p = 0.75F;
    expect_distribution(&p, (const double[]){0.5 / 0.8, 0.3 / 0.8, 0, 0});
    p.top_p = 0.85F;
    expect_distribution(&p, (const double[]){0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0});
    p.top_p = 0.01F;
    expect_distribution(&p, (const double[]){1, 0, 0, 0});
    p.top_p = 1.0F;
    expect_distribution(&p, P);
}

static void min_p_is_relative_to_the_likeliest(void **state)
{
    (void)state;
    struct rec_sampling p = params(1.0F);
    p.min_p = 0.2F; /* of 0.5: 0.1 */
    expect_distribution(&p, (const double[]){0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0});
    p.min_p = 1.0F;
    expect_distribution(&p, (const double[]){1, 0, 0, 0});
}

static void top_p_counts_what_top_k_left(void **state)
{
    (void)state;
    struct rec_sampling p = params(1.0F);
    p.top_p = 0.84F; /* 0.8 of 1 is less, 0.8 of 0.95 is enough */
    expect_distribution(&p, (const double[]){0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0});
    p.top_k = 3;
    expect_distribution(&p, (const double[]){0.5 / 0.8, 0.3 / 0.8, 0, 0});
    p.min_p = 0.7F;
    expect_distribution(&p, (const double[]){1, 0, 0, 0});
}

static void equal_logits_are_cut_by_id(void **state)
{
    (void)state;
    const float logits[N] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct rec_sampling p = params(1.0F);
    p.top_k = 3;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 200; i++)
        seen |= 1U << choose_once(&p, logits, i);
    assert_int_equal(seen, 7);
}

static void a_draw_depends_on_seed_and_index_alone(void **state)
{
    (void)state;
    const float logits[N] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct rec_sampling p = params(1.0F);
    uint32_t n_index = 0;
    uint32_t n_seed = 0;
    for (uint32_t i = 0; i < 100; i++) {
        p.seed = 5;
        uint32_t id = choose_once(&p, logits, i);
        assert_int_equal(choose_once(&p, logits, i), id);
        n_index += choose_once(&p, logits, i + 1) != id;
        p.seed = (uint64_t)5 | (uint64_t)1 << 63;
        n_seed += choose_once(&p, logits, i) != id;
    }
    assert_true(n_index > 70 && n_seed > 70);
}

static void log_probabilities_are_the_models_own(void **state)
{
    (void)state;
    const struct rec_bias bias[] = {{.id = 1, .bias = 100.0F}};
    struct rec_sampling p = params(0.3F);
    p.logit_bias = bias;
    p.n_logit_bias = 1;
    p.logprobs = true;
    p.top_logprobs = 5;
    struct sampler *s = sampler_new(&p, &CONFIG);
    float logits[N];
    fill_logits(logits);
    struct sampler_choice c = choose(s, logits, 0);
    assert_int_equal(c.id, 1);
    assert_true(fabs((double)c.logprob - log(0.05)) < 1e-6);
    assert_int_equal(c.n_top, 5);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(c.top[i].id, LIKELY[i]);
        assert_true(fabs((double)c.top[i].logprob - log(P[i])) < 1e-6);
    }
    assert_int_equal(c.top[4].id, 2); /* impossible ones by id, as JSON can write them */
    assert_true(c.top[4].logprob == -9999.0F);
    sampler_free(s);
    p.logprobs = false;
    s = sampler_new(&p, &CONFIG);
    fill_logits(logits);
    assert_int_equal(choose(s, logits, 0).n_top, 0);
    sampler_free(s);
}

static struct rec_sampling random_params(uint64_t *rng)
{
    struct rec_sampling p = params((float)(testmodel_random(rng) % 30) / 10.0F);
    p.seed = testmodel_random(rng);
    p.top_k = (uint32_t)(testmodel_random(rng) % 3 * 20);
    p.top_p = (float)(testmodel_random(rng) % 10) / 10.0F;
    p.min_p = testmodel_random(rng) % 3 == 0 ? 0.05F : 0.0F;
    p.repetition_penalty = testmodel_random(rng) % 2 == 0 ? 1.1F : 0.0F;
    p.frequency_penalty = testmodel_random(rng) % 2 == 0 ? 0.3F : 0.0F;
    p.logprobs = true;
    p.top_logprobs = (uint32_t)(testmodel_random(rng) % 21);
    return p;
}

static void instruction_sets_agree_bit_for_bit(void **state)
{
    (void)state;
    enum { MANY = 3001 };
    static float logits[ISA_COUNT][MANY];
    struct model_config config = {.n_vocab = MANY, .n_eos = 1, .eos_ids = {6}};
    uint64_t rng = 3;
    for (uint32_t turn = 0; turn < 100; turn++) {
        struct rec_sampling p = random_params(&rng);
        struct sampler *s = sampler_new(&p, &config);
        for (uint32_t i = 0; i < MANY; i++)
            logits[0][i] = (float)(testmodel_random(&rng) % 4096) / 256.0F - 8.0F;
        sampler_saw(s, (const uint32_t[]){1, 2, 3, 4}, 4, true);
        struct sampler_choice first;
        for (int isa = ISA_COUNT - 1; isa >= 0; isa--) {
            if (kernels_get((enum isa)isa) == NULL)
                continue;
            memcpy(logits[isa], logits[0], sizeof logits[0]);
            struct sampler_bench *b = sampler_bench_new(kernels_get((enum isa)isa), MANY);
            struct sampler_choice c;
            memset(&c, 0, sizeof c);
            assert_int_equal(choose_among(b, s, logits[isa], MANY, turn, &c), ERR_OK);
            if (isa == (int)kernels_best())
                first = c;
            assert_int_equal(first.id, c.id);
            assert_memory_equal(&first.logprob, &c.logprob, sizeof c.logprob);
            assert_memory_equal(first.top, c.top, c.n_top * sizeof c.top[0]);
            sampler_bench_free(b);
        }
        sampler_free(s);
    }
}

/* ---- from what is wanted alone ---- */

enum { BIG = 300 };

/* What logits are compared by: after the changes, and with the noise of a draw. */
static void make_scores(const float *full, const struct backend_want *w, float *scores)
{
    memcpy(scores, full, BIG * sizeof *scores);
    for (uint32_t i = 0; i < w->n_changes; i++) {
        float *x = &scores[w->changes[i].id];
        *x = w->changes[i].kind == CHANGE_ANY ? -INFINITY : backend_changed(*x, &w->changes[i]);
    }
    for (uint32_t i = 0; i < BIG && w->kind == WANT_DRAW; i++)
        scores[i] += gumbel_at(&w->noise, i);
}

static bool is_wanted(const float *scores, const struct backend_want *w, uint32_t id)
{
    uint32_t n_better = 0;
    float max = -INFINITY;
    for (uint32_t i = 0; i < BIG; i++) {
        n_better += scores[i] > scores[id] || (scores[i] == scores[id] && i < id);
        max = fmaxf(max, scores[i]);
    }
    if (w->kind == WANT_NEAR)
        return scores[id] >= max - w->reach;
    return n_better < (w->kind == WANT_DRAW ? 1 : w->n_top);
}

/* What a backend gives that has picked a token; pick_test shows which. */
static struct backend_logits only(const float *full, uint32_t id)
{
    static float value;
    static uint32_t ids[1];
    value = full[id];
    ids[0] = id;
    return (struct backend_logits){.values = &value, .ids = ids, .n = 1};
}

/* The least that a backend may give. */
static struct backend_logits reduce(const float *full, const struct backend_want *w)
{
    static float values[BIG];
    static uint32_t ids[BIG];
    float scores[BIG];
    make_scores(full, w, scores);
    uint32_t n = 0;
    for (uint32_t id = 0; id < BIG; id++) {
        bool is_in = is_wanted(scores, w, id);
        for (uint32_t i = 0; i < w->n_changes; i++)
            is_in |= w->changes[i].kind == CHANGE_ANY && w->changes[i].id == id;
        values[n] = full[id];
        ids[n] = id;
        n += is_in;
    }
    return (struct backend_logits){.values = values, .ids = ids, .n = n};
}

static struct sampler *random_sampler(uint64_t *rng, uint32_t turn, struct rec_sampling *p)
{
    static const struct model_config config = {.n_vocab = BIG, .n_eos = 2, .eos_ids = {6, 200}};
    static const struct rec_bias BIAS[] = {{.id = 7, .bias = -100.0F},
                                           {.id = 9, .bias = 2.0F},
                                           {.id = 7, .bias = 1.5F},
                                           {.id = 250, .bias = 100.0F}};
    *p = random_params(rng);
    p->logprobs = false;
    p->repetition_penalty = turn % 4 < 2 ? 0.0F : turn % 4 == 2 ? 1.3F : 0.8F;
    p->frequency_penalty = turn % 6 == 0 ? 0.3F : 0.0F;
    p->presence_penalty = turn % 7 == 0 ? -0.2F : 0.0F;
    p->top_p = turn % 4 == 0 ? 0.8F : 0.0F;
    p->top_k = turn % 2 == 0 ? 0 : (uint32_t)(testmodel_random(rng) % 40);
    p->temperature = turn % 3 == 0 ? 0.0F : turn % 5 == 1 ? 0.01F : 0.8F;
    p->min_tokens = turn % 5 == 0 ? 1 : 0;
    p->logit_bias = BIAS;
    p->n_logit_bias = turn % 5;
    struct sampler *s = sampler_new(p, &config);
    sampler_saw(s, (const uint32_t[]){1, 2, 3, 200}, 4, false);
    sampler_saw(s, (const uint32_t[]){3, 4, 4}, 3, true);
    return s;
}

static void what_is_not_wanted_does_not_show(void **state)
{
    (void)state;
    struct sampler_bench *b = sampler_bench_new(kernels_get(kernels_best()), BIG);
    uint64_t rng = 8;
    uint32_t n_reduced[WANT_PICK + 1] = {0};
    for (uint32_t turn = 0; turn < 3000; turn++) {
        struct rec_sampling p;
        struct sampler *s = random_sampler(&rng, turn, &p);
        float full[BIG];
        for (uint32_t i = 0; i < BIG; i++) {
            full[i] = (float)(testmodel_random(&rng) % 64) / 16.0F;
            full[i] = turn % 7 == 0 && i % 100 > 3 ? -INFINITY : full[i];
        }
        const uint32_t drafts[] = {11, 12, 3};
        struct backend_want want = sampler_want(s, 0, drafts, 3);
        n_reduced[want.kind]++;
        struct backend_logits few = reduce(full, &want);
        if (want.kind == WANT_ALL)
            few =
                (struct backend_logits){.values = memcpy(few.values, full, sizeof full), .n = BIG};
        struct sampler_choice from_all;
        struct sampler_choice from_few;
        assert_int_equal(choose_among(b, s, full, BIG, 0, &from_all), ERR_OK);
        if (want.kind == WANT_PICK)
            few = only(full, from_all.id);
        assert_int_equal(sampler_choose(b, s, &few, 0, &from_few), ERR_OK);
        assert_int_equal(from_few.id, from_all.id);
        sampler_free(s);
    }
    for (int kind = 0; kind <= WANT_PICK; kind++)
        assert_true(n_reduced[kind] > 100);
    sampler_bench_free(b);
}

/* The penalties on a draft are not in the list, for it may not come. */
static void a_choice_after_drafts_needs_no_more_than_was_wanted_with_them(void **state)
{
    (void)state;
    struct sampler_bench *b = sampler_bench_new(kernels_get(kernels_best()), BIG);
    uint64_t rng = 9;
    for (uint32_t turn = 0; turn < 1000; turn++) {
        struct rec_sampling p;
        struct sampler *s = random_sampler(&rng, turn, &p);
        float full[BIG];
        for (uint32_t i = 0; i < BIG; i++)
            full[i] = (float)(testmodel_random(&rng) % 64) / 16.0F;
        const uint32_t drafts[] = {4, 12};
        struct backend_want want = sampler_want(s, 0, drafts, 2);
        want.noise.index += 2;
        struct backend_logits few = reduce(full, &want);
        sampler_saw(s, drafts, 2, true);
        struct sampler_choice from_all;
        struct sampler_choice from_few;
        if (want.kind != WANT_ALL) {
            assert_int_equal(choose_among(b, s, full, BIG, 2, &from_all), ERR_OK);
            if (want.kind == WANT_PICK)
                few = only(full, from_all.id);
            assert_int_equal(sampler_choose(b, s, &few, 2, &from_few), ERR_OK);
            assert_int_equal(from_few.id, from_all.id);
        }
        sampler_free(s);
    }
    sampler_bench_free(b);
}

static void what_needs_all_logits_says_so(void **state)
{
    (void)state;
    struct rec_sampling p[] = {params(0.0F), params(1.0F), params(1.0F), params(1.0F)};
    p[0].logprobs = true;
    p[1].top_p = 0.9F;
    p[1].min_tokens = 1;
    p[2].top_p = 0.9F;
    p[2].frequency_penalty = 0.1F;
    p[3].top_p = 0.9F;
    p[3].logprobs = true;
    const uint32_t draft = 3;
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
        struct sampler *s = sampler_new(&p[i], &CONFIG);
        assert_int_equal(sampler_want(s, 0, &draft, 1).kind, WANT_ALL);
        bool has_more = sampler_want(s, 1, NULL, 0).kind == WANT_PICK;
        assert_true(has_more == (i == 1 || i == 2));
        sampler_free(s);
    }
}

/* ---- against a plain implementation that sorts the whole vocabulary ---- */

enum { BIG_VOCAB = 2003 };

static const float *sort_by;

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    if (sort_by[x] != sort_by[y])
        return sort_by[x] > sort_by[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

/* The kept ids, best first; returns how many. */
static uint32_t plain_filter(const struct rec_sampling *p, const float *logits, const float *prob,
                             uint32_t *ids)
{
    uint32_t n = 0;
    double sum = 0;
    for (uint32_t i = 0; i < BIG_VOCAB; i++) {
        ids[n] = i;
        n += prob[i] > 0;
    }
    sort_by = logits;
    qsort(ids, n, sizeof *ids, compare_ids);
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)prob[ids[i]];
    if (p->top_p > 0 && p->top_p < 1) {
        double kept = 0;
        uint32_t most = n;
        for (n = 0; n < most && kept < (double)p->top_p * sum; n++)
            kept += (double)prob[ids[n]];
    }
    uint32_t keep = 1;
    while (keep < n && prob[ids[keep]] >= p->min_p * prob[ids[0]])
        keep++;
    return keep;
}

static void only_tokens_that_the_filters_keep_are_drawn_and_all_of_them(void **state)
{
    (void)state;
    static const struct {
        uint32_t top_k;
        float top_p, min_p, spread;
    } CASES[] = {
        {0, 0.9F, 0, 40},   {0, 0.5F, 0, 8},    {0, 0.999F, 0, 30}, {5, 0, 0, 30},
        {300, 0, 0, 60},    {40, 0.9F, 0, 30},  {40, 0.9F, 0, 300}, {0, 0, 0.1F, 20},
        {0, 0, 0.0001F, 9}, {0, 0.8F, 0.2F, 9}, {20, 0, 0.01F, 40}, {2000, 0.3F, 0.001F, 9},
    };
    static float logits[BIG_VOCAB], prob[BIG_VOCAB], copy[BIG_VOCAB];
    static uint32_t ids[BIG_VOCAB];
    const struct kernels *k = kernels_get(kernels_best());
    const struct model_config config = {.n_vocab = BIG_VOCAB, .n_eos = 1, .eos_ids = {6}};
    struct sampler_bench *b = sampler_bench_new(k, BIG_VOCAB);
    uint64_t rng = 8;
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        struct rec_sampling p = params(0.8F);
        p.top_k = CASES[c].top_k;
        p.top_p = CASES[c].top_p;
        p.min_p = CASES[c].min_p;
        struct sampler *s = sampler_new(&p, &config);
        for (uint32_t i = 0; i < BIG_VOCAB; i++)
            logits[i] = CASES[c].spread * (float)(testmodel_random(&rng) % 512) / 512.0F;
        (void)k->softmax_exp(logits, BIG_VOCAB, k->softmax_max(logits, BIG_VOCAB), 1.0F / 0.8F,
                             prob);
        uint32_t n_kept = plain_filter(&p, logits, prob, ids);
        static bool is_kept[BIG_VOCAB], is_drawn[BIG_VOCAB];
        memset(is_kept, 0, sizeof is_kept);
        memset(is_drawn, 0, sizeof is_drawn);
        for (uint32_t i = 0; i < n_kept; i++)
            is_kept[ids[i]] = true;
        for (uint32_t i = 0; i < 3000; i++) {
            memcpy(copy, logits, sizeof copy);
            struct sampler_choice choice;
            assert_int_equal(choose_among(b, s, copy, BIG_VOCAB, i, &choice), ERR_OK);
            assert_true(is_kept[choice.id]);
            is_drawn[choice.id] = true;
        }
        /* What has a fair chance in 3000 draws must have come. */
        double sum = 0;
        for (uint32_t i = 0; i < n_kept; i++)
            sum += (double)prob[ids[i]];
        for (uint32_t i = 0; i < n_kept; i++)
            assert_true(is_drawn[ids[i]] || (double)prob[ids[i]] < 0.006 * sum);
        sampler_free(s);
    }
    sampler_bench_free(b);
}

static void expect_refused(const struct rec_sampling *p, const char *name)
{
    char why[200] = "";
    assert_int_not_equal(sampler_check(p, N, why, sizeof why), ERR_OK);
    if (!strstr(why, name))
        fail_msg("\"%s\" lacks \"%s\"", why, name);
}

static void parameters_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    const uint32_t ids[SAMPLER_MAX_STOPS + 1] = {0, N};
    const struct rec_bias bias[] = {{.id = N}, {.id = 0, .bias = NAN}};
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        struct rec_sampling p = params(1.0F);                                                      \
        p.field = (value);                                                                         \
        expect_refused(&p, #field);                                                                \
    } while (0)
    REFUSED(temperature, -0.5F);
    REFUSED(temperature, NAN);
    REFUSED(temperature, INFINITY);
    REFUSED(top_p, 1.5F);
    REFUSED(min_p, -0.1F);
    REFUSED(repetition_penalty, -1.0F);
    REFUSED(frequency_penalty, INFINITY);
    REFUSED(presence_penalty, NAN);
    REFUSED(max_tokens, 0);
    REFUSED(top_logprobs, 21);
#undef REFUSED
    struct rec_sampling p = params(1.0F);
    p.stop_ids = ids;
    p.n_stop_ids = 2;
    expect_refused(&p, "stop_token_ids");
    p.n_stop_ids = SAMPLER_MAX_STOPS + 1;
    expect_refused(&p, "stop_token_ids");
    for (size_t i = 0; i < 2; i++) {
        p = params(1.0F);
        p.logit_bias = &bias[i];
        p.n_logit_bias = 1;
        expect_refused(&p, "logit_bias");
    }
}

/* Steps 5 to 7 of sampler.h word for word, with all of the vocabulary sorted. */
static uint32_t plain_choice(const struct kernels *k, const struct rec_sampling *p,
                             const float *logits, uint32_t n_vocab, uint32_t index, float *prob,
                             uint32_t *ids)
{
    double sum = (double)k->softmax_exp(logits, n_vocab, k->softmax_max(logits, n_vocab),
                                        1.0F / p->temperature, prob);
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        ids[n] = i;
        n += prob[i] > 0;
    }
    sort_by = logits;
    qsort(ids, n, sizeof *ids, compare_ids);
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    if (p->top_k > 0 && p->top_p > 0 && p->top_p < 1) {
        sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += (double)prob[ids[i]];
    }
    double target = p->top_p > 0 && p->top_p < 1 ? (double)p->top_p * sum : INFINITY;
    double kept = 0;
    uint32_t n_kept = 0;
    while (n_kept < n && kept < target &&
           (n_kept == 0 || prob[ids[n_kept]] >= p->min_p * prob[ids[0]]))
        kept += (double)prob[ids[n_kept++]];
    const struct gumbel g = {.seed = p->seed, .index = index, .scale = p->temperature};
    uint32_t best = ids[0];
    for (uint32_t i = 1; i < n_kept; i++) {
        float score = logits[ids[i]] + gumbel_at(&g, ids[i]);
        float most = logits[best] + gumbel_at(&g, best);
        if (score > most || (score == most && ids[i] < best))
            best = ids[i];
    }
    return best;
}

/* However many candidates there are: the heap and the sort of many give the same. */
static void a_large_vocabulary_is_drawn_from_as_if_sorted(void **state)
{
    (void)state;
    enum { LARGE = 20011 };
    static const struct {
        uint32_t top_k;
        float top_p, min_p, spread;
    } CASES[] = {
        {0, 0.9F, 0, 0},       {0, 0.9F, 0, 0.3F}, {0, 0.95F, 0, 6},        {0, 0.999F, 0, 12},
        {5000, 0.9F, 0, 2},    {5000, 0, 0, 4},    {100, 0.9F, 0, 1},       {0, 0, 0.01F, 3},
        {0, 0.9F, 0.2F, 0.5F}, {0, 0.05F, 0, 8},   {3000, 0.5F, 0.001F, 9}, {0, 0, 0, 4},
    };
    const struct kernels *k = kernels_get(kernels_best());
    const struct model_config config = {.n_vocab = LARGE, .n_eos = 1, .eos_ids = {6}};
    struct sampler_bench *b = sampler_bench_new(k, LARGE);
    float *logits = mem_zalloc(LARGE, sizeof *logits);
    float *copy = mem_zalloc(LARGE, sizeof *copy);
    float *prob = mem_zalloc(LARGE, sizeof *prob);
    uint32_t *ids = mem_zalloc(LARGE, sizeof *ids);
    uint64_t rng = 21;
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        struct rec_sampling p = params(0.9F);
        p.top_k = CASES[c].top_k;
        p.top_p = CASES[c].top_p;
        p.min_p = CASES[c].min_p;
        struct sampler *s = sampler_new(&p, &config);
        for (uint32_t index = 0; index < 12; index++) {
            for (uint32_t i = 0; i < LARGE; i++) { /* both signs, and many equal ones */
                double x = (double)(testmodel_random(&rng) % 4096) / 2048.0 - 1.0;
                logits[i] = CASES[c].spread * (float)x;
            }
            memcpy(copy, logits, LARGE * sizeof *copy);
            struct sampler_choice choice;
            assert_int_equal(choose_among(b, s, copy, LARGE, index, &choice), ERR_OK);
            assert_int_equal(choice.id, plain_choice(k, &p, logits, LARGE, index, prob, ids));
        }
        sampler_free(s);
    }
    sampler_bench_free(b);
    free(logits);
    free(copy);
    free(prob);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest_and_of_equals_the_first),
        cmocka_unit_test(nan_is_never_chosen),
        cmocka_unit_test(without_a_possible_token_it_is_an_error),
        cmocka_unit_test(bias_is_added_before_anything_else),
        cmocka_unit_test(penalties_follow_prompt_and_reply),
        cmocka_unit_test(end_tokens_wait_for_min_tokens),
        cmocka_unit_test(end_tokens_are_those_of_the_model_and_the_request),
        cmocka_unit_test(draws_follow_the_softmax),
        cmocka_unit_test(temperature_flattens_and_sharpens),
        cmocka_unit_test(top_k_keeps_the_likeliest),
        cmocka_unit_test(top_p_keeps_the_fewest_that_reach_it),
        cmocka_unit_test(min_p_is_relative_to_the_likeliest),
        cmocka_unit_test(top_p_counts_what_top_k_left),
        cmocka_unit_test(equal_logits_are_cut_by_id),
        cmocka_unit_test(a_draw_depends_on_seed_and_index_alone),
        cmocka_unit_test(log_probabilities_are_the_models_own),
        cmocka_unit_test(instruction_sets_agree_bit_for_bit),
        cmocka_unit_test(what_is_not_wanted_does_not_show),
        cmocka_unit_test(a_choice_after_drafts_needs_no_more_than_was_wanted_with_them),
        cmocka_unit_test(what_needs_all_logits_says_so),
        cmocka_unit_test(only_tokens_that_the_filters_keep_are_drawn_and_all_of_them),
        cmocka_unit_test(a_large_vocabulary_is_drawn_from_as_if_sorted),
        cmocka_unit_test(parameters_out_of_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
