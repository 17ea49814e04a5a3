/* SPDX-License-Identifier: MIT */
/* Whole forward passes as plan.c lays them out, in the harness, against the reference kernels token by
 * token: the same bits of logits for every number of rows (so for every matrix kernel), groups with and
 * without sums, both caches, row and group scales. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/hip_check.h"

enum {
    VOCAB = 90,
    HIDDEN = 64,
    FFN = 192,
    LAYERS = 2,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 16,
    CONTEXT = 400,
    BLOCKS = 32,
    MAX_TOKENS = 270,
    N_Q = HEADS * HEAD_DIM,
    N_KV = KV_HEADS * HEAD_DIM,
};

struct world {
    struct hip_model m;
    struct hip_layer layers[LAYERS];
    void *owned[128];
    size_t n_owned;
    struct hip_buffers b;
    uint8_t *memory, *cache;
    struct hip_launch *launches;
    /* The reference's */
    uint8_t *ref_cache[2]; /* of two sequences, blocks in order */
    uint32_t tokens[2][MAX_TOKENS];
    float *logits[2]; /* [MAX_TOKENS][VOCAB] */
    uint32_t n_left_out; /* logits that bounds ruled out */
};

static void *own(struct world *w, void *p)
{
    assert_true(w->n_owned < sizeof w->owned / sizeof w->owned[0]);
    w->owned[w->n_owned++] = p;
    return p;
}

static void *own_aligned(struct world *w, size_t bytes)
{
    return own(w, aligned_alloc(256, (bytes + 255) / 256 * 256));
}

static struct hip_matrix matrix(struct world *w, struct check_rng *rng, uint32_t n_rows,
                                uint32_t n_cols, uint32_t group)
{
    size_t bytes = n_rows * hip_row_bytes(n_cols);
    uint8_t *codes = own_aligned(w, bytes);
    for (size_t i = 0; i < bytes; i++)
        codes[i] = (uint8_t)(0x55 ^ (check_random(rng) & check_random(rng) & 0x55)); /* 0 and 1 */
    for (size_t i = 0; i < bytes; i += 3)
        codes[i] = 0x99; /* 1 and 2 */
    size_t n_scales = group > 0 ? (size_t)n_rows * (n_cols / group) : 2;
    float *scales = own(w, check_floats(rng, n_scales, CHECK_NORMAL));
    return (struct hip_matrix){codes, scales, n_rows, n_cols, n_rows / 2, group};
}

static void world_init(struct world *w, struct check_rng *rng, bool is_bitnet, bool is_int8)
{
    uint32_t group = is_bitnet ? 0 : 64;
    memset(w, 0, sizeof *w);
    w->m = (struct hip_model){.n_vocab = VOCAB,
                              .n_hidden = HIDDEN,
                              .n_ffn = FFN,
                              .n_layers = LAYERS,
                              .n_heads = HEADS,
                              .n_kv_heads = KV_HEADS,
                              .head_dim = HEAD_DIM,
                              .n_ctx = CONTEXT,
                              .rms_eps = 1e-5F,
                              .act = is_bitnet ? HIP_ACT_RELU2 : HIP_ACT_SILU,
                              .hadamard = is_bitnet ? 0 : 10,
                              .hadamard_block = is_bitnet ? 0 : 64,
                              .is_kv_int8 = is_int8,
                              .layers = w->layers};
    uint16_t *table = own_aligned(w, (size_t)VOCAB * HIDDEN * 2);
    for (size_t i = 0; i < (size_t)VOCAB * HIDDEN; i++)
        table[i] = f16_from_f32(check_float(rng, CHECK_NORMAL));
    w->m.embedding = table;
    w->m.head = table;
    uint32_t stride = (uint32_t)hip_head8_stride(HIDDEN);
    int8_t *head8 = own_aligned(w, (size_t)VOCAB * stride);
    float *bounds = own(w, check_alloc(3 * VOCAB * sizeof *bounds));
    for (size_t r = 0; r < VOCAB; r++) {
        float row[HIDDEN];
        f16_decode_ref(table + r * HIDDEN, HIDDEN, row);
        hip_pack_head_row(row, HIDDEN, planes_pack_ref, head8 + r * stride, &bounds[r],
                          &bounds[VOCAB + r], &bounds[2 * VOCAB + r]);
    }
    w->m.head8 = head8;
    w->m.head8_scale = bounds;
    w->m.head8_err = bounds + VOCAB;
    w->m.head8_norm = bounds + 2 * (size_t)VOCAB;
    w->m.final_norm = own(w, check_floats(rng, HIDDEN, CHECK_NORMAL));
    double inv_freq[HEAD_DIM / 2];
    float *cos = own(w, check_alloc(CONTEXT * HEAD_DIM / 2 * sizeof(float)));
    float *sin = own(w, check_alloc(CONTEXT * HEAD_DIM / 2 * sizeof(float)));
    rope_inv_freq(HEAD_DIM, 10000.0, inv_freq);
    rope_table_fill(inv_freq, HEAD_DIM / 2, 1.0, 0, CONTEXT, cos, sin);
    w->m.rope_cos = cos;
    w->m.rope_sin = sin;
    for (size_t i = 0; i < LAYERS; i++) {
        struct hip_layer *l = &w->layers[i];
        l->input_norm = own(w, check_floats(rng, HIDDEN, CHECK_NORMAL));
        l->post_attn_norm = own(w, check_floats(rng, HIDDEN, CHECK_NORMAL));
        if (is_bitnet) {
            l->attn_sub_norm = own(w, check_floats(rng, N_Q, CHECK_NORMAL));
            l->ffn_sub_norm = own(w, check_floats(rng, FFN, CHECK_NORMAL));
        } else {
            l->q_norm = own(w, check_floats(rng, HEAD_DIM, CHECK_NORMAL));
            l->k_norm = own(w, check_floats(rng, HEAD_DIM, CHECK_NORMAL));
        }
        l->q = matrix(w, rng, N_Q, HIDDEN, group);
        l->k = matrix(w, rng, N_KV, HIDDEN, group);
        l->v = matrix(w, rng, N_KV, HIDDEN, group);
        l->o = matrix(w, rng, HIDDEN, N_Q, group);
        l->gate = matrix(w, rng, FFN, HIDDEN, group);
        l->up = matrix(w, rng, FFN, HIDDEN, group);
        l->down = matrix(w, rng, HIDDEN, FFN, group);
    }
    assert_null(hip_refuses(&w->m));
    struct hip_limits limits = {.rows = 200,
                                .wanted = 6,
                                .table = 64,
                                .sums_rows = 8,
                                .segments = 2,
                                .processors = 3,
                                .shared_bytes = is_int8 ? 0 : 227 << 10 /* little, and much */};
    hip_buffers_layout(&w->m, &limits, 0, &w->b);
    size_t bytes = w->b.bytes;
    w->memory = own_aligned(w, bytes);
    memset(w->memory, 0x5a, bytes);
    hip_buffers_layout(&w->m, &limits, (uint64_t)(uintptr_t)w->memory, &w->b);
    assert_int_equal(w->b.bytes, bytes);
    memset(w->b.arrivals, 0, w->b.arrivals_bytes);
    w->cache = own_aligned(w, hip_block_bytes(&w->m) * BLOCKS);
    memset(w->cache, 0xff, hip_block_bytes(&w->m) * BLOCKS);
    w->launches = own(w, check_alloc(hip_plan_max(&w->m) * sizeof *w->launches));
}

static void world_fini(struct world *w)
{
    for (size_t i = 0; i < w->n_owned; i++)
        free(w->owned[i]);
}

/* ---- the reference ---- */

static void linear_ref(const struct hip_matrix *m, const float *x, float *y)
{
    int8_t q[320];
    float scale[FFN / 64];
    int32_t sum;
    struct quantized to = {q, 320, scale, &sum, 1, m->n_cols, m->group};
    quantize_row_ref(x, &to, 0);
    struct ternary_weights w = {m->codes,          m->scales,  m->n_rows, m->n_cols,
                                m->rows_per_scale, TERNARY_T2, m->group};
    ternary_matmul_ref(&w, &to, 0, m->n_rows, y, m->n_rows);
}

static void heads_ref(float *x, size_t n, const float *norm, const float *cos, const float *sin)
{
    for (size_t h = 0; h < n && norm != NULL; h++)
        rmsnorm_row_ref(x + h * HEAD_DIM, norm, HEAD_DIM, 1e-5F, x + h * HEAD_DIM);
    rope_rotate_ref(x, n, HEAD_DIM, cos, sin);
}

static void attention_ref(struct world *w, size_t seq, size_t layer, size_t pos, float *q,
                          const float *k, const float *v, float *out)
{
    bool is_int8 = w->m.is_kv_int8;
    size_t part = is_int8 ? attention8_part_bytes(HEAD_DIM) : attention_part_bytes(HEAD_DIM);
    size_t block = hip_block_bytes(&w->m);
    const uint8_t *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = w->ref_cache[seq] + i * block;
    for (size_t h = 0; h < KV_HEADS; h++) {
        size_t at = (layer * KV_HEADS + h) * part;
        (is_int8 ? attention8_store_ref
                 : attention_store_ref)(k + h * HEAD_DIM, v + h * HEAD_DIM, HEAD_DIM, pos % 32,
                                        w->ref_cache[seq] + pos / 32 * block + at);
        size_t n_shared = HEADS / KV_HEADS;
        struct attention a = {blocks,
                              at,
                              HEAD_DIM,
                              n_shared,
                              1,
                              pos,
                              q + h * n_shared * HEAD_DIM,
                              N_Q,
                              out + h * n_shared * HEAD_DIM,
                              N_Q};
        (is_int8 ? attention8_run_ref : attention_run_ref)(&a);
    }
}

static void rotate_ref(const struct world *w, uint32_t input, float *x, size_t n)
{
    if (w->m.hadamard & input)
        hadamard_rotate_ref(x, n, w->m.hadamard_block);
}

static void layer_ref(struct world *w, size_t seq, size_t layer, size_t pos, float *x)
{
    const struct hip_layer *l = &w->layers[layer];
    float h[HIDDEN], q[N_Q], k[N_KV], v[N_KV], a[N_Q], gate[FFN], up[FFN];
    const float *cos = w->m.rope_cos + pos * HEAD_DIM / 2;
    const float *sin = w->m.rope_sin + pos * HEAD_DIM / 2;
    rmsnorm_row_ref(x, l->input_norm, HIDDEN, 1e-5F, h);
    linear_ref(&l->q, h, q);
    linear_ref(&l->k, h, k);
    linear_ref(&l->v, h, v);
    heads_ref(q, HEADS, l->q_norm, cos, sin);
    heads_ref(k, KV_HEADS, l->k_norm, cos, sin);
    attention_ref(w, seq, layer, pos, q, k, v, a);
    if (l->attn_sub_norm != NULL)
        rmsnorm_row_ref(a, l->attn_sub_norm, N_Q, 1e-5F, a);
    rotate_ref(w, 2, a, N_Q);
    linear_ref(&l->o, a, h);
    residual_add_ref(h, HIDDEN, x);
    rmsnorm_row_ref(x, l->post_attn_norm, HIDDEN, 1e-5F, h);
    linear_ref(&l->gate, h, gate);
    linear_ref(&l->up, h, up);
    (w->m.act == HIP_ACT_RELU2 ? glu_relu2_ref : glu_silu_ref)(gate, up, FFN, gate);
    if (l->ffn_sub_norm != NULL)
        rmsnorm_row_ref(gate, l->ffn_sub_norm, FFN, 1e-5F, gate);
    rotate_ref(w, 8, gate, FFN);
    linear_ref(&l->down, gate, h);
    residual_add_ref(h, HIDDEN, x);
}

static void reference(struct world *w, struct check_rng *rng, size_t seq, size_t n_tokens)
{
    w->ref_cache[seq] = own(w, check_alloc(hip_block_bytes(&w->m) * BLOCKS));
    w->logits[seq] = own(w, check_alloc(n_tokens * VOCAB * sizeof(float)));
    for (size_t t = 0; t < n_tokens; t++) {
        float x[HIDDEN];
        w->tokens[seq][t] = check_random(rng) % VOCAB;
        f16_decode_ref(w->m.embedding + w->tokens[seq][t] * HIDDEN, HIDDEN, x);
        for (size_t l = 0; l < LAYERS; l++)
            layer_ref(w, seq, l, t, x);
        rmsnorm_row_ref(x, w->m.final_norm, HIDDEN, 1e-5F, x);
        struct head_input in = {x, HIDDEN, 1};
        head_logits_ref(w->m.head, HIDDEN, &in, 0, VOCAB, w->logits[seq] + t * VOCAB, VOCAB);
    }
}

/* ---- steps ---- */

struct item {
    size_t seq;
    uint32_t pos0, n;
    bool has_sums;
};

/* The blocks of a sequence on the device: the two take turns. */
static uint32_t block_of(size_t seq, uint32_t pos)
{
    return pos / 32 * 2 + (uint32_t)seq;
}

/* That it is the one before which there are k, by logits or, where one is drawn, by those with noise. */
static void check_top(const float *logits, const struct hip_wanted *w, const struct hip_top *top,
                      uint32_t k)
{
    const struct gumbel g = {w->noise_seed, w->noise_index, w->noise_scale};
    float x[VOCAB] = {0};
    if (w->is_drawn)
        gumbel_noise_ref(&g, 0, VOCAB, x);
    for (uint32_t id = 0; id < VOCAB; id++)
        x[id] = w->is_drawn ? logits[id] + x[id] : logits[id];
    uint32_t n_before = 0;
    for (uint32_t id = 0; id < VOCAB; id++)
        n_before += x[id] > x[top->id] || (x[id] == x[top->id] && id < top->id);
    assert_int_equal(n_before, k);
    check_same_floats(&top->logit, &logits[top->id], 1, "top");
}

/* Runs the items, whose last tokens' logits are wanted, in a plan with some room, and compares. */
static void run_step(struct world *w, const struct item *items, uint32_t n_items, uint32_t n_top,
                     bool is_sparse)
{
    const struct hip_buffers *b = &w->b;
    struct hip_shape shape = {.wanted = n_items, .top = n_top, .is_sparse = is_sparse};
    uint32_t n_table = 0;
    uint32_t n_sums = 0;
    *b->step = (struct hip_step){.tag = 0xabcd, .n_wanted = n_items};
    for (uint32_t i = 0; i < n_items; i++) {
        const struct item *item = &items[i];
        for (uint32_t t = 0; t < item->n; t++) {
            uint32_t pos = item->pos0 + t;
            if (t % HIP_GROUP_ROWS == 0)
                b->groups[b->step->n_groups++] =
                    (struct hip_group){.row0 = b->step->n_rows,
                                       .pos0 = pos,
                                       .first_block = n_table,
                                       .sums_row = item->has_sums ? (int32_t)n_sums : HIP_NO_SUMS};
            struct hip_group *g = &b->groups[b->step->n_groups - 1];
            g->n_rows++;
            n_sums += item->has_sums;
            b->rows[b->step->n_rows++] =
                (struct hip_row){w->tokens[item->seq][pos], pos, block_of(item->seq, pos)};
        }
        for (uint32_t p = 0; p < item->pos0 + item->n; p += 32)
            b->table[n_table++] = block_of(item->seq, p);
        shape.segments = item->has_sums ? 2 : shape.segments;
        b->wanted[i] = (struct hip_wanted){.row = b->step->n_rows - 1,
                                           .n_top = is_sparse || i % 2 == 0 ? n_top : 0,
                                           .is_drawn = n_top == 1 && items[i].pos0 % 2 == 0,
                                           .noise_seed = items[i].pos0 * 0x987654321ULL,
                                           .noise_index = i,
                                           .noise_scale = 30.0F};
    }
    shape.rows = b->step->n_rows;
    shape.groups = b->step->n_groups + 1;
    for (uint32_t i = 0; i < b->step->n_groups; i++) {
        shape.has_rows = shape.has_rows || b->groups[i].n_rows == 1;
        shape.has_chunks = shape.has_chunks || b->groups[i].n_rows > 1;
    }
    size_t n = hip_plan(&w->m, b, w->cache, &shape, w->launches);
    assert_true(n <= hip_plan_max(&w->m));
    b->result->tag = 0;
    for (size_t i = 0; i < n; i++)
        hip_check_launch(&w->launches[i]);
    assert_int_equal(b->result->tag, 0xabcd);
    assert_int_equal(b->result->n_wanted, n_items);
    for (uint32_t i = 0; i < n_items; i++) {
        const float *want = w->logits[items[i].seq] + (items[i].pos0 + items[i].n - 1) * VOCAB;
        const float *got = b->logits + (size_t)i * VOCAB;
        if (!is_sparse)
            check_same_floats(got, want, VOCAB, "logits");
        for (uint32_t r = 0; r < VOCAB; r++)
            w->n_left_out += is_sparse && got[r] == -INFINITY;
        for (uint32_t k = 0; k < b->wanted[i].n_top; k++)
            check_top(want, &b->wanted[i], &b->tops[i * n_top + k], k);
    }
}

static void run_world(bool is_bitnet, bool is_int8)
{
    static struct world w;
    struct check_rng rng = {is_bitnet * 2U + is_int8 + 1U};
    world_init(&w, &rng, is_bitnet, is_int8);
    reference(&w, &rng, 0, MAX_TOKENS);
    reference(&w, &rng, 1, 30);
    run_step(&w, (const struct item[]){{0, 0, 7, true}}, 1, 1, true);
    run_step(&w, (const struct item[]){{0, 7, 128, false}}, 1, 0, false);
    run_step(&w, (const struct item[]){{1, 0, 15, false}, {0, 135, 1, true}}, 2, 3, false);
    run_step(&w, (const struct item[]){{0, 136, 60, false}, {1, 15, 5, false}}, 2, 1, true);
    run_step(&w, (const struct item[]){{0, 196, 17, false}, {1, 20, 1, true}}, 2, 1, false);
    run_step(&w, (const struct item[]){{0, 213, 42, false}}, 1, 1, true);
    run_step(&w, (const struct item[]){{0, 255, 1, true}}, 1, 1, true);
    run_step(&w, (const struct item[]){{0, 256, 1, true}, {1, 21, 1, true}}, 2, 1, true);
    run_step(&w, (const struct item[]){{0, 257, 2, true}, {1, 22, 1, true}}, 2, 20, true);
    run_step(&w, (const struct item[]){{0, 259, 6, true}}, 1, VOCAB, true);
    assert_true(w.n_left_out > VOCAB); /* of seven rows */
    world_fini(&w);
}

static void bitnet_models_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    run_world(true, false);
    run_world(true, true);
}

static void models_with_groups_rotations_and_head_norms_do_too(void **state)
{
    (void)state;
    run_world(false, true);
}

static void a_step_without_wanted_rows_fills_the_cache_alone(void **state)
{
    (void)state;
    static struct world w;
    struct check_rng rng = {9};
    world_init(&w, &rng, true, false);
    struct hip_shape shape = {.rows = 4, .groups = 1, .has_chunks = true};
    size_t n = hip_plan(&w.m, &w.b, w.cache, &shape, w.launches);
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(w.launches[i].kernel, HIP_KERNEL_head_1);
        assert_int_not_equal(w.launches[i].kernel, HIP_KERNEL_head_4);
    }
    assert_int_equal(w.launches[n - 1].kernel, HIP_KERNEL_finish);
    world_fini(&w);
}

static void repacked_rows_have_the_same_trits(void **state)
{
    (void)state;
    struct check_rng rng = {10};
    for (int packing = 0; packing < TERNARY_PACKINGS; packing++) {
        for (int round = 0; round < 20; round++) {
            uint32_t n = (uint32_t)check_between(&rng, 1, 700);
            size_t bytes = ternary_row_bytes((enum ternary_packing)packing, n);
            uint8_t *codes = check_alloc(bytes);
            uint8_t *t2 = check_alloc(hip_row_bytes(n));
            for (size_t i = 0; i < bytes; i++)
                codes[i] = (uint8_t)check_random(&rng);
            hip_repack_row((enum ternary_packing)packing, n, codes, t2);
            int8_t q[960];
            for (uint32_t c = 0; c < 960; c++)
                q[c] = (int8_t)(c < n ? (int)(check_random(&rng) % 256) - 128 : 0);
            const float one = 1.0F;
            float got, want;
            struct quantized x = {q, 960, (float[]){1.0F}, NULL, 1, n, 0};
            struct ternary_weights w = {codes, &one, 1, n, 1, (enum ternary_packing)packing, 0};
            ternary_matmul_ref(&w, &x, 0, 1, &want, 1);
            w.codes = t2;
            w.packing = TERNARY_T2;
            ternary_matmul_ref(&w, &x, 0, 1, &got, 1);
            assert_true(got == want);
            free(codes);
            free(t2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bitnet_models_give_the_bits_of_the_reference),
        cmocka_unit_test(models_with_groups_rotations_and_head_norms_do_too),
        cmocka_unit_test(a_step_without_wanted_rows_fills_the_cache_alone),
        cmocka_unit_test(repacked_rows_have_the_same_trits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
