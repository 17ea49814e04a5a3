/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/program.h"

static const char *value_of(char *const *env, const char *name)
{
    size_t len = strlen(name);
    const char *found = NULL;
    for (size_t i = 0; env[i] != NULL; i++) {
        if (strncmp(env[i], name, len) == 0 && env[i][len] == '=') {
            assert_null(found); /* once only */
            found = env[i] + len + 1;
        }
    }
    return found;
}

static void the_environment_is_ours_with_changes(void **state)
{
    (void)state;
    assert_int_equal(setenv("HALO_TEST_KEPT", "a", 1), 0);
    assert_int_equal(setenv("HALO_TEST_SET", "b", 1), 0);
    assert_int_equal(setenv("HALO_TEST_GONE", "c", 1), 0);
    assert_int_equal(setenv("HALO_TEST_GONE_NOT", "d", 1), 0);
    char set[] = "HALO_TEST_SET=new";
    char added[] = "HALO_TEST_ADDED=";
    char gone[] = "HALO_TEST_GONE";
    char *changes[] = {set, added, gone};
    char **env = program_environment(changes, ARRAY_LEN(changes));
    assert_string_equal(value_of(env, "HALO_TEST_KEPT"), "a");
    assert_string_equal(value_of(env, "HALO_TEST_SET"), "new");
    assert_string_equal(value_of(env, "HALO_TEST_ADDED"), "");
    assert_null(value_of(env, "HALO_TEST_GONE"));
    assert_string_equal(value_of(env, "HALO_TEST_GONE_NOT"), "d");
    free(env);
}

static void output_and_descriptor_3_are_handed_over(void **state)
{
    (void)state;
    int out[2];
    int in[2];
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(in), 0);
    assert_int_equal(write(in[1], "hello", 5), 5);
    assert_int_equal(close(in[1]), 0);
    char sh[] = "sh";
    char c[] = "-c";
    char script[] = "cat <&3; echo \" $WORD\"; ps -o sid= -p $$ | tr -d ' '; exit 7";
    char *argv[] = {sh, c, script, NULL};
    char word[] = "WORD=there";
    char *changes[] = {word};
    char **env = program_environment(changes, 1);
    struct program p = {.path = "/bin/sh",
                        .argv = argv,
                        .env = env,
                        .group = PROGRAM_SESSION,
                        .out_fd = out[1],
                        .fd3 = in[0]};
    pid_t pid;
    assert_int_equal(program_start(&p, &pid), ERR_OK);
    assert_int_equal(close(out[1]), 0);
    char expected[64];
    char text[64];
    size_t n = 0;
    for (ssize_t got; (got = read(out[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    snprintf(expected, sizeof expected, "hello there\n%d\n", (int)pid);
    assert_string_equal(text, expected);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(close(out[0]) + close(in[0]), 0);
    free(env);
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    char name[] = "none";
    char *argv[] = {name, NULL};
    char **env = program_environment(NULL, 0);
    struct program p = {
        .path = "/nonexistent/none", .argv = argv, .env = env, .out_fd = 2, .fd3 = -1};
    pid_t pid;
    assert_int_not_equal(program_start(&p, &pid), ERR_OK);
    free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_ours_with_changes),
        cmocka_unit_test(output_and_descriptor_3_are_handed_over),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
