/* SPDX-License-Identifier: MIT */
/* attention, attention8 and attention_join against attention_run_ref, bit for bit: groups that go through
 * the sums and groups that do not in one launch, blocks in any order, slots of garbage behind the end. */
#include <math.h>
#include <string.h>

#include "tests/kernels/hip_check.h"

enum { KV_HEADS = 2, MAX_ROWS = 64, MAX_TABLE = 128 };

struct scene {
    uint32_t head_dim, n_heads;
    bool is_int8;
    size_t part, block_bytes;
    uint32_t n_blocks;
    uint8_t *cache;
    float *q, *got, *want, *sums;
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

static void launch(struct scene *s)
{
    struct hip_attention_args a = {.step = &s->step,
                                   .groups = s->groups,
                                   .table = s->table,
                                   .q = s->q,
                                   .cache = s->cache,
                                   .sums = s->sums,
                                   .out = s->got,
                                   .block_bytes = s->block_bytes,
                                   .layer_offset = s->part,
                                   .part_bytes = (uint32_t)s->part,
                                   .n_heads = s->n_heads,
                                   .n_kv_heads = KV_HEADS,
                                   .head_dim = s->head_dim,
                                   .max_segments = s->max_segments,
                                   .scale = 1.0F / sqrtf((float)s->head_dim)};
    uint32_t shared = 4 * (s->head_dim + 8 * 32 + 8 * (s->head_dim + 2)) * 4;
    hip_check_run(s->is_int8 ? HIP_KERNEL_attention8 : HIP_KERNEL_attention, s->step.n_groups + 1,
                  KV_HEADS, s->max_segments, shared, &a);
    hip_check_run(HIP_KERNEL_attention_join, s->step.n_groups + 1, s->n_heads, 1, 0, &a);
}

static void try_scene(struct check_rng *rng, uint32_t head_dim, uint32_t n_shared, bool is_int8,
                      enum check_kind kind)
{
    struct scene s = {.head_dim = head_dim, .n_heads = n_shared * KV_HEADS, .is_int8 = is_int8};
    s.part = is_int8 ? attention8_part_bytes(head_dim) : attention_part_bytes(head_dim);
    s.block_bytes = s.part * (KV_HEADS + 1);
    s.n_blocks = MAX_TABLE;
    s.cache = check_alloc(s.block_bytes * s.n_blocks);
    memset(s.cache, 0xff, s.block_bytes * s.n_blocks); /* NaN in f16 and f32 */
    add_group(&s, rng, (uint32_t)check_between(rng, 500, 700), 1, true, kind);
    add_group(&s, rng, 0, 1, true, kind);
    add_group(&s, rng, (uint32_t)check_between(rng, 0, 60), 5, true, kind);
    add_group(&s, rng, (uint32_t)check_between(rng, 240, 300), 16, false, kind);
    add_group(&s, rng, 0, (uint32_t)check_between(rng, 1, 16), false, kind);
    s.max_segments = 3;
    size_t n = (size_t)s.step.n_rows * s.n_heads * head_dim;
    size_t n_sums = (size_t)s.n_sums_rows * s.n_heads * s.max_segments;
    s.q = check_floats(rng, n, kind);
    s.got = check_floats(rng, n, CHECK_ZEROS);
    s.want = check_alloc(n * sizeof(float));
    s.sums = check_alloc(n_sums * attention_sums_stride(head_dim) * sizeof(float));
    launch(&s);
    reference(&s);
    check_same_floats(s.got, s.want, n, is_int8 ? "attention8" : "attention");
    void *const parts[] = {s.cache, s.q, s.got, s.want, s.sums};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        free(parts[i]);
}

static void f16_attention_gives_the_bits_of_the_reference(void **state)
{
    (void)state;
    struct check_rng rng = {1};
    try_scene(&rng, 64, 4, false, CHECK_NORMAL);
    try_scene(&rng, 128, 2, false, CHECK_NORMAL);
    try_scene(&rng, 36, 3, false, CHECK_NORMAL);
    try_scene(&rng, 256, 1, false, CHECK_NORMAL);
    try_scene(&rng, 4, 5, false, CHECK_WIDE);
    try_scene(&rng, 32, 1, false, CHECK_TINY);
    try_scene(&rng, 32, 1, false, CHECK_EQUAL);
    try_scene(&rng, 32, 2, false, CHECK_ANY_BITS);
}

static void int8_attention_gives_the_bits_of_the_reference(void **state)
{
    (void)state;
    struct check_rng rng = {2};
    try_scene(&rng, 64, 4, true, CHECK_NORMAL);
    try_scene(&rng, 128, 2, true, CHECK_NORMAL);
    try_scene(&rng, 36, 3, true, CHECK_NORMAL);
    try_scene(&rng, 256, 1, true, CHECK_NORMAL);
    try_scene(&rng, 4, 5, true, CHECK_WIDE);
    try_scene(&rng, 32, 1, true, CHECK_TINY);
    try_scene(&rng, 32, 1, true, CHECK_EQUAL);
    try_scene(&rng, 32, 2, true, CHECK_ANY_BITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_attention_gives_the_bits_of_the_reference),
        cmocka_unit_test(int8_attention_gives_the_bits_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
