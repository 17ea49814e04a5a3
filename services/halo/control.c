/* SPDX-License-Identifier: MIT */
#include "services/halo/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "proto/link.h"
#include "services/halo/units.h"

enum {
    DRAIN_MS = 1000,
    CONNECT_MS = 2000, /* for a service that is just being started again */
};

/* One end of a session. */
struct control_end {
    struct control_session *session;
    const char *service;
    struct link *link; /* NULL: not dialled yet */
    bool is_up;
};

struct control_session {
    const char *run;
    struct loop *loop;
    struct control_end ends[CONTROL_SERVICES];
    const struct control_end *asked; /* whose answer is waited for; NULL: nobody's */
    struct control_reply *reply;
    bool is_answered;
    char news[CONTROL_NEWS_CAP];
};

static struct str keep(struct arena *a, struct str s)
{
    char *copy = arena_strdup(a, s);
    ASSERT(copy != NULL);
    return (struct str){copy, s.len};
}

static void keep_reply(struct control_reply *r, const struct frame_reply *f)
{
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
    struct control_end *end = ctx;
    (void)l;
    end->is_up = true;
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct control_end *end = ctx;
    struct control_session *s = end->session;
    (void)l;
    if (f->type != FRAME_reply)
        return;
    if (s->asked == end && !s->is_answered) {
        s->is_answered = true;
        keep_reply(s->reply, f->body);
    } else {
        const struct frame_reply *r = f->body;
        (void)snprintf(s->news, sizeof s->news, "%.*s", (int)r->detail.len, r->detail.ptr);
    }
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct control_end *end = ctx;
    (void)l;
    (void)why;
    end->is_up = false;
    if (end->session->asked == end)
        end->session->asked = NULL; /* a command is not repeated */
}

enum err control_open(const char *run, struct control_session **ret_session)
{
    static const char *const SERVICES[CONTROL_SERVICES] = {
        [CONTROL_SUPERVISOR] = "supervisor",
        [CONTROL_ROUTER] = "router",
    };
    struct control_session *s = mem_zalloc(1, sizeof *s);
    s->run = run;
    for (size_t i = 0; i < CONTROL_SERVICES; i++)
        s->ends[i] = (struct control_end){.session = s, .service = SERVICES[i]};
    enum err e = loop_new(&s->loop);
    if (e != ERR_OK) {
        free(s);
        return e;
    }
    *ret_session = s;
    return ERR_OK;
}

void control_close(struct control_session *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < CONTROL_SERVICES; i++)
        link_close(s->ends[i].link);
    (void)link_drain(DRAIN_MS);
    loop_free(s->loop);
    free(s);
}

const char *control_news(const struct control_session *s)
{
    return s->news;
}

/* Turns the loop until the flag is set, at most until then. */
static bool turn_until(struct control_session *s, const bool *flag, uint64_t end_ms)
{
    for (uint64_t now = clock_now_ms(); !*flag && now < end_ms; now = clock_now_ms()) {
        if (flag == &s->is_answered && s->asked == NULL)
            break;
        loop_turn(s->loop, (int)(end_ms - now));
    }
    return *flag;
}

enum err control_say(struct control_session *s, enum control_service service,
                     const struct frame_command *command, uint32_t timeout_ms,
                     struct control_reply *ret_reply)
{
    struct control_end *end = &s->ends[service];
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    *ret_reply = (struct control_reply){.code = ERR_TIMEOUT,
                                        .detail = service == CONTROL_ROUTER
                                                      ? "the router does not answer"
                                                      : "the supervisor does not answer",
                                        .data = ""};
    struct link_handler handler = {on_up, on_frame, on_down, end};
    struct link_config config = {.loop = s->loop,
                                 .run = s->run,
                                 .service = "halo",
                                 .instance = "",
                                 .epoch = clock_random_u64()};
    if (end->link == NULL && link_dial(&config, end->service, &handler, &end->link) != ERR_OK)
        return ret_reply->code;
    s->asked = NULL;
    uint64_t up_ms = timeout_ms < CONNECT_MS ? end_ms : clock_now_ms() + CONNECT_MS;
    if (!turn_until(s, &end->is_up, up_ms)) {
        ret_reply->detail = "no stack answers there; start one with `halo up`, or name its run "
                            "directory with --run";
        return ret_reply->code;
    }
    if (link_send(end->link, FRAME_command, command) != ERR_OK)
        return ret_reply->code;
    s->asked = end;
    s->reply = ret_reply;
    s->is_answered = false;
    (void)turn_until(s, &s->is_answered, end_ms);
    s->asked = NULL;
    return ret_reply->code;
}

static enum err ask(const char *run, enum control_service service,
                    const struct frame_command *command, uint32_t timeout_ms,
                    struct control_reply *ret_reply)
{
    struct control_session *s;
    enum err e = control_open(run, &s);
    if (e != ERR_OK) {
        *ret_reply = (struct control_reply){.code = e, .detail = err_text(e), .data = ""};
        return e;
    }
    e = control_say(s, service, command, timeout_ms, ret_reply);
    control_close(s);
    return e;
}

void control_settle_name(const char *word, char name[CONTROL_NAME_CAP])
{
    bool is_number = *word != '\0' && word[strspn(word, "0123456789")] == '\0';
    (void)snprintf(name, CONTROL_NAME_CAP, "%s%s", is_number ? "engine." : "", word);
    char *at = strchr(name, '@');
    if (at != NULL)
        *at = '.';
}

enum err control_ask(const char *run, const char *verb, const char *target, uint32_t timeout_ms,
                     struct control_reply *ret_reply)
{
    char *systemd_url = units_url(run);
    free(systemd_url);
    if (systemd_url != NULL)
        return units_ask(verb, target, ret_reply);
    struct frame_command command = {.verb = str_from(verb), .target = str_from(target)};
    return ask(run, CONTROL_SUPERVISOR, &command, timeout_ms, ret_reply);
}

enum err control_ask_router(const char *run, const char *verb, const char *target, const char *args,
                            uint32_t timeout_ms, struct control_reply *ret_reply)
{
    struct frame_command command = {
        .verb = str_from(verb), .target = str_from(target), .args = str_from(args)};
    return ask(run, CONTROL_ROUTER, &command, timeout_ms, ret_reply);
}

void control_reply_fini(struct control_reply *r)
{
    arena_fini(&r->arena);
    *r = (struct control_reply){0};
}
