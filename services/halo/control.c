/* SPDX-License-Identifier: MIT */
#include "services/halo/control.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "proto/link.h"
#include "services/halo/units.h"

enum { DRAIN_MS = 1000 };

struct asking {
    struct loop *loop;
    struct loop_timer timer;
    const struct frame_command *command;
    struct control_reply *reply;
    bool is_answered;
};

static struct str keep(struct arena *a, struct str s)
{
    char *copy = arena_strdup(a, s);
    ASSERT(copy != NULL);
    return (struct str){copy, s.len};
}

static void keep_reply(struct asking *q, const struct frame_reply *f)
{
    struct control_reply *r = q->reply;
    r->code = err_from_number(f->code);
    r->detail = keep(&r->arena, f->detail).ptr;
    r->data = keep(&r->arena, f->data).ptr;
    r->children = arena_zalloc(&r->arena, f->n_children + 1, sizeof *r->children);
    ASSERT(r->children != NULL);
    for (size_t i = 0; i < f->n_children; i++) {
        struct rec_child *c = &r->children[r->n_children++];
        *c = f->children[i];
        c->name = keep(&r->arena, c->name);
        c->state = keep(&r->arena, c->state);
        c->status = keep(&r->arena, c->status);
        c->last_exit = keep(&r->arena, c->last_exit);
    }
}

static void on_up(void *ctx, struct link *l)
{
    struct asking *q = ctx;
    if (link_send(l, FRAME_command, q->command) != ERR_OK)
        loop_stop(q->loop);
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct asking *q = ctx;
    (void)l;
    if (f->type != FRAME_reply || q->is_answered)
        return;
    q->is_answered = true;
    keep_reply(q, f->body);
    loop_stop(q->loop);
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct asking *q = ctx;
    (void)l;
    (void)why;
    loop_stop(q->loop); /* a command is not repeated */
}

static void on_timeout(struct loop_timer *t)
{
    struct asking *q = (struct asking *)(void *)((char *)t - offsetof(struct asking, timer));
    loop_stop(q->loop);
}

static enum err ask(const char *run, const char *service, const struct frame_command *command,
                    uint32_t timeout_ms, struct control_reply *ret_reply)
{
    struct asking q = {.timer = {.fire = on_timeout}, .command = command, .reply = ret_reply};
    struct link_handler handler = {on_up, on_frame, on_down, &q};
    struct link *link = NULL;
    *ret_reply = (struct control_reply){.code = ERR_TIMEOUT,
                                        .detail = strcmp(service, "router") == 0
                                                      ? "the router does not answer"
                                                      : "the supervisor does not answer",
                                        .data = ""};
    enum err e = loop_new(&q.loop);
    if (e != ERR_OK) {
        ret_reply->code = e;
        ret_reply->detail = err_text(e);
        return e;
    }
    struct link_config config = {
        .loop = q.loop, .run = run, .service = "halo", .instance = "", .epoch = clock_random_u64()};
    if (link_dial(&config, service, &handler, &link) == ERR_OK) {
        loop_timer_set(q.loop, &q.timer, timeout_ms);
        loop_run(q.loop);
    }
    link_close(link);
    (void)link_drain(DRAIN_MS);
    loop_free(q.loop);
    return ret_reply->code;
}

enum err control_ask(const char *run, const char *verb, const char *target, uint32_t timeout_ms,
                     struct control_reply *ret_reply)
{
    char *systemd_url = units_url(run);
    free(systemd_url);
    if (systemd_url != NULL)
        return units_ask(verb, target, ret_reply);
    struct frame_command command = {.verb = str_from(verb), .target = str_from(target)};
    return ask(run, "supervisor", &command, timeout_ms, ret_reply);
}

enum err control_ask_router(const char *run, const char *verb, const char *target, const char *args,
                            uint32_t timeout_ms, struct control_reply *ret_reply)
{
    struct frame_command command = {
        .verb = str_from(verb), .target = str_from(target), .args = str_from(args)};
    return ask(run, "router", &command, timeout_ms, ret_reply);
}

void control_reply_fini(struct control_reply *r)
{
    arena_fini(&r->arena);
    *r = (struct control_reply){0};
}
