/* SPDX-License-Identifier: MIT */
#include "kernels/philox/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Random123 (D. E. Shaw Research), tests/kat_vectors, lines "philox4x32 10". */
static const struct {
    struct philox_block counter;
    uint32_t key[2];
    struct philox_block want;
} vectors[] = {
    {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
    {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
     {0xffffffff, 0xffffffff},
     {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
    {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
     {0xa4093822, 0x299f31d0},
     {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
};

static void rounds_give_the_published_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct philox_block got = philox_rounds(vectors[i].counter, vectors[i].key);
        assert_memory_equal(&got, &vectors[i].want, sizeof got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_give_the_published_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
