/* SPDX-License-Identifier: MIT */
#include "kernels/attention/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/f16/f16.h"
#include "tests/kernels/check.h"

/* A sequence's cache for one KV head, blocks in their own buffers, unwritten slots NaN. */
struct cache {
    uint16_t **blocks;
    size_t n_blocks, head_dim;
};

static void cache_init(struct cache *c, struct check_rng *rng, size_t n_pos, size_t head_dim,
                       const struct kernels *k, enum check_kind kind)
{
    size_t elements = attention_block_elements(head_dim);
    c->head_dim = head_dim;
    c->n_blocks = (n_pos + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK;
    c->blocks = check_alloc(c->n_blocks * sizeof *c->blocks);
    for (size_t b = 0; b < c->n_blocks; b++) {
        c->blocks[b] = check_alloc(2 * elements * sizeof(uint16_t));
        memset(c->blocks[b], 0xff, 2 * elements * sizeof(uint16_t));
    }
    for (size_t p = 0; p < n_pos; p++) {
        uint16_t *block = c->blocks[p / ATTENTION_BLOCK];
        float *key = check_floats(rng, head_dim, kind);
        float *value = check_floats(rng, head_dim, kind);
        k->attention_store(key, value, head_dim, p % ATTENTION_BLOCK, block, block + elements);
        free(key);
        free(value);
    }
}

static void cache_fini(struct cache *c)
{
    for (size_t b = 0; b < c->n_blocks; b++) {
        free(c->blocks[b]);
    }
    free(c->blocks);
}

static struct attention cache_query(const struct cache *c, size_t n_heads, size_t n_tokens,
                                    size_t pos0, const float *q, float *out)
{
    return (struct attention){
        .blocks = (const uint16_t *const *)c->blocks,
        .k_offset = 0,
        .v_offset = attention_block_elements(c->head_dim),
        .head_dim = c->head_dim,
        .n_heads = n_heads,
        .n_tokens = n_tokens,
        .pos0 = pos0,
        .q = q,
        .q_stride = n_heads * c->head_dim,
        .out = out,
        .out_stride = n_heads * c->head_dim,
    };
}

static void ref_is_close_to_softmax_attention_in_double(void **state)
{
    (void)state;
    enum { POS = 700, HD = 64 };
    struct check_rng rng = {12};
    struct cache c;
    float *q = check_floats(&rng, HD, CHECK_NORMAL);
    float out[HD];
    double s[POS], sum = 0, max = -1e300;
    cache_init(&c, &rng, POS, HD, kernels_get(ISA_REF), CHECK_NORMAL);
    struct attention a = cache_query(&c, 1, 1, POS - 1, q, out);
    attention_run_ref(&a);
    for (size_t p = 0; p < POS; p++) {
        s[p] = 0;
        for (size_t d = 0; d < HD; d++) {
            uint16_t key = c.blocks[p / 32][d * 32 + p % 32];
            s[p] += (double)q[d] * (double)f16_to_f32(key) / 8.0;
        }
        max = fmax(max, s[p]);
    }
    for (size_t p = 0; p < POS; p++) {
        s[p] = exp(s[p] - max);
        sum += s[p];
    }
    for (size_t d = 0; d < HD; d++) {
        double want = 0;
        for (size_t p = 0; p < POS; p++) {
            uint16_t value = c.blocks[p / 32][(size_t)HD * 32 + p % 32 * HD + d];
            want += s[p] / sum * (double)f16_to_f32(value);
        }
        assert_true(fabs((double)out[d] - want) < 1e-5);
    }
    cache_fini(&c);
    free(q);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    static const size_t dims[] = {4, 8, 16, 24, 28, 40, 64, 80, 96, 100, 128, 252, 256};
    struct check_rng rng = {13};
    for (int round = 0, n_rounds = check_rounds(300); round < n_rounds; round++) {
        size_t hd = dims[check_random(&rng) % (sizeof dims / sizeof dims[0])];
        size_t heads = check_between(&rng, 1, 9);
        size_t n_pos = check_between(&rng, 1, round % 4 == 0 ? 900 : 70);
        size_t tokens = check_between(&rng, 1, n_pos < 20 ? n_pos : 20);
        size_t n = tokens * heads * hd;
        enum check_kind kind = round % 3 == 0 ? (enum check_kind)(round % CHECK_KINDS) : 0;
        struct cache c;
        cache_init(&c, &rng, n_pos, hd, k, kind);
        float *q = check_floats(&rng, n, round % 5 == 0 ? CHECK_EQUAL : kind);
        float *got = check_alloc(n * sizeof *got);
        float *want = check_alloc(n * sizeof *want);
        struct attention a = cache_query(&c, heads, tokens, n_pos - tokens, q, got);
        k->attention_run(&a);
        a.out = want;
        ref->attention_run(&a);
        check_same_floats(got, want, n, k->isa_name);
        cache_fini(&c);
        free(q);
        free(got);
        free(want);
    }
}

static void every_variant_gives_the_bits_of_ref(void **state)
{
    (void)state;
    check_each_isa(compare);
}

static void compare_store(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {14};
    for (size_t hd = 4; hd <= 256; hd += 4) {
        struct cache got, want;
        struct check_rng again = rng;
        cache_init(&got, &rng, 37, hd, k, CHECK_ANY_BITS);
        cache_init(&want, &again, 37, hd, ref, CHECK_ANY_BITS);
        for (size_t b = 0; b < got.n_blocks; b++) {
            assert_memory_equal(got.blocks[b], want.blocks[b],
                                2 * attention_block_elements(hd) * sizeof(uint16_t));
        }
        cache_fini(&got);
        cache_fini(&want);
    }
}

static void every_variant_stores_the_bytes_of_ref(void **state)
{
    (void)state;
    check_each_isa(compare_store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_close_to_softmax_attention_in_double),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
        cmocka_unit_test(every_variant_stores_the_bytes_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
