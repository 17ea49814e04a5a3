/* SPDX-License-Identifier: MIT */
#include "kernels/kernels.h"

#include <string.h>

#include "tests/kernels/check.h"

static void ref_is_always_there(void **state)
{
    (void)state;
    assert_non_null(kernels_get(ISA_REF));
    assert_non_null(kernels_get(kernels_best()));
}

static void names_and_levels_correspond(void **state)
{
    (void)state;
    for (int i = 0; i < ISA_COUNT; i++) {
        enum isa level = ISA_COUNT;
        assert_true(kernels_isa_parse(kernels_isa_name((enum isa)i), &level));
        assert_int_equal(level, i);
        const struct kernels *k = kernels_get(level);
        if (k != NULL) {
            assert_string_equal(k->isa_name, kernels_isa_name(level));
        }
    }
}

static void an_unknown_name_or_level_is_refused(void **state)
{
    (void)state;
    enum isa level = ISA_AVX2;
    assert_false(kernels_isa_parse("avx3", &level));
    assert_int_equal(level, ISA_AVX2);
    assert_null(kernels_get(ISA_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_always_there),
        cmocka_unit_test(names_and_levels_correspond),
        cmocka_unit_test(an_unknown_name_or_level_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
