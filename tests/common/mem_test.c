/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "common/check.h"
#include "common/log.h"
#include "common/mem.h"
#include "tests/common/capture.h"

static void memory_is_zeroed_and_nothing_is_an_allocation_too(void **state)
{
    (void)state;
    uint8_t *p = mem_zalloc(3, 5);
    for (int i = 0; i < 15; i++)
        assert_int_equal(p[i], 0);
    p[14] = 7;
    p = mem_resize(p, 1, 1000);
    assert_int_equal(p[14], 7);
    free(p);
    p = mem_zalloc(0, 8);
    p = mem_resize(p, 0, 8);
    free(p);
}

static void a_copy_ends_where_it_is_told(void **state)
{
    (void)state;
    char *s = mem_strndup("abcdef", 3);
    assert_string_equal(s, "abc");
    free(s);
    AUTO(mem_auto_free) char *empty = mem_strndup("x", 0);
    assert_string_equal(empty, "");
}

/* In a process of its own: it ends with a line that says why. */
static void without_memory_the_process_ends_and_says_so(void **state)
{
    (void)state;
    static struct capture capture;
    volatile size_t most = SIZE_MAX;
    for (int resizes = 0; resizes < 2; resizes++) {
        capture_start(&capture, 2);
        pid_t pid = fork();
        if (pid == 0) {
            (void)signal(SIGABRT, SIG_DFL);
            (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
            log_init("test", LOG_INFO);
            void *p = resizes ? mem_resize(NULL, most, 16) : mem_zalloc(most, 16);
            _exit(p == NULL);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        const char *text = capture_stop(&capture);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_has(
            text, "level=error svc=test ev=out-of-memory n=18446744073709551615 bytes_each=16 do=");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_nothing_is_an_allocation_too),
        cmocka_unit_test(a_copy_ends_where_it_is_told),
        cmocka_unit_test(without_memory_the_process_ends_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
