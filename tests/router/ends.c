/* SPDX-License-Identifier: MIT */
#include "tests/router/ends.h"

#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"

extern char **environ;

uint32_t fake_id(uint32_t first, uint64_t seed, size_t position)
{
    uint64_t h = (first ^ seed << 20) * UINT64_C(0x9e3779b97f4a7c15) + position;
    h = (h ^ h >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(h >> 40);
}

/* ---- the world --------------------------------------------------------------------------------- */

/* A failed test leaves its router behind. */
static pid_t started[64];
static size_t n_started;

static void kill_leftovers(void)
{
    while (n_started > 0) {
        n_started--;
        if (started[n_started] != 0)
            (void)kill(started[n_started], SIGKILL);
    }
}

static void note_start(pid_t pid)
{
    if (n_started == 0)
        assert_int_equal(atexit(kill_leftovers), 0);
    assert_true(n_started < ARRAY_LEN(started));
    started[n_started++] = pid;
}

static void note_end(struct world *w)
{
    for (size_t i = 0; i < n_started; i++) {
        if (started[i] == w->router_pid)
            started[i] = 0;
    }
    w->router_pid = 0;
}

void router_start(struct world *w, const char *const *args)
{
    char *argv[32] = {0};
    size_t n = 0;
    const char *path = getenv("HALO_ROUTER");
    assert_non_null(path);
    /* Patient: on a busy machine we may not get to run for seconds. */
    const char *fixed[] = {path, "--run", w->run, "--log-level", "error", "--dead-ms=10000"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        argv[n++] = mem_strndup(fixed[i], strlen(fixed[i]));
    for (; args != NULL && *args != NULL; args++)
        argv[n++] = mem_strndup(*args, strlen(*args));
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, path, NULL, NULL, argv, environ), 0);
    w->router_pid = pid;
    note_start(pid);
    while (n > 0)
        free(argv[--n]);
}

void router_kill(struct world *w)
{
    int status;
    assert_int_equal(kill(w->router_pid, SIGKILL), 0);
    assert_int_equal(waitpid(w->router_pid, &status, 0), w->router_pid);
    note_end(w);
}

struct world *world_new(const char *const *args)
{
    struct world *w = mem_zalloc(1, sizeof *w);
    (void)snprintf(w->run, sizeof w->run, "/tmp/halo-router-XXXXXX");
    assert_non_null(mkdtemp(w->run));
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    w->next_epoch = 100;
    router_start(w, args);
    return w;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void stop(struct world *w, bool turns)
{
    int status;
    uint64_t start = clock_now_ms();
    assert_int_equal(kill(w->router_pid, SIGTERM), 0);
    while (waitpid(w->router_pid, &status, turns ? WNOHANG : 0) == 0) {
        assert_true(clock_now_ms() - start < 20000);
        loop_turn(w->loop, 5);
    }
    note_end(w);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

void router_stop(struct world *w)
{
    stop(w, true);
}

void router_stop_alone(struct world *w)
{
    stop(w, false);
}

void world_free(struct world *w)
{
    if (w->router_pid != 0)
        router_stop(w);
    for (int i = 0; i < ENDS_MAX; i++) {
        struct fake_engine *e = w->engines[i];
        struct fake_tokenizer *t = w->tokenizers[i];
        if (e != NULL) {
            UNTIL(w, !e->is_up); /* the router is gone */
            link_close(e->link);
            buf_fini(&e->last_submit);
            free(e);
        }
        if (t == NULL)
            continue;
        UNTIL(w, !t->is_up);
        link_close(t->link);
        size_t cursor = 0;
        uint64_t req;
        for (void *r; map_next(&t->replies, &cursor, &req, &r);) {
            free(((struct fake_reply *)r)->ids);
            free(r);
        }
        map_fini(&t->replies);
        free(t);
    }
    loop_free(w->loop);
    (void)link_drain(1000); /* nng may hang: see proto/closer.h */
    assert_int_equal(nftw(w->run, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    free(w);
}

/* The descriptor of the link that just came up: one that leads to a pair socket of the router and
 * belongs to no other end. (When several come up at once, it may be that of another.) */
static int find_fd(const struct world *w)
{
    char prefix[96];
    int n = snprintf(prefix, sizeof prefix, "%s/router.p", w->run);
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_un a = {0};
        socklen_t len = sizeof a;
        if (getpeername(fd, (struct sockaddr *)(void *)&a, &len) != 0 || a.sun_family != AF_UNIX ||
            strncmp(a.sun_path, prefix, (size_t)n) != 0)
            continue;
        struct pollfd gone = {.fd = fd, .events = POLLRDHUP};
        bool is_known = poll(&gone, 1, 0) != 0; /* of an earlier connection */
        for (int i = 0; i < ENDS_MAX; i++) {
            const struct fake_engine *e = w->engines[i];
            const struct fake_tokenizer *t = w->tokenizers[i];
            is_known |=
                (e != NULL && e->is_up && e->fd == fd) || (t != NULL && t->is_up && t->fd == fd);
        }
        if (!is_known)
            return fd;
    }
    return -1;
}

/* Breaks a connection as a death does. Closing the nng socket in the middle of traffic would not do:
 * it may hang (see proto/closer.h). */
static void cut(struct world *w, int fd, const bool *is_up)
{
    if (!*is_up)
        return;
    assert_true(fd >= 0);
    assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    UNTIL(w, !*is_up);
}

/* Waits until the router has heard from all engines that are up, as far as a tokenizer can tell. */
static uint32_t n_serving(const struct world *w)
{
    uint32_t n = 0;
    for (int i = 0; i < ENDS_MAX; i++) {
        const struct fake_engine *e = w->engines[i];
        n += e != NULL && e->is_up && !e->is_mute && e->n_unfit == 0;
    }
    return n;
}

static void wait_until_known(struct world *w)
{
    const struct fake_tokenizer *t = NULL;
    for (int i = 0; i < ENDS_MAX; i++) {
        if (t == NULL && w->tokenizers[i] != NULL && w->tokenizers[i]->is_up)
            t = w->tokenizers[i];
    }
    if (t != NULL)
        UNTIL(w, t->load.engines >= n_serving(w));
}

static struct link *dial(struct world *w, const char *service, const char *name,
                         struct link_handler h, const struct link_remote *remote)
{
    char why[TLS_WHY_CAP];
    struct link *l;
    struct link_config c = {
        .loop = w->loop,
        .run = w->run,
        .service = service,
        .instance = name,
        .epoch = w->next_epoch++,
        .dead_ms = 10000,
    };
    enum err e = remote != NULL ? link_dial_remote(&c, remote, &h, why, &l)
                                : link_dial(&c, "router", &h, &l);
    assert_int_equal(e, ERR_OK);
    return l;
}

/* ---- engines ----------------------------------------------------------------------------------- */

static void engine_up(void *ctx, struct link *l)
{
    struct fake_engine *e = ctx;
    e->fd = e->remote != NULL ? -1 : find_fd(e->world); /* those over TCP are not cut */
    e->is_up = true;
    e->n_seqs = 0;
    e->says.standby = e->is_standby;
    if (!e->is_mute)
        assert_int_equal(link_send(l, FRAME_engine, &e->says), ERR_OK);
}

static void engine_down(void *ctx, struct link *l, enum err why)
{
    struct fake_engine *e = ctx;
    (void)l;
    e->is_up = false;
    e->n_seqs = 0;
    e->n_downs++;
    e->why = why;
}

static void remove_seq(struct fake_engine *e, size_t i)
{
    e->n_seqs--;
    memmove(&e->seqs[i], &e->seqs[i + 1], (e->n_seqs - i) * sizeof e->seqs[0]);
}

static void on_submit(struct fake_engine *e, const struct frame_submit *f)
{
    assert_true(e->n_seqs < SEQS_MAX);
    for (size_t i = 0; i < e->n_seqs; i++)
        assert_true(e->seqs[i].id != f->req);
    struct fake_seq *q = &e->seqs[e->n_seqs++];
    e->n_submits++;
    *q = (struct fake_seq){
        .id = f->req,
        .first = f->prompt[0],
        .seed = f->sampling.seed,
        .max_tokens = f->sampling.max_tokens,
        .deadline_ms = f->deadline_ms,
        .n_prompt = f->n_prompt,
        .n_ids = f->n_resume,
        .n_resumed = f->n_resume,
        .wants_top = f->sampling.top_logprobs > 0,
    };
    struct frame_submit plain = *f;
    plain.req = 0;
    plain.deadline_ms = 0;
    buf_reset(&e->last_submit);
    assert_int_equal(frame_encode(&e->last_submit, FRAME_submit, 0, &plain), ERR_OK);
    for (size_t i = 0; i < f->n_resume; i++)
        assert_int_equal(f->resume[i], fake_id(q->first, q->seed, i));
}

static void on_kv(struct fake_engine *e, const struct frame *f)
{
    struct str file;
    if (f->type == FRAME_kv_export) {
        const struct frame_kv_export *x = f->body;
        file = x->file;
        e->export_after = x->after;
        e->n_exports++;
    } else {
        file = ((const struct frame_kv_import *)f->body)->file;
        e->n_imports++;
    }
    (void)snprintf(e->kv_file, sizeof e->kv_file, "%.*s", (int)file.len, file.ptr);
}

void engine_kv_done(struct fake_engine *e, enum err code, uint32_t blocks, uint64_t mark)
{
    struct frame_kv_done f = {.file = str_from(e->kv_file),
                              .code = (uint32_t)code,
                              .blocks = blocks,
                              .bytes = blocks * 100U,
                              .us = 5,
                              .mark = mark};
    assert_int_equal(link_send(e->link, FRAME_kv_done, &f), ERR_OK);
}

static void engine_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct fake_engine *e = ctx;
    (void)l;
    if (f->type == FRAME_submit) {
        on_submit(e, f->body);
        return;
    }
    if (f->type == FRAME_standby) {
        e->is_standby = ((const struct frame_standby *)f->body)->on;
        e->is_replaced = ((const struct frame_standby *)f->body)->replaced;
        return;
    }
    if (f->type == FRAME_kv_export || f->type == FRAME_kv_import) {
        on_kv(e, f);
        return;
    }
    if (f->type == FRAME_unfit) {
        const struct str why = ((const struct frame_unfit *)f->body)->detail;
        (void)snprintf(e->unfit, sizeof e->unfit, "%.*s", (int)why.len, why.ptr);
        e->n_unfit++;
        return;
    }
    assert_int_equal(f->type, FRAME_cancel);
    e->n_cancels++;
    for (size_t i = 0; i < e->n_seqs; i++) {
        if (e->seqs[i].id == ((const struct frame_cancel *)f->body)->req) {
            remove_seq(e, i);
            return;
        }
    }
}

void engine_return(struct fake_engine *e)
{
    struct link_handler h = {engine_up, engine_frame, engine_down, e};
    e->link = dial(e->world, "engine", e->name, h, e->remote);
    UNTIL(e->world, e->is_up);
    wait_until_known(e->world);
}

struct fake_engine *engine_new_as(struct world *w, const char *name,
                                  const struct frame_engine *says)
{
    struct fake_engine *e = mem_zalloc(1, sizeof *e);
    int i = 0;
    while (w->engines[i] != NULL)
        i++;
    assert_true(i < ENDS_MAX);
    w->engines[i] = e;
    e->world = w;
    e->name = name;
    e->remote = w->remote;
    e->says = *says;
    engine_return(e);
    return e;
}

static struct fake_engine *engine_new_in(struct world *w, const char *name, uint32_t max_seqs,
                                         uint32_t lane)
{
    struct frame_engine says = {
        .lane = lane,
        .model_hash = STR_LIT(HASH_A),
        .has_vocabulary = true,
        .model_name = STR_LIT("a"),
        .context = 4096,
        .max_seqs = max_seqs,
        .kv_blocks = 100,
        .block_tokens = 16,
        .backend = STR_LIT("fake"),
    };
    return engine_new_as(w, name, &says);
}

struct fake_engine *engine_new(struct world *w, const char *name, uint32_t max_seqs)
{
    return engine_new_in(w, name, max_seqs, 0);
}

struct fake_engine *engine_new_candidate(struct world *w, const char *name, uint32_t max_seqs)
{
    return engine_new_in(w, name, max_seqs, 1);
}

/* One step of one sequence. */
static struct rec_token compute(const struct fake_engine *e, struct fake_seq *q)
{
    static const struct rec_top TOP[] = {{.id = 1, .logprob = -0.5F}, {.id = 2, .logprob = -1.25F}};
    struct rec_token item = {.req = q->id, .finish = FINISH_LENGTH};
    if (e->is_empty) {
        item.finish = FINISH_STOP;
    } else if (e->does_fail && q->n_ids + 1 == q->max_tokens) {
        item.finish = FINISH_ERROR;
        item.code = ERR_INTERNAL;
    } else if (q->n_ids < q->max_tokens) {
        bool is_wrong = e->wrong_from > 0 && q->n_ids >= e->wrong_from;
        item.has_id = true;
        item.id = fake_id(q->first, q->seed, q->n_ids) + is_wrong;
        item.logprob = -0.5F;
        item.top = TOP;
        item.n_top = q->wants_top ? ARRAY_LEN(TOP) : 0;
        item.cached_tokens = q->n_ids == q->n_resumed ? 7 : 0;
        q->n_ids++;
        item.finish = q->n_ids == q->max_tokens ? FINISH_LENGTH : FINISH_NONE;
    }
    return item;
}

void engine_finish_last(struct fake_engine *e)
{
    static struct rec_token items[SEQS_MAX];
    size_t n = 0;
    assert_true(e->n_seqs > 0);
    do {
        assert_true(n < SEQS_MAX);
        items[n++] = compute(e, &e->seqs[e->n_seqs - 1]);
    } while (items[n - 1].finish == FINISH_NONE);
    remove_seq(e, e->n_seqs - 1);
    struct frame_tokens f = {.items = items, .n_items = n};
    assert_int_equal(link_send(e->link, FRAME_tokens, &f), ERR_OK);
}

void engine_step(struct fake_engine *e)
{
    static struct rec_token items[SEQS_MAX];
    size_t n = 0;
    size_t n_run = e->n_seqs < e->says.max_seqs ? e->n_seqs : e->says.max_seqs;
    for (size_t i = 0; i < n_run; i++) {
        if (e->poison != 0 && e->seqs[i].first == e->poison) {
            e->n_poisoned++;
            engine_die(e);
            return;
        }
    }
    for (size_t i = 0; i < n_run; i++) {
        items[n++] = compute(e, &e->seqs[i]);
    }
    for (size_t i = n_run; i > 0; i--) {
        if (items[i - 1].finish != FINISH_NONE)
            remove_seq(e, i - 1);
    }
    struct frame_tokens f = {.items = items, .n_items = n};
    if (n > 0 && e->is_up)
        assert_int_equal(link_send(e->link, FRAME_tokens, &f), ERR_OK);
}

static bool is_proven(const struct world *w, const struct fake_seq *q)
{
    for (int i = 0; i < ENDS_MAX && w->tokenizers[i] != NULL; i++) {
        const struct fake_reply *r = map_get(&w->tokenizers[i]->replies, q->seed);
        if (r != NULL && r->first == q->first && r->n_ids > q->n_resumed)
            return true;
    }
    return false;
}

bool engine_is_proven(const struct fake_engine *e)
{
    for (size_t i = 0; i < e->n_seqs && i < e->says.max_seqs; i++) {
        if (!is_proven(e->world, &e->seqs[i]))
            return false;
    }
    return e->n_seqs > 0;
}

void engine_die(struct fake_engine *e)
{
    cut(e->world, e->fd, &e->is_up);
    link_close(e->link);
    e->link = NULL;
}

/* ---- tokenizers -------------------------------------------------------------------------------- */

struct fake_reply *reply(struct fake_tokenizer *t, uint64_t req)
{
    struct fake_reply *r = map_get(&t->replies, req);
    assert_non_null(r);
    return r;
}

static void on_token(struct fake_tokenizer *t, const struct rec_token *item)
{
    struct fake_reply *r = reply(t, item->req);
    assert_int_equal(r->finish, FINISH_NONE);
    r->cached_tokens += item->cached_tokens;
    if (item->has_id) {
        assert_true(r->n_ids < r->max_tokens);
        assert_int_equal(item->id, fake_id(r->first, r->seed, r->n_ids));
        r->ids[r->n_ids++] = item->id;
    }
    if (item->finish == FINISH_NONE)
        return;
    r->finish = item->finish;
    r->retry_ms = item->retry_ms;
    r->code = item->code;
    assert_true(item->detail.len < sizeof r->detail);
    if (item->detail.len > 0)
        memcpy(r->detail, item->detail.ptr, item->detail.len);
    t->n_ended++;
    t->n_ok += item->finish != FINISH_ERROR;
}

static void on_status(struct fake_tokenizer *t, const struct frame_status *f)
{
    t->n_status++;
    t->n_models = f->n_models;
    t->load = f->load;
    t->model[0] = '\0';
    if (f->n_models == 0)
        return;
    const struct rec_model *m = &f->models[0];
    (void)snprintf(t->model, sizeof t->model, "%.*s", (int)m->name.len, m->name.ptr);
    (void)snprintf(t->model_hash, sizeof t->model_hash, "%.*s", (int)m->hash.len, m->hash.ptr);
    t->model_context = m->context;
}

static void on_queued(struct fake_tokenizer *t, const struct frame_queued *f)
{
    assert_true(f->n_items > 0);
    t->n_queued++;
    for (size_t i = 0; i < f->n_items; i++) {
        struct fake_reply *r = reply(t, f->items[i].req);
        assert_int_not_equal(r->position, f->items[i].position); /* only news */
        r->position = f->items[i].position;
    }
}

static void tokenizer_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct fake_tokenizer *t = ctx;
    (void)l;
    if (f->type == FRAME_status) {
        on_status(t, f->body);
        return;
    }
    if (f->type == FRAME_queued) {
        on_queued(t, f->body);
        return;
    }
    assert_int_equal(f->type, FRAME_tokens);
    const struct frame_tokens *tokens = f->body;
    t->n_frames++;
    assert_true(tokens->n_items > 0);
    for (size_t i = 0; i < tokens->n_items; i++)
        on_token(t, &tokens->items[i]);
}

static void tokenizer_up(void *ctx, struct link *l)
{
    struct fake_tokenizer *t = ctx;
    (void)l;
    t->fd = find_fd(t->world);
    t->is_up = true;
}

static void tokenizer_down(void *ctx, struct link *l, enum err why)
{
    struct fake_tokenizer *t = ctx;
    (void)l;
    t->is_up = false;
    t->n_downs++;
    t->why = why;
}

struct link_handler tokenizer_handler(struct fake_tokenizer *t)
{
    return (struct link_handler){tokenizer_up, tokenizer_frame, tokenizer_down, t};
}

void tokenizer_return(struct fake_tokenizer *t)
{
    t->link = dial(t->world, "tokenizer", t->name, tokenizer_handler(t), NULL);
    UNTIL(t->world, t->is_up);
    wait_until_known(t->world);
}

struct fake_tokenizer *tokenizer_new(struct world *w, const char *name)
{
    struct fake_tokenizer *t = mem_zalloc(1, sizeof *t);
    int i = 0;
    while (w->tokenizers[i] != NULL)
        i++;
    assert_true(i < ENDS_MAX);
    w->tokenizers[i] = t;
    t->world = w;
    t->name = name;
    tokenizer_return(t);
    return t;
}

void tokenizer_die(struct fake_tokenizer *t)
{
    cut(t->world, t->fd, &t->is_up);
    link_close(t->link);
    t->link = NULL;
    t->n_known = 0;
}

void ask_as(struct fake_tokenizer *t, const struct frame_submit *f)
{
    struct fake_reply *r = mem_zalloc(1, sizeof *r);
    r->req = f->req;
    r->first = f->n_prompt > 0 ? f->prompt[0] : 0;
    r->seed = f->sampling.seed;
    r->max_tokens = f->sampling.max_tokens;
    r->ids = mem_zalloc((size_t)r->max_tokens + 1, sizeof *r->ids);
    assert_null(map_get(&t->replies, r->req));
    map_put(&t->replies, r->req, r);
    assert_int_equal(link_send(t->link, FRAME_submit, f), ERR_OK);
}

void ask(struct fake_tokenizer *t, uint64_t req, uint32_t first, uint32_t n)
{
    uint32_t prompt[] = {first, 1, 2, 3};
    struct frame_submit f = {
        .req = req,
        .prompt = prompt,
        .n_prompt = ARRAY_LEN(prompt),
        .sampling = {.max_tokens = n, .seed = req},
    };
    ask_as(t, &f);
}

void ask_again(struct fake_tokenizer *t, struct fake_reply *r)
{
    uint32_t prompt[] = {r->first, 1, 2, 3};
    struct frame_submit f = {
        .req = r->req,
        .prompt = prompt,
        .n_prompt = ARRAY_LEN(prompt),
        .resume = r->ids,
        .n_resume = r->n_ids,
        .sampling = {.max_tokens = r->max_tokens, .seed = r->seed},
    };
    assert_int_equal(link_send(t->link, FRAME_submit, &f), ERR_OK);
}

void ask_all_again(struct fake_tokenizer *t)
{
    size_t cursor = 0;
    uint64_t req;
    for (void *r; map_next(&t->replies, &cursor, &req, &r);) {
        if (((struct fake_reply *)r)->finish == FINISH_NONE)
            ask_again(t, r);
    }
}

size_t ask_failed_again(struct fake_tokenizer *t)
{
    size_t n = 0;
    size_t cursor = 0;
    uint64_t req;
    for (void *p; map_next(&t->replies, &cursor, &req, &p);) {
        struct fake_reply *r = p;
        if (r->finish != FINISH_ERROR)
            continue;
        r->finish = FINISH_NONE;
        t->n_ended--;
        n++;
        ask_again(t, r);
    }
    return n;
}

void cancel(struct fake_tokenizer *t, uint64_t req)
{
    struct frame_cancel f = {.req = req};
    assert_int_equal(link_send(t->link, FRAME_cancel, &f), ERR_OK);
}

void tokenizer_knows(struct fake_tokenizer *t, const char *hash, enum err code, const char *detail)
{
    /* What is told is all that it knows. */
    ASSERT(t->n_known < ARRAY_LEN(t->known));
    t->known[t->n_known++] = (struct rec_known_model){
        .hash = str_from(hash), .code = (uint32_t)code, .detail = str_from(detail)};
    const struct frame_known f = {.items = t->known, .n_items = t->n_known};
    assert_int_equal(link_send(t->link, FRAME_known, &f), ERR_OK);
}

void assert_whole(struct fake_tokenizer *t, uint64_t req)
{
    struct fake_reply *r = reply(t, req); /* each id was compared when it came */
    assert_int_equal(r->finish, FINISH_LENGTH);
    assert_int_equal(r->n_ids, r->max_tokens);
}

void assert_failed(struct fake_tokenizer *t, uint64_t req, enum err code, const char *words)
{
    struct fake_reply *r = reply(t, req);
    assert_int_equal(r->finish, FINISH_ERROR);
    assert_int_equal(r->code, code);
    if (strstr(r->detail, words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, r->detail);
}
