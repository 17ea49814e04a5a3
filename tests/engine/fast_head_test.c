/* SPDX-License-Identifier: MIT */
/* The logits that the fast head gives must be those of the full head, bit for bit, and the ones that
 * it leaves out must be below the top: for heads made of near ties above all. */
#include "services/engine/fast_head.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/f16/f16.h"
#include "services/engine/sampler.h"
#include "tests/engine/testmodel.h"

enum { VOCAB = 1777, HIDDEN = 200, N_TOKENS = 5 };

struct rig {
    struct model model;
    uint16_t head[VOCAB * HIDDEN];
    float h[N_TOKENS * HIDDEN];
    float want[N_TOKENS * VOCAB];
    float got[N_TOKENS * VOCAB];
    uint64_t rng;
    struct pool *pool;
    const struct kernels *k;
};

static float uniform(struct rig *r)
{
    return (float)(testmodel_random(&r->rng) >> 40) * 0x1p-23F - 1.0F;
}

static struct rig *rig_new(uint64_t seed)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->model.config = (struct model_config){.n_vocab = VOCAB, .n_hidden = HIDDEN};
    r->model.head = r->head;
    r->rng = seed;
    r->k = kernels_get(kernels_best());
    assert_int_equal(pool_new(2, &r->pool), ERR_OK);
    for (size_t i = 0; i < VOCAB * HIDDEN; i++)
        r->head[i] = f16_from_f32(uniform(r) + uniform(r) + uniform(r));
    for (size_t i = 0; i < N_TOKENS * HIDDEN; i++)
        r->h[i] = uniform(r);
    return r;
}

static void rig_free(struct rig *r)
{
    pool_free(r->pool);
    free(r);
}

/* Returns how many rows were read in full. */
static uint64_t expect(struct rig *r, const struct backend_want wants[N_TOKENS])
{
    struct fast_head *f = NULL;
    assert_int_equal(fast_head_new(&r->model, r->k, r->pool, N_TOKENS, &f), ERR_OK);
    struct head_input in = {.h = r->h, .stride = HIDDEN, .n_tokens = N_TOKENS};
    kernels_get(ISA_REF)->head_logits(r->head, HIDDEN, &in, 0, VOCAB, r->want, VOCAB);
    struct backend_logits got[N_TOKENS];
    uint64_t n = 0;
    for (int run = 0; run < 2; run++) { /* the second one may read two planes at once */
        assert_true(fast_head_run(f, r->h, wants, N_TOKENS, r->got, got));
        for (uint32_t t = 0; t < N_TOKENS; t++) {
            for (uint32_t i = 1; i < got[t].n; i++)
                assert_true(got[t].ids[i - 1] < got[t].ids[i]);
            if (!fast_head_agrees(r->want + (size_t)t * VOCAB, &got[t], VOCAB, &wants[t]))
                fail_msg("token %u: other logits than the full head's", t);
        }
        n = run == 0 ? fast_head_n_rescored(f) : n;
    }
    fast_head_free(f);
    return n;
}

static uint64_t expect_top(struct rig *r, uint32_t n_top)
{
    struct backend_want wants[N_TOKENS];
    for (uint32_t t = 0; t < N_TOKENS; t++)
        wants[t] = (struct backend_want){.kind = WANT_TOP, .n_top = n_top + t};
    return expect(r, wants);
}

static void few_rows_of_an_ordinary_head_are_read_in_full(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    assert_true(expect_top(r, 1) < N_TOKENS * VOCAB / 10);
    assert_true(expect_top(r, 41) < N_TOKENS * VOCAB / 3);
    rig_free(r);
}

/* Many rows that differ by a unit in the last place of one weight, or not at all. */
/* Whether `got` has what is wanted of `full` after the changes. */
static void expect_changed(const float *full, const struct backend_want *want,
                           const struct backend_logits *got)
{
    static float changed[VOCAB];
    static bool is_got[VOCAB];
    memcpy(changed, full, sizeof changed);
    memset(is_got, 0, sizeof is_got);
    for (uint32_t i = 0; i < got->n; i++) {
        is_got[got->ids[i]] = true;
        assert_memory_equal(&got->values[i], &full[got->ids[i]], sizeof(float));
    }
    for (uint32_t i = 0; i < want->n_changes; i++) {
        const struct backend_change *c = &want->changes[i];
        bool is_any = c->kind == CHANGE_ANY;
        assert_true(!is_any || is_got[c->id]);
        changed[c->id] = is_any ? -INFINITY : backend_changed(changed[c->id], c);
    }
    /* What was left out, changed, must be as if it had been left out of a head without changes. */
    static float values[VOCAB];
    struct backend_logits expected = {.values = values, .ids = got->ids, .n = got->n};
    for (uint32_t i = 0; i < got->n; i++)
        values[i] = changed[got->ids[i]];
    struct backend_want plain = *want;
    plain.n_changes = 0;
    assert_true(fast_head_agrees(changed, &expected, VOCAB, &plain));
}

/* The three kinds side by side. */
static uint64_t expect_mixed(struct rig *r, float temperature, float reach, uint64_t seed)
{
    const struct backend_want wants[N_TOKENS] = {
        {.kind = WANT_DRAW, .noise = {.seed = seed, .index = 3, .scale = temperature}},
        {.kind = WANT_NEAR, .reach = reach},
        {.kind = WANT_TOP, .n_top = 2},
        {.kind = WANT_DRAW, .noise = {.seed = seed, .index = 4, .scale = temperature}},
        {.kind = WANT_NEAR, .reach = 0.1F},
    };
    return expect(r, wants);
}

static void draws_and_what_is_near_the_largest_come_out_as_in_the_full_head(void **state)
{
    (void)state;
    static const float TEMPERATURES[] = {0.01F, 0.3F, 1.0F, 4.0F, 100.0F};
    for (uint64_t seed = 1; seed < 31; seed++) {
        struct rig *r = rig_new(seed);
        float t = TEMPERATURES[seed % 5];
        uint64_t n = expect_mixed(r, t, seed % 4 == 0 ? 0.0F : 0.5F, seed);
        assert_true(n < N_TOKENS * VOCAB / 4);
        rig_free(r);
    }
}

static void changes_count_as_if_the_full_head_had_been_changed(void **state)
{
    (void)state;
    const struct kernels *k = kernels_get(kernels_best());
    for (uint32_t turn = 0; turn < 40; turn++) {
        struct rig *r = rig_new(turn + 1);
        struct backend_change changes[60];
        for (uint32_t i = 0; i < 60; i++) {
            uint32_t id = (uint32_t)(testmodel_random(&r->rng) % VOCAB);
            bool is_scale = i % 3 == 1;
            changes[i] = (struct backend_change){.id = id,
                                                 .kind = i % 20 == 19 ? CHANGE_ANY
                                                         : is_scale   ? CHANGE_SCALE
                                                                      : CHANGE_ADD,
                                                 .value = is_scale ? 1.0F + 0.4F * uniform(r)
                                                                   : 20.0F * uniform(r)};
        }
        struct backend_want want = {.kind = (enum backend_want_kind)(WANT_TOP + turn % 3),
                                    .n_top = 1 + turn % 7,
                                    .reach = 2.0F,
                                    .noise = {.seed = turn, .scale = 2.0F},
                                    .changes = changes,
                                    .n_changes = 60};
        struct fast_head *f = NULL;
        assert_int_equal(fast_head_new(&r->model, k, r->pool, 1, &f), ERR_OK);
        struct head_input in = {.h = r->h, .stride = HIDDEN, .n_tokens = 1};
        k->head_logits(r->head, HIDDEN, &in, 0, VOCAB, r->want, VOCAB);
        struct backend_logits got;
        assert_true(fast_head_run(f, r->h, &want, 1, r->got, &got));
        expect_changed(r->want, &want, &got);
        fast_head_free(f);
        rig_free(r);
    }
}

/* Tokens picked side by side with another kind, as the sampler chooses from all logits. Returns how
 * many were found. */
static uint32_t expect_picked(struct rig *r, struct fast_head *f, const struct rec_sampling *p,
                              uint32_t n_seen)
{
    struct sampler_bench *bench = sampler_bench_new(r->k, VOCAB);
    struct sampler *s = sampler_new(p, &r->model.config);
    uint32_t seen[20];
    for (uint32_t i = 0; i < n_seen; i++)
        seen[i] = (uint32_t)(testmodel_random(&r->rng) % VOCAB);
    sampler_saw(s, seen, n_seen, true);
    struct backend_want wants[N_TOKENS];
    for (uint32_t t = 0; t < N_TOKENS; t++) {
        wants[t] = sampler_want(s, 0, NULL, 0);
        assert_int_equal(wants[t].kind, WANT_PICK);
        wants[t].noise.index = t;
    }
    wants[2] = (struct backend_want){.kind = WANT_TOP, .n_top = 3};
    struct backend_logits got[N_TOKENS];
    assert_true(fast_head_run(f, r->h, wants, N_TOKENS, r->got, got));
    assert_true(fast_head_agrees(r->want + (size_t)2 * VOCAB, &got[2], VOCAB, &wants[2]));
    uint32_t n_found = 0;
    for (uint32_t t = 0; t < N_TOKENS; t++) {
        float *full = r->want + (size_t)t * VOCAB;
        float copy[VOCAB];
        memcpy(copy, full, sizeof copy);
        if (t == 2 || got[t].values == NULL)
            continue;
        assert_memory_equal(&got[t].values[0], &full[got[t].ids[0]], sizeof(float));
        struct sampler_choice few;
        struct sampler_choice all;
        const struct backend_logits whole = {.values = copy, .n = VOCAB};
        assert_int_equal(sampler_choose(bench, s, &got[t], t, &few), ERR_OK);
        assert_int_equal(sampler_choose(bench, s, &whole, t, &all), ERR_OK);
        assert_int_equal(few.id, all.id);
        n_found++;
    }
    sampler_free(s);
    sampler_bench_free(bench);
    return n_found;
}

static void picks_come_out_as_the_sampler_chooses_from_the_full_head(void **state)
{
    (void)state;
    uint32_t n_found = 0;
    for (uint64_t seed = 1; seed < 16; seed++) {
        struct rig *r = rig_new(seed);
        for (size_t i = 0; i < N_TOKENS * HIDDEN; i++)
            r->h[i] *= 0.5F;
        struct head_input in = {.h = r->h, .stride = HIDDEN, .n_tokens = N_TOKENS};
        r->k->head_logits(r->head, HIDDEN, &in, 0, VOCAB, r->want, VOCAB);
        struct fast_head *f = NULL;
        assert_int_equal(fast_head_new(&r->model, r->k, r->pool, N_TOKENS, &f), ERR_OK);
        for (uint32_t turn = 0; turn < 20; turn++) {
            const struct rec_sampling p = {
                .max_tokens = 1,
                .temperature = 0.5F + 0.3F * (float)(turn % 4),
                .top_p = turn % 10 == 5 ? 0.0F : 0.5F + 0.09F * (float)(turn % 6),
                .min_p = turn % 5 == 0 ? 0.02F : 0.0F,
                .frequency_penalty = turn % 3 == 0 ? 0.7F : 0.0F,
                .repetition_penalty = turn % 6 == 0 ? 1.3F : 0.0F,
                .seed = seed * 100 + turn};
            n_found += expect_picked(r, f, &p, turn % 2 == 0 ? 20 : 0);
        }
        fast_head_free(f);
        rig_free(r);
    }
    assert_true(n_found > 15 * 20 * (N_TOKENS - 1) * 3 / 4);
}

static void near_ties_come_out_as_in_the_full_head(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct rig *r = rig_new(seed);
        for (uint32_t row = 1; row < VOCAB; row++) {
            if (row % 3 == 0)
                continue;
            uint16_t *w = r->head + (size_t)row * HIDDEN;
            memcpy(w, r->head, HIDDEN * sizeof *w);
            if (row % 3 == 1)
                w[testmodel_random(&r->rng) % HIDDEN] ^= 1;
        }
        for (uint32_t i = 0; i < HIDDEN; i++) /* such that these rows are at the top */
            r->h[i] += 0.5F * f16_to_f32(r->head[i]);
        (void)expect_top(r, 1 + (uint32_t)seed % 5);
        (void)expect_mixed(r, 0.001F, 0.0F, seed);
        rig_free(r);
    }
}

/* The hidden vector points along what the copy of row 0 loses, so that its bound is used up. */
static void the_worst_vector_comes_out_as_in_the_full_head(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct rig *r = rig_new(seed);
        float most = 0.0F;
        for (uint32_t i = 0; i < HIDDEN; i++)
            most = fmaxf(most, fabsf(f16_to_f32(r->head[i])));
        float scale = most / 127.0F;
        for (uint32_t i = 0; i < N_TOKENS * HIDDEN; i++) {
            float w = f16_to_f32(r->head[i % HIDDEN]);
            float lost = w - scale * rintf(w / scale);
            r->h[i] = (i / HIDDEN == 0 ? lost : -lost) + 1e-3F * uniform(r);
        }
        (void)expect_top(r, 1);
        (void)expect_mixed(r, 0.01F, 0.001F, seed);
        rig_free(r);
    }
}

static void odd_rows_come_out_as_in_the_full_head(void **state)
{
    (void)state;
    struct rig *r = rig_new(7);
    memset(r->head + 5 * HIDDEN, 0, HIDDEN * sizeof *r->head);
    r->head[9 * HIDDEN] = 0x7c00; /* inf */
    r->head[11 * HIDDEN + 3] = 0xfc00;
    for (uint32_t i = 0; i < HIDDEN; i++) {
        r->head[13 * HIDDEN + i] = 0x7bff; /* the largest */
        r->head[14 * HIDDEN + i] = (uint16_t)(i % 3); /* subnormal */
    }
    (void)expect_top(r, 1);
    (void)expect_top(r, 200);
    rig_free(r);
}

static void a_vector_without_bounds_is_refused(void **state)
{
    (void)state;
    struct rig *r = rig_new(3);
    struct fast_head *f = NULL;
    assert_int_equal(fast_head_new(&r->model, r->k, r->pool, 1, &f), ERR_OK);
    const struct backend_want top = {.kind = WANT_TOP, .n_top = 1};
    struct backend_logits got;
    const float bad[] = {NAN, INFINITY, 1e30F};
    for (size_t i = 0; i < 3; i++) {
        r->h[HIDDEN - 1] = bad[i];
        assert_false(fast_head_run(f, r->h, &top, 1, r->got, &got));
    }
    memset(r->h, 0, sizeof r->h);
    assert_false(fast_head_run(f, r->h, &top, 1, r->got, &got));
    fast_head_free(f);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows_of_an_ordinary_head_are_read_in_full),
        cmocka_unit_test(draws_and_what_is_near_the_largest_come_out_as_in_the_full_head),
        cmocka_unit_test(picks_come_out_as_the_sampler_chooses_from_the_full_head),
        cmocka_unit_test(changes_count_as_if_the_full_head_had_been_changed),
        cmocka_unit_test(near_ties_come_out_as_in_the_full_head),
        cmocka_unit_test(the_worst_vector_comes_out_as_in_the_full_head),
        cmocka_unit_test(odd_rows_come_out_as_in_the_full_head),
        cmocka_unit_test(a_vector_without_bounds_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
