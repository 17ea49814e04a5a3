/* SPDX-License-Identifier: MIT */
/* Every kind of model that the config can describe: the same bits by all kernels, chunks and threads,
 * and by tolerance the logits of a plain pass in double precision. */
#include "services/engine/cpu_graph.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/engine/backend_cpu.h"
#include "services/engine/selfcheck.h"
#include "tests/engine/oracle.h"
#include "tests/engine/testmodel_kinds.h"

enum { N_TOKENS = 70, N_BLOCKS = 3 };

static void make_tokens(const struct model *m, uint32_t *tokens)
{
    uint64_t rng = 7;
    for (uint32_t i = 0; i < N_TOKENS; i++)
        tokens[i] = (uint32_t)(testmodel_random(&rng) % m->config.n_vocab);
}

/* Logits of all tokens, which go through in chunks; to be freed. */
static float *run(const struct model *m, const struct kernels *k, enum kv_type kv_type,
                  uint32_t n_threads, uint32_t chunk)
{
    uint32_t n_vocab = m->config.n_vocab;
    const uint32_t blocks[N_BLOCKS] = {2, 0, 1};
    uint32_t tokens[N_TOKENS];
    float *logits = malloc((size_t)N_TOKENS * n_vocab * sizeof *logits);
    const struct backend_cpu_config config = {.model = m,
                                              .kernels = k,
                                              .n_threads = n_threads,
                                              .kv_type = kv_type,
                                              .n_blocks = N_BLOCKS,
                                              .max_rows = N_TOKENS,
                                              .max_logits = N_TOKENS};
    struct backend *b = NULL;
    assert_non_null(logits);
    assert_int_equal(backend_cpu_new(&config, &b), ERR_OK);
    make_tokens(m, tokens);
    for (uint32_t pos = 0; pos < N_TOKENS; pos += chunk) {
        uint32_t n = N_TOKENS - pos < chunk ? N_TOKENS - pos : chunk;
        struct backend_item item = {
            .tokens = tokens + pos, .n_tokens = n, .pos0 = pos, .blocks = blocks, .n_logits = n};
        assert_int_equal(backend_step(b, &item, 1), ERR_OK);
        memcpy(logits + (size_t)pos * n_vocab, item.got->values,
               (size_t)n * n_vocab * sizeof *logits);
    }
    backend_free(b);
    return logits;
}

static void expect_same_bits(const char *what, const struct model *m, enum kv_type kv_type)
{
    size_t bytes = (size_t)N_TOKENS * m->config.n_vocab * sizeof(float);
    float *want = run(m, kernels_get(ISA_REF), kv_type, 1, 1);
    for (enum isa isa = ISA_REF; isa < ISA_COUNT; isa++) {
        if (kernels_get(isa) == NULL)
            continue;
        float *got = run(m, kernels_get(isa), kv_type, 1 + isa % 3, isa % 2 == 0 ? N_TOKENS : 13);
        if (memcmp(got, want, bytes) != 0)
            fail_msg("%s, cache in %s: other logits by %s", what, kv_type_name(kv_type),
                     kernels_isa_name(isa));
        free(got);
        uint64_t hash = 0;
        const struct selfcheck how = {.n_threads = 1, .kv_type = kv_type};
        assert_int_equal(selfcheck_run(m, kernels_get(isa), &how, &hash), ERR_OK);
    }
    free(want);
}

static void every_variant_has_the_same_bits_for_every_model(void **state)
{
    (void)state;
    for (size_t i = 0; i < TESTMODEL_N_KINDS; i++) {
        struct model *m = testmodel_open(&TESTMODEL_KINDS[i].shape);
        expect_same_bits(TESTMODEL_KINDS[i].what, m, KV_F16);
        expect_same_bits(TESTMODEL_KINDS[i].what, m, KV_INT8);
        model_close(m);
    }
}

/* Relative error of one position's logits. */
static double error_of(const float *logits, const double *oracle, uint32_t n_vocab)
{
    double error = 0;
    double size = 0;
    for (uint32_t v = 0; v < n_vocab; v++) {
        error += ((double)logits[v] - oracle[v]) * ((double)logits[v] - oracle[v]);
        size += oracle[v] * oracle[v];
    }
    return sqrt(error / size);
}

/* Tolerances as in backend_cpu_test: a value between two int8 steps may be rounded apart, which most
 * positions of these models meet somewhere. */
static void every_model_agrees_with_a_plain_pass_in_double_precision(void **state)
{
    (void)state;
    for (size_t i = 0; i < TESTMODEL_N_KINDS; i++) {
        struct model *m = testmodel_open(&TESTMODEL_KINDS[i].shape);
        uint32_t n_vocab = m->config.n_vocab;
        uint32_t tokens[N_TOKENS];
        make_tokens(m, tokens);
        double *oracle = oracle_forward(m, tokens, N_TOKENS);
        float *logits = run(m, kernels_get(kernels_best()), KV_F16, 1, N_TOKENS);
        uint32_t n_close = 0;
        double worst = 0;
        for (uint32_t t = 0; t < N_TOKENS; t++) {
            double e =
                error_of(logits + (size_t)t * n_vocab, oracle + (size_t)t * n_vocab, n_vocab);
            worst = e > worst ? e : worst;
            n_close += e < 1e-5;
        }
        if (!(worst < 0.05) || n_close < 3)
            fail_msg("%s: worst error %g, %u of %d positions close", TESTMODEL_KINDS[i].what, worst,
                     n_close, N_TOKENS);
        free(oracle);
        free(logits);
        model_close(m);
    }
}

/* T2 and T5 can hold the same trits: the same model then, whatever the kernels and the steps. */
static void packing_does_not_change_the_bits(void **state)
{
    (void)state;
    for (uint32_t group = 0; group <= 128; group += 64) {
        struct testmodel t = {.seed = 20,
                              .n_vocab = 260,
                              .n_hidden = 128,
                              .n_ffn = 384,
                              .n_layers = 2,
                              .n_heads = 4,
                              .n_kv_heads = 2,
                              .head_dim = 32,
                              .n_ctx = 128,
                              .n_scales = 1,
                              .is_tied = true,
                              .group = group};
        struct model *t2 = testmodel_open(&t);
        t.dtype = H1B_T5;
        struct model *t5 = testmodel_open(&t);
        float *want = run(t2, kernels_get(ISA_REF), KV_F16, 1, N_TOKENS);
        for (uint32_t chunk = 1; chunk <= N_TOKENS; chunk = 5 * chunk + 1) {
            float *got = run(t5, kernels_get(kernels_best()), KV_F16, 1, chunk);
            assert_memory_equal(got, want, (size_t)N_TOKENS * 260 * sizeof *got);
            free(got);
        }
        free(want);
        model_close(t2);
        model_close(t5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_has_the_same_bits_for_every_model),
        cmocka_unit_test(every_model_agrees_with_a_plain_pass_in_double_precision),
        cmocka_unit_test(packing_does_not_change_the_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
