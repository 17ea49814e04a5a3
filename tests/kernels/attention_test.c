/* SPDX-License-Identifier: MIT */
#include "kernels/attention/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/f16/f16.h"
#include "tests/kernels/check.h"

/* The two kinds of cache. */
enum kind { F16, INT8, KINDS };

static size_t part_bytes(enum kind kind, size_t head_dim)
{
    return kind == F16 ? attention_part_bytes(head_dim) : attention8_part_bytes(head_dim);
}

static void store(const struct kernels *k, enum kind kind, const float *key, const float *value,
                  size_t head_dim, size_t slot, uint8_t *part)
{
    (kind == F16 ? k->attention_store : k->attention8_store)(key, value, head_dim, slot, part);
}

static void run(const struct kernels *k, enum kind kind, const struct attention *a)
{
    (kind == F16 ? k->attention_run : k->attention8_run)(a);
}

/* A sequence's cache for one KV head, blocks in their own buffers, unwritten slots NaN. */
struct cache {
    uint8_t **blocks;
    size_t n_blocks, head_dim;
    enum kind kind;
};

static void cache_init(struct cache *c, struct check_rng *rng, size_t n_pos, size_t head_dim,
                       const struct kernels *k, enum kind kind, enum check_kind values)
{
    size_t bytes = part_bytes(kind, head_dim);
    c->head_dim = head_dim;
    c->kind = kind;
    c->n_blocks = (n_pos + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK;
    c->blocks = check_alloc(c->n_blocks * sizeof *c->blocks);
    for (size_t b = 0; b < c->n_blocks; b++) {
        c->blocks[b] = check_alloc(bytes);
        memset(c->blocks[b], 0xff, bytes);
    }
    for (size_t p = 0; p < n_pos; p++) {
        float *key = check_floats(rng, head_dim, values);
        float *value = check_floats(rng, head_dim, values);
        store(k, kind, key, value, head_dim, p % ATTENTION_BLOCK, c->blocks[p / ATTENTION_BLOCK]);
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
        .blocks = (const uint8_t *const *)c->blocks,
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

/* Element d of the key (or the value) of a position, as it was stored. */
static double element(const struct cache *c, size_t pos, bool is_value, size_t d)
{
    const uint8_t *part = c->blocks[pos / ATTENTION_BLOCK];
    size_t slot = pos % ATTENTION_BLOCK;
    size_t hd = c->head_dim;
    if (c->kind == F16) {
        const uint16_t *half = (const void *)part;
        return (double)f16_to_f32(
            half[is_value ? (ATTENTION_BLOCK + slot) * hd + d : d * ATTENTION_BLOCK + slot]);
    }
    const int8_t *q = (const void *)part;
    const float *scales = (const void *)(part + 2 * ATTENTION_BLOCK * hd);
    int8_t x = is_value ? q[ATTENTION_BLOCK * hd + (slot / 4 * hd + d) * 4 + slot % 4]
                        : q[(d / 4 * ATTENTION_BLOCK + slot) * 4 + d % 4];
    return (double)x * (double)scales[(is_value ? ATTENTION_BLOCK : 0) + slot];
}

static void ref_is_close_to_softmax_attention_in_double(void **state)
{
    (void)state;
    enum { POS = 700, HD = 64 };
    for (enum kind kind = F16; kind < KINDS; kind++) {
        struct check_rng rng = {12};
        struct cache c;
        float *q = check_floats(&rng, HD, CHECK_NORMAL);
        float out[HD];
        double s[POS], sum = 0, max = -1e300;
        cache_init(&c, &rng, POS, HD, kernels_get(ISA_REF), kind, CHECK_NORMAL);
        struct attention a = cache_query(&c, 1, 1, POS - 1, q, out);
        run(kernels_get(ISA_REF), kind, &a);
        for (size_t p = 0; p < POS; p++) {
            s[p] = 0;
            for (size_t d = 0; d < HD; d++) {
                s[p] += (double)q[d] * element(&c, p, false, d) / 8.0;
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
                want += s[p] / sum * element(&c, p, true, d);
            }
            assert_true(fabs((double)out[d] - want) < (kind == F16 ? 1e-5 : 2e-3));
        }
        cache_fini(&c);
        free(q);
    }
}

static void an_int8_cache_is_close_to_what_was_stored(void **state)
{
    (void)state;
    enum { POS = 70, HD = 36 };
    struct check_rng rng = {17};
    struct check_rng again = rng;
    struct cache c;
    cache_init(&c, &rng, POS, HD, kernels_get(ISA_REF), INT8, CHECK_NORMAL);
    for (size_t p = 0; p < POS; p++) {
        for (int is_value = 0; is_value < 2; is_value++) {
            float *x = check_floats(&again, HD, CHECK_NORMAL);
            for (size_t d = 0; d < HD; d++) {
                assert_true(fabs(element(&c, p, is_value, d) - (double)x[d]) < 4.0 / 127 * 0.501);
            }
            free(x);
        }
    }
    cache_fini(&c);
}

/* The same call in ranges of segments of random sizes. */
static void run_split(const struct kernels *k, enum kind kind, struct check_rng *rng,
                      const struct attention *a)
{
    size_t n_segments = attention_n_segments(a->pos0 + a->n_tokens);
    size_t stride = attention_sums_stride(a->head_dim);
    float *sums = check_alloc(n_segments * a->n_tokens * a->n_heads * stride * sizeof *sums);
    for (size_t s = 0, n; s < n_segments; s += n) {
        n = check_between(rng, 1, n_segments - s);
        (kind == F16 ? k->attention_split : k->attention8_split)(a, s, n, sums);
    }
    k->attention_join(a, sums);
    free(sums);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    static const size_t dims[] = {4, 16, 24, 40, 64, 100, 128, 256};
    struct check_rng rng = {13};
    for (int round = 0, n_rounds = check_rounds(400); round < n_rounds; round++) {
        size_t hd = dims[check_random(&rng) % 8];
        size_t heads = check_between(&rng, 1, 9);
        size_t n_pos = check_between(&rng, 1, round % 4 == 0 ? 900 : 70);
        size_t tokens = check_between(&rng, 1, n_pos < 20 ? n_pos : 20);
        size_t n = tokens * heads * hd;
        enum kind kind = round / 2 % 2 == 0 ? F16 : INT8;
        enum check_kind values = round % 3 == 0 ? (enum check_kind)(round / 3 % CHECK_KINDS) : 0;
        struct cache c;
        cache_init(&c, &rng, n_pos, hd, k, kind, values);
        float *q = check_floats(&rng, n, round % 5 == 0 ? CHECK_EQUAL : values);
        float *got = check_alloc(n * sizeof *got);
        float *want = check_alloc(n * sizeof *want);
        struct attention a = cache_query(&c, heads, tokens, n_pos - tokens, q, got);
        if (round % 8 < 4) {
            run(k, kind, &a);
        } else {
            run_split(k, kind, &rng, &a);
        }
        a.out = want;
        run(ref, kind, &a);
        check_same_floats(got, want, n, k->isa_name);
        if (round % 16 == 4) {
            run_split(ref, kind, &rng, &a);
            check_same_floats(got, want, n, "ref");
        }
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
    for (size_t i = 0; i < 128; i++) {
        size_t hd = 4 + i / 2 * 4;
        enum kind kind = i % 2 == 0 ? F16 : INT8;
        struct cache got, want;
        struct check_rng again = rng;
        cache_init(&got, &rng, 37, hd, k, kind, CHECK_ANY_BITS);
        cache_init(&want, &again, 37, hd, ref, kind, CHECK_ANY_BITS);
        for (size_t b = 0; b < got.n_blocks; b++) {
            assert_memory_equal(got.blocks[b], want.blocks[b], part_bytes(kind, hd));
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
        cmocka_unit_test(an_int8_cache_is_close_to_what_was_stored),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
        cmocka_unit_test(every_variant_stores_the_bytes_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
