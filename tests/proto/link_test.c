/* SPDX-License-Identifier: MIT */
/* Two link ends in one process, on one loop; a peer process where a death matters. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/reqrep0/req.h>

#include "common/clock.h"
#include "proto/link.h"

struct side {
    struct link *link; /* the last one that came up */
    int n_up;
    int n_down;
    enum err why;
    int n_frames;
    uint64_t last_req;
    bool breaks_in_frame;
};

struct world {
    struct loop *loop;
    char run[64];
    struct link_config config;
    struct link_server *server;
    struct side accepted;
    struct side dialed;
};

static void on_up(void *ctx, struct link *l)
{
    struct side *s = ctx;
    s->link = l;
    s->n_up++;
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct side *s = ctx;
    s->n_frames++;
    if (f->type == FRAME_cancel)
        s->last_req = ((const struct frame_cancel *)f->body)->req;
    if (s->breaks_in_frame)
        link_break(l, ERR_PROTOCOL);
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    (void)l;
    struct side *s = ctx;
    s->link = NULL;
    s->n_down++;
    s->why = why;
}

static struct link_handler handler_of(struct side *s)
{
    return (struct link_handler){on_up, on_frame, on_down, s};
}

/* Turns the loop until the condition holds; at most 40 s: a door that callers slammed opens again after
 * pauses that grow to 4 s. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        uint64_t end_ = clock_now_ms() + 40000;                                                    \
        while (!(cond) && clock_now_ms() < end_)                                                   \
            loop_turn((w)->loop, 50);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    snprintf(w->run, sizeof w->run, "/tmp/halo-link-XXXXXX");
    assert_non_null(mkdtemp(w->run));
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    w->config = (struct link_config){
        .loop = w->loop, .run = w->run, .service = "router", .instance = "", .epoch = 11};
    struct link_handler h = handler_of(&w->accepted);
    assert_int_equal(link_listen(&w->config, &h, &w->server), ERR_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    link_server_close(w->server);
    loop_free(w->loop);
    assert_true(link_drain(10000));
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", w->run);
    assert_int_equal(system(cmd), 0);
    free(w);
    return 0;
}

static struct link *dial(struct world *w)
{
    struct link_config c = w->config;
    c.service = "engine";
    c.instance = "1";
    c.epoch = 22;
    struct link_handler h = handler_of(&w->dialed);
    struct link *l;
    assert_int_equal(link_dial(&c, "router", &h, &l), ERR_OK);
    return l;
}

static void frames_arrive_in_order_both_ways(void **state)
{
    struct world *w = *state;
    struct link *l = dial(w);
    UNTIL(w, w->dialed.n_up == 1 && w->accepted.n_up == 1);
    assert_string_equal(link_peer_service(w->accepted.link), "engine");
    assert_string_equal(link_peer_instance(w->accepted.link), "1");
    assert_int_equal(link_peer_epoch(w->accepted.link), 22);
    assert_string_equal(link_peer_service(l), "router");
    for (uint64_t i = 1; i <= 2000; i++) {
        struct frame_cancel m = {.req = i};
        assert_int_equal(link_send(l, FRAME_cancel, &m), ERR_OK);
        assert_int_equal(link_send(w->accepted.link, FRAME_cancel, &m), ERR_OK);
    }
    UNTIL(w, w->accepted.n_frames == 2000 && w->dialed.n_frames == 2000);
    assert_int_equal(w->accepted.last_req, 2000);
    assert_int_equal(w->dialed.last_req, 2000);
    link_close(l);
    UNTIL(w, w->accepted.n_down == 1);
    assert_int_equal(w->accepted.why, ERR_CLOSED);
}

static void the_sockets_are_closed_to_others(void **state)
{
    struct world *w = *state;
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/router.sock", w->run);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_second_listener_is_told_that_the_name_is_taken(void **state)
{
    struct world *w = *state;
    struct link_handler h = handler_of(&w->accepted);
    struct link_server *other = NULL;
    assert_int_equal(link_listen(&w->config, &h, &other), ERR_IN_USE);
    assert_null(other);
}

static void a_dialer_comes_back_after_the_service_restarts(void **state)
{
    struct world *w = *state;
    struct link *l = dial(w);
    UNTIL(w, w->dialed.n_up == 1 && w->accepted.n_up == 1);
    link_server_close(w->server);
    UNTIL(w, w->dialed.n_down == 1);
    assert_int_equal(w->dialed.why, ERR_CLOSED);
    struct frame_cancel m = {.req = 1};
    assert_int_equal(link_send(l, FRAME_cancel, &m), ERR_CLOSED);
    w->server = NULL;
    assert_true(link_drain(10000));
    w->config.epoch = 33;
    struct link_handler h = handler_of(&w->accepted);
    assert_int_equal(link_listen(&w->config, &h, &w->server), ERR_OK);
    UNTIL(w, w->dialed.n_up == 2);
    assert_int_equal(link_peer_epoch(l), 33);
    link_close(l);
}

static void bye_delivers_everything_first(void **state)
{
    struct world *w = *state;
    struct link *l = dial(w);
    UNTIL(w, w->dialed.n_up == 1 && w->accepted.n_up == 1);
    for (uint64_t i = 1; i <= 500; i++) {
        struct frame_cancel m = {.req = i};
        assert_int_equal(link_send(l, FRAME_cancel, &m), ERR_OK);
    }
    link_bye(l);
    UNTIL(w, w->dialed.n_down == 1 && w->accepted.n_down == 1);
    assert_int_equal(w->accepted.n_frames, 500);
    assert_int_equal(w->dialed.why, ERR_OK);
    assert_int_equal(w->accepted.why, ERR_OK);
    link_close(l);
}

static void a_link_may_be_broken_inside_its_own_callback(void **state)
{
    struct world *w = *state;
    struct link *l = dial(w);
    UNTIL(w, w->dialed.n_up == 1 && w->accepted.n_up == 1);
    w->accepted.breaks_in_frame = true;
    struct frame_cancel m = {.req = 1};
    assert_int_equal(link_send(l, FRAME_cancel, &m), ERR_OK);
    UNTIL(w, w->accepted.n_down == 1 && w->dialed.n_down == 1);
    UNTIL(w, w->dialed.n_up == 2);
    link_close(l);
}

static void a_service_that_speaks_wrongly_is_called_less_and_less_often(void **state)
{
    struct world *w = *state;
    struct link *l = dial(w);
    w->dialed.breaks_in_frame = true;
    struct frame_cancel m = {.req = 1};
    uint64_t came_up_ms[5];
    for (int i = 0; i < 5; i++) {
        UNTIL(w, w->accepted.n_up == i + 1 && w->dialed.n_up == i + 1);
        came_up_ms[i] = clock_now_ms();
        assert_int_equal(link_send(w->accepted.link, FRAME_cancel, &m), ERR_OK);
    }
    /* 40, 80, 160 and 320 ms apart; a service that died is called again after 20. */
    assert_true(came_up_ms[4] - came_up_ms[0] >= 600);
    link_close(l);
}

/* nng would stop accepting for good. */
static void a_caller_that_hangs_up_at_once_does_not_lock_the_others_out(void **state)
{
    struct world *w = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/router.sock", w->run);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k <= i; k++) {
            int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            assert_true(fd >= 0);
            assert_int_equal(connect(fd, (struct sockaddr *)(void *)&a, sizeof a), 0);
            assert_int_equal(close(fd), 0);
        }
        int up = w->accepted.n_up;
        struct link *l = dial(w);
        UNTIL(w, w->accepted.n_up == up + 1 && w->dialed.n_up == up + 1);
        link_close(l);
        UNTIL(w, w->accepted.n_down == up + 1);
    }
    /* The name is still ours, and still taken. */
    struct link_handler h = handler_of(&w->accepted);
    struct link_server *other = NULL;
    assert_int_equal(link_listen(&w->config, &h, &other), ERR_IN_USE);
    struct link *l = dial(w);
    int up = w->accepted.n_up;
    UNTIL(w, w->accepted.n_up == up + 1);
    link_close(l);
}

/* A peer that speaks nng but not our protocol, at both sockets. */
static void garbage_drops_the_peer_and_not_the_process(void **state)
{
    struct world *w = *state;
    char url[128];
    nng_socket s;
    snprintf(url, sizeof url, "ipc://%s/router.sock", w->run);
    for (int i = 0; i < 3; i++) {
        static const char *const JUNK[] = {"", "\xdd\xff\xff\xff\xff", "GET / HTTP/1.1"};
        assert_int_equal(nng_req0_open(&s), 0);
        assert_int_equal(nng_dial(s, url, NULL, 0), 0);
        assert_int_equal(nng_send(s, (void *)(uintptr_t)JUNK[i], strlen(JUNK[i]), 0), 0);
        for (int k = 0; k < 5; k++)
            loop_turn(w->loop, 10);
        assert_int_equal(nng_close(s), 0);
    }
    struct link *l = dial(w);
    UNTIL(w, w->dialed.n_up == 1);
    link_close(l);
}

/* Says hello by hand, connects to the pair socket and sends `junk` there. */
static void junk_after_welcome(struct world *w, const void *junk, size_t n)
{
    char url[128];
    struct buf hello = {0};
    struct frame_hello h = {
        .protocol = PROTO_VERSION, .build = STR_LIT("x"), .service = STR_LIT("engine"), .epoch = 5};
    assert_int_equal(frame_encode(&hello, FRAME_hello, 5, &h), ERR_OK);
    nng_socket req;
    nng_socket pair;
    snprintf(url, sizeof url, "ipc://%s/router.sock", w->run);
    assert_int_equal(nng_req0_open(&req), 0);
    assert_int_equal(nng_dial(req, url, NULL, 0), 0);
    assert_int_equal(nng_send(req, hello.ptr, hello.len, 0), 0);
    nng_msg *msg = NULL;
    for (int i = 0; i < 200 && nng_recvmsg(req, &msg, NNG_FLAG_NONBLOCK) != 0; i++)
        loop_turn(w->loop, 10);
    assert_non_null(msg);
    struct arena a = {0};
    struct frame f;
    assert_int_equal(frame_decode(nng_msg_body(msg), nng_msg_len(msg), &a, &f), ERR_OK);
    assert_int_equal(f.type, FRAME_welcome);
    const struct frame_welcome *wel = f.body;
    char *address = arena_strdup(&a, wel->address);
    int n_up = w->accepted.n_up;
    assert_int_equal(nng_pair0_open(&pair), 0);
    /* nng's own pair0: the pipe must speak as it does. It greets on our loop, so do not wait here. */
    assert_int_equal(nng_dial(pair, address, NULL, NNG_FLAG_NONBLOCK), 0);
    UNTIL(w, w->accepted.n_up == n_up + 1);
    int n_down = w->accepted.n_down;
    assert_int_equal(nng_send(pair, (void *)(uintptr_t)junk, n, 0), 0);
    UNTIL(w, w->accepted.n_down == n_down + 1);
    nng_msg_free(msg);
    arena_fini(&a);
    buf_fini(&hello);
    assert_int_equal(nng_close(req), 0);
    assert_int_equal(nng_close(pair), 0);
}

static void a_hostile_frame_drops_the_peer(void **state)
{
    struct world *w = *state;
    junk_after_welcome(w, "\xdd\xff\xff\xff\xff", 5);
    assert_int_equal(w->accepted.why, ERR_PROTOCOL);
    unsigned char deep[64];
    memset(deep, 0x91, sizeof deep);
    junk_after_welcome(w, deep, sizeof deep);
    assert_int_equal(w->accepted.why, ERR_DEPTH);
    junk_after_welcome(w, "\x93\x13\x01\x81\x01\xa1x", 7);
    assert_int_equal(w->accepted.why, ERR_TYPE);
    /* A right frame of a foreign epoch. */
    junk_after_welcome(w, "\x93\x13\x63\x81\x01\x05", 6);
    assert_int_equal(w->accepted.why, ERR_PROTOCOL);
    /* The second frame of its epoch, and the first is missing. */
    junk_after_welcome(w, "\x93\x13\x06\x81\x01\x05", 6);
    assert_int_equal(w->accepted.why, ERR_PROTOCOL);
}

static void a_protocol_version_too_old_is_refused_in_words(void **state)
{
    struct world *w = *state;
    char url[128];
    struct buf hello = {0};
    struct frame_hello h = {.protocol = PROTO_OLDEST - 1,
                            .build = STR_LIT("x"),
                            .service = STR_LIT("engine"),
                            .epoch = 5};
    assert_int_equal(frame_encode(&hello, FRAME_hello, 5, &h), ERR_OK);
    nng_socket req;
    snprintf(url, sizeof url, "ipc://%s/router.sock", w->run);
    assert_int_equal(nng_req0_open(&req), 0);
    assert_int_equal(nng_dial(req, url, NULL, 0), 0);
    assert_int_equal(nng_send(req, hello.ptr, hello.len, 0), 0);
    nng_msg *msg = NULL;
    for (int i = 0; i < 200 && nng_recvmsg(req, &msg, NNG_FLAG_NONBLOCK) != 0; i++)
        loop_turn(w->loop, 10);
    assert_non_null(msg);
    struct arena a = {0};
    struct frame f;
    assert_int_equal(frame_decode(nng_msg_body(msg), nng_msg_len(msg), &a, &f), ERR_OK);
    assert_int_equal(f.type, FRAME_refuse);
    assert_int_equal(((const struct frame_refuse *)f.body)->code, ERR_VERSION);
    nng_msg_free(msg);
    arena_fini(&a);
    buf_fini(&hello);
    assert_int_equal(nng_close(req), 0);
}

static void no_socket_files_are_left_by_connections(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 5; i++) {
        struct link *l = dial(w);
        int up = w->accepted.n_up;
        UNTIL(w, w->accepted.n_up > up);
        int down = w->accepted.n_down;
        link_close(l);
        UNTIL(w, w->accepted.n_down > down);
    }
    char cmd[128];
    snprintf(cmd, sizeof cmd, "test $(ls %s | wc -l) = 1", w->run);
    assert_int_equal(system(cmd), 0);
}

/* Another user, to whom the file system would let in: the peer's uid is what stops him. He reads the
 * transport's greeting and then the end. Needs root to become somebody else. */
static void a_peer_of_another_user_is_refused(void **state)
{
    struct world *w = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/router.sock", w->run);
    assert_int_equal(chmod(w->run, 0755), 0);
    assert_int_equal(chmod(address.sun_path, 0666), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* system calls only: nng's threads are not here */
        static const char GREETING[] = "\0SP\0\0\x30\0";
        char answer[64];
        ssize_t n;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setuid(65534) != 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
            write(fd, GREETING, sizeof GREETING) != (ssize_t)sizeof GREETING)
            _exit(1);
        while ((n = read(fd, answer, sizeof answer)) > 0) {
        }
        _exit(n == 0 || errno == ECONNRESET ? 0 : 2);
    }
    int status = -1;
    pid_t ended = 0;
    UNTIL(w, ended == pid || (ended = waitpid(pid, &status, WNOHANG)) == pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_arrive_in_order_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(the_sockets_are_closed_to_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_listener_is_told_that_the_name_is_taken, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_dialer_comes_back_after_the_service_restarts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bye_delivers_everything_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_may_be_broken_inside_its_own_callback, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_caller_that_hangs_up_at_once_does_not_lock_the_others_out,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_drops_the_peer_and_not_the_process, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_service_that_speaks_wrongly_is_called_less_and_less_often,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_hostile_frame_drops_the_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_protocol_version_too_old_is_refused_in_words, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_socket_files_are_left_by_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_of_another_user_is_refused, setup, teardown),
    };
    /* The last one can run as root only. */
    size_t n = sizeof tests / sizeof tests[0] - (geteuid() != 0);
    return _cmocka_run_group_tests("link", tests, n, NULL, NULL);
}
