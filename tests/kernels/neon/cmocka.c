/* SPDX-License-Identifier: MIT */
#include "tests/kernels/neon/cmocka.h"

static jmp_buf test_end;

void cmocka_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    printf("# %s:%d: ", file, line);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
    longjmp(test_end, 1);
}

int cmocka_run(const struct CMUnitTest *tests, size_t n)
{
    volatile int n_failed = 0;
    printf("1..%zu\n", n);
    for (volatile size_t i = 0; i < n; i++) {
        void *state = NULL;
        if (setjmp(test_end) == 0) {
            tests[i].run(&state);
            printf("ok %zu - %s\n", i + 1, tests[i].name);
        } else {
            n_failed++;
            printf("not ok %zu - %s\n", i + 1, tests[i].name);
        }
    }
    return n_failed;
}
