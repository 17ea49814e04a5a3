/* SPDX-License-Identifier: MIT */
/* Links between machines, both ends in one process on one loop; strangers are processes of their own that
 * speak TLS by hand. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proto/link.h"
#include "proto/resolve.h"
#include "proto/tls.h"
#include "services/halo/cert_make.h"

enum { N_IDS = 200000 };

struct side {
    struct link *link;
    int n_up;
    int n_down;
    enum err why;
    int n_frames;
    uint64_t last_req;
    size_t n_prompt;
};

struct world {
    struct loop *loop;
    char run[64];
    char tls[80];
    char url[64];
    int port;
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
    (void)l;
    s->n_frames++;
    if (f->type == FRAME_cancel)
        s->last_req = ((const struct frame_cancel *)f->body)->req;
    if (f->type == FRAME_submit)
        s->n_prompt = ((const struct frame_submit *)f->body)->n_prompt;
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct side *s = ctx;
    if (s->link == l)
        s->link = NULL;
    s->n_down++;
    s->why = why;
}

static struct link_handler handler_of(struct side *s)
{
    return (struct link_handler){on_up, on_frame, on_down, s};
}

/* Turns the loop until the condition holds; at most 40 s. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        uint64_t end_ = clock_now_ms() + 40000;                                                    \
        while (!(cond) && clock_now_ms() < end_)                                                   \
            loop_turn((w)->loop, 50);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

/* ---- files ------------------------------------------------------------------------------------- */

static void make(const char *dir, enum cert_kind kind, const char *name, const char *host, int days)
{
    char why[CERT_WHY_CAP];
    char word[64];
    (void)snprintf(word, sizeof word, "%s", host);
    char *hosts[] = {word};
    const struct cert_request q = {
        .kind = kind, .name = name, .hosts = hosts, .n_hosts = kind == CERT_ROUTER, .days = days};
    if (cert_make(dir, &q, why) != ERR_OK)
        fail_msg("%s", why);
}

/* Paths of a machine's files; lent until the next call for the same place. */
static struct tls_files files_of(const char *dir, const char *name)
{
    static char paths[3][160];
    (void)snprintf(paths[0], sizeof paths[0], "%s/%s.pem", dir, name);
    (void)snprintf(paths[1], sizeof paths[1], "%s/%s.key", dir, name);
    (void)snprintf(paths[2], sizeof paths[2], "%s/ca.pem", dir);
    return (struct tls_files){paths[0], paths[1], paths[2]};
}

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&a, &len), 0);
    assert_int_equal(close(fd), 0);
    return ntohs(a.sin_port);
}

static int setup(void **state)
{
    char why[TLS_WHY_CAP];
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    (void)snprintf(w->run, sizeof w->run, "/tmp/halo-remote-XXXXXX");
    assert_non_null(mkdtemp(w->run));
    (void)snprintf(w->tls, sizeof w->tls, "%s/tls", w->run);
    assert_int_equal(cert_make_authority(w->tls, why), ERR_OK);
    make(w->tls, CERT_ROUTER, "router", "127.0.0.1", 100);
    make(w->tls, CERT_WORKER, "b", "", 100);
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    w->port = free_port();
    (void)snprintf(w->url, sizeof w->url, "tls+tcp://127.0.0.1:%d", w->port);
    w->config = (struct link_config){
        .loop = w->loop, .run = w->run, .service = "router", .instance = "", .epoch = 11};
    const struct link_handler h = handler_of(&w->accepted);
    assert_int_equal(link_listen(&w->config, &h, &w->server), ERR_OK);
    const struct link_remote remote = {w->url, files_of(w->tls, "router"), "b,c"};
    if (link_listen_remote(w->server, &remote, why) != ERR_OK)
        fail_msg("%s", why);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char cmd[128];
    link_server_close(w->server);
    loop_free(w->loop);
    assert_true(link_drain(10000));
    (void)snprintf(cmd, sizeof cmd, "rm -rf %s", w->run);
    assert_int_equal(system(cmd), 0);
    free(w);
    return 0;
}

static struct link *dial_as(struct world *w, const char *service, const char *name, const char *url)
{
    char why[TLS_WHY_CAP];
    struct link_config c = w->config;
    const struct link_handler h = handler_of(&w->dialed);
    const struct link_remote remote = {url, files_of(w->tls, name), ""};
    struct link *l;
    c.service = service;
    c.instance = "1";
    c.epoch = 22;
    if (link_dial_remote(&c, &remote, &h, why, &l) != ERR_OK)
        fail_msg("%s", why);
    return l;
}

static void turn_for(struct world *w, uint64_t ms)
{
    for (uint64_t end = clock_now_ms() + ms; clock_now_ms() < end;)
        loop_turn(w->loop, 20);
}

/* ---- those who belong -------------------------------------------------------------------------- */

static void frames_of_all_sizes_go_both_ways(void **state)
{
    struct world *w = *state;
    uint32_t *ids = mem_zalloc(N_IDS, sizeof *ids);
    struct link *l = dial_as(w, "engine", "b", w->url);
    UNTIL(w, w->dialed.n_up == 1 && w->accepted.n_up == 1);
    assert_string_equal(link_peer_service(w->accepted.link), "engine");
    assert_string_equal(link_peer_instance(w->accepted.link), "b.1");
    assert_int_equal(strncmp(link_peer_address(w->accepted.link), "127.0.0.1:", 10), 0);
    assert_int_equal(link_peer_epoch(w->accepted.link), 22);
    assert_string_equal(link_peer_service(l), "router");
    for (uint32_t i = 0; i < N_IDS; i++)
        ids[i] = i * 7919;
    for (uint64_t i = 1; i <= 300; i++) {
        struct frame_cancel m = {.req = i};
        struct frame_submit big = {.req = i, .prompt = ids, .n_prompt = N_IDS};
        big.sampling.max_tokens = 1;
        assert_int_equal(link_send(l, FRAME_cancel, &m), ERR_OK);
        assert_int_equal(link_send(w->accepted.link, FRAME_cancel, &m), ERR_OK);
        if (i % 50 == 0) { /* more than the socket takes: it waits behind */
            assert_int_equal(link_send(l, FRAME_submit, &big), ERR_OK);
            assert_int_equal(link_send(w->accepted.link, FRAME_submit, &big), ERR_OK);
        }
    }
    UNTIL(w, w->accepted.n_frames == 306 && w->dialed.n_frames == 306);
    assert_int_equal(w->accepted.last_req, 300);
    assert_int_equal(w->dialed.last_req, 300);
    assert_int_equal(w->accepted.n_prompt, N_IDS);
    link_bye(l);
    UNTIL(w, w->dialed.n_down == 1 && w->accepted.n_down == 1);
    assert_int_equal(w->dialed.why, ERR_OK);
    assert_int_equal(w->accepted.why, ERR_OK);
    link_close(l);
    free(ids);
}

static void a_lost_link_comes_back(void **state)
{
    struct world *w = *state;
    struct link *l = dial_as(w, "engine", "b", w->url);
    UNTIL(w, w->accepted.n_up == 1 && w->dialed.n_up == 1);
    /* With the beats it becomes known how far apart the clocks are: here by the way of a message. */
    UNTIL(w, link_peer_clock_ns(l) != 0 && link_peer_clock_ns(w->accepted.link) != 0);
    assert_in_range(link_peer_clock_ns(l), 1, INT64_C(40000000000));
    link_break(w->accepted.link, ERR_IO);
    UNTIL(w, w->accepted.n_up == 2 && w->dialed.n_up == 2);
    assert_int_equal(w->dialed.n_down, 1);
    link_close(l);
    UNTIL(w, w->accepted.n_down == 2);
    assert_int_equal(w->accepted.why, ERR_CLOSED);
}

static void a_name_is_looked_up(void **state)
{
    struct world *w = *state;
    char url[64];
    make(w->tls, CERT_ROUTER, "router", "localhost", 100);
    (void)snprintf(url, sizeof url, "tls+tcp://localhost:%d", w->port);
    struct link *l = dial_as(w, "engine", "b", url);
    UNTIL(w, w->dialed.n_up == 1);
    link_close(l);
    struct link *again = dial_as(w, "engine", "b", url);
    link_close(again); /* before, or while, it is looked up */
    turn_for(w, 20);
}

static void a_process_that_calls_again_replaces_its_older_link(void **state)
{
    struct world *w = *state;
    struct link *l = dial_as(w, "engine", "b", w->url);
    UNTIL(w, w->accepted.n_up == 1 && w->dialed.n_up == 1);
    struct side again = {0};
    struct link *old = w->accepted.link;
    struct link_config c = w->config;
    const struct link_handler h = handler_of(&again);
    const struct link_remote remote = {w->url, files_of(w->tls, "b"), ""};
    char why[TLS_WHY_CAP];
    struct link *second;
    c.service = "engine";
    c.instance = "1";
    c.epoch = 22;
    assert_int_equal(link_dial_remote(&c, &remote, &h, why, &second), ERR_OK);
    UNTIL(w, w->accepted.n_up == 2 && w->accepted.n_down == 1);
    assert_ptr_not_equal(w->accepted.link, old);
    link_close(l);
    link_close(second);
}

static void new_files_are_taken_without_a_restart(void **state)
{
    struct world *w = *state;
    char path[128];
    make(w->tls, CERT_ROUTER, "router", "elsewhere.example", 100);
    struct link *l = dial_as(w, "engine", "b", w->url);
    turn_for(w, 400);
    assert_int_equal(w->dialed.n_up, 0); /* another host's */
    (void)snprintf(path, sizeof path, "%s/router.key", w->tls);
    assert_int_equal(chmod(path, 0644), 0);
    make(w->tls, CERT_ROUTER, "router", "127.0.0.1", 100);
    UNTIL(w, w->dialed.n_up == 1);
    link_close(l);
}

/* ---- those who do not -------------------------------------------------------------------------- */

static void a_worker_that_is_not_listed_is_refused(void **state)
{
    struct world *w = *state;
    make(w->tls, CERT_WORKER, "d", "", 100);
    struct link *l = dial_as(w, "engine", "d", w->url);
    struct link *operator= dial_as(w, "halo", "b", w->url);
    turn_for(w, 600);
    assert_int_equal(w->accepted.n_up, 0);
    assert_int_equal(w->dialed.n_up, 0);
    link_close(l);
    link_close(operator);
}

/* What a stranger does, in a process of its own. */
struct stranger {
    const char *dir;
    const char *name; /* NULL: no certificate */
    int newest; /* TLS version; 0: any */
};

static int take_in(const struct world *w)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)w->port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&a, sizeof a), 0);
    return fd;
}

/* Exit status 1 if it hears a word of the service's. */
static void be_stranger(const struct world *w, const struct stranger *s)
{
    char byte;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (s->newest != 0)
        (void)SSL_CTX_set_max_proto_version(ctx, s->newest);
    if (s->name != NULL) {
        const struct tls_files f = files_of(s->dir, s->name);
        if (SSL_CTX_use_certificate_file(ctx, f.cert, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file(ctx, f.key, SSL_FILETYPE_PEM) != 1)
            _exit(2);
    }
    SSL *ssl = SSL_new(ctx);
    (void)SSL_set_fd(ssl, take_in(w));
    _exit(SSL_connect(ssl) == 1 && SSL_read(ssl, &byte, 1) == 1);
}

static bool hears_a_word(struct world *w, const struct stranger *s)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGPIPE, SIG_IGN);
        be_stranger(w, s);
    }
    bool is_over = false;
    UNTIL(w, is_over = is_over || waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
    return WEXITSTATUS(status) == 1;
}

static void strangers_hear_no_word(void **state)
{
    struct world *w = *state;
    char other[96];
    char why[CERT_WHY_CAP];
    struct link *l = dial_as(w, "engine", "b", w->url);
    UNTIL(w, w->accepted.n_up == 1 && w->dialed.n_up == 1);
    (void)snprintf(other, sizeof other, "%s/other", w->run);
    assert_int_equal(cert_make_authority(other, why), ERR_OK);
    make(other, CERT_WORKER, "b", "", 100);
    make(w->tls, CERT_WORKER, "old", "", -1);
    assert_true(hears_a_word(w, &(struct stranger){w->tls, "b", 0}));
    assert_false(hears_a_word(w, &(struct stranger){NULL, NULL, 0}));
    assert_false(hears_a_word(w, &(struct stranger){other, "b", 0}));
    assert_false(hears_a_word(w, &(struct stranger){w->tls, "old", 0}));
    assert_false(hears_a_word(w, &(struct stranger){w->tls, "router", 0}));
    assert_false(hears_a_word(w, &(struct stranger){w->tls, "b", TLS1_2_VERSION}));
    assert_int_equal(w->accepted.n_down, 0);
    assert_int_equal(w->dialed.n_down, 0);
    link_close(l);
}

/* A router of the wrong kind, in a process of its own: says whether the handshake came to an end. */
static void be_router(int listener, const struct tls_files *f)
{
    char byte;
    int fd = accept(listener, NULL, NULL);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (fd < 0 || SSL_CTX_use_certificate_file(ctx, f->cert, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) != 1)
        _exit(2);
    SSL *ssl = SSL_new(ctx);
    (void)SSL_set_fd(ssl, fd);
    _exit(SSL_accept(ssl) == 1 && SSL_read(ssl, &byte, 1) == 1);
}

static void a_worker_cannot_play_the_router(void **state)
{
    struct world *w = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    char url[64];
    int status = 0;
    make(w->tls, CERT_WORKER, "localhost", "", 100); /* its name is even the host's */
    const struct tls_files f = files_of(w->tls, "localhost");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&a, &len), 0);
    assert_int_equal(listen(fd, 4), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGPIPE, SIG_IGN);
        be_router(fd, &f);
    }
    (void)close(fd);
    (void)snprintf(url, sizeof url, "tls+tcp://localhost:%d", ntohs(a.sin_port));
    struct link *l = dial_as(w, "engine", "b", url);
    bool is_over = false;
    UNTIL(w, is_over = is_over || waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(w->dialed.n_up, 0);
    link_close(l);
}

static void silent_callers_do_not_keep_others_out(void **state)
{
    struct world *w = *state;
    int fds[200];
    char byte;
    for (int i = 0; i < 200; i++) {
        fds[i] = take_in(w);
        if (i % 20 == 0)
            loop_turn(w->loop, 0);
    }
    uint64_t began = clock_now_ms();
    struct link *l = dial_as(w, "engine", "b", w->url);
    UNTIL(w, w->accepted.n_up == 1 && w->dialed.n_up == 1);
    for (int i = 0; i < 200; i++) {
        ssize_t n = -1;
        UNTIL(w, (n = recv(fds[i], &byte, 1, MSG_DONTWAIT)) == 0 || (n < 0 && errno == ECONNRESET));
        (void)close(fds[i]);
    }
    assert_true(clock_now_ms() - began < 30000);
    assert_int_equal(w->accepted.n_down, 0);
    link_close(l);
}

static void noise_is_hung_up_on(void **state)
{
    struct world *w = *state;
    static const char NOISE[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[256];
    int fd = take_in(w);
    assert_int_equal(send(fd, NOISE, sizeof NOISE, MSG_NOSIGNAL), sizeof NOISE);
    ssize_t n = 1;
    while (n != 0) {
        UNTIL(w, (n = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) >= 0 || errno == ECONNRESET);
        if (n < 0)
            break;
        assert_true(n <= 7); /* an alert at most */
    }
    (void)close(fd);
    assert_int_equal(w->accepted.n_up, 0);
}

/* ---- files and words --------------------------------------------------------------------------- */

static void expect_unfit(const struct tls_files *f, enum tls_side side, enum err want,
                         const char *word)
{
    char why[TLS_WHY_CAP] = "";
    struct tls_context *c = NULL;
    assert_int_equal(tls_context_new(f, side, why, &c), want);
    if (strstr(why, word) == NULL)
        fail_msg("expected %s in: %s", word, why);
}

static void unfit_files_are_refused_in_words(void **state)
{
    struct world *w = *state;
    char key[160];
    char cert[160];
    struct tls_files f = files_of(w->tls, "b");
    expect_unfit(&(struct tls_files){NULL, NULL, NULL}, TLS_CALLER, ERR_INVALID, "--tls-cert");
    expect_unfit(&f, TLS_CALLED, ERR_INVALID, "purpose"); /* a worker's is no router's */
    (void)snprintf(key, sizeof key, "%s", f.key);
    assert_int_equal(chmod(key, 0644), 0);
    expect_unfit(&f, TLS_CALLER, ERR_PERMISSION, "chmod 600");
    assert_int_equal(chmod(key, 0600), 0);
    (void)snprintf(key, sizeof key, "%s/router.key", w->tls);
    expect_unfit(&(struct tls_files){f.cert, key, f.ca}, TLS_CALLER, ERR_INVALID, "router.key");
    (void)snprintf(cert, sizeof cert, "%s/none.pem", w->tls);
    expect_unfit(&(struct tls_files){cert, f.key, f.ca}, TLS_CALLER, ERR_INVALID, "none.pem");
    make(w->tls, CERT_WORKER, "old", "", -1);
    f = files_of(w->tls, "old");
    expect_unfit(&f, TLS_CALLER, ERR_INVALID, "expired");
    f = files_of(w->tls, "b");
    struct tls_context *c;
    char why[TLS_WHY_CAP];
    assert_int_equal(tls_context_new(&f, TLS_CALLER, why, &c), ERR_OK);
    assert_in_range(tls_context_left_s(c), 99 * 86400, 100 * 86400);
    tls_context_free(c);
}

static void addresses_are_taken_apart(void **state)
{
    static const struct {
        const char *url;
        const char *host;
        const char *port;
    } CASES[] = {
        {"tls+tcp://a.example:8443", "a.example", "8443"},
        {"tls+tcp://10.0.0.1:1", "10.0.0.1", "1"},
        {"tls+tcp://[::1]:443", "::1", "443"},
        {"tls+tcp://a.example", NULL, NULL},
        {"tls+tcp://:8443", NULL, NULL},
        {"tls+tcp://a:", NULL, NULL},
        {"tls+tcp://a:65536", NULL, NULL},
        {"tls+tcp://a:844300", NULL, NULL},
        {"tls+tcp://a:84x", NULL, NULL},
        {"tls+tcp://::1:443", NULL, NULL},
        {"tls+tcp://[]:443", NULL, NULL},
        {"tcp://a:1", NULL, NULL},
        {"", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct resolve_target t;
        char why[256];
        bool is_good = resolve_parse(CASES[i].url, &t, why, sizeof why);
        if (is_good != (CASES[i].host != NULL))
            fail_msg("%s", CASES[i].url);
        if (!is_good)
            continue;
        assert_string_equal(t.host, CASES[i].host);
        assert_string_equal(t.port, CASES[i].port);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(frames_of_all_sizes_go_both_ways),
        CASE(a_lost_link_comes_back),
        CASE(a_name_is_looked_up),
        CASE(a_process_that_calls_again_replaces_its_older_link),
        CASE(new_files_are_taken_without_a_restart),
        CASE(a_worker_that_is_not_listed_is_refused),
        CASE(strangers_hear_no_word),
        CASE(a_worker_cannot_play_the_router),
        CASE(silent_callers_do_not_keep_others_out),
        CASE(noise_is_hung_up_on),
        CASE(unfit_files_are_refused_in_words),
        cmocka_unit_test(addresses_are_taken_apart),
    };
    return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
