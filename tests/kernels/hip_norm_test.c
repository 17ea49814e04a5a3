/* SPDX-License-Identifier: MIT */
/* embed, norm, rope, head and top against the reference kernels, bit for bit. */
#include <string.h>

#include "tests/kernels/hip_check.h"

struct norm_case {
    uint32_t n, n_rows, group, hadamard;
    enum hip_act act;
    bool has_add, has_weight, is_plain; /* plain: y itself is wanted */
    bool is_rows; /* norm_rows */
    enum check_kind kind;
};

/* What the reference makes of a row. */
static void norm_row_ref(const struct norm_case *c, float *x, const float *add, const float *up,
                         const float *weight, float *y)
{
    if (c->has_add)
        residual_add_ref(add, c->n, x);
    if (c->act == HIP_ACT_RELU2)
        glu_relu2_ref(x, up, c->n, x);
    if (c->act == HIP_ACT_SILU)
        glu_silu_ref(x, up, c->n, x);
    if (c->has_weight)
        rmsnorm_row_ref(x, weight, c->n, 1e-5f, y);
    else
        memcpy(y, x, c->n * sizeof *y);
    if (c->hadamard != 0)
        hadamard_rotate_ref(y, c->n, c->hadamard);
}

static void compare_norm(const struct norm_case *c, struct check_rng *rng)
{
    size_t n = (size_t)c->n * c->n_rows;
    uint32_t stride = (c->n + 127) / 128 * 128;
    size_t n_scales = c->group > 0 ? n / c->group : c->n_rows;
    float *x = check_floats(rng, n, c->kind);
    float *add = check_floats(rng, n, c->kind);
    float *up = check_floats(rng, n, c->kind);
    float *weight = check_floats(rng, c->n, CHECK_NORMAL);
    float *want_x = check_alloc(n * sizeof(float));
    float *want = check_alloc(n * sizeof(float));
    float *got = check_floats(rng, n, CHECK_ZEROS);
    memcpy(want_x, x, n * sizeof(float));
    int8_t *q = aligned_alloc(64, (size_t)stride * c->n_rows);
    int8_t *want_q = check_alloc((size_t)stride * c->n_rows);
    float *scale = check_alloc(n_scales * sizeof(float));
    float *want_scale = check_alloc(n_scales * sizeof(float));
    int32_t *sum = check_alloc(c->n_rows * sizeof(int32_t));
    int32_t *want_sum = check_alloc(c->n_rows * sizeof(int32_t));
    struct quantized to = {want_q, stride, want_scale, want_sum, c->n_rows, c->n, c->group};
    for (uint32_t r = 0; r < c->n_rows; r++) {
        size_t at = (size_t)r * c->n;
        norm_row_ref(c, want_x + at, add + at, up + at, weight, want + at);
        quantize_row_ref(want + at, &to, r);
    }
    struct hip_step step = {.n_rows = c->n_rows};
    struct hip_norm_args a = {.step = &step,
                              .x = x,
                              .add = c->has_add ? add : NULL,
                              .up = up,
                              .weight = c->has_weight ? weight : NULL,
                              .y = got,
                              .q = c->is_plain ? NULL : q,
                              .scale = scale,
                              .sum = sum,
                              .eps = 1e-5f,
                              .n = c->n,
                              .q_stride = stride,
                              .group = c->group,
                              .hadamard = c->hadamard,
                              .act = c->act};
    uint32_t stage = c->n < 8192 ? c->n : 8192;
    if (c->is_rows) {
        hip_check_run(HIP_KERNEL_norm_rows, c->n_rows + 1, 1, 1, (stage + 17) * 4, &a);
    } else {
        hip_check_run(HIP_KERNEL_norm, c->n_rows + 1, 1, 1, (stage + 32) * 4, &a);
    }
    if (!c->is_rows || c->has_add)
        check_same_floats(x, want_x, n, "x");
    if (c->is_plain) {
        check_same_floats(got, want, n, "y");
    } else {
        assert_memory_equal(q, want_q, (size_t)stride * c->n_rows);
        check_same_floats(scale, want_scale, n_scales, "scale");
        if (c->group == 0)
            assert_memory_equal(sum, want_sum, c->n_rows * sizeof *sum);
    }
    void *const parts[] = {x, add,    up,    weight,     want_x, want,    got,
                           q, want_q, scale, want_scale, sum,    want_sum};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        free(parts[i]);
}

static void norm_gives_the_bits_of_the_reference(void **state)
{
    (void)state;
    struct check_rng rng = {1};
    static const struct norm_case CASES[] = {
        {.n = 96, .n_rows = 3, .has_weight = true, .is_plain = true},
        {.n = 1, .n_rows = 1, .has_weight = true},
        {.n = 31, .n_rows = 2, .has_weight = true, .has_add = true},
        {.n = 2560, .n_rows = 2, .has_weight = true, .has_add = true},
        {.n = 640, .n_rows = 2, .has_weight = true, .act = HIP_ACT_RELU2},
        {.n = 640, .n_rows = 2, .act = HIP_ACT_SILU},
        {.n = 9001, .n_rows = 1, .has_weight = true, .has_add = true},
        {.n = 20480, .n_rows = 1, .has_weight = true, .act = HIP_ACT_SILU, .hadamard = 4096},
        {.n = 640, .n_rows = 2, .group = 64, .has_weight = true, .has_add = true},
        {.n = 768, .n_rows = 2, .group = 128, .act = HIP_ACT_SILU},
        {.n = 512, .n_rows = 2, .hadamard = 512},
        {.n = 384, .n_rows = 2, .hadamard = 2, .has_weight = true, .is_plain = true},
        {.n = 256, .n_rows = 2, .hadamard = 16, .group = 64, .has_weight = true},
        {.n = 4, .n_rows = 2, .has_weight = true, .is_rows = true},
        {.n = 300, .n_rows = 3, .has_weight = true, .is_rows = true},
        {.n = 2560, .n_rows = 2, .has_weight = true, .has_add = true, .is_rows = true},
        {.n = 6912, .n_rows = 1, .has_weight = true, .act = HIP_ACT_RELU2, .is_rows = true},
        {.n = 8192, .n_rows = 1, .has_weight = true, .act = HIP_ACT_SILU, .is_rows = true},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        for (int kind = 0; kind < CHECK_KINDS; kind++) {
            struct norm_case c = CASES[i];
            c.kind = (enum check_kind)kind;
            if (c.n < 9000 || kind == CHECK_NORMAL)
                compare_norm(&c, &rng);
        }
    }
}

static void embed_decodes_rows_of_the_table(void **state)
{
    (void)state;
    struct check_rng rng = {2};
    enum { N = 300, VOCAB = 7, ROWS = 3 };
    uint16_t *table = check_halves(&rng, N * VOCAB, true);
    struct hip_step step = {.n_rows = ROWS};
    struct hip_row rows[ROWS] = {{.token = 6}, {.token = 0}, {.token = 3}};
    float *got = check_floats(&rng, N * ROWS, CHECK_ZEROS);
    float *want = check_alloc(N * sizeof *want);
    uint32_t counts[2] = {5, 7};
    struct hip_embed_args a = {&step, rows, table, got, counts, N, 2};
    hip_check_run(HIP_KERNEL_embed, ROWS + 2, 1, 1, 0, &a);
    for (size_t r = 0; r < ROWS; r++) {
        f16_decode_ref(table + rows[r].token * N, N, want);
        check_same_floats(got + r * N, want, N, "embed");
    }
    assert_int_equal(counts[0] + counts[1], 0);
    free(table);
    free(got);
    free(want);
}

/* ---- rope ---- */

static void compare_rope(struct check_rng *rng, uint32_t head_dim, bool is_int8, bool has_norm,
                         enum check_kind kind)
{
    enum { HEADS = 6, KV_HEADS = 2, ROWS = 3, CONTEXT = 70, BLOCKS = 3 };
    size_t n_q = (size_t)HEADS * head_dim;
    size_t n_kv = (size_t)KV_HEADS * head_dim;
    float *q = check_floats(rng, ROWS * n_q, kind);
    float *k = check_floats(rng, ROWS * n_kv, kind);
    float *v = check_floats(rng, ROWS * n_kv, kind);
    float *q_norm = check_floats(rng, head_dim, CHECK_NORMAL);
    float *k_norm = check_floats(rng, head_dim, CHECK_NORMAL);
    float *cos = check_floats(rng, (size_t)CONTEXT * head_dim / 2, CHECK_NORMAL);
    float *sin = check_floats(rng, (size_t)CONTEXT * head_dim / 2, CHECK_NORMAL);
    size_t part = is_int8 ? attention8_part_bytes(head_dim) : attention_part_bytes(head_dim);
    size_t block = part * (KV_HEADS + 1); /* the layer's parts begin at the second */
    uint8_t *cache = check_alloc(block * BLOCKS);
    uint8_t *want = check_alloc(block * BLOCKS);
    memset(cache, 0, block * BLOCKS);
    memset(want, 0, block * BLOCKS);
    struct hip_step step = {.n_rows = ROWS};
    struct hip_row rows[ROWS] = {
        {.pos = 69, .block = 0}, {.pos = 31, .block = 2}, {.pos = 0, .block = 1}};
    struct hip_rope_args a = {.step = &step,
                              .rows = rows,
                              .q = q,
                              .k = k,
                              .v = v,
                              .q_norm = has_norm ? q_norm : NULL,
                              .k_norm = has_norm ? k_norm : NULL,
                              .cos = cos,
                              .sin = sin,
                              .cache = cache,
                              .block_bytes = block,
                              .layer_offset = part,
                              .part_bytes = (uint32_t)part,
                              .n_heads = HEADS,
                              .n_kv_heads = KV_HEADS,
                              .head_dim = head_dim,
                              .is_int8 = is_int8,
                              .eps = 1e-6f};
    float *want_q = check_alloc(ROWS * n_q * sizeof(float));
    memcpy(want_q, q, ROWS * n_q * sizeof(float));
    float *key = check_alloc(n_kv * sizeof(float));
    hip_check_run(HIP_KERNEL_rope, ROWS + 1, 2, 1, 8 * head_dim * 4, &a);
    for (size_t r = 0; r < ROWS; r++) {
        size_t at = (size_t)rows[r].pos * head_dim / 2;
        memcpy(key, k + r * n_kv, n_kv * sizeof(float));
        for (size_t h = 0; has_norm && h < HEADS; h++)
            rmsnorm_row_ref(want_q + r * n_q + h * head_dim, q_norm, head_dim, 1e-6f,
                            want_q + r * n_q + h * head_dim);
        for (size_t h = 0; has_norm && h < KV_HEADS; h++)
            rmsnorm_row_ref(key + h * head_dim, k_norm, head_dim, 1e-6f, key + h * head_dim);
        rope_rotate_ref(want_q + r * n_q, HEADS, head_dim, cos + at, sin + at);
        rope_rotate_ref(key, KV_HEADS, head_dim, cos + at, sin + at);
        for (size_t h = 0; h < KV_HEADS; h++) {
            uint8_t *to = want + rows[r].block * block + (h + 1) * part;
            (is_int8 ? attention8_store_ref : attention_store_ref)(
                key + h * head_dim, v + r * n_kv + h * head_dim, head_dim, rows[r].pos % 32, to);
        }
    }
    check_same_floats(q, want_q, ROWS * n_q, "q");
    assert_memory_equal(cache, want, block * BLOCKS);
    void *const parts[] = {q, k, v, q_norm, k_norm, cos, sin, cache, want, want_q, key};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        free(parts[i]);
}

static void rope_rotates_and_stores_as_the_reference_does(void **state)
{
    (void)state;
    struct check_rng rng = {3};
    static const uint32_t HEAD_DIMS[] = {4, 36, 64, 128, 256};
    for (size_t i = 0; i < sizeof HEAD_DIMS / sizeof HEAD_DIMS[0]; i++) {
        for (int kind = 0; kind < CHECK_FINITE; kind++) {
            if (kind == CHECK_HUGE)
                continue; /* a NaN's bits in f16 are not defined */
            for (int j = 0; j < 4; j++)
                compare_rope(&rng, HEAD_DIMS[i], j % 2 == 0, j / 2 == 0, (enum check_kind)kind);
        }
    }
}

/* ---- head, top ---- */

static void head_gives_the_bits_of_the_reference(void **state)
{
    (void)state;
    struct check_rng rng = {4};
    for (int round = 0; round < 12; round++) {
        uint32_t n = (uint32_t)check_between(&rng, 1, 60) * 8;
        uint32_t vocab = (uint32_t)check_between(&rng, 1, 200);
        uint32_t wanted = (uint32_t)check_between(&rng, 1, 6);
        uint16_t *halves = check_halves(&rng, (size_t)n * vocab, round % 2 == 0);
        uint16_t *w = aligned_alloc(16, (size_t)n * vocab * 2);
        float *h = check_floats(&rng, (size_t)n * 8, (enum check_kind)(round % CHECK_KINDS));
        float *got = check_floats(&rng, (size_t)vocab * wanted, CHECK_ZEROS);
        float *want = check_alloc((size_t)vocab * wanted * sizeof *want);
        assert_non_null(w);
        memcpy(w, halves, (size_t)n * vocab * 2);
        struct hip_step step = {.n_wanted = wanted};
        struct hip_head_args a = {
            .step = &step, .head = w, .h = h, .logits = got, .n = n, .n_vocab = vocab};
        bool is_one = round % 3 == 0;
        hip_check_run(is_one ? HIP_KERNEL_head_1 : HIP_KERNEL_head_4, (vocab + 63) / 64,
                      is_one ? wanted + 1 : (wanted + 3) / 4 + 1, 1, 0, &a);
        struct head_input x = {h, n, wanted};
        head_logits_ref(w, n, &x, 0, vocab, want, vocab);
        check_same_floats(got, want, (size_t)vocab * wanted, "head");
        free(halves);
        free(w);
        free(h);
        free(got);
        free(want);
    }
}

/* The logits lie within the bounds, and a vector without bounds gets infinite ones. */
static void compare_bounds(struct check_rng *rng, uint32_t wanted, enum check_kind w_kind,
                           enum check_kind h_kind)
{
    enum { N = 264, VOCAB = 70, STRIDE = 384 };
    static float f[N], scale[VOCAB], err[VOCAB], norm[VOCAB], logits[5 * VOCAB];
    static float lower[5 * VOCAB], upper[5 * VOCAB];
    static struct hip_head_input input[8];
    int8_t *head8 = aligned_alloc(16, (size_t)VOCAB * STRIDE);
    int8_t *parts = aligned_alloc(16, (size_t)16 * STRIDE);
    uint16_t *head = check_alloc(sizeof(uint16_t) * VOCAB * N);
    float *h = check_floats(rng, (size_t)8 * N, h_kind);
    assert_non_null(head8);
    assert_non_null(parts);
    for (size_t r = 0; r < VOCAB; r++) {
        for (size_t c = 0; c < N; c++)
            head[r * N + c] = f16_from_f32(check_float(rng, w_kind));
        f16_decode_ref(head + r * N, N, f);
        hip_pack_head_row(f, N, planes_pack_ref, head8 + r * STRIDE, &scale[r], &err[r], &norm[r]);
    }
    struct hip_step step = {.n_wanted = wanted};
    uint32_t n_pairs = 77;
    struct hip_bounds_args a = {.step = &step,
                                .h = h,
                                .high = parts,
                                .low = parts + (size_t)8 * STRIDE,
                                .input = input,
                                .n_pairs = &n_pairs,
                                .head8 = head8,
                                .scale = scale,
                                .err = err,
                                .norm = norm,
                                .lower = lower,
                                .upper = upper,
                                .n = N,
                                .stride = STRIDE,
                                .n_vocab = VOCAB};
    assert_int_equal(hip_head8_stride(N), STRIDE);
    hip_check_run(HIP_KERNEL_head_split, wanted + 1, 1, 1, 160, &a);
    assert_int_equal(n_pairs, 0);
    hip_check_run(wanted == 1 ? HIP_KERNEL_head_bounds_1 : HIP_KERNEL_head_bounds_4,
                  (VOCAB + 31) / 32, wanted == 1 ? 1 : (wanted + 3) / 4, 1, 0, &a);
    struct head_input x = {h, N, wanted};
    head_logits_ref(head, N, &x, 0, VOCAB, logits, VOCAB);
    for (size_t i = 0; i < (size_t)wanted * VOCAB; i++) {
        assert_true(lower[i] <= upper[i]);
        assert_false(logits[i] < lower[i] || logits[i] > upper[i]);
        if (h_kind == CHECK_NORMAL && w_kind == CHECK_NORMAL)
            assert_true(upper[i] - lower[i] < 20.0F); /* of sums of 264 products up to 16 */
    }
    free(head8);
    free(parts);
    free(head);
    free(h);
}

static void bounds_hold_for_any_vector(void **state)
{
    (void)state;
    struct check_rng rng = {7};
    for (int kind = 0; kind < CHECK_KINDS; kind++) {
        compare_bounds(&rng, 1, CHECK_NORMAL, (enum check_kind)kind);
        compare_bounds(&rng, 5, CHECK_NORMAL, (enum check_kind)kind);
        compare_bounds(&rng, 2, (enum check_kind)kind, CHECK_NORMAL);
    }
}

/* By definition: a NaN below all, else the larger logit first, else the lower id. */
static bool is_before(const float *logits, uint32_t a, uint32_t b)
{
    bool is_nan_a = logits[a] != logits[a];
    bool is_nan_b = logits[b] != logits[b];
    if (is_nan_a != is_nan_b)
        return is_nan_b;
    return !is_nan_a && logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
}

static void compare_top(struct check_rng *rng, uint32_t vocab, uint32_t top, enum check_kind kind,
                        bool is_one)
{
    enum { WANTED = 3 };
    uint32_t n_chunks = (vocab + HIP_TOP_CHUNK - 1) / HIP_TOP_CHUNK;
    float *logits = check_floats(rng, (size_t)WANTED * vocab, kind);
    uint64_t *keys = check_alloc((size_t)WANTED * n_chunks * top * sizeof *keys);
    struct hip_top *tops = check_alloc((size_t)WANTED * top * sizeof *tops);
    struct hip_step step = {.n_wanted = WANTED};
    struct hip_wanted wanted[WANTED] = {{.n_top = top}, {.n_top = 0}, {.n_top = 1}};
    struct hip_top_args a = {&step, wanted, logits, keys, tops, vocab, n_chunks, top};
    if (is_one) {
        a.n_chunks = (vocab + HIP_TOP_ONE - 1) / HIP_TOP_ONE;
        hip_check_run(HIP_KERNEL_top_one, a.n_chunks, WANTED + 1, 1, HIP_TOP_CHUNK * 8, &a);
    } else {
        hip_check_run(HIP_KERNEL_top_chunk, n_chunks, WANTED + 1, 1, HIP_TOP_CHUNK * 8, &a);
    }
    hip_check_run(HIP_KERNEL_top_merge, WANTED + 1, 1, 1, HIP_TOP_CHUNK * 8, &a);
    for (uint32_t i = 0; i < WANTED; i++) {
        const float *row = logits + (size_t)i * vocab;
        for (uint32_t k = 0; k < wanted[i].n_top; k++) {
            const struct hip_top *got = &tops[i * top + k];
            uint32_t n_before = 0;
            for (uint32_t id = 0; id < vocab; id++)
                n_before += is_before(row, id, got->id);
            assert_int_equal(n_before, k);
            assert_memory_equal(&got->logit, &row[got->id], sizeof(float));
        }
    }
    free(logits);
    free(keys);
    free(tops);
}

static void top_finds_the_largest_and_the_lowest_ids_among_equals(void **state)
{
    (void)state;
    struct check_rng rng = {5};
    for (int kind = 0; kind < CHECK_KINDS; kind++) {
        compare_top(&rng, 5000, 1, (enum check_kind)kind, false);
        compare_top(&rng, 20000, 1, (enum check_kind)kind, true);
        compare_top(&rng, 700, 20, (enum check_kind)kind, false);
        compare_top(&rng, 2500, 40, (enum check_kind)kind, false);
        compare_top(&rng, 5000, HIP_MAX_TOP, (enum check_kind)kind, false);
    }
}

static void check_draws(bool is_one)
{
    enum { VOCAB = 3000, ROWS = 40 };
    struct check_rng rng = {6};
    float *logits = check_floats(&rng, (size_t)ROWS * VOCAB, CHECK_NORMAL);
    float *noise = check_alloc(VOCAB * sizeof *noise);
    static uint64_t keys[ROWS * 3];
    static struct hip_top tops[ROWS];
    static struct hip_wanted wanted[ROWS];
    struct hip_step step = {.n_wanted = ROWS};
    for (uint32_t i = 0; i < ROWS; i++) {
        wanted[i] = (struct hip_wanted){.n_top = 1,
                                        .is_drawn = 1,
                                        .noise_seed = 0x123456789abcdefULL * (i + 1),
                                        .noise_index = i * 1000,
                                        .noise_scale = (float)(i + 1) * 0.5F};
    }
    struct hip_top_args a = {&step, wanted, logits, keys, tops, VOCAB, 3, 1};
    if (is_one) {
        a.n_chunks = 1;
        hip_check_run(HIP_KERNEL_top_one, 1, ROWS, 1, HIP_TOP_CHUNK * 8, &a);
    } else {
        hip_check_run(HIP_KERNEL_top_chunk, 3, ROWS, 1, HIP_TOP_CHUNK * 8, &a);
    }
    hip_check_run(HIP_KERNEL_top_merge, ROWS, 1, 1, HIP_TOP_CHUNK * 8, &a);
    for (uint32_t i = 0; i < ROWS; i++) {
        const float *row = logits + (size_t)i * VOCAB;
        const struct gumbel g = {wanted[i].noise_seed, wanted[i].noise_index,
                                 wanted[i].noise_scale};
        gumbel_noise_ref(&g, 0, VOCAB, noise);
        for (uint32_t id = 0; id < VOCAB; id++)
            noise[id] += row[id];
        uint32_t best = 0;
        for (uint32_t id = 1; id < VOCAB; id++)
            best = noise[id] > noise[best] ? id : best;
        assert_int_equal(tops[i].id, best);
        assert_memory_equal(&tops[i].logit, &row[best], sizeof(float));
    }
    free(logits);
    free(noise);
}

static void a_draw_is_the_largest_with_the_reference_s_noise(void **state)
{
    (void)state;
    check_draws(false);
    check_draws(true);
}

/* head_ask and head_pairs do what head_1 does row by row, given the same bounds. */
static void listed_logits_are_those_that_bounds_leave(void **state)
{
    (void)state;
    struct check_rng rng = {8};
    for (int round = 0; round < 6; round++) {
        uint32_t n = (uint32_t)check_between(&rng, 1, 60) * 8;
        uint32_t vocab = (uint32_t)check_between(&rng, 1, 600);
        uint32_t n_wanted = round == 0 ? 1 : (uint32_t)check_between(&rng, 2, 70);
        uint32_t top = (uint32_t)check_between(&rng, 1, 3);
        size_t all = (size_t)vocab * n_wanted;
        uint16_t *halves = check_halves(&rng, (size_t)n * vocab, true);
        uint16_t *w = aligned_alloc(16, (size_t)n * vocab * 2);
        float *h = aligned_alloc(16, (size_t)n * n_wanted * sizeof *h);
        float *upper = check_floats(&rng, all, CHECK_NORMAL);
        float *got = check_floats(&rng, all, CHECK_ZEROS);
        float *want = check_floats(&rng, all, CHECK_ZEROS);
        uint32_t *pairs = check_alloc(all * sizeof *pairs);
        struct hip_top *least = check_alloc((size_t)n_wanted * top * sizeof *least);
        static struct hip_wanted wanted[70];
        assert_non_null(w);
        assert_non_null(h);
        memcpy(w, halves, (size_t)n * vocab * 2);
        for (size_t i = 0; i < (size_t)n * n_wanted; i++)
            h[i] = check_float(&rng, CHECK_NORMAL);
        for (uint32_t i = 0; i < n_wanted; i++) {
            wanted[i] = (struct hip_wanted){
                .n_top = top, .is_drawn = i % 3 == 0, .noise_seed = i, .noise_scale = 1.0F};
            for (uint32_t k = 0; k < top; k++)
                least[i * top + k] = (struct hip_top){check_random(&rng) % vocab,
                                                      2.0F * check_float(&rng, CHECK_NORMAL)};
        }
        struct hip_step step = {.n_wanted = n_wanted};
        uint32_t n_pairs = 0;
        struct hip_head_args a = {.step = &step,
                                  .wanted = wanted,
                                  .head = w,
                                  .h = h,
                                  .logits = want,
                                  .upper = upper,
                                  .least = least,
                                  .pairs = pairs,
                                  .n_pairs = &n_pairs,
                                  .n = n,
                                  .n_vocab = vocab,
                                  .top = top,
                                  .n_blocks = 3};
        hip_check_run(HIP_KERNEL_head_1, (vocab + 63) / 64, n_wanted, 1, 0, &a);
        a.logits = got;
        hip_check_run(HIP_KERNEL_head_ask, (vocab + 255) / 256, (n_wanted + 31) / 32 + 1, 1, 33 * 4,
                      &a);
        assert_true(n_pairs <= all);
        hip_check_run(HIP_KERNEL_head_pairs, 3, 1, 1, 0, &a);
        check_same_floats(got, want, all, "logits");
        void *const parts[] = {halves, w, h, upper, got, want, pairs, least};
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
            free(parts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embed_decodes_rows_of_the_table),
        cmocka_unit_test(norm_gives_the_bits_of_the_reference),
        cmocka_unit_test(rope_rotates_and_stores_as_the_reference_does),
        cmocka_unit_test(head_gives_the_bits_of_the_reference),
        cmocka_unit_test(top_finds_the_largest_and_the_lowest_ids_among_equals),
        cmocka_unit_test(bounds_hold_for_any_vector),
        cmocka_unit_test(a_draw_is_the_largest_with_the_reference_s_noise),
        cmocka_unit_test(listed_logits_are_those_that_bounds_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
