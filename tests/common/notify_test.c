/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/notify.h"

/* A manager's socket; an abstract one if the name begins with '@'. */
static int bind_manager(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(at.sun_path, name, n);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&at,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

static void expect(int fd, const char *want)
{
    char text[1024];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    assert_string_equal(text, want);
}

static void messages_arrive_at_a_path_and_at_an_abstract_address(void **state)
{
    (void)state;
    char names[2][64];
    (void)snprintf(names[0], sizeof names[0], "/tmp/halo-notify-%d", (int)getpid());
    (void)snprintf(names[1], sizeof names[1], "@halo-notify-%d", (int)getpid());
    for (int i = 0; i < 2; i++) {
        int fd = bind_manager(names[i]);
        notify_ready("up");
        notify_status("busy");
        notify_stopping();
        expect(fd, "READY=1\nSTATUS=up");
        expect(fd, "STATUS=busy");
        expect(fd, "STOPPING=1");
        (void)close(fd);
        (void)unlink(names[i]);
    }
}

static void a_manager_that_hangs_does_not_hang_the_service(void **state)
{
    (void)state;
    char name[64];
    (void)snprintf(name, sizeof name, "@halo-notify-%d", (int)getpid());
    int fd = bind_manager(name);
    (void)alarm(20); /* blocking forever would be the failure */
    for (int i = 0; i < 5000; i++)
        notify_status("again");
    notify_stopping();
    (void)alarm(0);
    expect(fd, "STATUS=again");
    (void)close(fd);
}

static void a_long_status_is_cut(void **state)
{
    (void)state;
    char name[64];
    char status[2000];
    char text[4096];
    (void)snprintf(name, sizeof name, "@halo-notify-%d", (int)getpid());
    int fd = bind_manager(name);
    memset(status, 'x', sizeof status - 1);
    status[sizeof status - 1] = '\0';
    notify_status(status);
    assert_in_range(recv(fd, text, sizeof text, 0), 200, 1999);
    (void)close(fd);
}

static void without_a_manager_nothing_happens(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    notify_ready("up");
    notify_status("busy");
    assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
    notify_status("busy");
    notify_stopping();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_at_a_path_and_at_an_abstract_address),
        cmocka_unit_test(a_manager_that_hangs_does_not_hang_the_service),
        cmocka_unit_test(a_long_status_is_cut),
        cmocka_unit_test(without_a_manager_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
