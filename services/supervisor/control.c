/* SPDX-License-Identifier: MIT */
#include "services/supervisor/control.h"

#include <jansson.h>
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

/* A newcomer beside a child. */
struct newcomer {
    struct child *child; /* NULL: there is none */
    struct child *old; /* NULL when it is gone, or the newcomer is not wanted any more */
    struct link *link; /* who is to be answered next; NULL: nobody */
    bool is_ready;
    bool is_kept; /* there is no way back: it is started again, and may be adopted by anybody */
    bool is_adopted;
    char why[CHILD_LOG_LINE +
             160]; /* it is not wanted any more because of this; "": it was abandoned */
};

struct control {
    struct stack *stack;
    struct link_server *server;
    struct waiting *first;
    struct newcomer newcomer;
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

static void answer_unknown(struct control *c, struct link *l, struct str target)
{
    char detail[160];
    (void)snprintf(detail, sizeof detail, "there is no process %.*s; `halo status` lists them",
                   (int)(target.len < 64 ? target.len : 64), target.ptr);
    answer(c, l, ERR_NOT_FOUND, detail);
}

static void command_restart(struct control *c, struct link *l, struct str target)
{
    if (!stack_is_running(c->stack)) {
        answer(c, l, ERR_AGAIN, "the stack is starting or stopping; look at `halo status`");
        return;
    }
    if (c->newcomer.child != NULL) {
        answer(c, l, ERR_AGAIN, "a swap is on its way; look at `halo status`");
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
    answer_unknown(c, l, target);
}

/* ---- newcomers --------------------------------------------------------------------------------- */

static const char *text_of(const json_t *args, const char *key)
{
    const char *s = json_string_value(json_object_get(args, key));
    return s != NULL && *s != '\0' ? s : NULL;
}

static void begin_newcomer(struct control *c, struct link *l, struct child *old, const json_t *args)
{
    char why[CHILD_LOG_LINE];
    struct child_spec *spec;
    const struct plan_change change = {.model = text_of(args, "model"),
                                       .backend = text_of(args, "backend"),
                                       .build = text_of(args, "build"),
                                       .args = text_of(args, "args")};
    enum err e = plan_newcomer(child_spec(old), &change, why, sizeof why, &spec);
    if (e != ERR_OK) {
        answer(c, l, e, why);
        return;
    }
    c->newcomer = (struct newcomer){.old = old, .link = l};
    e = stack_add(c->stack, old, spec, &c->newcomer.child);
    if (e != ERR_OK) {
        c->newcomer = (struct newcomer){0};
        answer(c, l, e, err_text(e));
        return;
    }
    if (child_state(c->newcomer.child) == CHILD_FAILED) /* at once: its changes are past */
        control_on_change(c, c->newcomer.child);
}

static void command_newcomer(struct control *c, struct link *l, const struct frame_command *m)
{
    struct child *old = stack_find(c->stack, m->target);
    json_t *args = m->args.len > 0 ? json_loadb(m->args.ptr, m->args.len, 0, NULL) : json_object();
    if (!stack_is_running(c->stack) || c->first != NULL || c->newcomer.child != NULL)
        answer(c, l, ERR_AGAIN,
               "another start, restart or swap is on its way; look at `halo status`");
    else if (old == NULL)
        answer_unknown(c, l, m->target);
    else if (!json_is_object(args))
        answer(c, l, ERR_INVALID, "the arguments are no JSON object");
    else
        begin_newcomer(c, l, old, args);
    json_decref(args);
}

/* The newcomer of that child, ready and asked for by this connection; NULL, and answered, if not. */
static struct newcomer *find_newcomer(struct control *c, struct link *l, struct str target)
{
    struct newcomer *n = &c->newcomer;
    bool is_theirs = n->link == l || (n->is_kept && n->link == NULL);
    if (n->child != NULL && n->old != NULL && n->is_ready && is_theirs && !n->is_adopted &&
        str_is(target, child_name(n->old))) {
        n->link = l;
        return n;
    }
    answer(c, l, ERR_NOT_FOUND, "this connection has no newcomer beside such a process");
    return NULL;
}

/* It goes; what was there before stays. */
static void abandon(struct control *c)
{
    struct newcomer *n = &c->newcomer;
    n->old = NULL;
    stack_retire(c->stack, n->child, NULL);
}

static void command_adopt(struct control *c, struct link *l, struct str target)
{
    struct newcomer *n = find_newcomer(c, l, target);
    if (n == NULL)
        return;
    n->is_adopted = true;
    stack_retire(c->stack, n->old, n->child);
}

static void command_keep(struct control *c, struct link *l, struct str target)
{
    struct newcomer *n = find_newcomer(c, l, target);
    if (n == NULL)
        return;
    n->is_kept = true;
    log_info("newcomer-kept", S("name", child_name(n->child)));
    stack_put_in_service(c->stack, n->child);
    answer(c, l, ERR_OK, "");
}

static void command_abandon(struct control *c, struct link *l, struct str target)
{
    if (find_newcomer(c, l, target) != NULL)
        abandon(c);
}

static void newcomer_changed(struct control *c, const struct child *child)
{
    struct newcomer *n = &c->newcomer;
    if (child != n->child || n->old == NULL || n->is_adopted || n->is_kept)
        return;
    enum child_state state = child_state(child);
    if (state == CHILD_READY && !n->is_ready) {
        n->is_ready = true;
        answer(c, n->link, ERR_OK, "");
    } else if (state == CHILD_FAILED || state == CHILD_BACKOFF) {
        (void)snprintf(n->why, sizeof n->why, "%s ended (%s): %s", child_name(child),
                       child_last_exit(child), child_last_line(child));
        abandon(c);
    }
}

void control_on_gone(struct control *c, const struct child *child)
{
    struct newcomer *n = &c->newcomer;
    bool is_done = n->is_adopted && child == n->old;
    if (child != n->child && !is_done)
        return;
    struct link *l = n->link;
    struct newcomer past = *n;
    *n = (struct newcomer){0};
    if (l == NULL)
        return;
    if (past.why[0] != '\0')
        answer(c, l, ERR_INTERNAL, past.why);
    else
        answer(c, l, ERR_OK, "");
}

static void newcomer_loses_link(struct control *c, const struct link *l)
{
    struct newcomer *n = &c->newcomer;
    if (n->child == NULL || n->link != l)
        return;
    n->link = NULL;
    if (n->old == NULL || n->is_adopted)
        return;
    if (n->is_kept) {
        log_warn("swap-unfinished", S("name", child_name(n->child)),
                 S("hint", "halo swap --finish goes on with it"));
        return;
    }
    log_warn("newcomer-abandoned", S("name", child_name(n->child)));
    abandon(c);
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
    } else if (str_is(m->verb, "newcomer")) {
        log_info("newcomer-asked", SN("target", m->target.ptr, m->target.len));
        command_newcomer(c, l, m);
    } else if (str_is(m->verb, "keep")) {
        command_keep(c, l, m->target);
    } else if (str_is(m->verb, "adopt")) {
        command_adopt(c, l, m->target);
    } else if (str_is(m->verb, "abandon")) {
        command_abandon(c, l, m->target);
    } else if (str_is(m->verb, "stop") && m->target.len == 0) {
        log_info("stop-asked", U("pid", link_peer_pid(l)));
        answer(c, l, ERR_OK, "");
        stack_stop(c->stack);
    } else {
        answer(c, l, ERR_UNKNOWN,
               "the supervisor knows status, restart, stop, newcomer, keep, adopt and abandon");
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
    newcomer_loses_link(c, l);
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
    newcomer_changed(c, child);
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
