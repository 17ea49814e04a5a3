/* SPDX-License-Identifier: MIT */
#include "services/supervisor/stack.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "services/supervisor/child_log.h"

enum phase { PHASE_IDLE, PHASE_STARTING, PHASE_RUNNING, PHASE_STOPPING, PHASE_STOPPED };

enum { WHY_CAP = CHILD_LOG_LINE + 160 };

struct place {
    struct child *child;
    struct child_spec *spec; /* ours; NULL: the plan's */
    bool is_retired; /* goes when it has stopped */
    struct child *heir; /* gets its name then; NULL: nobody */
};

struct stack {
    const struct stack_config *config;
    struct child_config child_config;
    struct notify_socket *notify;
    struct place *places; /* by stage */
    size_t n_children;
    enum phase phase;
    struct loop_task task; /* advance */
    bool is_posted;
    char why[WHY_CAP];
};

/* ---- phases ------------------------------------------------------------------------------------ */

/* Changes are handled together and outside of the children's own code. */
static void post_advance(struct stack *s)
{
    if (s->is_posted)
        return;
    s->is_posted = true;
    loop_post(s->config->loop, &s->task);
}

/* A line of common/log.h without its time and service. */
static const char *event_of(const char *line)
{
    static const char EVENT[] = " ev=";
    const char *event = strncmp(line, "ts=", 3) == 0 ? strstr(line, EVENT) : NULL;
    return event != NULL ? event + strlen(EVENT) : line;
}

static void note_failure(struct stack *s, const struct child *c)
{
    const char *line = event_of(child_last_line(c));
    (void)snprintf(s->why, sizeof s->why, "%s did not start (%s): %s", child_name(c),
                   child_last_exit(c), line[0] != '\0' ? line : "it printed nothing");
}

/* From here on nobody is let in who would wait in vain. */
static void begin_stopping(struct stack *s)
{
    s->phase = PHASE_STOPPING;
    if (s->child_config.http_fd >= 0)
        (void)close(s->child_config.http_fd);
    s->child_config.http_fd = -1;
}

static bool advance_starting(struct stack *s)
{
    for (size_t i = 0; i < s->n_children; i++) {
        if (child_state(s->places[i].child) == CHILD_FAILED) {
            note_failure(s, s->places[i].child);
            begin_stopping(s);
            return false;
        }
    }
    for (size_t i = 0; i < s->n_children; i++) {
        struct child *c = s->places[i].child;
        if (child_state(c) == CHILD_READY)
            continue;
        unsigned stage = child_stage(c);
        for (; i < s->n_children && child_stage(s->places[i].child) == stage; i++) {
            if (child_state(s->places[i].child) == CHILD_STOPPED)
                child_start(s->places[i].child);
        }
        return false;
    }
    return true;
}

static bool advance_stopping(struct stack *s)
{
    for (size_t i = s->n_children; i > 0; i--) {
        struct child *c = s->places[i - 1].child;
        if (child_is_settled(c))
            continue;
        unsigned stage = child_stage(c);
        for (; i > 0 && child_stage(s->places[i - 1].child) == stage; i--) {
            if (!child_is_settled(s->places[i - 1].child))
                child_stop(s->places[i - 1].child);
        }
        return false;
    }
    return true;
}

static void forget_place(struct place *p)
{
    child_free(p->child);
    plan_spec_free(p->spec);
}

static struct place *find_place(struct stack *s, const struct child *c)
{
    for (size_t i = 0; i < s->n_children; i++) {
        if (s->places[i].child == c)
            return &s->places[i];
    }
    return NULL;
}

/* Takes out the retired children that have stopped. */
static void sweep(struct stack *s)
{
    for (size_t i = 0; i < s->n_children;) {
        struct place p = s->places[i];
        if (!p.is_retired || !child_is_settled(p.child)) {
            i++;
            continue;
        }
        struct place *heir = p.heir != NULL ? find_place(s, p.heir) : NULL;
        if (heir != NULL && heir->spec != NULL)
            plan_inherit_name(heir->spec, child_spec(p.child));
        s->n_children--;
        memmove(&s->places[i], &s->places[i + 1], (s->n_children - i) * sizeof p);
        s->config->gone(s->config->ctx, p.child);
        forget_place(&p);
    }
}

static void advance(struct loop_task *t)
{
    struct stack *s = (struct stack *)(void *)((char *)t - offsetof(struct stack, task));
    s->is_posted = false;
    if (s->phase == PHASE_STARTING && advance_starting(s)) {
        s->phase = PHASE_RUNNING;
        s->config->ready(s->config->ctx);
    }
    if (s->phase == PHASE_RUNNING)
        sweep(s);
    if (s->phase == PHASE_STOPPING && advance_stopping(s)) {
        s->phase = PHASE_STOPPED;
        s->config->stopped(s->config->ctx, s->why);
    }
}

void stack_start(struct stack *s)
{
    s->phase = PHASE_STARTING;
    post_advance(s);
}

void stack_stop(struct stack *s)
{
    if (s->phase == PHASE_STOPPED)
        return;
    if (s->phase == PHASE_STOPPING) {
        for (size_t i = 0; i < s->n_children; i++)
            child_kill(s->places[i].child);
    }
    begin_stopping(s);
    post_advance(s);
}

/* ---- events ------------------------------------------------------------------------------------ */

static void on_changed(void *ctx, struct child *c)
{
    struct stack *s = ctx;
    log_info("child-state", S("name", child_name(c)), S("state", child_state_name(child_state(c))),
             I("pid", child_pid(c)));
    s->config->changed(s->config->ctx, c);
    post_advance(s);
}

static struct child *find_pid(struct stack *s, pid_t pid)
{
    for (size_t i = 0; i < s->n_children; i++) {
        if (child_pid(s->places[i].child) == pid)
            return s->places[i].child;
    }
    return NULL;
}

static void on_notice(void *ctx, pid_t sender, const struct notice *n)
{
    struct child *c = find_pid(ctx, sender);
    if (c != NULL)
        child_on_notice(c, n);
}

/* Reaps everything: our children, and what their processes left to us. */
static void on_sigchld(void *ctx)
{
    struct stack *s = ctx;
    siginfo_t info;
    if (s->notify != NULL)
        notify_socket_drain(s->notify);
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            return;
        struct child *c = find_pid(s, info.si_pid);
        /* As long as it is not reaped, its group's number cannot be another's. */
        if (c != NULL)
            (void)kill(-info.si_pid, SIGKILL);
        int status = 0;
        if (waitpid(info.si_pid, &status, 0) == info.si_pid && c != NULL)
            child_on_exit(c, status);
    }
}

/* ---- life -------------------------------------------------------------------------------------- */

enum err stack_new(const struct stack_config *config, struct stack **ret_stack)
{
    struct stack *s = mem_zalloc(1, sizeof *s);
    s->config = config;
    s->child_config.http_fd = config->take_http_fd;
    s->task.run = advance;
    enum err e = loop_on_child(config->loop, on_sigchld, s);
    if (e == ERR_OK)
        e = notify_socket_open(config->loop, config->run, on_notice, s, &s->notify);
    if (e != ERR_OK)
        goto fail;
    s->child_config = (struct child_config){
        .loop = config->loop,
        .run = config->run,
        .log_directory = config->log_directory,
        .notify = notify_socket_path(s->notify),
        .http_fd = config->take_http_fd,
        .watchdog_ms = config->watchdog_ms,
        .start_timeout_ms = config->start_timeout_ms,
        .stop_timeout_ms = config->stop_timeout_ms,
        .changed = on_changed,
        .ctx = s,
    };
    s->places = mem_zalloc(config->plan->n_specs, sizeof *s->places);
    for (size_t i = 0; i < config->plan->n_specs; i++) {
        e = child_new(&s->child_config, &config->plan->specs[i], &s->places[i].child);
        if (e != ERR_OK)
            goto fail;
        s->n_children++;
    }
    *ret_stack = s;
    return ERR_OK;
fail:
    stack_free(s);
    return e;
}

void stack_free(struct stack *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_children; i++)
        forget_place(&s->places[i]);
    free(s->places);
    if (s->child_config.http_fd >= 0)
        (void)close(s->child_config.http_fd);
    notify_socket_close(s->notify);
    free(s);
}

enum err stack_add(struct stack *s, const struct child *beside, struct child_spec *take_spec,
                   struct child **ret_child)
{
    struct child *c;
    enum err e = child_new(&s->child_config, take_spec, &c);
    if (e != ERR_OK) {
        plan_spec_free(take_spec);
        return e;
    }
    size_t at = (size_t)(find_place(s, beside) - s->places) + 1;
    s->places = mem_resize(s->places, s->n_children + 1, sizeof *s->places);
    memmove(&s->places[at + 1], &s->places[at], (s->n_children - at) * sizeof *s->places);
    s->places[at] = (struct place){.child = c, .spec = take_spec};
    s->n_children++;
    *ret_child = c;
    child_start(c);
    return ERR_OK;
}

void stack_put_in_service(struct stack *s, const struct child *c)
{
    const struct place *p = find_place(s, c);
    if (p->spec != NULL)
        plan_put_in_service(p->spec);
}

void stack_retire(struct stack *s, struct child *c, struct child *heir)
{
    struct place *p = find_place(s, c);
    struct place *successor = heir != NULL ? find_place(s, heir) : NULL;
    if (successor != NULL && successor->spec != NULL)
        plan_put_in_service(successor->spec);
    p->is_retired = true;
    p->heir = heir;
    child_stop(c);
    post_advance(s);
}

bool stack_is_running(const struct stack *s)
{
    return s->phase == PHASE_RUNNING;
}

size_t stack_count(const struct stack *s)
{
    return s->n_children;
}

struct child *stack_child(struct stack *s, size_t i)
{
    return s->places[i].child;
}

struct child *stack_find(struct stack *s, struct str name)
{
    for (size_t i = 0; i < s->n_children; i++) {
        if (str_is(name, child_name(s->places[i].child)))
            return s->places[i].child;
    }
    return NULL;
}
