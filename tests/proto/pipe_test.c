/* SPDX-License-Identifier: MIT */
/* Two ends of a pipe in one process, and ends that speak the wire by hand. */
#include "proto/pipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/clock.h"
#include "proto/frames.h"

static const char GREETING[8] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};

struct end {
    struct pipe *pipe;
    int n_up;
    int n_down;
    int n_messages;
    enum err why;
    uint64_t n_bytes;
    uint64_t hash; /* of all bytes in order */
    bool closes_in_message;
};

struct world {
    struct loop *loop;
    char dir[64];
    char path[96];
    struct end heard; /* who listens */
    struct end calling;
};

static uint64_t hash_more(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(1099511628211);
    return h;
}

static void on_up(void *ctx, pid_t pid)
{
    struct end *e = ctx;
    e->n_up++;
    assert_int_equal(pid, getpid());
}

static void end_close(struct end *e)
{
    struct pipe *p = e->pipe;
    e->pipe = NULL;
    pipe_close(p);
}

static void on_message(void *ctx, const void *data, size_t len)
{
    struct end *e = ctx;
    e->n_messages++;
    e->n_bytes += len;
    e->hash = hash_more(e->hash, data, len);
    if (e->closes_in_message)
        end_close(e);
}

static void on_down(void *ctx, enum err why)
{
    struct end *e = ctx;
    e->n_down++;
    e->why = why;
    end_close(e);
}

static struct pipe_events events_of(struct end *e)
{
    return (struct pipe_events){on_up, on_message, on_down, e};
}

/* Turns the loop until the condition holds; at most 20 s. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        uint64_t end_ = clock_now_ms() + 20000;                                                    \
        while (!(cond) && clock_now_ms() < end_)                                                   \
            loop_turn((w)->loop, 20);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/halo-pipe-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->path, sizeof w->path, "%s/p.sock", w->dir);
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    const struct pipe_events events = events_of(&w->heard);
    assert_int_equal(pipe_listen(w->loop, w->path, &events, &w->heard.pipe), ERR_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    pipe_close(w->heard.pipe);
    pipe_close(w->calling.pipe);
    loop_free(w->loop);
    (void)unlink(w->path);
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    return 0;
}

static void connect_both(struct world *w)
{
    const struct pipe_events events = events_of(&w->calling);
    assert_int_equal(pipe_dial(w->loop, w->path, &events, &w->calling.pipe), ERR_OK);
    UNTIL(w, w->heard.n_up == 1 && w->calling.n_up == 1);
}

static uint64_t send_filled(struct pipe *p, size_t len, unsigned char fill, uint64_t hash)
{
    char *m = malloc(PIPE_HEAD + len);
    assert_non_null(m);
    for (size_t i = 0; i < len; i++)
        m[PIPE_HEAD + i] = (char)(fill + i * 7);
    hash = hash_more(hash, m + PIPE_HEAD, len);
    pipe_send(p, m, len);
    free(m);
    return hash;
}

static void messages_of_all_sizes_arrive_whole_and_in_order(void **state)
{
    struct world *w = *state;
    static const size_t SIZES[] = {0, 1, 100, 65536, 65527, 65528, 1, 3000000, 5, 0, 200000};
    uint64_t sent = 0;
    int n = 0;
    connect_both(w);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++, n++)
            sent = send_filled(w->calling.pipe, SIZES[i], (unsigned char)n, sent);
    }
    assert_true(pipe_queued(w->calling.pipe) > 0); /* nobody has read yet, and nothing blocked */
    UNTIL(w, w->heard.n_messages == n);
    assert_true(w->heard.hash == sent);
    assert_int_equal(pipe_queued(w->calling.pipe), 0);
    sent = send_filled(w->heard.pipe, 12345, 1, 0);
    UNTIL(w, w->calling.n_messages == 1);
    assert_true(w->calling.hash == sent);
}

static void what_was_sent_before_a_close_arrives(void **state)
{
    struct world *w = *state;
    connect_both(w);
    (void)send_filled(w->calling.pipe, 1000, 1, 0);
    (void)send_filled(w->calling.pipe, 1000, 2, 0);
    (void)send_filled(w->heard.pipe, 10, 3, 0); /* which nobody will read */
    end_close(&w->calling);
    UNTIL(w, w->heard.n_down == 1);
    assert_int_equal(w->heard.n_messages, 2);
    assert_int_equal(w->heard.why, ERR_CLOSED);
}

static void a_pipe_may_be_closed_by_a_message(void **state)
{
    struct world *w = *state;
    connect_both(w);
    w->heard.closes_in_message = true;
    for (int i = 0; i < 5; i++)
        (void)send_filled(w->calling.pipe, 100, 1, 0);
    UNTIL(w, w->calling.n_down == 1);
    assert_int_equal(w->heard.n_messages, 1);
    assert_int_equal(w->heard.n_down, 0);
}

/* ---- by hand ----------------------------------------------------------------------------------- */

static int connect_raw(const struct world *w)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    memcpy(a.sun_path, w->path, strlen(w->path) + 1);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&a, sizeof a), 0);
    return fd;
}

static void write_raw(int fd, const void *data, size_t n)
{
    assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

static void bytes_may_come_one_by_one(void **state)
{
    struct world *w = *state;
    static const char MESSAGE[] = {1,   0, 0, 0, 0, 0, 0, 0, 3, 'a', 'b',
                                   'c', 1, 0, 0, 0, 0, 0, 0, 0, 0};
    int fd = connect_raw(w);
    for (size_t i = 0; i < sizeof GREETING; i++) {
        write_raw(fd, GREETING + i, 1);
        loop_turn(w->loop, 20);
    }
    UNTIL(w, w->heard.n_up == 1);
    for (size_t i = 0; i < sizeof MESSAGE; i++) {
        write_raw(fd, MESSAGE + i, 1);
        UNTIL(w, pipe_received(w->heard.pipe) == sizeof GREETING + i + 1);
    }
    UNTIL(w, w->heard.n_messages == 2);
    assert_int_equal(w->heard.n_bytes, 3);
    (void)close(fd);
    UNTIL(w, w->heard.n_down == 1);
}

static void greetings_that_are_none_leave_the_door_open(void **state)
{
    struct world *w = *state;
    static const char OTHERS[][8] = {
        {0, 'S', 'P', 0, 0, 0x30, 0, 0}, {'G', 'E', 'T', ' ', '/', ' ', 'H', 'T'}, {0}};
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        char c;
        int fd = connect_raw(w);
        write_raw(fd, OTHERS[i], 8);
        for (int k = 0; k < 500 && recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) != 0; k++) {
            while (recv(fd, &c, 1, MSG_DONTWAIT) > 0) {
            }
            loop_turn(w->loop, 20);
        }
        (void)close(fd);
        assert_int_equal(w->heard.n_up + w->heard.n_down, 0);
    }
    int hasty = connect_raw(w); /* hangs up before it has greeted */
    (void)close(hasty);
    for (int k = 0; k < 5; k++)
        loop_turn(w->loop, 5);
    connect_both(w);
}

static void a_length_beyond_the_limit_ends_it_before_any_memory(void **state)
{
    struct world *w = *state;
    char head[PIPE_HEAD] = {1, 0, 0, 0, 0, 1, 0, 0, 1}; /* 16 MiB and one */
    int fd = connect_raw(w);
    write_raw(fd, GREETING, sizeof GREETING);
    UNTIL(w, w->heard.n_up == 1);
    write_raw(fd, head, sizeof head);
    UNTIL(w, w->heard.n_down == 1);
    assert_int_equal(w->heard.why, ERR_TOO_LARGE);
    (void)close(fd);
}

static void another_kind_of_message_ends_it(void **state)
{
    struct world *w = *state;
    char head[PIPE_HEAD] = {2, 0, 0, 0, 0, 0, 0, 0, 0};
    int fd = connect_raw(w);
    write_raw(fd, GREETING, sizeof GREETING);
    write_raw(fd, head, sizeof head); /* at once with the greeting */
    UNTIL(w, w->heard.n_down == 1);
    assert_int_equal(w->heard.why, ERR_PROTOCOL);
    (void)close(fd);
}

static void nobody_there_is_an_error_at_once(void **state)
{
    struct world *w = *state;
    struct pipe *p = NULL;
    char path[120];
    const struct pipe_events events = events_of(&w->calling);
    (void)snprintf(path, sizeof path, "%s/none.sock", w->dir);
    assert_int_not_equal(pipe_dial(w->loop, path, &events, &p), ERR_OK);
    assert_int_not_equal(pipe_listen(w->loop, w->path, &events, &p), ERR_OK);
    assert_null(p);
    struct stat st;
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* Whoever calls a service must be its user or root; root itself may call the services of any user. */
static void only_root_speaks_to_services_of_others(void **state)
{
    (void)state;
    uint64_t own = geteuid();
    uint64_t other = own + 4711;
    for (int is_dialled = 0; is_dialled < 2; is_dialled++) {
        assert_true(pipe_trusts(own, is_dialled));
        assert_true(pipe_trusts(0, is_dialled));
    }
    assert_false(pipe_trusts(other, false));
    assert_int_equal(pipe_trusts(other, true), own == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(only_root_speaks_to_services_of_others),
        TEST(messages_of_all_sizes_arrive_whole_and_in_order),
        TEST(what_was_sent_before_a_close_arrives),
        TEST(a_pipe_may_be_closed_by_a_message),
        TEST(bytes_may_come_one_by_one),
        TEST(greetings_that_are_none_leave_the_door_open),
        TEST(a_length_beyond_the_limit_ends_it_before_any_memory),
        TEST(another_kind_of_message_ends_it),
        TEST(nobody_there_is_an_error_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
