/* SPDX-License-Identifier: MIT */
#include "services/supervisor/control.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/supervisor/child_log.h"

/* A restart that somebody waits for: children [at, end), the one at `at` is on its way. */
struct waiting {
    struct waiting *next;
    struct link *link;
    size_t at;
    size_t end;
};

struct control {
    struct stack *stack;
    struct link_server *server;
    struct waiting *first;
};

static void answer(struct control *c, struct link *l, enum err code, const char *detail)
{
    size_t n = stack_count(c->stack);
    struct rec_child *children = mem_zalloc(n, sizeof *children);
    for (size_t i = 0; i < n; i++)
        children[i] = child_describe(stack_child(c->stack, i));
    struct frame_reply r = {
        .code = (uint32_t)code, .detail = str_from(detail), .children = children, .n_children = n};
    enum err e = link_send(l, FRAME_reply, &r);
    if (e != ERR_OK)
        log_warn("reply-lost", S("err", err_name(e)));
    free(children);
}

static void forget(struct control *c, struct waiting *w)
{
    struct waiting **p = &c->first;
    while (*p != w)
        p = &(*p)->next;
    *p = w->next;
    free(w);
}

static void begin_restart(struct control *c, struct link *l, size_t first, size_t end)
{
    struct waiting *w = mem_zalloc(1, sizeof *w);
    *w = (struct waiting){c->first, l, first, end};
    c->first = w;
    child_restart(stack_child(c->stack, first));
}

static void command_restart(struct control *c, struct link *l, struct str target)
{
    char detail[160];
    if (!stack_is_running(c->stack)) {
        answer(c, l, ERR_AGAIN, "the stack is starting or stopping; look at `halo status`");
        return;
    }
    if (target.len == 0) {
        begin_restart(c, l, 0, stack_count(c->stack));
        return;
    }
    for (size_t i = 0; i < stack_count(c->stack); i++) {
        if (str_is(target, child_name(stack_child(c->stack, i)))) {
            begin_restart(c, l, i, i + 1);
            return;
        }
    }
    (void)snprintf(detail, sizeof detail, "there is no process %.*s; `halo status` lists them",
                   (int)(target.len < 64 ? target.len : 64), target.ptr);
    answer(c, l, ERR_NOT_FOUND, detail);
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct control *c = ctx;
    if (f->type != FRAME_command) {
        link_break(l, ERR_PROTOCOL);
        return;
    }
    const struct frame_command *m = f->body;
    if (str_is(m->verb, "status")) {
        answer(c, l, ERR_OK, "");
    } else if (str_is(m->verb, "restart")) {
        log_info("restart-asked", SN("target", m->target.ptr, m->target.len));
        command_restart(c, l, m->target);
    } else if (str_is(m->verb, "stop") && m->target.len == 0) {
        log_info("stop-asked", U("pid", link_peer_pid(l)));
        answer(c, l, ERR_OK, "");
        stack_stop(c->stack);
    } else {
        answer(c, l, ERR_UNKNOWN, "the supervisor knows status, restart [NAME] and stop");
    }
}

static void on_up(void *ctx, struct link *l)
{
    (void)ctx;
    (void)l;
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct control *c = ctx;
    (void)why;
    for (struct waiting **p = &c->first; *p != NULL;) {
        struct waiting *w = *p;
        if (w->link == l) {
            *p = w->next;
            free(w);
        } else {
            p = &w->next;
        }
    }
}

static void answer_ended(struct control *c, struct link *l, const struct child *child)
{
    char detail[CHILD_LOG_LINE + 160];
    (void)snprintf(detail, sizeof detail, "%s ended before it was ready (%s): %s",
                   child_name(child), child_last_exit(child), child_last_line(child));
    answer(c, l, ERR_INTERNAL, detail);
}

void control_on_change(struct control *c, const struct child *child)
{
    for (struct waiting *w = c->first, *next; w != NULL; w = next) {
        next = w->next;
        if (stack_child(c->stack, w->at) != child)
            continue;
        enum child_state state = child_state(child);
        if (state == CHILD_READY && ++w->at < w->end) {
            child_restart(stack_child(c->stack, w->at));
            next = c->first; /* that may have called us and freed what was next */
        } else if (state == CHILD_READY) {
            answer(c, w->link, ERR_OK, "");
            forget(c, w);
        } else if (state == CHILD_BACKOFF) {
            answer_ended(c, w->link, child);
            forget(c, w);
        } else if (state == CHILD_STOPPED) {
            answer(c, w->link, ERR_CANCELLED, "the stack is being stopped");
            forget(c, w);
        }
    }
}

enum err control_open(const struct link_config *config, struct stack *stack,
                      struct control **ret_control)
{
    struct control *c = mem_zalloc(1, sizeof *c);
    struct link_handler handler = {on_up, on_frame, on_down, c};
    c->stack = stack;
    enum err e = link_listen(config, &handler, &c->server);
    if (e != ERR_OK) {
        free(c);
        return e;
    }
    *ret_control = c;
    return ERR_OK;
}

void control_close(struct control *c)
{
    if (c == NULL)
        return;
    link_server_close(c->server);
    while (c->first != NULL)
        forget(c, c->first);
    free(c);
}
