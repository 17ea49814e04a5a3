/* SPDX-License-Identifier: MIT */
/* Engines on other machines beside one of this machine: what the router lets in, and what it does without
 * files. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "services/halo/cert_make.h"
#include "tests/router/operator.h"

struct scene {
    char dir[64];
    char url[64];
    char paths[6][128]; /* router's certificate and key, authority's; worker's */
    struct link_remote remote;
    struct world *w;
    struct fake_engine *here;
    struct fake_tokenizer *t;
    struct operator op;
};

static void make_files(struct scene *s)
{
    char why[CERT_WHY_CAP];
    char host[] = "127.0.0.1";
    char *hosts[] = {host};
    const struct cert_request router = {CERT_ROUTER, "router", hosts, 1, 100};
    const struct cert_request worker = {.kind = CERT_WORKER, .name = "b", .days = 100};
    static const char *const NAMES[] = {"router.pem", "router.key", "ca.pem", "b.pem", "b.key"};
    (void)snprintf(s->dir, sizeof s->dir, "/tmp/halo-certs-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(cert_make_authority(s->dir, why), ERR_OK);
    assert_int_equal(cert_make(s->dir, &router, why), ERR_OK);
    assert_int_equal(cert_make(s->dir, &worker, why), ERR_OK);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        (void)snprintf(s->paths[i], sizeof s->paths[i], "%s/%s", s->dir, NAMES[i]);
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

static struct frame_engine as_said(const char *hash, uint64_t numbers)
{
    return (struct frame_engine){.model_hash = str_from(hash),
                                 .model_name = STR_LIT("a"),
                                 .context = 4096,
                                 .max_seqs = 4,
                                 .kv_blocks = 100,
                                 .block_tokens = 16,
                                 .backend = STR_LIT("fake"),
                                 .numbers = numbers};
}

/* A router, one engine here, a tokenizer and an operator. Engines made afterwards call from
 * another machine. */
static void open_scene(struct scene *s, const char *prefill)
{
    *s = (struct scene){0};
    make_files(s);
    (void)snprintf(s->url, sizeof s->url, "tls+tcp://127.0.0.1:%d", free_port());
    const char *args[] = {"--listen-tls",      s->url,      "--tls-cert", s->paths[0],
                          "--tls-key",         s->paths[1], "--tls-ca",   s->paths[2],
                          "--prefill-engines", prefill,     NULL};
    s->w = world_new(args);
    const struct frame_engine says = as_said(HASH_A, 7);
    s->here = engine_new_as(s->w, "1", &says);
    s->t = tokenizer_new(s->w, "1");
    operator_open(&s->op, s->w);
    s->remote = (struct link_remote){s->url, {s->paths[3], s->paths[4], s->paths[2]}, ""};
    s->w->remote = &s->remote;
}

static struct fake_engine *worker(struct scene *s)
{
    const struct frame_engine says = as_said(HASH_A, 7);
    return engine_new_as(s->w, "1", &says);
}

static void close_scene(struct scene *s)
{
    char cmd[128];
    operator_close(&s->op);
    world_free(s->w);
    (void)snprintf(cmd, sizeof cmd, "rm -rf %s", s->dir);
    assert_int_equal(system(cmd), 0);
}

static void run_all(struct scene *s, struct fake_engine *e, size_t n_ended)
{
    while (s->t->n_ended < n_ended) {
        if (s->here->n_seqs > 0)
            engine_step(s->here);
        if (e->n_seqs > 0)
            engine_step(e);
        loop_turn(s->w->loop, 1);
    }
}

static void it_serves_and_is_listed_with_its_address(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "");
    struct fake_engine *e = worker(&s);
    assert_int_equal(
        strncmp(operator_engine_text(&s.op, "engine.b.1", "address"), "127.0.0.1:", 10), 0);
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "address"), "");
    for (uint64_t i = 1; i <= 6; i++)
        ask(s.t, i, (uint32_t)i, 5);
    UNTIL(s.w, e->n_seqs == 3 && s.here->n_seqs == 3);
    run_all(&s, e, 6);
    for (uint64_t i = 1; i <= 6; i++)
        assert_whole(s.t, i);
    close_scene(&s);
}

static void one_that_differs_is_told_so_and_gets_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *hash;
        uint64_t numbers;
        const char *word;
    } CASES[] = {{HASH_B, 7, "copy the file again"}, {HASH_A, 8, "other numbers"}};
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        open_scene(&s, "");
        const struct frame_engine says = as_said(CASES[i].hash, CASES[i].numbers);
        struct fake_engine *e = engine_new_as(s.w, "1", &says);
        UNTIL(s.w, e->n_unfit == 1);
        if (strstr(e->unfit, CASES[i].word) == NULL)
            fail_msg("%s", e->unfit);
        for (uint64_t k = 1; k <= 6; k++)
            ask(s.t, k, (uint32_t)k, 5);
        run_all(&s, e, 6);
        assert_int_equal(e->n_submits, 0);
        assert_string_equal(operator_engine_text(&s.op, "engine.b.1", "name"), "");
        close_scene(&s);
    }
}

static void a_handover_to_it_computes_again_what_it_needs(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "");
    ask(s.t, 1, 5, 30);
    UNTIL(s.w, s.here->n_seqs == 1);
    engine_step(s.here);
    UNTIL(s.w, reply(s.t, 1)->n_ids == 1);
    struct fake_engine *e = worker(&s);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"b.1\"}");
    UNTIL(s.w, s.here->n_seqs == 2 && e->n_seqs == 1); /* the known answer */
    engine_finish_last(s.here);
    engine_finish_last(e);
    UNTIL(s.w, e->n_seqs == 1 && e->seqs[0].n_resumed == 1 && s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_OK);
    assert_int_equal(s.here->n_exports + e->n_imports, 0);
    run_all(&s, e, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

static void with_phases_it_does_both(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "1");
    struct fake_engine *e = worker(&s);
    for (uint64_t i = 1; i <= 6; i++)
        ask(s.t, i, (uint32_t)i, 5);
    UNTIL(s.w, e->n_seqs == 3 && s.here->n_seqs == 3);
    run_all(&s, e, 6);
    assert_int_equal(s.here->n_exports + e->n_exports, 0);
    for (uint64_t i = 1; i <= 6; i++)
        assert_whole(s.t, i);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_serves_and_is_listed_with_its_address),
        cmocka_unit_test(one_that_differs_is_told_so_and_gets_nothing),
        cmocka_unit_test(a_handover_to_it_computes_again_what_it_needs),
        cmocka_unit_test(with_phases_it_does_both),
    };
    return cmocka_run_group_tests_name("router_remote", tests, NULL, NULL);
}
