/* SPDX-License-Identifier: MIT */
#include "kernels/f16/f16.h"

#include <math.h>
#include <string.h>

#include "tests/kernels/check.h"

static uint32_t bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void known_values_convert_both_ways(void **state)
{
    (void)state;
    static const struct {
        uint16_t half;
        float value;
    } pairs[] = {
        {0x0000, 0.0f},        {0x8000, -0.0f},    {0x3c00, 1.0f},      {0xc000, -2.0f},
        {0x7bff, 65504.0f},    {0x0400, 0x1p-14f}, {0x0001, 0x1p-24f},  {0x03ff, 0x1.ff8p-15f},
        {0x3555, 0x1.554p-2f}, {0x7c00, INFINITY}, {0xfc00, -INFINITY},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(bits(f16_to_f32(pairs[i].half)), bits(pairs[i].value));
        assert_int_equal(f16_from_f32(pairs[i].value), pairs[i].half);
    }
}

static void encode_rounds_to_nearest_even(void **state)
{
    (void)state;
    assert_int_equal(f16_from_f32(1.0f + 0x1p-11f), 0x3c00); /* a tie, down to even */
    assert_int_equal(f16_from_f32(1.0f + 0x3p-11f), 0x3c02); /* a tie, up to even */
    assert_int_equal(f16_from_f32(1.0f + 0x1.002p-11f), 0x3c01);
    assert_int_equal(f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(f16_from_f32(0x1p-25f), 0x0000); /* a tie with zero */
    assert_int_equal(f16_from_f32(0x1.8p-24f), 0x0002);
    assert_int_equal(f16_from_f32(0x1.ffcp-15f), 0x0400); /* up into the normal numbers */
    assert_int_equal(f16_from_f32(-0x1p-149f), 0x8000);
}

static void every_half_survives_the_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        bool is_nan = (h & 0x7fff) > 0x7c00;
        uint32_t want = is_nan ? h | 0x200 : h;
        assert_int_equal(f16_from_f32(f16_to_f32((uint16_t)h)), want);
    }
}

static void decode_all(const struct kernels *k, const struct kernels *ref)
{
    enum { N = 0x10000 };
    uint16_t *x = check_alloc(N * sizeof *x);
    float *got = check_alloc(N * sizeof *got);
    float *want = check_alloc(N * sizeof *want);
    for (uint32_t i = 0; i < N; i++) {
        x[i] = (uint16_t)i;
    }
    k->f16_decode(x, N, got);
    ref->f16_decode(x, N, want);
    assert_memory_equal(got, want, N * sizeof *got);
    free(x);
    free(got);
    free(want);
}

static void every_variant_decodes_every_half_alike(void **state)
{
    (void)state;
    check_each_isa(decode_all);
}

static void encode_many(const struct kernels *k, const struct kernels *ref)
{
    enum { N = 4096 };
    static float x[N];
    static uint16_t got[N], want[N];
    /* 7919 is prime to 2^32, so the low bits run through all values too; 2^22 samples */
    uint32_t u = 0;
    for (int round = 0; round < 1024; round++) {
        for (size_t i = 0; i < N; i++, u += 7919 * 131) {
            x[i] = from_bits(u);
        }
        x[round] = round % 2 == 0 ? 0.0f : -0.0f;
        k->f16_encode(x, N, got);
        ref->f16_encode(x, N, want);
        assert_memory_equal(got, want, sizeof got);
    }
}

static void every_variant_encodes_alike(void **state)
{
    (void)state;
    check_each_isa(encode_many);
}

static void short_rows(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {1};
    for (size_t n = 0; n < 70; n++) {
        float *x = check_floats(&rng, n, CHECK_ANY_BITS);
        uint16_t *got = check_alloc(n * sizeof *got);
        uint16_t *want = check_alloc(n * sizeof *want);
        float *back = check_alloc(n * sizeof *back);
        float *want_back = check_alloc(n * sizeof *want_back);
        k->f16_encode(x, n, got);
        ref->f16_encode(x, n, want);
        assert_memory_equal(got, want, n * sizeof *got);
        k->f16_decode(got, n, back);
        ref->f16_decode(want, n, want_back);
        assert_memory_equal(back, want_back, n * sizeof *back);
        free(x);
        free(got);
        free(want);
        free(back);
        free(want_back);
    }
}

static void odd_lengths_stay_inside_their_buffers(void **state)
{
    (void)state;
    check_each_isa(short_rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values_convert_both_ways),
        cmocka_unit_test(encode_rounds_to_nearest_even),
        cmocka_unit_test(every_half_survives_the_round_trip),
        cmocka_unit_test(every_variant_decodes_every_half_alike),
        cmocka_unit_test(every_variant_encodes_alike),
        cmocka_unit_test(odd_lengths_stay_inside_their_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
