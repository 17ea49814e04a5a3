/* SPDX-License-Identifier: MIT */
/* Whatever the bounds, and however they become closer, what is picked must be what the sampler chooses
 * from the logits themselves. */
#include "services/engine/pick.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/engine/sampler.h"
#include "tests/engine/testmodel.h"

enum { VOCAB = 700, RANGE = 300 };

struct rig {
    const struct kernels *k;
    struct sampler_bench *bench;
    uint64_t rng;
    float x[VOCAB], lower[VOCAB], upper[VOCAB], noise[VOCAB];
    struct rec_sampling p;
};

static float unit(struct rig *r)
{
    return (float)(testmodel_random(&r->rng) >> 40) * 0x1p-24F;
}

static void rig_init(struct rig *r, uint64_t seed)
{
    *r = (struct rig){.k = kernels_get(kernels_best()), .rng = seed};
    r->bench = sampler_bench_new(r->k, VOCAB);
}

static uint32_t choose_from_all(struct rig *r)
{
    static const struct model_config config = {.n_vocab = VOCAB};
    struct sampler *s = sampler_new(&r->p, &config);
    float logits[VOCAB];
    memcpy(logits, r->x, sizeof logits);
    struct sampler_choice c;
    const struct backend_logits all = {.values = logits, .n = VOCAB};
    assert_int_equal(sampler_choose(r->bench, s, &all, 0, &c), ERR_OK);
    sampler_free(s);
    return c.id;
}

/* A value between x and the bound, or one of them; the first ones are the worst that bounds can be. */
static float closer(struct rig *r, float x, float bound)
{
    uint64_t how = testmodel_random(&r->rng) % 4;
    return how == 0 ? x : how == 1 ? bound : x + (bound - x) * unit(r) * 0.5F;
}

static void refine(struct rig *r, const struct pick *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        if (!pick_wants(p, i))
            continue;
        n++;
        float lower = closer(r, r->x[i], r->lower[i]);
        float upper = closer(r, r->x[i], r->upper[i]);
        bool is_as_before = lower == r->lower[i] && upper == r->upper[i];
        r->lower[i] = is_as_before ? r->x[i] : fminf(lower, r->x[i]);
        r->upper[i] = is_as_before ? r->x[i] : fmaxf(upper, r->x[i]);
    }
    assert_true(n > 0);
}

/* Whether the token was found, which then is the sampler's. */
static bool expect_same(struct rig *r, uint32_t most_turns)
{
    struct pick p = {.k = r->k,
                     .lower = r->lower,
                     .upper = r->upper,
                     .noise = r->noise,
                     .n = VOCAB,
                     .top_p = r->p.top_p > 0.0F ? r->p.top_p : INFINITY,
                     .min_p = r->p.min_p,
                     .scale = 1.0F / r->p.temperature};
    const struct gumbel g = {.seed = r->p.seed, .index = 0, .scale = r->p.temperature};
    r->k->gumbel_noise(&g, 0, VOCAB, r->noise);
    float scratch[RANGE];
    pick_begin(&p);
    for (uint32_t turn = 0; !pick_is_over(&p); turn++) {
        struct pick_part parts[(VOCAB + RANGE - 1) / RANGE];
        uint32_t n = 0;
        for (uint32_t at = 0; at < VOCAB; at += RANGE)
            pick_look(&p, at, at + RANGE < VOCAB ? at + RANGE : VOCAB, scratch, &parts[n++]);
        pick_decide(&p, parts, n);
        if (turn == most_turns)
            pick_give_up(&p);
        else if (pick_is_asking(&p))
            refine(r, &p);
        assert_true(turn < 10000);
    }
    if (p.state == PICK_LOST)
        return false;
    assert_int_equal(p.id, choose_from_all(r));
    return true;
}

static void set_bounds(struct rig *r, float radius)
{
    for (uint32_t i = 0; i < VOCAB; i++) {
        uint64_t how = testmodel_random(&r->rng) % 4;
        r->lower[i] = how == 0 ? r->x[i] : r->x[i] - radius * unit(r);
        r->upper[i] = how == 1 ? r->x[i] : r->x[i] + radius * unit(r);
    }
}

/* Peaked and flat, with many equal ones. */
static void set_logits(struct rig *r, uint32_t turn)
{
    float width = turn % 5 == 0 ? 0.5F : 1.0F + (float)(turn % 7) * 3.0F;
    float step = turn % 3 == 0 ? 0.25F : 0x1p-10F;
    for (uint32_t i = 0; i < VOCAB; i++)
        r->x[i] = rintf(width * (unit(r) + unit(r) - unit(r) - unit(r)) / step) * step;
    static const float TEMPERATURES[] = {0.3F, 0.7F, 1.0F, 1.5F, 4.0F};
    r->p = (struct rec_sampling){.max_tokens = 1,
                                 .temperature = TEMPERATURES[turn % 5],
                                 .top_p = turn % 8 == 0 ? 0.0F : 0.02F + 0.97F * unit(r),
                                 .min_p = turn % 4 == 0 ? 0.3F * unit(r) : 0.0F,
                                 .seed = turn};
}

static void what_is_picked_is_what_the_sampler_chooses(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    uint32_t n_found = 0;
    enum { TURNS = 6000 };
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        set_logits(&r, turn);
        set_bounds(&r, turn % 11 == 0 ? 20.0F : 2.0F * unit(&r));
        n_found += expect_same(&r, UINT32_MAX);
    }
    assert_true(n_found > TURNS * 9 / 10);
    sampler_bench_free(r.bench);
}

/* How much is before the last token that is kept: top_p there and beside. */
static float share_before(const struct rig *r, uint32_t id)
{
    double before = 0.0;
    double sum = 0.0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        double p = exp(((double)r->x[i] - (double)r->x[id]) / (double)r->p.temperature);
        sum += p;
        before += r->x[i] > r->x[id] || (r->x[i] == r->x[id] && i < id) ? p : 0.0;
    }
    return (float)(before / sum);
}

static void at_the_very_border_it_is_the_sampler_who_decides(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    uint32_t n_lost = 0;
    for (uint32_t turn = 0; turn < 3000; turn++) {
        set_logits(&r, turn);
        r.p.min_p = 0.0F;
        r.p.top_p = 0.999F;
        float border = share_before(&r, choose_from_all(&r));
        if (!(border > 0.01F && border < 0.98F))
            continue;
        static const float BESIDE[] = {0.0F, 1e-7F, -1e-7F, 1e-6F, -1e-6F, 3e-4F, -3e-4F};
        r.p.top_p = border * (1.0F + BESIDE[turn % 7]);
        set_bounds(&r, turn % 2 == 0 ? 0.0F : 0.3F);
        n_lost += !expect_same(&r, UINT32_MAX);
    }
    assert_true(n_lost > 100);
    sampler_bench_free(r.bench);
}

static void bounds_without_end_decide_nothing_that_is_not_so(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3);
    for (uint32_t turn = 0; turn < 500; turn++) {
        set_logits(&r, turn);
        set_bounds(&r, 1.0F);
        for (uint32_t i = 0; i < VOCAB; i += 1 + turn % 13) {
            r.lower[i] = -INFINITY;
            r.upper[i] = turn % 2 == 0 ? INFINITY : r.upper[i];
        }
        for (uint32_t i = 0; i < VOCAB && turn % 5 == 0; i += 50)
            r.x[i] = r.lower[i] = r.upper[i] = -INFINITY;
        (void)expect_same(&r, turn % 3 == 0 ? UINT32_MAX : turn % 20);
    }
    for (uint32_t i = 0; i < VOCAB; i++) {
        r.lower[i] = -INFINITY;
        r.upper[i] = INFINITY;
    }
    assert_false(expect_same(&r, 20));
    sampler_bench_free(r.bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_picked_is_what_the_sampler_chooses),
        cmocka_unit_test(at_the_very_border_it_is_the_sampler_who_decides),
        cmocka_unit_test(bounds_without_end_decide_nothing_that_is_not_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
