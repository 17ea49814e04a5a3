/* SPDX-License-Identifier: MIT */
#include "services/halo/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/loop.h"
#include "common/mem.h"
#include "services/halo/print.h"
#include "services/halo/process.h"

enum {
    MESSAGE_CAP = 4096,
    TAIL_BYTES = 1024, /* of the supervisor's log, when it ends without a word */
    FIXED_ARGS = 6, /* of --exec-child, see services/supervisor/exec_child.h */
};

struct launch {
    const struct launch_config *config;
    struct loop *loop;
    struct loop_watch notify; /* datagrams of the supervisor */
    struct loop_watch process; /* its pidfd */
    struct sockaddr_un address;
    char *log_path;
    pid_t pid;
    struct loop_timer timer; /* of probe */
    unsigned n_probes;
    bool is_ready; /* it has served */
    bool is_stopping;
    char error[MESSAGE_CAP];
    int exit_status;
};

/* ---- what the supervisor says ------------------------------------------------------------------ */

/* The value of a "KEY=" line, copied; false if there is none. */
static bool field(const char *message, const char *key, char *value, size_t cap)
{
    size_t n = strlen(key);
    for (const char *line = message; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (strncmp(line, key, n) == 0) {
            (void)snprintf(value, cap, "%.*s", (int)(len - n), line + n);
            return true;
        }
        line += len;
        line += *line == '\n';
    }
    return false;
}

static void print_child(struct launch *l, const char *name, const char *state, const char *ms)
{
    if (strcmp(state, "ready") == 0)
        (void)printf("  %s✓%s %-12s ready after %.2f s\n", print_color(COLOR_GOOD),
                     print_color(COLOR_OFF), name, strtod(ms, NULL) / 1000.0);
    else if (strcmp(state, "backoff") == 0)
        (void)printf("  %s!%s %-12s lost; it is started again\n", print_color(COLOR_WARN),
                     print_color(COLOR_OFF), name);
    else if (strcmp(state, "failed") == 0)
        (void)printf("  %s✗%s %-12s did not start\n", print_color(COLOR_BAD),
                     print_color(COLOR_OFF), name);
    else if (strcmp(state, "stopped") == 0 && l->is_stopping)
        (void)printf("  - %-12s stopped\n", name);
    (void)fflush(stdout);
}

/* The gateway is ready before it has heard from the engines through the others; that takes some
 * milliseconds. */
static void probe(struct loop_timer *t)
{
    struct launch *l = (struct launch *)(void *)((char *)t - offsetof(struct launch, timer));
    if (l->is_stopping)
        return;
    if (l->config->is_serving(l->config->ctx)) {
        l->is_ready = true;
        l->config->ready(l->config->ctx);
        (void)fflush(stdout);
        if (l->config->is_detached)
            loop_stop(l->loop);
    } else if (++l->n_probes < LAUNCH_PROBES) {
        loop_timer_set(l->loop, t, LAUNCH_PROBE_MS);
    } else {
        (void)snprintf(l->error, sizeof l->error,
                       "all processes are ready, but the gateway's /readyz does not say so");
        l->is_stopping = true;
        (void)kill(l->pid, SIGTERM);
    }
}

static void on_message(struct launch *l, const char *message)
{
    char name[64];
    char state[32];
    char value[32] = "0";
    (void)field(message, "X_HALO_ERROR=", l->error, sizeof l->error);
    (void)field(message, "X_HALO_MS=", value, sizeof value);
    if (field(message, "X_HALO_CHILD=", name, sizeof name) &&
        field(message, "X_HALO_STATE=", state, sizeof state))
        print_child(l, name, state, value);
    if (field(message, "READY=", value, sizeof value) && !l->is_ready)
        probe(&l->timer);
}

static void drain_messages(struct launch *l)
{
    char message[MESSAGE_CAP];
    ssize_t n;
    while ((n = recv(l->notify.fd, message, sizeof message - 1, MSG_DONTWAIT)) >= 0) {
        message[n] = '\0';
        on_message(l, message);
    }
}

static void on_notify(struct loop_watch *w, uint32_t events)
{
    (void)events;
    drain_messages((struct launch *)(void *)((char *)w - offsetof(struct launch, notify)));
}

static void print_log_tail(const struct launch *l)
{
    char text[TAIL_BYTES + 1];
    int fd = open(l->log_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, text, TAIL_BYTES, end > TAIL_BYTES ? end - TAIL_BYTES : 0);
    (void)close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    if (text[n - 1] == '\n')
        text[n - 1] = '\0';
    const char *last = strrchr(text, '\n');
    (void)fprintf(stderr, "%s\n", last != NULL ? last + 1 : text);
}

static void on_end(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct launch *l = (struct launch *)(void *)((char *)w - offsetof(struct launch, process));
    int status = 0;
    drain_messages(l);
    (void)waitpid(l->pid, &status, 0);
    l->pid = 0;
    bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    l->exit_status = is_clean && l->is_ready ? EXIT_SUCCESS : EXIT_FAILURE;
    if (is_clean && l->error[0] == '\0') {
        (void)printf("stopped\n");
    } else {
        (void)fprintf(stderr, "%s✗ the stack %s:%s ", print_color(COLOR_BAD),
                      l->is_ready ? "has ended" : "did not start", print_color(COLOR_OFF));
        if (l->error[0] != '\0')
            (void)fprintf(stderr, "%s\n", l->error);
        else
            print_log_tail(l);
        (void)fprintf(stderr, "  Nothing is left running. Logs: %s/log/\n", l->config->run);
    }
    loop_stop(l->loop);
}

static void on_terminate(void *ctx)
{
    struct launch *l = ctx;
    if (!l->is_stopping)
        (void)printf("\nstopping; once more to stop without waiting for replies in flight\n");
    (void)fflush(stdout);
    l->is_stopping = true;
    if (l->pid > 0)
        (void)kill(l->pid, SIGTERM);
}

/* ---- starting it ------------------------------------------------------------------------------- */

static enum err open_notify(struct launch *l)
{
    l->address.sun_family = AF_UNIX;
    int n = snprintf(l->address.sun_path, sizeof l->address.sun_path, "%s/up.%d.sock",
                     l->config->run, (int)getpid());
    if (n < 0 || (size_t)n >= sizeof l->address.sun_path)
        return ERR_TOO_LARGE;
    l->notify = (struct loop_watch){socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), on_notify};
    if (l->notify.fd < 0 || bind(l->notify.fd, (const struct sockaddr *)(const void *)&l->address,
                                 sizeof l->address) != 0)
        return err_from_errno(errno);
    return loop_watch_add(l->loop, &l->notify, EPOLLIN);
}

/* The supervisor's own log; kept from the last time as supervisor.log.1. */
static int open_log(struct launch *l)
{
    struct buf dir = {0};
    struct buf old = {0};
    buf_printf(&dir, "%s/log", l->config->run);
    (void)mkdir(dir.ptr, 0700);
    buf_add_cstr(&dir, "/supervisor.log");
    buf_printf(&old, "%s.1", dir.ptr);
    (void)rename(dir.ptr, old.ptr);
    buf_fini(&old);
    l->log_path = buf_detach(&dir);
    return open(l->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* In the foreground the supervisor is told to stop when we end, however we end. */
static enum err start(struct launch *l, int out_fd)
{
    const struct launch_config *c = l->config;
    char flag[] = "--exec-child";
    char signal[] = "15";
    char sockets[] = "0";
    char parent[16];
    char *program = mem_strndup(c->supervisor, strlen(c->supervisor));
    size_t n = 0;
    while (c->argv[n] != NULL)
        n++;
    char **argv = mem_zalloc(FIXED_ARGS + n + 1, sizeof *argv);
    (void)snprintf(parent, sizeof parent, "%d", (int)getpid());
    char *head[FIXED_ARGS] = {c->argv[0], flag, parent, signal, sockets, program};
    memcpy(argv, head, sizeof head);
    memcpy(argv + FIXED_ARGS, c->argv, n * sizeof *argv);
    struct process_start s = {.program = c->supervisor,
                              .argv = c->is_detached ? c->argv : argv,
                              .notify = l->address.sun_path,
                              .out_fd = out_fd};
    enum err e = process_start(&s, &l->pid);
    free(argv);
    free(program);
    if (e != ERR_OK)
        return e;
    l->process = (struct loop_watch){pidfd_open(l->pid, 0), on_end};
    return l->process.fd >= 0 ? loop_watch_add(l->loop, &l->process, EPOLLIN) : ERR_IO;
}

static enum err open_all(struct launch *l)
{
    enum err e = loop_new(&l->loop);
    if (e == ERR_OK)
        e = loop_on_terminate(l->loop, on_terminate, l);
    if (e == ERR_OK)
        e = open_notify(l);
    if (e != ERR_OK)
        return e;
    int out_fd = open_log(l);
    if (out_fd < 0)
        return err_from_errno(errno);
    e = start(l, out_fd);
    (void)close(out_fd);
    return e;
}

int launch_run(const struct launch_config *config)
{
    struct launch l = {.config = config, .notify.fd = -1, .process.fd = -1, .timer.fire = probe};
    enum err e = open_all(&l);
    if (e == ERR_OK) {
        loop_run(l.loop);
    } else {
        (void)fprintf(stderr, "halo up: cannot start %s in %s: %s\n", config->supervisor,
                      config->run, err_text(e));
        l.exit_status = EXIT_FAILURE;
    }
    if (l.notify.fd >= 0) {
        (void)close(l.notify.fd);
        (void)unlink(l.address.sun_path);
    }
    if (l.process.fd >= 0)
        (void)close(l.process.fd);
    if (l.loop != NULL)
        loop_timer_cancel(l.loop, &l.timer);
    loop_free(l.loop);
    free(l.log_path);
    return l.exit_status;
}
