/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "services/supervisor/child_log.h"

struct world {
    struct loop *loop;
    char dir[64];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/halo-log-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    static const char *const NAMES[] = {"x.log", "x.log.1"};
    loop_free(w->loop);
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", w->dir, NAMES[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    return 0;
}

static off_t size_of(const struct world *w, const char *name)
{
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", w->dir, name);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void put(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void what_a_child_writes_is_appended_over_its_lives(void **state)
{
    struct world *w = *state;
    struct child_log *l;
    int fd;
    assert_int_equal(child_log_new(w->loop, w->dir, "x", 0, &l), ERR_OK);
    assert_int_equal(child_log_open(l, &fd), ERR_OK);
    put(fd, "one\n");
    loop_turn(w->loop, 1000);
    put(fd, "two");
    (void)close(fd);
    child_log_close(l);
    assert_string_equal(child_log_last_line(l), "two");
    assert_int_equal(child_log_open(l, &fd), ERR_OK);
    assert_string_equal(child_log_last_line(l), "");
    put(fd, "three\n\n  \n");
    (void)close(fd);
    child_log_close(l);
    assert_string_equal(child_log_last_line(l), "three");
    child_log_free(l);
    assert_int_equal(size_of(w, "x.log"), strlen("one\ntwothree\n\n  \n"));
}

static void the_end_of_the_pipe_does_not_keep_the_loop_busy(void **state)
{
    struct world *w = *state;
    struct child_log *l;
    int fd;
    assert_int_equal(child_log_new(w->loop, w->dir, "x", 0, &l), ERR_OK);
    assert_int_equal(child_log_open(l, &fd), ERR_OK);
    put(fd, "bye\n");
    (void)close(fd);
    loop_turn(w->loop, 1000); /* takes the text and the end */
    loop_turn(w->loop, 0);
    int fds_ready = 0;
    for (int i = 0; i < 3; i++) {
        fd_set set;
        struct timeval none = {0, 0};
        FD_ZERO(&set);
        FD_SET(loop_fd(w->loop), &set);
        fds_ready += select(loop_fd(w->loop) + 1, &set, NULL, NULL, &none);
    }
    assert_int_equal(fds_ready, 0);
    assert_string_equal(child_log_last_line(l), "bye");
    child_log_free(l);
}

static void a_log_stays_within_its_limit(void **state)
{
    struct world *w = *state;
    struct child_log *l;
    char line[101];
    memset(line, 'x', sizeof line);
    line[99] = '\n';
    line[100] = '\0';
    assert_int_equal(child_log_new(w->loop, w->dir, "x", 1000, &l), ERR_OK);
    for (int i = 0; i < 95; i++) {
        child_log_add(l, line, 100);
        assert_in_range(size_of(w, "x.log"), 100, 1000);
    }
    assert_int_equal(size_of(w, "x.log.1"), 1000);
    assert_int_equal(size_of(w, "x.log"), 500);
    assert_int_equal(size_of(w, "x.log.2"), -1);
    child_log_free(l);
}

static void the_size_of_an_earlier_log_counts(void **state)
{
    struct world *w = *state;
    struct child_log *l;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(child_log_new(w->loop, w->dir, "x", 10, &l), ERR_OK);
        child_log_add(l, "1234567\n", 8);
        child_log_free(l);
    }
    assert_int_equal(size_of(w, "x.log"), 8);
    assert_int_equal(size_of(w, "x.log.1"), 8);
}

static void a_long_line_is_cut_in_memory_only(void **state)
{
    struct world *w = *state;
    struct child_log *l;
    char text[CHILD_LOG_LINE * 3];
    memset(text, 'y', sizeof text);
    assert_int_equal(child_log_new(w->loop, w->dir, "x", 0, &l), ERR_OK);
    child_log_add(l, text, sizeof text);
    child_log_add(l, "\n", 1);
    assert_int_equal(strlen(child_log_last_line(l)), CHILD_LOG_LINE);
    assert_int_equal(size_of(w, "x.log"), sizeof text + 1);
    child_log_free(l);
}

static void a_directory_that_is_not_there_is_an_error(void **state)
{
    struct world *w = *state;
    struct child_log *l = NULL;
    assert_int_equal(child_log_new(w->loop, "/nonexistent", "x", 0, &l), ERR_NOT_FOUND);
    assert_null(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_child_writes_is_appended_over_its_lives, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_end_of_the_pipe_does_not_keep_the_loop_busy, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_log_stays_within_its_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(the_size_of_an_earlier_log_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_in_memory_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_not_there_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
