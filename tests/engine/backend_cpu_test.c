/* SPDX-License-Identifier: MIT */
/* The logits of a token must be the same bits whatever the way they are computed. */
#include "services/engine/backend_cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/engine/kv.h"
#include "tests/engine/oracle.h"
#include "tests/engine/testmodel.h"

enum {
    N_TOKENS = 101, /* three blocks and a part */
    N_BLOCKS = 64,
    BLOCKS_PER_SEQ = 8,
    MAX_ROWS = 300,
    MAX_LOGITS = 8,
};

struct bench {
    enum kv_type kv_type;
    struct model *model;
    uint32_t tokens[4][N_TOKENS];
    uint64_t expected[4][N_TOKENS]; /* hashes of the logits, one token at a time by the reference */
};

static struct backend *new_backend(const struct model *m, enum kv_type kv_type, enum isa isa,
                                   uint32_t n_threads)
{
    const struct backend_cpu_config config = {
        .model = m,
        .kernels = kernels_get(isa),
        .n_threads = n_threads,
        .kv_type = kv_type,
        .n_blocks = N_BLOCKS,
        .max_rows = MAX_ROWS,
        .max_logits = MAX_LOGITS,
    };
    struct backend *b = NULL;
    assert_int_equal(backend_cpu_new(&config, &b), ERR_OK);
    return b;
}

/* Blocks of test sequence i, scattered over the cache. */
static const uint32_t *blocks_of(uint32_t i)
{
    static uint32_t blocks[4][BLOCKS_PER_SEQ];
    for (uint32_t b = 0; b < BLOCKS_PER_SEQ; b++)
        blocks[i][b] = (i * 17 + b * 5 + 3) % N_BLOCKS;
    return blocks[i];
}

static struct backend_item item_of(const struct bench *t, uint32_t seq, uint32_t pos0, uint32_t n)
{
    return (struct backend_item){.tokens = t->tokens[seq] + pos0,
                                 .n_tokens = n,
                                 .pos0 = pos0,
                                 .blocks = blocks_of(seq),
                                 .n_logits = 1};
}

static uint64_t hash_logits(const struct bench *t, const struct backend_item *item)
{
    return testmodel_hash(item->got->values, t->model->config.n_vocab * sizeof(float));
}

/* Runs the items and compares their logits with those of the reference. */
static void expect_same(const struct bench *t, struct backend *b, const uint32_t *seqs,
                        struct backend_item *items, uint32_t n)
{
    assert_int_equal(backend_step(b, items, n), ERR_OK);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t end = items[i].pos0 + items[i].n_tokens;
        for (uint32_t pos = end - items[i].n_logits; pos < end; pos++) {
            if (hash_logits(t, &items[i]) != t->expected[seqs[i]][pos])
                fail_msg("sequence %u: other logits at position %u by %s", seqs[i], pos, b->name);
            items[i].got++;
        }
    }
}

static void bench_init(struct bench *t, enum kv_type kv_type)
{
    struct testmodel shape = TESTMODEL_TINY;
    t->kv_type = kv_type;
    t->model = testmodel_open(&shape);
    uint64_t rng = 7;
    for (uint32_t s = 0; s < 4; s++) {
        for (uint32_t i = 0; i < N_TOKENS; i++)
            t->tokens[s][i] = (uint32_t)(testmodel_random(&rng) % shape.n_vocab);
        struct backend *b = new_backend(t->model, t->kv_type, ISA_REF, 1);
        for (uint32_t i = 0; i < N_TOKENS; i++) {
            struct backend_item item = item_of(t, s, i, 1);
            assert_int_equal(backend_step(b, &item, 1), ERR_OK);
            t->expected[s][i] = hash_logits(t, &item);
            for (uint32_t v = 0; v < shape.n_vocab; v++)
                assert_true(isfinite(item.got->values[v]));
        }
        backend_free(b);
    }
    assert_true(t->expected[0][5] != t->expected[0][6]);
    assert_true(t->expected[0][5] != t->expected[1][5]);
}

/* The state is two of them, one for each type of KV cache. */
static int setup(void **state)
{
    struct bench *t = calloc(2, sizeof *t);
    assert_non_null(t);
    bench_init(&t[0], KV_F16);
    bench_init(&t[1], KV_INT8);
    assert_true(t[0].expected[0][5] != t[1].expected[0][5]);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct bench *t = *state;
    model_close(t[0].model);
    model_close(t[1].model);
    free(t);
    return 0;
}

static void compute_in_chunks(const struct bench *t)
{
    static const uint32_t CHUNKS[] = {N_TOKENS, 64, 50, 33, 32, 31, 17, 16, 5, 3};
    for (enum isa isa = ISA_REF; isa < ISA_COUNT; isa++) {
        if (kernels_get(isa) == NULL)
            continue;
        for (size_t c = 0; c < sizeof CHUNKS / sizeof CHUNKS[0]; c++) {
            struct backend *b = new_backend(t->model, t->kv_type, isa, 1);
            for (uint32_t pos = 0; pos < N_TOKENS; pos += CHUNKS[c]) {
                uint32_t left = N_TOKENS - pos;
                uint32_t seq = 0;
                struct backend_item item = item_of(t, 0, pos, left < CHUNKS[c] ? left : CHUNKS[c]);
                expect_same(t, b, &seq, &item, 1);
            }
            backend_free(b);
        }
    }
}

static void chunks_of_a_prompt_do_not_show(void **state)
{
    const struct bench *t = *state;
    compute_in_chunks(&t[0]);
    compute_in_chunks(&t[1]);
}

/* Four sequences in random chunks together, prompts beside single tokens. */
static void compute_together(const struct bench *t)
{
    uint64_t rng = 11;
    for (enum isa isa = ISA_REF; isa < ISA_COUNT; isa++) {
        for (uint32_t n_threads = 1; n_threads <= 3 && kernels_get(isa) != NULL; n_threads++) {
            struct backend *b = new_backend(t->model, t->kv_type, isa, n_threads);
            uint32_t pos[4] = {0};
            while (pos[0] + pos[1] + pos[2] + pos[3] < 4 * N_TOKENS) {
                struct backend_item items[4];
                uint32_t seqs[4];
                uint32_t n = 0;
                for (uint32_t s = 0; s < 4; s++) {
                    uint32_t left = N_TOKENS - pos[s];
                    uint32_t take = testmodel_random(&rng) % 3 == 0
                                        ? 1
                                        : (uint32_t)(testmodel_random(&rng) % 40);
                    take = take < left ? take : left;
                    if (take == 0)
                        continue;
                    seqs[n] = s;
                    items[n] = item_of(t, s, pos[s], take);
                    items[n].n_logits = (uint32_t)testmodel_random(&rng) % 3;
                    if (items[n].n_logits > take)
                        items[n].n_logits = take;
                    n++;
                    pos[s] += take;
                }
                expect_same(t, b, seqs, items, n);
            }
            backend_free(b);
        }
    }
}

static void other_sequences_in_the_step_do_not_show(void **state)
{
    const struct bench *t = *state;
    compute_together(&t[0]);
    compute_together(&t[1]);
}

/* By tolerance: where a value lies between two int8 steps, float and double may round it apart, and
 * the layers after it spread that. Everywhere else they agree to a few float steps. */
static void logits_agree_with_a_plain_pass_in_double_precision(void **state)
{
    const struct bench *t = *state;
    uint32_t n_vocab = t->model->config.n_vocab;
    double *oracle = oracle_forward(t->model, t->tokens[2], N_TOKENS);
    struct backend *b = new_backend(t->model, t->kv_type, kernels_best(), 2);
    uint32_t n_close = 0;
    for (uint32_t pos = 0; pos < N_TOKENS; pos++) {
        struct backend_item item = item_of(t, 2, pos, 1);
        assert_int_equal(backend_step(b, &item, 1), ERR_OK);
        double error = 0;
        double size = 0;
        for (uint32_t v = 0; v < n_vocab; v++) {
            double x = oracle[(size_t)pos * n_vocab + v];
            error += ((double)item.got->values[v] - x) * ((double)item.got->values[v] - x);
            size += x * x;
        }
        assert_true(sqrt(error / size) < 0.05);
        n_close += sqrt(error / size) < 1e-5;
    }
    assert_true(n_close > N_TOKENS / 2);
    backend_free(b);
    free(oracle);
}

/* What a prefix cache does: positions computed for one sequence serve another. */
static void compute_after_blocks(const struct bench *t)
{
    struct backend *b = new_backend(t->model, t->kv_type, kernels_best(), 2);
    uint32_t seq = 0;
    struct backend_item whole = item_of(t, 0, 0, 64);
    expect_same(t, b, &seq, &whole, 1);
    uint32_t blocks[BLOCKS_PER_SEQ] = {whole.blocks[0], whole.blocks[1], 50, 51};
    struct backend_item rest = item_of(t, 0, 64, N_TOKENS - 64);
    rest.blocks = blocks;
    expect_same(t, b, &seq, &rest, 1);
    backend_free(b);
}

static void blocks_of_another_sequence_serve_as_well(void **state)
{
    const struct bench *t = *state;
    compute_after_blocks(&t[0]);
    compute_after_blocks(&t[1]);
}

/* Blocks go to another backend, to other places in it. */
static void compute_after_copy(const struct bench *t)
{
    struct backend *from = new_backend(t->model, t->kv_type, kernels_best(), 1);
    struct backend *to = new_backend(t->model, t->kv_type, ISA_REF, 1);
    assert_int_equal(from->kv_bytes, backend_cpu_block_bytes(t->model, t->kv_type));
    assert_int_equal(to->kv_bytes, from->kv_bytes);
    uint8_t *bytes = malloc(from->kv_bytes);
    assert_non_null(bytes);
    uint32_t seq = 0;
    struct backend_item first = item_of(t, 0, 0, 70); /* the third block is not full */
    expect_same(t, from, &seq, &first, 1);
    uint32_t blocks[BLOCKS_PER_SEQ] = {60, 0, N_BLOCKS - 1, 7};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(backend_kv_read(from, first.blocks[i], bytes), ERR_OK);
        assert_int_equal(backend_kv_write(to, blocks[i], bytes), ERR_OK);
    }
    struct backend_item rest = item_of(t, 0, 70, N_TOKENS - 70);
    rest.blocks = blocks;
    expect_same(t, to, &seq, &rest, 1);
    free(bytes);
    backend_free(from);
    backend_free(to);
}

static void blocks_copied_from_another_backend_serve_as_well(void **state)
{
    const struct bench *t = *state;
    compute_after_copy(&t[0]);
    compute_after_copy(&t[1]);
}

static void compute_over_rubbish(const struct bench *t)
{
    struct backend *b = new_backend(t->model, t->kv_type, kernels_best(), 1);
    uint32_t seq = 1;
    struct backend_item other = item_of(t, 1, 0, N_TOKENS);
    expect_same(t, b, &seq, &other, 1);
    seq = 0;
    struct backend_item item = item_of(t, 0, 0, 40);
    item.blocks = other.blocks;
    expect_same(t, b, &seq, &item, 1);
    backend_free(b);
}

static void rubbish_in_the_cache_does_not_show(void **state)
{
    const struct bench *t = *state;
    compute_over_rubbish(&t[0]);
    compute_over_rubbish(&t[1]);
}

/* Long enough for several segments of attention, which one thread walks through and more share. */
static void threads_that_share_a_long_context_do_not_show(void **state)
{
    (void)state;
    enum { LONG = 900, STEP = 45 };
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_ctx = LONG;
    struct model *m = testmodel_open(&shape);
    uint32_t tokens[LONG];
    uint32_t blocks[LONG / KV_BLOCK + 1];
    uint64_t rng = 3;
    for (uint32_t i = 0; i < LONG; i++)
        tokens[i] = (uint32_t)(testmodel_random(&rng) % shape.n_vocab);
    for (uint32_t i = 0; i < LONG / KV_BLOCK + 1; i++)
        blocks[i] = N_BLOCKS - 1 - i;
    for (enum kv_type kv_type = KV_F16; kv_type <= KV_INT8; kv_type++) {
        struct bench t = {.model = m};
        uint64_t expected[LONG / STEP] = {0};
        for (uint32_t n_threads = 1; n_threads <= 5; n_threads += 2) {
            struct backend *b = new_backend(m, kv_type, kernels_best(), n_threads);
            for (uint32_t k = 0; k < LONG / STEP; k++) {
                /* A chunk, and its last token again alone, as decoding computes it. */
                struct backend_item item = {.tokens = tokens + (size_t)k * STEP,
                                            .n_tokens = STEP,
                                            .pos0 = k * STEP,
                                            .blocks = blocks,
                                            .n_logits = 1};
                assert_int_equal(backend_step(b, &item, 1), ERR_OK);
                uint64_t h = hash_logits(&t, &item);
                expected[k] = n_threads == 1 ? h : expected[k];
                assert_int_equal(h, expected[k]);
                item.tokens += STEP - 1;
                item.pos0 += STEP - 1;
                item.n_tokens = 1;
                assert_int_equal(backend_step(b, &item, 1), ERR_OK);
                assert_int_equal(hash_logits(&t, &item), expected[k]);
            }
            backend_free(b);
        }
    }
    model_close(m);
}

static void several_scales_and_an_own_head_work(void **state)
{
    (void)state;
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_scales = 8;
    shape.is_tied = false;
    struct model *m = testmodel_open(&shape);
    uint64_t hashes[ISA_COUNT] = {0};
    for (enum isa isa = ISA_REF; isa < ISA_COUNT; isa++) {
        if (kernels_get(isa) == NULL)
            continue;
        struct backend *b = new_backend(m, KV_F16, isa, 2);
        struct bench t = {.model = m, .tokens = {{5, 4, 3, 2, 1}}};
        struct backend_item item = item_of(&t, 0, 0, 5);
        assert_int_equal(backend_step(b, &item, 1), ERR_OK);
        hashes[isa] = hash_logits(&t, &item);
        assert_true(hashes[isa] == hashes[ISA_REF]);
        backend_free(b);
    }
    model_close(m);
}

static void a_cache_beyond_the_address_space_is_an_error(void **state)
{
    (void)state;
    struct testmodel shape = TESTMODEL_TINY;
    shape.head_dim = 256;
    shape.n_kv_heads = shape.n_heads;
    struct model *m = testmodel_open(&shape);
    const struct backend_cpu_config config = {
        .model = m,
        .kernels = kernels_get(ISA_REF),
        .n_threads = 1,
        .n_blocks = KV_NONE - 1,
        .max_rows = 1,
        .max_logits = 1,
    };
    assert_true(config.n_blocks * backend_cpu_block_bytes(m, KV_F16) > (uint64_t)1 << 48);
    struct backend *b = NULL;
    assert_int_equal(backend_cpu_new(&config, &b), ERR_NOMEM);
    assert_null(b);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_of_a_prompt_do_not_show),
        cmocka_unit_test(other_sequences_in_the_step_do_not_show),
        cmocka_unit_test(logits_agree_with_a_plain_pass_in_double_precision),
        cmocka_unit_test(blocks_of_another_sequence_serve_as_well),
        cmocka_unit_test(blocks_copied_from_another_backend_serve_as_well),
        cmocka_unit_test(rubbish_in_the_cache_does_not_show),
        cmocka_unit_test(threads_that_share_a_long_context_do_not_show),
        cmocka_unit_test(several_scales_and_an_own_head_work),
        cmocka_unit_test(a_cache_beyond_the_address_space_is_an_error),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
