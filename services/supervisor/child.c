/* SPDX-License-Identifier: MIT */
#include "services/supervisor/child.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/supervisor/child_log.h"
#include "services/supervisor/exec_child.h"

enum {
    STATUS_CAP = 160,
    MAX_DOUBLINGS = 16,
    LATE_MS = 1000, /* a timer that fires so late says that we were held up, not the child */
};

enum event { EV_START, EV_READY, EV_ALIVE, EV_LEAVING, EV_EXIT, EV_TIMEOUT, EV_STOP, EV_RESTART };

struct child {
    const struct child_config *config;
    const struct child_spec *spec;
    struct child_log *log;
    enum child_state state;
    struct loop_timer timer; /* of the state: start, watchdog, back-off or stop */
    pid_t pid;
    bool was_ready; /* ever */
    bool is_wanted; /* starts again after it has stopped */
    bool is_restarting; /* because somebody asked: no back-off */
    bool is_kill_sent;
    const char *kill_reason; /* why we killed it, or NULL */
    unsigned n_starts;
    unsigned n_failures; /* in a row */
    uint64_t started_ms; /* monotonic, as ready_at_ms */
    uint64_t ready_at_ms;
    uint64_t since_unix_ms;
    char status[STATUS_CAP];
    char last_exit[32];
};

static const char *const STATE_NAMES[] = {"stopped", "starting", "ready",
                                          "backoff", "stopping", "failed"};

static void enter(struct child *c, enum child_state state)
{
    c->state = state;
    c->since_unix_ms = clock_unix_ms();
    c->config->changed(c->config->ctx, c);
}

static void set_timer(struct child *c, uint64_t ms)
{
    loop_timer_set(c->config->loop, &c->timer, ms);
}

static void send_signal(const struct child *c, int sig)
{
    if (c->pid > 0)
        (void)kill(c->pid, sig);
}

/* ---- actions: each leaves the child in the state that it enters -------------------------------- */

static void back_off(struct child *c)
{
    bool was_ready = c->ready_at_ms > 0;
    if (was_ready && clock_now_ms() - c->ready_at_ms >= CHILD_HEALTHY_MS)
        c->n_failures = 0;
    uint64_t delay = 0;
    if (was_ready) {
        /* Clients wait for it, and it can serve: the pause only keeps a loop from eating a core. */
        delay = c->n_failures < CHILD_FREE_RESTARTS ? 0 : CHILD_BACKOFF_FIRST_MS;
    } else if (c->n_failures > 0) {
        unsigned doublings = c->n_failures - 1 < MAX_DOUBLINGS ? c->n_failures - 1 : MAX_DOUBLINGS;
        delay = (uint64_t)CHILD_BACKOFF_FIRST_MS << doublings;
    }
    if (delay > CHILD_BACKOFF_MAX_MS)
        delay = CHILD_BACKOFF_MAX_MS;
    c->n_failures++;
    log_warn("child-lost", S("name", c->spec->name), S("how", c->last_exit),
             U("again_in_ms", delay));
    set_timer(c, delay);
    enter(c, CHILD_BACKOFF);
}

static void fail(struct child *c)
{
    log_error("child-failed", S("name", c->spec->name), S("how", c->last_exit),
              S("said", child_log_last_line(c->log)));
    loop_timer_cancel(c->config->loop, &c->timer);
    enter(c, CHILD_FAILED);
}

static void launch(struct child *c)
{
    int fd = -1;
    enum err e = child_log_open(c->log, &fd);
    if (e == ERR_OK) {
        struct exec_child s = {
            .program = c->spec->program,
            .argv = c->spec->argv,
            .run = c->config->run,
            .notify = c->config->notify,
            .watchdog_usec = (uint64_t)c->config->watchdog_ms * 1000,
            .out_fd = fd,
            .listen_fd = c->spec->socket == SOCKET_HTTP ? c->config->http_fd : -1,
        };
        e = exec_child_spawn(&s, &c->pid);
        (void)close(fd);
    }
    c->n_starts++;
    c->started_ms = clock_now_ms();
    c->ready_at_ms = 0;
    c->is_wanted = true;
    c->is_restarting = false;
    c->is_kill_sent = false;
    c->kill_reason = NULL;
    c->status[0] = '\0';
    if (e != ERR_OK) {
        c->pid = 0;
        (void)snprintf(c->last_exit, sizeof c->last_exit, "not started: %s", err_name(e));
        if (c->was_ready)
            back_off(c);
        else
            fail(c);
        return;
    }
    set_timer(c, c->config->start_timeout_ms);
    enter(c, CHILD_STARTING);
}

static void become_ready(struct child *c)
{
    c->was_ready = true;
    c->ready_at_ms = clock_now_ms();
    set_timer(c, c->config->watchdog_ms);
    enter(c, CHILD_READY);
}

static void feed(struct child *c)
{
    set_timer(c, c->config->watchdog_ms);
}

static void terminate(struct child *c)
{
    send_signal(c, SIGCONT); /* a stopped one could not obey */
    send_signal(c, SIGTERM);
    set_timer(c, c->config->stop_timeout_ms);
    enter(c, CHILD_STOPPING);
}

static void stop(struct child *c)
{
    c->is_wanted = false;
    terminate(c);
}

static void restart(struct child *c)
{
    c->n_failures = 0;
    c->is_restarting = true;
    terminate(c);
}

static void let_leave(struct child *c)
{
    set_timer(c, c->config->stop_timeout_ms);
    enter(c, CHILD_STOPPING);
}

static void kill_because(struct child *c, const char *reason)
{
    log_warn("child-killed", S("name", c->spec->name), S("why", reason), I("pid", c->pid));
    c->kill_reason = reason;
    c->is_kill_sent = true;
    send_signal(c, SIGKILL);
    loop_timer_cancel(c->config->loop, &c->timer);
}

static void kill_hung(struct child *c)
{
    kill_because(c, "watchdog");
}

static void kill_slow(struct child *c)
{
    kill_because(c, "start timeout");
}

static void kill_stuck(struct child *c)
{
    kill_because(c, "stop timeout");
}

static void settle(struct child *c)
{
    loop_timer_cancel(c->config->loop, &c->timer);
    c->is_wanted = false;
    enter(c, CHILD_STOPPED);
}

static void after_start_exit(struct child *c)
{
    if (c->was_ready)
        back_off(c);
    else
        fail(c);
}

static void after_stop_exit(struct child *c)
{
    if (!c->is_wanted)
        settle(c);
    else if (c->is_restarting)
        launch(c);
    else
        back_off(c);
}

static void want(struct child *c)
{
    c->is_wanted = true;
    c->is_restarting = true;
}

static void unwant(struct child *c)
{
    c->is_wanted = false;
}

static void ignore(struct child *c)
{
    (void)c;
}

typedef void (*action)(struct child *c);

/* clang-format off */
static const action ACTIONS[][EV_RESTART + 1] = {
    /*                   START   READY         ALIVE   LEAVING    EXIT              TIMEOUT     STOP    RESTART */
    [CHILD_STOPPED]  = { launch, ignore,       ignore, ignore,    ignore,           ignore,     ignore, launch  },
    [CHILD_STARTING] = { ignore, become_ready, ignore, ignore,    after_start_exit, kill_slow,  stop,   restart },
    [CHILD_READY]    = { ignore, ignore,       feed,   let_leave, back_off,         kill_hung,  stop,   restart },
    [CHILD_BACKOFF]  = { launch, ignore,       ignore, ignore,    ignore,           launch,     settle, launch  },
    [CHILD_STOPPING] = { want,   ignore,       ignore, ignore,    after_stop_exit,  kill_stuck, unwant, want    },
    [CHILD_FAILED]   = { launch, ignore,       ignore, ignore,    ignore,           ignore,     settle, launch  },
};
/* clang-format on */

static void happen(struct child *c, enum event ev)
{
    ACTIONS[c->state][ev](c);
}

/* ---- what happens to it ------------------------------------------------------------------------ */

static void on_timer(struct loop_timer *t)
{
    struct child *c = (struct child *)(void *)((char *)t - offsetof(struct child, timer));
    bool is_late = clock_now_ns() - t->due_ns > (uint64_t)LATE_MS * 1000000;
    happen(c, c->state == CHILD_READY && is_late ? EV_ALIVE : EV_TIMEOUT);
}

void child_start(struct child *c)
{
    happen(c, EV_START);
}

void child_stop(struct child *c)
{
    happen(c, EV_STOP);
}

void child_kill(struct child *c)
{
    if (c->pid > 0 && !c->is_kill_sent)
        kill_because(c, "forced stop");
}

void child_restart(struct child *c)
{
    happen(c, EV_RESTART);
}

static void describe_exit(struct child *c, int wait_status)
{
    if (c->kill_reason != NULL)
        (void)snprintf(c->last_exit, sizeof c->last_exit, "%s", c->kill_reason);
    else if (WIFSIGNALED(wait_status))
        (void)snprintf(c->last_exit, sizeof c->last_exit, "signal %d", WTERMSIG(wait_status));
    else
        (void)snprintf(c->last_exit, sizeof c->last_exit, "exit %d", WEXITSTATUS(wait_status));
}

void child_on_exit(struct child *c, int wait_status)
{
    describe_exit(c, wait_status);
    c->pid = 0;
    child_log_close(c->log);
    happen(c, EV_EXIT);
}

static void keep_status(struct child *c, struct str status)
{
    size_t n = status.len < STATUS_CAP - 1 ? status.len : STATUS_CAP - 1;
    while (n < status.len && n > 0 && ((unsigned char)status.ptr[n] & 0xc0U) == 0x80U)
        n--; /* not in the middle of a character */
    memcpy(c->status, status.ptr, n);
    c->status[n] = '\0';
}

void child_on_notice(struct child *c, const struct notice *n)
{
    if (n->has_status)
        keep_status(c, n->status);
    if (n->is_ready)
        happen(c, EV_READY);
    if (n->is_alive)
        happen(c, EV_ALIVE);
    if (n->is_stopping)
        happen(c, EV_LEAVING);
}

/* ---- life and looks ---------------------------------------------------------------------------- */

enum err child_new(const struct child_config *config, const struct child_spec *spec,
                   struct child **ret_child)
{
    struct child *c = mem_zalloc(1, sizeof *c);
    c->config = config;
    c->spec = spec;
    c->timer.fire = on_timer;
    c->since_unix_ms = clock_unix_ms();
    enum err e = child_log_new(config->loop, config->log_directory, spec->log, 0, &c->log);
    if (e != ERR_OK) {
        free(c);
        return e;
    }
    *ret_child = c;
    return ERR_OK;
}

void child_free(struct child *c)
{
    if (c == NULL)
        return;
    loop_timer_cancel(c->config->loop, &c->timer);
    if (c->pid > 0) {
        (void)kill(-c->pid, SIGKILL);
        (void)kill(c->pid, SIGKILL);
        (void)waitpid(c->pid, NULL, 0);
    }
    child_log_free(c->log);
    free(c);
}

const struct child_spec *child_spec(const struct child *c)
{
    return c->spec;
}

const char *child_name(const struct child *c)
{
    return c->spec->name;
}

unsigned child_stage(const struct child *c)
{
    return c->spec->stage;
}

pid_t child_pid(const struct child *c)
{
    return c->pid;
}

enum child_state child_state(const struct child *c)
{
    return c->state;
}

const char *child_state_name(enum child_state s)
{
    return STATE_NAMES[s];
}

bool child_is_settled(const struct child *c)
{
    return c->state == CHILD_STOPPED || c->state == CHILD_FAILED;
}

uint64_t child_ready_ms(const struct child *c)
{
    return c->ready_at_ms > 0 ? c->ready_at_ms - c->started_ms : 0;
}

const char *child_last_exit(const struct child *c)
{
    return c->last_exit;
}

const char *child_last_line(const struct child *c)
{
    return child_log_last_line(c->log);
}

struct rec_child child_describe(const struct child *c)
{
    return (struct rec_child){
        .name = str_from(c->spec->name),
        .pid = (uint32_t)c->pid,
        .state = str_from(STATE_NAMES[c->state]),
        .restarts = c->n_starts > 0 ? c->n_starts - 1 : 0,
        .since_ms = c->since_unix_ms,
        .status = str_from(c->status),
        .last_exit = str_from(c->last_exit),
    };
}
