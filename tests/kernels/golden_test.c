/* SPDX-License-Identifier: MIT */
/* The bits of every kernel on fixed inputs, as hashes. They must never change, not with the compiler
 * nor with the processor: replies are reproduced from them. Whoever writes a variant for another
 * device can check it against these numbers; inputs come from check.h's generator. */
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/math/math.h"
#include "kernels/philox/philox.h"
#include "tests/kernels/check.h"

/* FNV-1a over bytes. */
static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ b[i]) * 0x100000001b3;
    }
    return h;
}

static const uint64_t SEED = 0xcbf29ce484222325;

static uint64_t hash_floats(const float *x, size_t n)
{
    return hash_bytes(SEED, x, n * sizeof *x);
}

static void scalar_functions_keep_their_bits(void **state)
{
    (void)state;
    uint64_t h_exp = SEED, h_log = SEED, h_sincos = SEED, h_philox = SEED;
    for (uint32_t i = 0; i < 200000; i++) {
        float x = (float)i * 0x1.9p-10f - 97.0f;
        float e = math_exp(x);
        float l = math_log((float)i * 0x1.13p-7f + 0x1p-20f);
        double s, c;
        math_sincos_f64((double)i * 0.61803, &s, &c);
        struct philox_block b = philox_rounds((struct philox_block){{i, i % 3, 0, 0}},
                                              (const uint32_t[]){0x9abcdef0 + i, 0x12345678});
        h_exp = hash_bytes(h_exp, &e, sizeof e);
        h_log = hash_bytes(h_log, &l, sizeof l);
        h_sincos = hash_bytes(hash_bytes(h_sincos, &s, sizeof s), &c, sizeof c);
        h_philox = hash_bytes(h_philox, &b, sizeof b);
    }
    assert_int_equal(h_exp, 0xa0ffa5141b303bc0);
    assert_int_equal(h_log, 0xb6cc7ccab508eb46);
    assert_int_equal(h_sincos, 0x95f35062095ffffa);
    assert_int_equal(h_philox, 0x2eec47d10e027771);
}

static void rope_table_keeps_its_bits(void **state)
{
    (void)state;
    enum { N = 4096, H = 64 };
    float *c = check_alloc((size_t)N * H * sizeof *c);
    float *s = check_alloc((size_t)N * H * sizeof *s);
    double inv_freq[H];
    rope_inv_freq((size_t)2 * H, 500000.0, inv_freq);
    rope_table_fill(inv_freq, H, 1.0, 0, N, c, s);
    assert_int_equal(hash_floats(c, (size_t)N * H), 0x2f658c30823a7f17);
    assert_int_equal(hash_floats(s, (size_t)N * H), 0x8bc435e1cb70d230);
    free(c);
    free(s);
}

enum { ROW = 1000 };

static uint64_t hash_rows(const struct kernels *k, struct check_rng *rng)
{
    uint64_t h = SEED;
    for (int kind = 0; kind < CHECK_FINITE; kind++) {
        float *x = check_floats(rng, ROW, (enum check_kind)kind);
        float *w = check_floats(rng, ROW, CHECK_NORMAL);
        float *y = check_floats(rng, ROW, CHECK_NORMAL);
        uint16_t half[ROW];
        k->residual_add(x, ROW, y);
        h = hash_bytes(h, y, ROW * sizeof *y);
        k->glu_relu2(w, x, ROW, y);
        h = hash_bytes(h, y, ROW * sizeof *y);
        k->rope_rotate(w, 5, ROW / 5, y, x);
        k->f16_encode(w, ROW, half);
        for (size_t i = 0; i < ROW; i++) { /* inf - inf: which NaN comes out is not defined */
            half[i] = (half[i] & 0x7fff) > 0x7c00 ? 0xfe00 : half[i];
        }
        h = hash_bytes(h, half, sizeof half);
        k->f16_decode(half, ROW, w);
        if (kind != CHECK_HUGE && kind != CHECK_WIDE) { /* their squares make NaN, unlike ones */
            k->rmsnorm_row(x, y, ROW, 1e-6f, w);
            float sum = k->softmax_exp(w, ROW, k->softmax_max(w, ROW), 0.7f, y);
            h = hash_bytes(hash_bytes(h, y, ROW * sizeof *y), &sum, sizeof sum);
        }
        free(x);
        free(w);
        free(y);
    }
    return h;
}

/* Kernels that models other than BitNet's own need. */
static uint64_t hash_others(const struct kernels *k, struct check_rng *rng)
{
    enum { N = 3 * 512 };
    uint64_t h = SEED;
    for (int kind = 0; kind < CHECK_FINITE; kind++) {
        float *x = check_floats(rng, N, (enum check_kind)kind);
        float *w = check_floats(rng, N, CHECK_NORMAL);
        k->glu_silu(x, w, ROW, w);
        h = hash_bytes(h, w, ROW * sizeof *w);
        if (kind != CHECK_HUGE && kind != CHECK_WIDE) { /* inf - inf */
            k->hadamard_rotate(x, N, 512);
            k->hadamard_rotate(x, N, 2);
            h = hash_bytes(h, x, N * sizeof *x);
        }
        free(x);
        free(w);
    }
    return h;
}

static uint64_t hash_layers(const struct kernels *k, struct check_rng *rng)
{
    enum { ROWS = 37, TOKENS = 9, STRIDE = 1024 };
    uint8_t codes[ROWS * STRIDE / 4];
    int8_t q[TOKENS * STRIDE];
    float scale[TOKENS], y[TOKENS * ROWS];
    int32_t sum[TOKENS];
    uint16_t *head = check_halves(rng, (size_t)ROWS * ROW, false);
    float *x = check_floats(rng, (size_t)TOKENS * ROW, CHECK_NORMAL);
    for (size_t i = 0; i < sizeof codes; i++) {
        uint32_t u = check_random(rng);
        codes[i] = (uint8_t)(u % 3 | u / 3 % 3 << 2 | u / 9 % 3 << 4 | u / 27 % 3 << 6);
    }
    struct quantized in = {q, STRIDE, scale, sum, TOKENS, ROW, 0};
    for (size_t t = 0; t < TOKENS; t++) {
        k->quantize_row(x + t * ROW, &in, t);
    }
    uint64_t h = hash_bytes(SEED, q, sizeof q);
    float w_scale = 0.37f;
    struct ternary_weights w = {codes, &w_scale, ROWS, ROW, ROWS, TERNARY_T2, 0};
    k->ternary_matmul(&w, &in, 0, ROWS, y, ROWS);
    h = hash_bytes(h, y, sizeof y);
    struct head_input hidden = {x, ROW, TOKENS};
    k->head_logits(head, ROW, &hidden, 0, ROWS, y, ROWS);
    h = hash_bytes(h, y, sizeof y);
    free(head);
    free(x);
    return h;
}

/* Every packing with every kind of scales, for one token and for many. */
static uint64_t hash_packings(const struct kernels *k, struct check_rng *rng)
{
    enum { ROWS = 37, TOKENS = 9, COLS = 1152, STRIDE = 1280, GROUPS = COLS / 64 };
    uint8_t codes[ROWS * STRIDE / 4];
    int8_t q[TOKENS * STRIDE];
    float scale[TOKENS * GROUPS], y[TOKENS * ROWS];
    int32_t sum[TOKENS];
    float *x = check_floats(rng, (size_t)TOKENS * COLS, CHECK_NORMAL);
    float *w_scale = check_floats(rng, (size_t)ROWS * GROUPS, CHECK_NORMAL);
    for (size_t i = 0; i < sizeof codes; i++) {
        codes[i] = (uint8_t)check_random(rng);
    }
    uint64_t h = SEED;
    for (uint32_t group = 0; group <= 128; group += 64) {
        struct quantized in = {q, STRIDE, scale, sum, TOKENS, COLS, group};
        for (size_t t = 0; t < TOKENS; t++) {
            k->quantize_row(x + t * COLS, &in, t);
        }
        h = hash_bytes(h, q, sizeof q);
        for (int p = 0; p < TERNARY_PACKINGS; p++) {
            struct ternary_weights w = {codes, w_scale, ROWS, COLS, 1, (enum ternary_packing)p,
                                        group};
            for (in.n_tokens = 1; in.n_tokens <= TOKENS; in.n_tokens += TOKENS - 1) {
                k->ternary_matmul(&w, &in, 0, ROWS, y, ROWS);
                h = hash_bytes(h, y, in.n_tokens * ROWS * sizeof *y);
            }
        }
    }
    free(x);
    free(w_scale);
    return h;
}

static uint64_t hash_attention(const struct kernels *k, struct check_rng *rng, bool is_int8)
{
    enum { HD = 64, HEADS = 3, POS = 700, TOKENS = 40, BLOCKS = (POS + 31) / 32 };
    static uint8_t cache[BLOCKS][4 * HD * ATTENTION_BLOCK];
    const uint8_t *blocks[BLOCKS];
    float *out = check_alloc((size_t)TOKENS * HEADS * HD * sizeof *out);
    float *q = check_floats(rng, (size_t)TOKENS * HEADS * HD, CHECK_NORMAL);
    for (size_t p = 0; p < POS; p++) {
        float *key = check_floats(rng, HD, CHECK_NORMAL);
        float *value = check_floats(rng, HD, CHECK_NORMAL);
        uint8_t *block = cache[p / ATTENTION_BLOCK];
        blocks[p / ATTENTION_BLOCK] = block;
        (is_int8 ? k->attention8_store : k->attention_store)(key, value, HD, p % ATTENTION_BLOCK,
                                                             block);
        free(key);
        free(value);
    }
    (is_int8 ? k->attention8_run : k->attention_run)(&(struct attention){
        .blocks = blocks,
        .head_dim = HD,
        .n_heads = HEADS,
        .n_tokens = TOKENS,
        .pos0 = POS - TOKENS,
        .q = q,
        .q_stride = (size_t)HEADS * HD,
        .out = out,
        .out_stride = (size_t)HEADS * HD,
    });
    uint64_t h = hash_floats(out, (size_t)TOKENS * HEADS * HD);
    free(out);
    free(q);
    return h;
}

static uint64_t hash_noise(const struct kernels *k)
{
    enum { N = 30000 };
    float *y = check_alloc(N * sizeof *y);
    k->gumbel_noise(&(struct gumbel){.seed = 0x123456789abcdef0, .index = 5, .scale = 0.7f}, 77, N,
                    y);
    uint64_t h = hash_floats(y, N);
    free(y);
    return h;
}

static void every_variant_has_the_golden_bits(void **state)
{
    (void)state;
    for (int level = 0; level < ISA_COUNT; level++) {
        const struct kernels *k = kernels_get((enum isa)level);
        if (k != NULL) {
            struct check_rng rng = {21};
            assert_int_equal(hash_rows(k, &rng), 0x3ec34daedb4eadc6);
            assert_int_equal(hash_layers(k, &rng), 0xeb6ccd442c91e51);
            struct check_rng packings_rng = {22};
            assert_int_equal(hash_packings(k, &packings_rng), 0x5cebc19c7e35bb8f);
            assert_int_equal(hash_attention(k, &rng, false), 0x8c3bc6b5a7ba4315);
            assert_int_equal(hash_others(k, &rng), 0x665b723758b5d4b9);
            assert_int_equal(hash_attention(k, &rng, true), 0xe9bf78b9f1f3935);
            assert_int_equal(hash_noise(k), 0x2a1ec94410152c5d);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_functions_keep_their_bits),
        cmocka_unit_test(rope_table_keeps_its_bits),
        cmocka_unit_test(every_variant_has_the_golden_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
