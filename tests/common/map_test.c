/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/map.h"

static void an_empty_map_has_nothing(void **state)
{
    (void)state;
    struct map m = {0};
    size_t cursor = 0;
    uint64_t key;
    void *value;
    assert_null(map_get(&m, 0));
    assert_null(map_remove(&m, 7));
    assert_false(map_next(&m, &cursor, &key, &value));
    map_fini(&m);
}

static void put_replaces(void **state)
{
    (void)state;
    struct map m = {0};
    int a;
    int b;
    map_put(&m, UINT64_MAX, &a);
    map_put(&m, UINT64_MAX, &b);
    assert_int_equal(m.n, 1);
    assert_ptr_equal(map_get(&m, UINT64_MAX), &b);
    assert_ptr_equal(map_remove(&m, UINT64_MAX), &b);
    assert_null(map_get(&m, UINT64_MAX));
    map_fini(&m);
}

/* A long random run beside a plain array that says what must be there. */
static void it_agrees_with_a_plain_array(void **state)
{
    (void)state;
    enum { KEYS = 512, ROUNDS = 200000 };
    static char marks[KEYS];
    void *want[KEYS] = {0};
    size_t n = 0;
    struct map m = {0};
    srand(1);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned k = (unsigned)rand() % KEYS;
        uint64_t key = (uint64_t)k << (k % 40) | (uint64_t)k << 52; /* low bits often equal */
        /* Waves, so that it grows full and shrinks to nothing. */
        bool puts = rand() % 100 < (i / 5000 % 2 == 0 ? 70 : 30);
        if (puts) {
            n += want[k] == NULL;
            want[k] = &marks[rand() % KEYS];
            map_put(&m, key, want[k]);
        } else {
            n -= want[k] != NULL;
            assert_ptr_equal(map_remove(&m, key), want[k]);
            want[k] = NULL;
        }
        assert_int_equal(m.n, n);
        assert_ptr_equal(map_get(&m, key), want[k]);
    }
    size_t cursor = 0;
    size_t seen = 0;
    uint64_t key;
    void *value;
    while (map_next(&m, &cursor, &key, &value)) {
        assert_ptr_equal(want[key >> 52], value);
        seen++;
    }
    assert_int_equal(seen, n);
    map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(put_replaces),
        cmocka_unit_test(it_agrees_with_a_plain_array),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
