/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "services/supervisor/notify_socket.h"

struct seen {
    int n;
    pid_t sender;
    struct notice last;
};

static void on_notice(void *ctx, pid_t sender, const struct notice *n)
{
    struct seen *s = ctx;
    s->n++;
    s->sender = sender;
    s->last = *n;
}

static struct notice parse(const char *text)
{
    struct notice n;
    notify_parse(str_from(text), &n);
    return n;
}

static void known_lines_are_read_and_others_skipped(void **state)
{
    (void)state;
    struct notice n = parse("READY=1\nSTATUS=up and = running\nMAINPID=3\nWATCHDOG=1\n");
    assert_true(n.is_ready && n.is_alive && n.has_status && !n.is_stopping);
    assert_true(str_is(n.status, "up and = running"));
    n = parse("STOPPING=1");
    assert_true(n.is_stopping && !n.is_ready && !n.has_status);
    n = parse("READY=10\nREADY=\n READY=1\nSTATUS\nWATCHDOG=trigger\nSTOPPING=0\n\n");
    assert_false(n.is_ready || n.is_alive || n.is_stopping || n.has_status);
    n = parse("STATUS=");
    assert_true(n.has_status);
    assert_int_equal(n.status.len, 0);
    n = parse("");
    assert_false(n.is_ready || n.has_status);
}

static void send_with_descriptor(const char *path, int fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char text[] = "WATCHDOG=1";
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {text, strlen(text)};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    struct msghdr m = {.msg_name = &to,
                       .msg_namelen = sizeof to,
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.space,
                       .msg_controllen = sizeof control.space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    int s = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(sendmsg(s, &m, 0), (int)strlen(text));
    (void)close(s);
}

static void senders_are_known_by_their_pid_and_descriptors_are_closed(void **state)
{
    (void)state;
    char dir[] = "/tmp/halo-notify-XXXXXX";
    struct loop *loop;
    struct notify_socket *s;
    struct seen seen = {0};
    struct stat st;
    int pipe_fds[2];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(loop_new(&loop), ERR_OK);
    assert_int_equal(notify_socket_open(loop, dir, on_notice, &seen, &s), ERR_OK);
    assert_int_equal(stat(notify_socket_path(s), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    assert_int_equal(pipe(pipe_fds), 0);
    send_with_descriptor(notify_socket_path(s), pipe_fds[1]);
    (void)close(pipe_fds[1]);
    loop_turn(loop, 1000);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.sender, getpid());
    assert_true(seen.last.is_alive);
    char c;
    assert_int_equal(read(pipe_fds[0], &c, 1), 0); /* nobody holds the other end */
    (void)close(pipe_fds[0]);

    send_with_descriptor(notify_socket_path(s), 1);
    send_with_descriptor(notify_socket_path(s), 1);
    notify_socket_drain(s);
    assert_int_equal(seen.n, 3);
    notify_socket_close(s);
    assert_int_equal(rmdir(dir), 0);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_lines_are_read_and_others_skipped),
        cmocka_unit_test(senders_are_known_by_their_pid_and_descriptors_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
