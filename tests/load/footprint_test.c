/* SPDX-License-Identifier: MIT */
#include "services/load/footprint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char OWN[] = "/proc/self/exe";

static void symbols_do_not_count(void **state)
{
    (void)state;
    struct stat st;
    uint64_t bytes = 0;
    assert_int_equal(stat(OWN, &st), 0);
    assert_true(footprint_stripped(OWN, &bytes));
    assert_true(bytes > 1000 && bytes < (uint64_t)st.st_size);
}

static void what_is_no_program_is_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/halo-footprint-XXXXXX";
    uint64_t bytes = 77;
    char head[100];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_false(footprint_stripped(path, &bytes)); /* empty */
    FILE *f = fopen(OWN, "re");
    assert_int_equal(fread(head, 1, sizeof head, f), sizeof head);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(write(fd, head, sizeof head), sizeof head); /* cut off */
    assert_false(footprint_stripped(path, &bytes));
    assert_false(footprint_stripped("/none", &bytes));
    assert_int_equal(bytes, 77);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symbols_do_not_count),
        cmocka_unit_test(what_is_no_program_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
