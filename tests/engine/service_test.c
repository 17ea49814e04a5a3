/* SPDX-License-Identifier: MIT */
/* The engine on the wire, with a router that is this test: first in this process, then the real
 * program as a child. */
#include "services/engine/service.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "proto/link.h"
#include "services/engine/core.h"
#include "tests/engine/testmodel.h"

/* The context is long, so that a reply lasts longer than a message takes. */
enum { CONTEXT = 4096, N_REQS = 8 };

struct reply {
    uint32_t ids[CONTEXT];
    uint32_t n;
    uint32_t finish;
    uint32_t code;
    uint32_t n_frames; /* tokens frames in which it appeared */
};

struct world {
    char run[64];
    char model[96];
    char hash[65];
    struct loop *loop;
    struct link_server *server;
    struct link *engine; /* NULL while none is connected */
    uint32_t n_up;
    enum err why_down;
    bool is_introduced;
    uint32_t context;
    struct frame_engine_load load;
    uint32_t n_loads;
    struct reply replies[N_REQS];
    uint32_t n_token_frames;
    uint32_t frame_ms;
    struct core core;
    struct service *service;
};

/* ---- the router ---- */

static void on_up(void *ctx, struct link *l)
{
    struct world *w = ctx;
    w->engine = l;
    w->n_up++;
    w->is_introduced = false;
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct world *w = ctx;
    if (w->engine != l)
        return; /* the successor was here before this one was missed */
    w->engine = NULL;
    w->why_down = why;
}

static void on_tokens(struct world *w, const struct frame_tokens *f)
{
    w->n_token_frames++;
    for (size_t i = 0; i < f->n_items; i++) {
        const struct rec_token *t = &f->items[i];
        assert_true(t->req < N_REQS);
        struct reply *r = &w->replies[t->req];
        assert_int_equal(r->finish, FINISH_NONE);
        r->n_frames++;
        r->finish = t->finish;
        r->code = t->code;
        if (t->has_id)
            r->ids[r->n++] = t->id;
    }
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct world *w = ctx;
    (void)l;
    if (f->type == FRAME_tokens) {
        on_tokens(w, f->body);
    } else if (f->type == FRAME_engine_load) {
        w->load = *(const struct frame_engine_load *)f->body;
        w->n_loads++;
    } else if (f->type == FRAME_engine) {
        const struct frame_engine *e = f->body;
        assert_true(str_is(e->model_hash, w->hash));
        assert_true(str_is(e->model_name, "test"));
        assert_int_equal(e->block_tokens, 32);
        w->context = e->context;
        w->is_introduced = true;
    } else {
        fail_msg("unexpected frame %s", frame_name(f->type));
    }
}

/* Turns the loop until the condition holds; at most 20 s. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        uint64_t end_ = clock_now_ms() + 20000;                                                    \
        while (!(cond) && clock_now_ms() < end_)                                                   \
            loop_turn((w)->loop, 50);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

static void submit(struct world *w, uint32_t req, uint32_t n_prompt, uint32_t max_tokens)
{
    uint32_t prompt[CONTEXT];
    for (uint32_t i = 0; i < n_prompt; i++)
        prompt[i] = (req * 31 + i * 7) % 300 + 3;
    const struct frame_submit f = {
        .req = req,
        .prompt = prompt,
        .n_prompt = n_prompt,
        .resume = w->replies[req].ids,
        .n_resume = w->replies[req].n,
        .sampling = {.max_tokens = max_tokens, .temperature = 1.0F, .seed = 9, .ignore_eos = true},
    };
    assert_int_equal(link_send(w->engine, FRAME_submit, &f), ERR_OK);
}

static void cancel(struct world *w, uint32_t req)
{
    const struct frame_cancel f = {.req = req};
    assert_int_equal(link_send(w->engine, FRAME_cancel, &f), ERR_OK);
}

/* ---- the engine in this process ---- */

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    strcpy(w->run, "/tmp/halo-engine-XXXXXX");
    assert_non_null(mkdtemp(w->run));
    (void)snprintf(w->model, sizeof w->model, "%s/test.h1b", w->run);
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_ctx = CONTEXT;
    testmodel_write(&shape, w->model, NULL, NULL);
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    const struct link_config link = {
        .loop = w->loop, .run = w->run, .service = "router", .instance = "", .epoch = 11};
    const struct link_handler handler = {on_up, on_frame, on_down, w};
    assert_int_equal(link_listen(&link, &handler, &w->server), ERR_OK);
    struct options o = {.model = w->model,
                        .backend = "cpu",
                        .isa = "auto",
                        .head = "fast",
                        .kv_type = "f16",
                        .threads = 2,
                        .max_seqs = 4,
                        .max_waiting = 100,
                        .step_tokens = 64};
    assert_true(core_open(&w->core, &o));
    (void)snprintf(w->hash, sizeof w->hash, "%s", h1b_hash(w->core.model->file));
    *state = w;
    return 0;
}

static void start_service(struct world *w)
{
    const struct service_config config = {
        .loop = w->loop,
        .scheduler = w->core.scheduler,
        .run = w->run,
        .name = "1",
        .limits = {&w->core.model->config, w->hash, w->core.sizes.n_ctx, 0},
        .max_seqs = 4,
        .frame_ms = w->frame_ms,
        .n_blocks = w->core.sizes.n_blocks,
        .backend = w->core.backend->name,
        .served_name = "test",
        .file = w->core.model->file,
    };
    assert_int_equal(service_start(&config, &w->service), ERR_OK);
    UNTIL(w, w->is_introduced);
}

static int teardown(void **state)
{
    struct world *w = *state;
    service_stop(w->service);
    core_close(&w->core);
    link_server_close(w->server);
    loop_free(w->loop);
    (void)link_drain(1000); /* see proto/closer.h: a close may be stuck in nng */
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf %s", w->run);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static void requests_are_answered_one_token_a_step(void **state)
{
    struct world *w = *state;
    start_service(w);
    assert_int_equal(w->context, CONTEXT);
    for (uint32_t i = 0; i < 6; i++)
        submit(w, i, 10 + 20 * i, 20);
    for (uint32_t i = 0; i < 6; i++) {
        UNTIL(w, w->replies[i].finish != FINISH_NONE);
        assert_int_equal(w->replies[i].finish, FINISH_LENGTH);
        assert_int_equal(w->replies[i].n, 20);
        assert_int_equal(w->replies[i].n_frames, 20);
    }
    UNTIL(w, w->load.running == 0 && w->load.kv_blocks_used == 0);
    assert_true(w->load.prefix_queries >= 6 * 10);
}

/* The first token and the end go out at once; between them there is a frame each 5 ms. */
static void steps_that_follow_closely_share_a_frame(void **state)
{
    struct world *w = *state;
    w->frame_ms = 5;
    start_service(w);
    uint64_t start_ms = clock_now_ms();
    submit(w, 0, 10, 3000);
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH);
    assert_int_equal(w->replies[0].n, 3000);
    assert_in_range(w->n_token_frames, 2, (clock_now_ms() - start_ms) / 5 + 3);
}

/* A reply that is cancelled right after its first token has made some more, which no further step takes
 * along. A machine that is very busy may not have got so far: then the next reply will. */
static void tokens_that_wait_are_sent_without_a_further_step(void **state)
{
    struct world *w = *state;
    w->frame_ms = 100;
    start_service(w);
    bool has_come = false;
    for (uint32_t i = 0; i < N_REQS && !has_come; i++) {
        submit(w, i, 10, 4000);
        UNTIL(w, w->replies[i].n > 0);
        cancel(w, i);
        uint64_t end_ms = clock_now_ms() + 300;
        while (w->replies[i].n == 1 && clock_now_ms() < end_ms)
            loop_turn(w->loop, 20);
        has_come = w->replies[i].n > 1;
    }
    assert_true(has_come);
}

static void a_bad_request_is_refused_and_harms_nobody(void **state)
{
    struct world *w = *state;
    start_service(w);
    submit(w, 0, 10, 100);
    submit(w, 1, CONTEXT, 5); /* longer than the context allows */
    UNTIL(w, w->replies[1].finish != FINISH_NONE);
    assert_int_equal(w->replies[1].finish, FINISH_ERROR);
    assert_int_equal(w->replies[1].code, ERR_CONTEXT);
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH);
    assert_int_equal(w->replies[0].n, 100);
}

static void a_cancelled_request_ends_without_a_word(void **state)
{
    struct world *w = *state;
    start_service(w);
    submit(w, 0, 10, 4000);
    UNTIL(w, w->replies[0].n > 0);
    cancel(w, 0);
    cancel(w, 5); /* unknown: fine */
    submit(w, 1, 10, 3);
    UNTIL(w, w->replies[1].finish == FINISH_LENGTH);
    UNTIL(w, w->load.running == 0);
    assert_int_equal(w->replies[0].finish, FINISH_NONE);
    assert_true(w->replies[0].n < 4000);
}

static void a_lost_connection_is_resumed_with_the_same_tokens(void **state)
{
    struct world *w = *state;
    start_service(w);
    submit(w, 0, 40, 1500);
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH);
    struct reply whole = w->replies[0];
    w->replies[0] = (struct reply){0};
    submit(w, 0, 40, 1500);
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t n = w->replies[0].n;
        UNTIL(w, w->replies[0].n > n + 5);
        link_break(w->engine, ERR_TIMEOUT);
        UNTIL(w, w->n_up == round + 2 && w->is_introduced);
        submit(w, 0, 40, 1500);
    }
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH);
    assert_int_equal(w->replies[0].n, whole.n);
    assert_memory_equal(w->replies[0].ids, whole.ids, sizeof whole.ids);
    assert_int_equal(w->n_up, 4);
}

static void a_frame_that_makes_no_sense_breaks_the_link(void **state)
{
    struct world *w = *state;
    start_service(w);
    const struct frame_accepted f = {.req = 1, .prompt_tokens = 2};
    assert_int_equal(link_send(w->engine, FRAME_accepted, &f), ERR_OK);
    UNTIL(w, w->n_up == 2 && w->is_introduced); /* it comes back */
    submit(w, 0, 5, 5);
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH);
}

static void leaving_is_confirmed_and_stops_the_loop(void **state)
{
    struct world *w = *state;
    start_service(w);
    submit(w, 0, 10, 4000);
    UNTIL(w, w->replies[0].n > 0);
    service_leave(w->service);
    UNTIL(w, loop_is_stopping(w->loop));
    assert_false(service_has_failed(w->service));
}

static void load_is_reported_without_traffic(void **state)
{
    struct world *w = *state;
    start_service(w);
    UNTIL(w, w->n_loads >= 2);
    assert_int_equal(w->load.running, 0);
}

/* ---- the real program ---- */

static pid_t spawn_engine(const struct world *w, const char *notify, const char *extra)
{
    char run[80];
    char model[120];
    char socket_env[120];
    (void)snprintf(run, sizeof run, "--run=%s", w->run);
    (void)snprintf(model, sizeof model, "--model=%s", w->model);
    (void)snprintf(socket_env, sizeof socket_env, "NOTIFY_SOCKET=%s", notify);
    char program[] = HALO_ENGINE;
    char threads[] = "--threads=2";
    char option[64];
    (void)snprintf(option, sizeof option, "%s", extra);
    char *argv[] = {program, run, model, threads, option, NULL};
    char *envp[] = {socket_env, NULL};
    pid_t pid = 0;
    assert_int_equal(posix_spawn(&pid, program, NULL, NULL, argv, envp), 0);
    return pid;
}

static int exit_status(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int listen_notify(const struct world *w, char *path, size_t cap)
{
    (void)snprintf(path, cap, "%s/notify", w->run);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void the_program_says_ready_serves_and_leaves_on_sigterm(void **state)
{
    struct world *w = *state;
    char path[100];
    int fd = listen_notify(w, path, sizeof path);
    pid_t pid = spawn_engine(w, path, "--max-seqs=3");
    char text[300] = "";
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "READY=1"));
    assert_non_null(strstr(text, "serving test on cpu/"));
    UNTIL(w, w->is_introduced);
    submit(w, 0, 30, 20);
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH);
    submit(w, 1, 30, 4000);
    UNTIL(w, w->replies[1].n > 0);
    assert_int_equal(kill(pid, SIGTERM), 0);
    UNTIL(w, w->engine == NULL);
    assert_int_equal(w->why_down, ERR_OK);
    assert_int_equal(exit_status(pid), 0);
    (void)close(fd);
}

static void a_killed_program_is_replaced_by_the_next(void **state)
{
    struct world *w = *state;
    char path[100];
    int fd = listen_notify(w, path, sizeof path);
    pid_t first = spawn_engine(w, path, "--isa=ref");
    UNTIL(w, w->is_introduced);
    submit(w, 0, 30, 1000);
    submit(w, 1, 60, 1000);
    UNTIL(w, w->replies[0].n > 10 && w->replies[1].n > 10);
    assert_int_equal(kill(first, SIGKILL), 0);
    UNTIL(w, w->engine == NULL);
    assert_int_equal(exit_status(first), 256 + SIGKILL);
    w->is_introduced = false;
    pid_t second = spawn_engine(w, path, "--isa=auto");
    UNTIL(w, w->is_introduced);
    submit(w, 0, 30, 1000);
    submit(w, 1, 60, 1000);
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH && w->replies[1].finish == FINISH_LENGTH);
    struct reply resumed[2] = {w->replies[0], w->replies[1]};
    w->replies[0] = w->replies[1] = (struct reply){0};
    submit(w, 0, 30, 1000);
    submit(w, 1, 60, 1000);
    UNTIL(w, w->replies[0].finish == FINISH_LENGTH && w->replies[1].finish == FINISH_LENGTH);
    for (uint32_t i = 0; i < 2; i++)
        assert_memory_equal(w->replies[i].ids, resumed[i].ids, sizeof resumed[i].ids);
    assert_int_equal(kill(second, SIGTERM), 0);
    UNTIL(w, w->engine == NULL);
    assert_int_equal(exit_status(second), 0);
    (void)close(fd);
}

static void the_program_refuses_what_it_cannot_serve(void **state)
{
    struct world *w = *state;
    assert_int_equal(exit_status(spawn_engine(w, "", "--isa=mmx")), 2);
    assert_int_equal(exit_status(spawn_engine(w, "", "--step-tokens=2")), 2);
    assert_int_equal(truncate(w->model, 5000), 0);
    assert_int_equal(exit_status(spawn_engine(w, "", "--lane=1")), 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(requests_are_answered_one_token_a_step),
        CASE(steps_that_follow_closely_share_a_frame),
        CASE(tokens_that_wait_are_sent_without_a_further_step),
        CASE(a_bad_request_is_refused_and_harms_nobody),
        CASE(a_cancelled_request_ends_without_a_word),
        CASE(a_frame_that_makes_no_sense_breaks_the_link),
        CASE(leaving_is_confirmed_and_stops_the_loop),
        CASE(load_is_reported_without_traffic),
        CASE(the_program_says_ready_serves_and_leaves_on_sigterm),
        CASE(a_killed_program_is_replaced_by_the_next),
        CASE(the_program_refuses_what_it_cannot_serve),
        /* Last, because it may leave nng with a socket that never closes (proto/closer.h). */
        CASE(a_lost_connection_is_resumed_with_the_same_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
