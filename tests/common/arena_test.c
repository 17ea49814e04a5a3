/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/arena.h"

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    struct arena a = {0};
    unsigned char *p[300];
    for (size_t i = 0; i < 300; i++) {
        size_t size = i * i % 1000;
        p[i] = arena_alloc(&a, size);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t k = 0; k < i * i % 1000; k++)
            assert_int_equal(p[i][k], i & 0xff);
    }
    arena_fini(&a);
}

static void a_piece_may_be_larger_than_a_chunk(void **state)
{
    (void)state;
    struct arena a = {0};
    char *small = arena_strdup(&a, STR_LIT("before"));
    char *big = arena_zalloc(&a, 1000, 1000);
    assert_non_null(big);
    assert_int_equal(big[999999], 0);
    assert_string_equal(small, "before");
    arena_fini(&a);
}

static void the_cap_is_kept_and_starts_anew_after_reset(void **state)
{
    (void)state;
    struct arena a = {.cap_bytes = 100};
    for (int round = 0; round < 3; round++) {
        assert_non_null(arena_alloc(&a, 64));
        assert_null(arena_alloc(&a, 48));
        assert_non_null(arena_alloc(&a, 30));
        assert_int_equal(a.used_bytes, 96);
        arena_reset(&a);
    }
    arena_fini(&a);
}

static void absurd_sizes_give_null(void **state)
{
    (void)state;
    struct arena a = {0};
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    assert_null(arena_zalloc(&a, SIZE_MAX / 2, 3));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(a_piece_may_be_larger_than_a_chunk),
        cmocka_unit_test(the_cap_is_kept_and_starts_anew_after_reset),
        cmocka_unit_test(absurd_sizes_give_null),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
