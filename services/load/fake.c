/* SPDX-License-Identifier: MIT */
#include "services/load/fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "proto/link.h"
#include "services/load/prompts.h"

enum {
    CONTEXT = 1024 * 1024,
    CATCH_UP_MAX = 10, /* steps made at once after a delay; the rest are left out */
    STUCK_MS = 50, /* pieces that were cancelled on the way never arrive: then go on without them */
    BLOCK_TOKENS = 16,
};

struct fake_reply {
    TAILQ_ENTRY(fake_reply) entry;
    uint64_t req;
    uint32_t *ids; /* of the prompt; NULL: words */
    uint32_t n_prompt;
    uint32_t position;
    uint32_t max_tokens;
};

TAILQ_HEAD(reply_list, fake_reply);

/* A link to the process that is measured. */
struct peer {
    struct fake *fake;
    struct peer *next;
    struct link *link;
    struct reply_list replies;
    char name[16];
};

struct fake {
    struct fake_config config;
    struct link_server *server;
    struct peer *peers;
    size_t n_up;
    size_t n_replies;
    struct loop_watch clock; /* of a set rate */
    struct loop_timer stuck;
    uint64_t n_unseen; /* pieces sent that have not arrived */
    struct loop_timer soon; /* steps are made from the loop, not from within a callback */
    union {
        struct rec_piece *pieces;
        struct rec_token *tokens;
    };
    size_t cap_items;
};

#define FAKE_OF(t, member) ((struct fake *)(void *)((char *)(t)-offsetof(struct fake, member)))

static void send_frame(struct link *l, enum frame_type type, const void *body)
{
    enum err e = link_send(l, type, body);
    (void)e; /* ERR_CLOSED: `down` follows, and the requests fail where they are counted */
}

/* ---- steps ------------------------------------------------------------------------------------- */

static void drop_reply(struct peer *p, struct fake_reply *r)
{
    TAILQ_REMOVE(&p->replies, r, entry);
    p->fake->n_replies--;
    free(r->ids);
    free(r);
}

static void make_room(struct fake *f, size_t n)
{
    size_t size = f->config.kind == FAKE_TOKENIZER ? sizeof *f->pieces : sizeof *f->tokens;
    if (n <= f->cap_items)
        return;
    f->cap_items = n + 256;
    f->pieces = mem_resize(f->pieces, f->cap_items, size);
}

static void put_item(struct fake *f, size_t i, const struct fake_reply *r)
{
    uint32_t finish = r->position + 1 == r->max_tokens ? FINISH_LENGTH : FINISH_NONE;
    if (f->config.kind == FAKE_TOKENIZER)
        f->pieces[i] = (struct rec_piece){.req = r->req,
                                          .has_id = true,
                                          .id = r->position % f->config.vocab,
                                          .text = prompts_word(r->position),
                                          .finish = finish};
    else
        f->tokens[i] = (struct rec_token){.req = r->req,
                                          .has_id = true,
                                          .id = r->ids[r->position % r->n_prompt],
                                          .finish = finish};
}

static void step_peer(struct fake *f, struct peer *p)
{
    size_t n = 0;
    struct fake_reply *next;
    for (struct fake_reply *r = TAILQ_FIRST(&p->replies); r != NULL; r = next) {
        next = TAILQ_NEXT(r, entry);
        make_room(f, n + 1);
        put_item(f, n++, r);
        if (++r->position == r->max_tokens)
            drop_reply(p, r);
    }
    if (n == 0)
        return;
    f->n_unseen += n;
    if (f->config.kind == FAKE_TOKENIZER)
        send_frame(p->link, FRAME_pieces, &(struct frame_pieces){.items = f->pieces, .n_items = n});
    else
        send_frame(p->link, FRAME_tokens, &(struct frame_tokens){.items = f->tokens, .n_items = n});
}

static void step(struct fake *f)
{
    for (struct peer *p = f->peers; p != NULL; p = p->next)
        step_peer(f, p);
}

/* As fast as they are taken: about two steps are on the way. */
static void on_soon(struct loop_timer *t)
{
    struct fake *f = FAKE_OF(t, soon);
    if (f->n_replies == 0)
        return;
    if (f->n_unseen <= f->n_replies)
        step(f);
    loop_timer_set(f->config.loop, &f->stuck, STUCK_MS);
}

static void on_stuck(struct loop_timer *t)
{
    struct fake *f = FAKE_OF(t, stuck);
    f->n_unseen = 0;
    on_soon(&f->soon);
}

static void consider_step(struct fake *f)
{
    if (f->config.token_rate == 0 && f->n_replies > 0 && f->n_unseen <= f->n_replies &&
        f->soon.slot == 0)
        loop_timer_set(f->config.loop, &f->soon, 0);
}

void fake_received(void *fake, uint32_t n)
{
    struct fake *f = fake;
    f->n_unseen = f->n_unseen > n ? f->n_unseen - n : 0;
    consider_step(f);
}

static void on_clock(struct loop_watch *w, uint32_t events)
{
    struct fake *f = FAKE_OF(w, clock);
    uint64_t n = 0;
    (void)events;
    if (read(w->fd, &n, sizeof n) != (ssize_t)sizeof n)
        return;
    for (uint64_t i = 0; i < n && i < CATCH_UP_MAX; i++)
        step(f);
}

/* ---- what is asked ----------------------------------------------------------------------------- */

static void add_reply(struct peer *p, uint64_t req, uint32_t max_tokens, const uint32_t *ids,
                      size_t n_ids)
{
    struct fake_reply *r = mem_zalloc(1, sizeof *r);
    r->req = req;
    r->max_tokens = max_tokens > 0 ? max_tokens : 1;
    if (n_ids > 0) {
        r->ids = mem_resize(NULL, n_ids, sizeof *ids);
        memcpy(r->ids, ids, n_ids * sizeof *ids);
        r->n_prompt = (uint32_t)n_ids;
    }
    TAILQ_INSERT_TAIL(&p->replies, r, entry);
    p->fake->n_replies++;
    consider_step(p->fake);
}

static uint32_t count_words(struct str s)
{
    uint32_t n = 1;
    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == ' ';
    return n;
}

static void on_generate(struct peer *p, const struct frame_generate *g)
{
    struct frame_accepted accepted = {.req = g->req, .prompt_tokens = (uint32_t)g->n_prompt_ids};
    if (g->kind != PROMPT_IDS)
        accepted.prompt_tokens = count_words(g->kind == PROMPT_CHAT ? g->messages : g->prompt);
    send_frame(p->link, FRAME_accepted, &accepted);
    add_reply(p, g->req, g->sampling.max_tokens, NULL, 0);
}

static void on_cancel(struct peer *p, uint64_t req)
{
    struct fake_reply *r = TAILQ_FIRST(&p->replies);
    while (r != NULL && r->req != req)
        r = TAILQ_NEXT(r, entry);
    if (r != NULL)
        drop_reply(p, r);
}

static void on_frame(void *ctx, struct link *l, const struct frame *frame)
{
    struct fake *f = ctx;
    struct peer *p = f->peers;
    while (p != NULL && p->link != l)
        p = p->next;
    ASSERT(p != NULL);
    if (frame->type == FRAME_generate && f->config.kind == FAKE_TOKENIZER) {
        on_generate(p, frame->body);
    } else if (frame->type == FRAME_submit && f->config.kind != FAKE_TOKENIZER) {
        const struct frame_submit *s = frame->body;
        add_reply(p, s->req, s->sampling.max_tokens, s->prompt, s->n_prompt);
    } else if (frame->type == FRAME_cancel) {
        on_cancel(p, ((const struct frame_cancel *)frame->body)->req);
    }
}

/* ---- links ------------------------------------------------------------------------------------- */

static void say_status(const struct fake *f, struct link *l)
{
    const struct rec_model model = {.name = str_from(f->config.model),
                                    .hash = str_from(f->config.hash),
                                    .context = CONTEXT,
                                    .vocab_size = f->config.vocab};
    const struct frame_status status = {
        .models = &model, .n_models = 1, .load = {.engines = 1, .queue_limit = 65536}};
    send_frame(l, FRAME_status, &status);
}

static void say_engine(const struct fake *f, struct link *l)
{
    const struct frame_engine engine = {.model_hash = str_from(f->config.hash),
                                        .model_name = str_from(f->config.model),
                                        .context = CONTEXT,
                                        .max_seqs = f->config.max_seqs,
                                        .kv_blocks = f->config.max_seqs * 64,
                                        .block_tokens = BLOCK_TOKENS,
                                        .backend = STR_LIT("fake")};
    send_frame(l, FRAME_engine, &engine);
}

static struct peer *add_peer(struct fake *f, struct link *l)
{
    struct peer *p = mem_zalloc(1, sizeof *p);
    p->fake = f;
    p->link = l;
    p->next = f->peers;
    TAILQ_INIT(&p->replies);
    f->peers = p;
    return p;
}

static void forget_replies(struct peer *p)
{
    struct fake_reply *next;
    for (struct fake_reply *r = TAILQ_FIRST(&p->replies); r != NULL; r = next) {
        next = TAILQ_NEXT(r, entry);
        drop_reply(p, r);
    }
}

static void on_up(void *ctx, struct link *l)
{
    struct fake *f = ctx;
    f->n_up++;
    if (f->config.kind == FAKE_ENGINES) {
        say_engine(f, l);
        return;
    }
    (void)add_peer(f, l);
    say_status(f, l);
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct fake *f = ctx;
    (void)why;
    f->n_up--;
    struct peer **at = &f->peers;
    while ((*at)->link != l)
        at = &(*at)->next;
    struct peer *p = *at;
    forget_replies(p);
    if (f->config.kind == FAKE_ENGINES)
        return; /* the link dials again */
    *at = p->next;
    free(p);
}

/* ---- life -------------------------------------------------------------------------------------- */

static enum err start_clock(struct fake *f)
{
    uint64_t ns = f->config.token_rate > 0 ? 1000000000U / f->config.token_rate : 0;
    struct timespec period = {.tv_sec = (time_t)(ns / 1000000000U),
                              .tv_nsec = (long)(ns % 1000000000U)};
    struct itimerspec when = {.it_interval = period, .it_value = period};
    f->clock.fd = -1;
    f->clock.ready = on_clock;
    if (ns == 0)
        return ERR_OK;
    f->clock.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (f->clock.fd < 0 || timerfd_settime(f->clock.fd, 0, &when, NULL) != 0)
        return err_from_errno(errno);
    return loop_watch_add(f->config.loop, &f->clock, EPOLLIN);
}

static enum err dial_engines(struct fake *f, const struct link_handler *handler)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < f->config.n_engines && e == ERR_OK; i++) {
        struct peer *p = add_peer(f, NULL);
        (void)snprintf(p->name, sizeof p->name, "%u", i + 1);
        const struct link_config link = {.loop = f->config.loop,
                                         .run = f->config.run,
                                         .service = "engine",
                                         .instance = p->name,
                                         .epoch = clock_random_u64()};
        e = link_dial(&link, "router", handler, &p->link);
    }
    return e;
}

enum err fake_new(const struct fake_config *config, struct fake **ret_fake)
{
    struct fake *f = mem_zalloc(1, sizeof *f);
    f->config = *config;
    f->soon.fire = on_soon;
    f->stuck.fire = on_stuck;
    const struct link_handler handler = {on_up, on_frame, on_down, f};
    const struct link_config link = {
        .loop = config->loop,
        .run = config->run,
        .service = config->kind == FAKE_TOKENIZER ? "tokenizer" : "router",
        .instance = "",
        .epoch = clock_random_u64(),
    };
    enum err e = start_clock(f);
    if (e == ERR_OK && config->kind == FAKE_ENGINES)
        e = dial_engines(f, &handler);
    else if (e == ERR_OK)
        e = link_listen(&link, &handler, &f->server);
    if (e != ERR_OK) {
        fake_free(f);
        return e;
    }
    *ret_fake = f;
    return ERR_OK;
}

void fake_free(struct fake *f)
{
    if (f == NULL)
        return;
    if (f->server != NULL)
        link_server_close(f->server); /* calls down for each */
    while (f->peers != NULL) {
        struct peer *p = f->peers;
        f->peers = p->next;
        forget_replies(p);
        link_close(p->link);
        free(p);
    }
    loop_timer_cancel(f->config.loop, &f->soon);
    loop_timer_cancel(f->config.loop, &f->stuck);
    if (f->clock.fd >= 0) {
        loop_watch_remove(f->config.loop, &f->clock);
        (void)close(f->clock.fd);
    }
    free(f->pieces);
    free(f);
}

bool fake_is_up(const struct fake *f)
{
    return f->n_up >= (f->config.kind == FAKE_ENGINES ? f->config.n_engines : 1);
}
