/* SPDX-License-Identifier: MIT */
#include "services/engine/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/testmodel.h"

enum { LONGEST = 8 * KV_BLOCK };

static void fill(uint32_t *tokens, uint32_t n, uint32_t first)
{
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = first + i;
}

/* A sequence that computes all of its tokens and goes. */
static void pass_through(struct kv *kv, uint64_t tenant, const uint32_t *tokens, uint32_t n)
{
    struct kv_seq seq = {0};
    (void)kv_match(kv, &seq, tenant, tokens, n);
    assert_true(kv_grow(kv, &seq, n));
    kv_publish(kv, &seq, tokens, n);
    kv_release(kv, &seq);
    kv_check(kv);
}

/* Positions of tokens[0..n) that the cache has. */
static uint32_t peek(struct kv *kv, uint64_t tenant, const uint32_t *tokens, uint32_t n)
{
    struct kv_seq seq = {0};
    uint32_t hit = kv_match(kv, &seq, tenant, tokens, n);
    kv_release(kv, &seq);
    return hit;
}

static void a_prefix_is_found_in_whole_blocks(void **state)
{
    (void)state;
    struct kv *kv = kv_new(16);
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    pass_through(kv, 0, t, 3 * KV_BLOCK + 5);
    assert_int_equal(kv_stats(kv).n_published, 3);
    assert_int_equal(peek(kv, 0, t, LONGEST), 3 * KV_BLOCK);
    t[2 * KV_BLOCK + 7]++;
    assert_int_equal(peek(kv, 0, t, LONGEST), 2 * KV_BLOCK);
    t[0]++;
    assert_int_equal(peek(kv, 0, t, LONGEST), 0);
    kv_free(kv);
}

static void the_last_token_is_always_left_to_compute(void **state)
{
    (void)state;
    struct kv *kv = kv_new(16);
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    pass_through(kv, 0, t, 2 * KV_BLOCK);
    assert_int_equal(peek(kv, 0, t, 2 * KV_BLOCK), KV_BLOCK);
    assert_int_equal(peek(kv, 0, t, 2 * KV_BLOCK + 1), 2 * KV_BLOCK);
    assert_int_equal(peek(kv, 0, t, 1), 0);
    kv_free(kv);
}

static void tenants_do_not_share(void **state)
{
    (void)state;
    struct kv *kv = kv_new(16);
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    pass_through(kv, 1, t, LONGEST);
    assert_int_equal(peek(kv, 2, t, LONGEST), 0);
    assert_int_equal(peek(kv, 1, t, LONGEST), LONGEST - KV_BLOCK);
    kv_free(kv);
}

/* The same tokens after another beginning are another block. */
static void a_block_is_known_by_what_stands_before_it(void **state)
{
    (void)state;
    struct kv *kv = kv_new(16);
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    pass_through(kv, 0, t, 2 * KV_BLOCK);
    uint32_t other[LONGEST];
    fill(other, KV_BLOCK, 9000);
    memcpy(other + KV_BLOCK, t + KV_BLOCK, KV_BLOCK * sizeof *t);
    pass_through(kv, 0, other, KV_BLOCK);
    assert_int_equal(peek(kv, 0, other, 2 * KV_BLOCK + 1), KV_BLOCK);
    kv_free(kv);
}

static void equal_blocks_become_one(void **state)
{
    (void)state;
    struct kv *kv = kv_new(8);
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    struct kv_seq a = {0};
    struct kv_seq b = {0};
    assert_int_equal(kv_match(kv, &a, 0, t, 70) + kv_match(kv, &b, 0, t, 70), 0);
    assert_true(kv_grow(kv, &a, 70) && kv_grow(kv, &b, 70));
    assert_int_equal(kv_stats(kv).n_held, 6);
    kv_publish(kv, &a, t, 70);
    kv_publish(kv, &b, t, 70);
    kv_check(kv);
    assert_int_equal(kv_stats(kv).n_held, 4);
    assert_int_equal(a.blocks[0], b.blocks[0]);
    assert_int_equal(a.blocks[1], b.blocks[1]);
    assert_int_not_equal(a.blocks[2], b.blocks[2]);
    kv_release(kv, &a);
    kv_check(kv);
    assert_int_equal(kv_stats(kv).n_held, 3);
    kv_release(kv, &b);
    kv_check(kv);
    assert_int_equal(kv_stats(kv).n_held, 0);
    kv_free(kv);
}

static void the_least_recently_used_goes_first_and_from_its_end(void **state)
{
    (void)state;
    struct kv *kv = kv_new(6);
    uint32_t a[LONGEST];
    uint32_t b[LONGEST];
    fill(a, LONGEST, 0);
    fill(b, LONGEST, 5000);
    pass_through(kv, 0, a, 3 * KV_BLOCK);
    pass_through(kv, 0, b, 3 * KV_BLOCK);
    struct kv_seq seq = {0};
    assert_true(kv_grow(kv, &seq, KV_BLOCK));
    kv_check(kv);
    assert_int_equal(peek(kv, 0, a, LONGEST), 2 * KV_BLOCK);
    assert_int_equal(peek(kv, 0, b, LONGEST), 3 * KV_BLOCK);
    /* Looking made `b` the latest, so `a` goes on to shrink. */
    assert_true(kv_grow(kv, &seq, 3 * KV_BLOCK));
    assert_int_equal(peek(kv, 0, a, LONGEST), 0);
    assert_int_equal(peek(kv, 0, b, LONGEST), 3 * KV_BLOCK);
    kv_release(kv, &seq);
    kv_free(kv);
}

static void blocks_that_another_computed_are_adopted(void **state)
{
    (void)state;
    struct kv *kv = kv_new(16);
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    struct kv_seq seq = {0};
    (void)kv_match(kv, &seq, 0, t, 3 * KV_BLOCK);
    assert_true(kv_grow(kv, &seq, 3 * KV_BLOCK));
    assert_int_equal(kv_adopt(kv, &seq, t, 3 * KV_BLOCK, 0), 0);
    pass_through(kv, 0, t, LONGEST);
    uint32_t available = kv_n_available(kv);
    /* The last token is left to compute here, too. */
    assert_int_equal(kv_adopt(kv, &seq, t, 3 * KV_BLOCK, 0), 2 * KV_BLOCK);
    kv_check(kv);
    assert_int_equal(kv_n_available(kv), available);
    kv_publish(kv, &seq, t, 3 * KV_BLOCK);
    kv_release(kv, &seq);
    kv_check(kv);
    assert_int_equal(kv_stats(kv).n_published, 8);
    kv_free(kv);
}

static void growth_is_all_or_nothing(void **state)
{
    (void)state;
    struct kv *kv = kv_new(4);
    struct kv_seq a = {0};
    struct kv_seq b = {0};
    assert_true(kv_grow(kv, &a, 3 * KV_BLOCK));
    assert_false(kv_grow(kv, &b, KV_BLOCK + 1));
    assert_int_equal(b.n_blocks, 0);
    assert_int_equal(kv_n_available(kv), 1);
    assert_true(kv_grow(kv, &b, KV_BLOCK));
    assert_true(kv_grow(kv, &a, 2 * KV_BLOCK)); /* has them already */
    kv_release(kv, &a);
    kv_release(kv, &b);
    kv_free(kv);
}

/* ---- random histories ---- */

enum { N_SEQS = 6, N_BLOCKS = 24 };

struct live {
    bool is_used;
    struct kv_seq kv;
    uint32_t tokens[LONGEST];
    uint32_t n_computed;
};

/* What each block holds, written as the backend would write it: the whole history up to it. */
struct shadow {
    uint64_t of_block[N_BLOCKS];
};

static uint64_t history(uint64_t tenant, const uint32_t *tokens, uint32_t n)
{
    return testmodel_hash(tokens, n * sizeof *tokens) ^ tenant;
}

static void start(struct kv *kv, struct live *l, const struct shadow *shadow, uint64_t *rng)
{
    /* As the scheduler does, with some blocks for what comes: these can be adopted later.
     * Few different tokens per block, so that prefixes meet. */
    for (uint32_t i = 0; i < LONGEST; i++)
        l->tokens[i] = i % KV_BLOCK == 0 ? (uint32_t)(testmodel_random(rng) % 2) : 7;
    l->n_computed = kv_match(kv, &l->kv, testmodel_random(rng) % 2, l->tokens, LONGEST);
    (void)kv_grow(kv, &l->kv, l->n_computed + (uint32_t)(testmodel_random(rng) % 120));
    for (uint32_t b = 0; b < l->n_computed / KV_BLOCK; b++)
        assert_true(shadow->of_block[l->kv.blocks[b]] ==
                    history(l->kv.tenant, l->tokens, (b + 1) * KV_BLOCK));
    l->is_used = true;
}

static void advance(struct kv *kv, struct live *l, struct shadow *shadow, uint64_t *rng)
{
    if (l->n_computed == l->kv.n_published * KV_BLOCK) {
        uint32_t before = l->n_computed;
        l->n_computed = kv_adopt(kv, &l->kv, l->tokens, LONGEST, before);
        assert_true(l->n_computed < LONGEST);
        for (uint32_t b = before / KV_BLOCK; b < l->n_computed / KV_BLOCK; b++)
            assert_true(shadow->of_block[l->kv.blocks[b]] ==
                        history(l->kv.tenant, l->tokens, (b + 1) * KV_BLOCK));
    }
    uint32_t n = l->n_computed + 1 + (uint32_t)(testmodel_random(rng) % 50);
    n = n < LONGEST ? n : LONGEST;
    uint32_t available = kv_n_available(kv);
    uint32_t had = l->kv.n_blocks;
    bool did_grow = kv_grow(kv, &l->kv, n);
    uint32_t wanted = (n + KV_BLOCK - 1) / KV_BLOCK;
    assert_true(did_grow == (wanted <= had + available));
    if (!did_grow)
        return;
    for (uint32_t b = l->n_computed / KV_BLOCK; b < n / KV_BLOCK; b++)
        shadow->of_block[l->kv.blocks[b]] = history(l->kv.tenant, l->tokens, (b + 1) * KV_BLOCK);
    kv_publish(kv, &l->kv, l->tokens, n);
    l->n_computed = n;
    for (uint32_t b = 0; b < n / KV_BLOCK; b++)
        assert_true(shadow->of_block[l->kv.blocks[b]] ==
                    history(l->kv.tenant, l->tokens, (b + 1) * KV_BLOCK));
}

static void any_history_keeps_the_invariants_and_the_content(void **state)
{
    (void)state;
    uint64_t rng = 42;
    struct kv *kv = kv_new(N_BLOCKS);
    struct live *live = calloc(N_SEQS, sizeof *live);
    assert_non_null(live);
    struct shadow shadow = {{0}};
    for (uint32_t turn = 0; turn < 20000; turn++) {
        struct live *l = &live[testmodel_random(&rng) % N_SEQS];
        if (!l->is_used) {
            start(kv, l, &shadow, &rng);
        } else if (l->n_computed == LONGEST || testmodel_random(&rng) % 8 == 0) {
            kv_release(kv, &l->kv);
            *l = (struct live){0};
        } else {
            advance(kv, l, &shadow, &rng);
        }
        kv_check(kv);
    }
    assert_true(kv_stats(kv).n_evictions > 100);
    for (uint32_t i = 0; i < N_SEQS; i++)
        kv_release(kv, &live[i].kv);
    kv_check(kv);
    assert_int_equal(kv_stats(kv).n_held, 0);
    free(live);
    kv_free(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_found_in_whole_blocks),
        cmocka_unit_test(the_last_token_is_always_left_to_compute),
        cmocka_unit_test(tenants_do_not_share),
        cmocka_unit_test(a_block_is_known_by_what_stands_before_it),
        cmocka_unit_test(equal_blocks_become_one),
        cmocka_unit_test(the_least_recently_used_goes_first_and_from_its_end),
        cmocka_unit_test(blocks_that_another_computed_are_adopted),
        cmocka_unit_test(growth_is_all_or_nothing),
        cmocka_unit_test(any_history_keeps_the_invariants_and_the_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
