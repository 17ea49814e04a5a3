/* SPDX-License-Identifier: MIT */
/* A conversion that is stopped, or that cannot write, leaves no file behind. */
#include "services/model/convert.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/halo-convert-XXXXXX";
static char out[64];

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(out, sizeof out, "%s/out.h1b", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(out);
    return rmdir(folder);
}

static size_t count_files(void)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *x; (x = readdir(d)) != NULL;)
        n += x->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static enum err convert_demo(const volatile sig_atomic_t *is_cancelled, struct why *why)
{
    const struct source_options none = {0};
    const struct convert_options options = {
        .packing = "auto", .is_silent = true, .is_cancelled = is_cancelled};
    struct source s;
    struct convert_summary sum = {0};
    assert_int_equal(source_open(&s, DEMO_MODEL, &none, why), ERR_OK);
    enum err e = convert_run(&s, out, &options, why, &sum);
    buf_fini(&sum.packings);
    source_close(&s);
    return e;
}

static void test_cancelling_leaves_nothing(void **state)
{
    (void)state;
    const volatile sig_atomic_t is_cancelled = 1;
    struct why why;
    assert_int_equal(convert_demo(&is_cancelled, &why), ERR_CANCELLED);
    assert_int_equal(count_files(), 0);
}

static void test_a_file_that_cannot_grow_leaves_nothing(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 100000, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct why why = {""};
    enum err e = convert_demo(NULL, &why);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(e, ERR_IO);
    assert_non_null(strstr(why.text, out));
    assert_int_equal(count_files(), 0);
}

static void test_undisturbed_the_file_is_there(void **state)
{
    (void)state;
    const volatile sig_atomic_t is_cancelled = 0;
    struct why why;
    assert_int_equal(convert_demo(&is_cancelled, &why), ERR_OK);
    assert_int_equal(count_files(), 1);
}

static void test_folders_that_are_not_there_are_named(void **state)
{
    (void)state;
    (void)unlink(out);
    (void)snprintf(out, sizeof out, "%s/nowhere/out.h1b", folder);
    struct why why = {""};
    assert_int_equal(convert_demo(NULL, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancelling_leaves_nothing),
        cmocka_unit_test(test_a_file_that_cannot_grow_leaves_nothing),
        cmocka_unit_test(test_undisturbed_the_file_is_there),
        cmocka_unit_test(test_folders_that_are_not_there_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
