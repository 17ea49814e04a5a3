/* SPDX-License-Identifier: MIT */
/* The attention kernels against attention_run_ref, bit for bit: groups that go through the sums and groups
 * that do not in one launch, blocks in any order, slots of garbage behind the end; rows as the matrices left
 * them against the reference's norm of heads, RoPE and store. */
#include <math.h>
#include <string.h>

#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "tests/kernels/hip_check.h"

enum { KV_HEADS = 2, MAX_ROWS = 64, MAX_TABLE = 128 };

struct scene {
    uint32_t head_dim, n_heads;
    bool is_int8;
    size_t part, block_bytes;
    uint32_t n_blocks;
    uint8_t *cache;
    float *q, *got, *want, *sums;
    float *k, *v, *q_norm, *k_norm, *cos, *sin; /* where rope is attention's */
    uint32_t *arrivals;
    struct hip_step step;
    struct hip_group groups[MAX_ROWS];
    uint32_t table[MAX_TABLE];
    uint32_t n_table, n_sums_rows, max_segments;
};

/* A group of rows at pos0, with blocks of its own that were filled before. */
static void add_group(struct scene *s, struct check_rng *rng, uint32_t pos0, uint32_t n_rows,
                      bool has_sums, enum check_kind kind)
{
    uint32_t n_pos = pos0 + n_rows;
    struct hip_group *g = &s->groups[s->step.n_groups++];
    *g = (struct hip_group){.row0 = s->step.n_rows,
                            .n_rows = n_rows,
                            .pos0 = pos0,
                            .first_block = s->n_table,
                            .sums_row = has_sums ? (int32_t)s->n_sums_rows : HIP_NO_SUMS};
    s->step.n_rows += n_rows;
    s->n_sums_rows += has_sums ? n_rows : 0;
    assert_true(s->step.n_rows <= MAX_ROWS);
    for (uint32_t p = 0; p < n_pos; p++) {
        if (p % 32 == 0) {
            /* Backwards, so that no block lies where its neighbour would. */
            assert_true(s->n_table < MAX_TABLE);
            s->table[s->n_table] = s->n_blocks - 1 - s->n_table;
            s->n_table++;
        }
        uint8_t *block = s->cache + s->table[s->n_table - 1] * s->block_bytes;
        for (size_t h = 0; h < KV_HEADS; h++) {
            float *k = check_floats(rng, s->head_dim, kind);
            float *v = check_floats(rng, s->head_dim, kind);
            (s->is_int8 ? attention8_store_ref : attention_store_ref)(k, v, s->head_dim, p % 32,
                                                                      block + (h + 1) * s->part);
            free(k);
            free(v);
        }
    }
}

static void reference(struct scene *s)
{
    size_t n_q = (size_t)s->n_heads * s->head_dim;
    size_t n_shared = s->n_heads / KV_HEADS;
    for (uint32_t i = 0; i < s->step.n_groups; i++) {
        const struct hip_group *g = &s->groups[i];
        const uint8_t *blocks[MAX_TABLE];
        for (uint32_t b = 0; b < (g->pos0 + g->n_rows + 31) / 32; b++)
            blocks[b] = s->cache + s->table[g->first_block + b] * s->block_bytes;
        for (size_t h = 0; h < KV_HEADS; h++) {
            size_t at = g->row0 * n_q + h * n_shared * s->head_dim;
            struct attention a = {.blocks = blocks,
                                  .offset = (h + 1) * s->part,
                                  .head_dim = s->head_dim,
                                  .n_heads = n_shared,
                                  .n_tokens = g->n_rows,
                                  .pos0 = g->pos0,
                                  .q = s->q + at,
                                  .q_stride = n_q,
                                  .out = s->want + at,
                                  .out_stride = n_q};
            (s->is_int8 ? attention8_run_ref : attention_run_ref)(&a);
        }
    }
}

/* How a block of attention_row divides its work. */
struct way {
    uint32_t splits, queries, ring;
};

static struct hip_attention_args args_of(const struct scene *s, const struct way *way)
{
    return (struct hip_attention_args){.step = &s->step,
                                       .groups = s->groups,
                                       .table = s->table,
                                       .q = s->q,
                                       .cache = s->cache,
                                       .sums = s->sums,
                                       .arrivals = s->arrivals,
                                       .out = s->got,
                                       .block_bytes = s->block_bytes,
                                       .layer_offset = s->part,
                                       .part_bytes = (uint32_t)s->part,
                                       .n_heads = s->n_heads,
                                       .n_kv_heads = KV_HEADS,
                                       .head_dim = s->head_dim,
                                       .max_segments = s->max_segments,
                                       .scale = 1.0F / sqrtf((float)s->head_dim),
                                       .n_shared = s->n_heads / KV_HEADS,
                                       .splits = way->splits,
                                       .each = s->n_heads / KV_HEADS / way->splits,
                                       .ring = way->ring};
}

static struct hip_rope_args rope_of(const struct scene *s)
{
    return (struct hip_rope_args){.step = &s->step,
                                  .q = s->q,
                                  .k = s->k,
                                  .v = s->v,
                                  .q_norm = s->q_norm,
                                  .k_norm = s->k_norm,
                                  .cos = s->cos,
                                  .sin = s->sin,
                                  .cache = s->cache,
                                  .block_bytes = s->block_bytes,
                                  .layer_offset = s->part,
                                  .part_bytes = (uint32_t)s->part,
                                  .n_heads = s->n_heads,
                                  .n_kv_heads = KV_HEADS,
                                  .head_dim = s->head_dim,
                                  .is_int8 = s->is_int8,
                                  .eps = 1e-5F};
}

static uint32_t row_shared(const struct scene *s, const struct way *way)
{
    uint32_t n = s->head_dim;
    uint32_t floats = (way->queries + 2) * n + 8 * way->queries * 32 + way->queries * 16 + 512 +
                      way->queries * 8 * n;
    uint32_t slot = s->is_int8 ? (n + 7) / 8 * 128 + 256 : 16 * n;
    return floats * 4 + 8 * way->ring * slot;
}

static void launch_rows(struct scene *s, const struct way *way, bool is_fused)
{
    struct hip_attention_row_args a = {
        .attention = args_of(s, way), .rope = rope_of(s), .is_fused = is_fused};
    static const enum hip_kernel KERNELS[2][2][2] = {
        {{HIP_KERNEL_attention_row_4, HIP_KERNEL_attention_row_1},
         {HIP_KERNEL_attention_row128_4, HIP_KERNEL_attention_row128_1}},
        {{HIP_KERNEL_attention8_row_4, HIP_KERNEL_attention8_row_1},
         {HIP_KERNEL_attention8_row128_4, HIP_KERNEL_attention8_row128_1}},
    };
    bool is_single = way->queries == 1;
    hip_check_run(KERNELS[s->is_int8][s->head_dim == 128][is_single], s->step.n_groups + 1,
                  KV_HEADS * way->splits, s->max_segments, row_shared(s, way), &a);
}

static void launch(struct scene *s, const struct way *way)
{
    struct hip_attention_args a = args_of(s, way);
    if (s->is_int8) {
        a.queries = way->queries == 1 ? 64 : 16;
        uint32_t words = (s->head_dim + 31) / 32 * 16 + 16 + 5 + 4 * 40;
        hip_check_run(s->head_dim == 128 ? HIP_KERNEL_attention8_128 : HIP_KERNEL_attention8,
                      KV_HEADS, s->step.n_groups + 1, s->max_segments, a.queries * words * 4, &a);
    } else {
        a.queries = way->queries == 1 ? 64 : 32;
        a.ring = way->ring > 1 ? 2 : 1;
        uint32_t shared = a.queries * (s->head_dim + 4 * 32 + 4 * 8 + 4) * 4 + 4 * a.ring * 2048;
        hip_check_run(a.queries == 64 ? HIP_KERNEL_attention_64 : HIP_KERNEL_attention_32, KV_HEADS,
                      s->step.n_groups + 1, s->max_segments, shared, &a);
    }
    launch_rows(s, way, false);
}

static void scene_init(struct scene *s, uint32_t head_dim, uint32_t n_shared, bool is_int8)
{
    *s = (struct scene){.head_dim = head_dim,
                        .n_heads = n_shared * KV_HEADS,
                        .is_int8 = is_int8,
                        .max_segments = 3};
    s->part = is_int8 ? attention8_part_bytes(head_dim) : attention_part_bytes(head_dim);
    s->block_bytes = s->part * (KV_HEADS + 1);
    s->n_blocks = MAX_TABLE;
    s->cache = check_alloc(s->block_bytes * s->n_blocks);
    memset(s->cache, 0xff, s->block_bytes * s->n_blocks); /* NaN in f16 and f32 */
}

static void scene_fill(struct scene *s, struct check_rng *rng, enum check_kind kind)
{
    size_t n = (size_t)s->step.n_rows * s->n_heads * s->head_dim;
    size_t n_sums = (size_t)s->n_sums_rows * s->n_heads;
    s->q = check_floats(rng, n, kind);
    s->got = check_floats(rng, n, CHECK_ZEROS);
    s->want = check_alloc(n * sizeof(float));
    s->sums =
        check_alloc(n_sums * s->max_segments * attention_sums_stride(s->head_dim) * sizeof(float));
    s->arrivals = check_alloc(n_sums * sizeof *s->arrivals);
    memset(s->arrivals, 0, n_sums * sizeof *s->arrivals);
}

static void scene_check(struct scene *s, const char *what)
{
    check_same_floats(s->got, s->want, (size_t)s->step.n_rows * s->n_heads * s->head_dim, what);
    for (size_t i = 0; i < (size_t)s->n_sums_rows * s->n_heads; i++)
        assert_int_equal(s->arrivals[i], 0);
}

static void scene_fini(struct scene *s)
{
    void *const parts[] = {s->cache, s->q, s->got,    s->want,   s->sums, s->arrivals,
                           s->k,     s->v, s->q_norm, s->k_norm, s->cos,  s->sin};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        free(parts[i]);
}

static void try_scene(struct check_rng *rng, uint32_t head_dim, uint32_t n_shared, bool is_int8,
                      struct way way, enum check_kind kind)
{
    struct scene s;
    scene_init(&s, head_dim, n_shared, is_int8);
    add_group(&s, rng, (uint32_t)check_between(rng, 500, 700), 1, true, kind);
    add_group(&s, rng, 0, 1, true, kind);
    add_group(&s, rng, (uint32_t)check_between(rng, 0, 60), 5, true, kind);
    add_group(&s, rng, (uint32_t)check_between(rng, 240, 300), 16, false, kind);
    add_group(&s, rng, (uint32_t)check_between(rng, 240, 300), 1, false, kind);
    add_group(&s, rng, 0, (uint32_t)check_between(rng, 1, 16), false, kind);
    scene_fill(&s, rng, kind);
    launch(&s, &way);
    reference(&s);
    scene_check(&s, is_int8 ? "attention8" : "attention");
    scene_fini(&s);
}

/* The row as the matrices left it; what rope does is done here for the reference, and its bytes of the cache
 * are compared, too. */
static void try_fused(struct check_rng *rng, uint32_t head_dim, uint32_t n_shared, bool is_int8,
                      struct way way, bool has_norm)
{
    enum { MOST = 700 };
    struct scene s;
    scene_init(&s, head_dim, n_shared, is_int8);
    uint32_t half = head_dim / 2;
    s.cos = check_floats(rng, (size_t)MOST * half, CHECK_NORMAL);
    s.sin = check_floats(rng, (size_t)MOST * half, CHECK_NORMAL);
    s.q_norm = has_norm ? check_floats(rng, head_dim, CHECK_NORMAL) : NULL;
    s.k_norm = has_norm ? check_floats(rng, head_dim, CHECK_NORMAL) : NULL;
    add_group(&s, rng, (uint32_t)check_between(rng, 500, MOST), 1, true, CHECK_NORMAL);
    add_group(&s, rng, (uint32_t)check_between(rng, 0, 31), 1, false, CHECK_NORMAL);
    add_group(&s, rng, (uint32_t)check_between(rng, 260, 300), 1, false, CHECK_NORMAL);
    add_group(&s, rng, 255, 1, true, CHECK_NORMAL);
    scene_fill(&s, rng, CHECK_NORMAL);
    size_t n_kv = (size_t)KV_HEADS * head_dim;
    s.k = check_floats(rng, s.step.n_rows * n_kv, CHECK_NORMAL);
    s.v = check_floats(rng, s.step.n_rows * n_kv, CHECK_NORMAL);
    launch_rows(&s, &way, true);
    for (uint32_t i = 0; i < s.step.n_groups; i++) {
        const struct hip_group *g = &s.groups[i];
        const float *cos = s.cos + (size_t)g->pos0 * half;
        const float *sin = s.sin + (size_t)g->pos0 * half;
        float *q = s.q + (size_t)g->row0 * s.n_heads * head_dim;
        float *k = s.k + g->row0 * n_kv;
        for (uint32_t h = 0; h < s.n_heads && has_norm; h++)
            rmsnorm_row_ref(q + h * head_dim, s.q_norm, head_dim, 1e-5F, q + h * head_dim);
        for (uint32_t h = 0; h < KV_HEADS && has_norm; h++)
            rmsnorm_row_ref(k + h * head_dim, s.k_norm, head_dim, 1e-5F, k + h * head_dim);
        rope_rotate_ref(q, s.n_heads, head_dim, cos, sin);
        rope_rotate_ref(k, KV_HEADS, head_dim, cos, sin);
        uint8_t *block = s.cache + s.table[g->first_block + g->pos0 / 32] * s.block_bytes;
        for (uint32_t h = 0; h < KV_HEADS; h++) {
            uint8_t *part = block + (h + 1) * s.part;
            uint8_t *want = check_alloc(s.part);
            memcpy(want, part, s.part);
            (is_int8 ? attention8_store_ref
                     : attention_store_ref)(k + h * head_dim, s.v + g->row0 * n_kv + h * head_dim,
                                            head_dim, g->pos0 % 32, want);
            assert_memory_equal(part, want, s.part);
            free(want);
        }
    }
    reference(&s);
    scene_check(&s, "a row as the matrices left it");
    scene_fini(&s);
}

static void f16_attention_gives_the_bits_of_the_reference(void **state)
{
    (void)state;
    struct check_rng rng = {1};
    try_scene(&rng, 64, 4, false, (struct way){1, 4, 2}, CHECK_NORMAL);
    try_scene(&rng, 128, 2, false, (struct way){2, 1, 8}, CHECK_NORMAL);
    try_scene(&rng, 36, 3, false, (struct way){3, 1, 2}, CHECK_NORMAL);
    try_scene(&rng, 256, 1, false, (struct way){1, 1, 1}, CHECK_NORMAL);
    try_scene(&rng, 4, 5, false, (struct way){1, 4, 4}, CHECK_WIDE);
    try_scene(&rng, 32, 1, false, (struct way){1, 1, 4}, CHECK_TINY);
    try_scene(&rng, 32, 1, false, (struct way){1, 4, 8}, CHECK_EQUAL);
    try_scene(&rng, 32, 2, false, (struct way){1, 1, 2}, CHECK_ANY_BITS);
}

static void int8_attention_gives_the_bits_of_the_reference(void **state)
{
    (void)state;
    struct check_rng rng = {2};
    try_scene(&rng, 64, 4, true, (struct way){1, 4, 2}, CHECK_NORMAL);
    try_scene(&rng, 128, 2, true, (struct way){2, 1, 4}, CHECK_NORMAL);
    try_scene(&rng, 36, 3, true, (struct way){3, 1, 2}, CHECK_NORMAL);
    try_scene(&rng, 256, 1, true, (struct way){1, 1, 1}, CHECK_NORMAL);
    try_scene(&rng, 4, 5, true, (struct way){1, 4, 4}, CHECK_WIDE);
    try_scene(&rng, 32, 1, true, (struct way){1, 1, 4}, CHECK_TINY);
    try_scene(&rng, 32, 1, true, (struct way){1, 4, 4}, CHECK_EQUAL);
    try_scene(&rng, 32, 2, true, (struct way){1, 1, 2}, CHECK_ANY_BITS);
}

static void rows_as_the_matrices_left_them_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    struct check_rng rng = {3};
    try_fused(&rng, 128, 4, false, (struct way){4, 1, 8}, false);
    try_fused(&rng, 64, 4, false, (struct way){1, 4, 2}, true);
    try_fused(&rng, 36, 3, false, (struct way){1, 4, 1}, false);
    try_fused(&rng, 256, 2, false, (struct way){1, 1, 2}, true);
    try_fused(&rng, 128, 4, false, (struct way){1, 4, 2}, true);
    try_fused(&rng, 128, 4, true, (struct way){4, 1, 4}, false);
    try_fused(&rng, 128, 4, true, (struct way){1, 4, 1}, false);
    try_fused(&rng, 64, 4, true, (struct way){1, 4, 2}, true);
    try_fused(&rng, 36, 3, true, (struct way){1, 4, 1}, false);
    try_fused(&rng, 256, 2, true, (struct way){1, 1, 1}, true);
    try_fused(&rng, 4, 5, true, (struct way){1, 4, 2}, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_attention_gives_the_bits_of_the_reference),
        cmocka_unit_test(int8_attention_gives_the_bits_of_the_reference),
        cmocka_unit_test(rows_as_the_matrices_left_them_give_the_bits_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
