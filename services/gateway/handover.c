/* SPDX-License-Identifier: MIT */
#include "services/gateway/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/check.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/program.h"

enum {
    ENV_CAP = 48,
    SAFE_FD = 200, /* above all that the new process gets */
    EXEC_FAILED = 127,
};

static const char TELL[] = "HALO_HANDOVER_FD";

/* What the new process is made of; all of it is there before the fork, because a child of a process
 * with threads may not even allocate. */
struct birth {
    const char *program;
    char *const *argv;
    char **env;
    char fds_text[ENV_CAP];
    char pid_text[ENV_CAP];
    char tell_text[ENV_CAP];
    int fds[LISTEN_MAX + 1]; /* the sockets, then the pipe's end */
    int n;
};

/* ---- in the new process ------------------------------------------------------------------------ */

static void write_pid(char *at, pid_t pid)
{
    char digits[16];
    int n = 0;
    for (; pid > 0; pid /= 10)
        digits[n++] = (char)('0' + pid % 10);
    while (n > 0)
        *at++ = digits[--n];
    *at = '\0';
}

/* Between fork and exec: async-signal-safe calls only. */
static void __attribute__((noreturn)) be_born(struct birth *b)
{
    sigset_t none;
    (void)sigemptyset(&none);
    for (int i = 0; i < b->n; i++)
        b->fds[i] = fcntl(b->fds[i], F_DUPFD_CLOEXEC, SAFE_FD);
    for (int i = 0; i < b->n; i++) {
        if (dup2(b->fds[i], SD_LISTEN_FDS_START + i) < 0)
            _exit(EXEC_FAILED);
    }
    (void)close_range((unsigned)(SD_LISTEN_FDS_START + b->n), ~0U, 0); /* clients are not its */
    write_pid(b->pid_text + strlen("LISTEN_PID="), getpid());
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execve(b->program, b->argv, b->env);
    _exit(EXEC_FAILED);
}

/* ---- in the old process ------------------------------------------------------------------------ */

static void make_env(struct birth *b)
{
    static char NO_NAMES[] = "LISTEN_FDNAMES";
    static char NO_WATCHDOG[] = "WATCHDOG_PID"; /* of ours, not of its */
    (void)snprintf(b->fds_text, sizeof b->fds_text, "LISTEN_FDS=%d", b->n - 1);
    (void)snprintf(b->pid_text, sizeof b->pid_text, "LISTEN_PID="); /* it writes its own */
    (void)snprintf(b->tell_text, sizeof b->tell_text, "%s=%d", TELL,
                   SD_LISTEN_FDS_START + b->n - 1);
    char *const changes[] = {b->fds_text, b->pid_text, b->tell_text, NO_NAMES, NO_WATCHDOG};
    b->env = program_environment(changes, ARRAY_LEN(changes));
}

static void forget(struct handover *h)
{
    if (h->pipe.fd < 0)
        return;
    loop_watch_remove(h->loop, &h->pipe);
    (void)close(h->pipe.fd);
    h->pipe.fd = -1;
    h->pid = 0;
}

static void on_word(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct handover *h = (struct handover *)(void *)((char *)w - offsetof(struct handover, pipe));
    char byte;
    pid_t pid = h->pid;
    int status = 0;
    bool does_serve = read(w->fd, &byte, 1) == 1;
    forget(h);
    if (does_serve) {
        log_info("handed-over", U("pid", (uint64_t)pid));
        notify_lines("MAINPID=%d\nSTATUS=serving", (int)pid);
        (void)unsetenv("NOTIFY_SOCKET"); /* from now on it is the other one's word that counts */
        h->done(h->ctx);
        return;
    }
    (void)kill(pid, SIGKILL); /* it closed the pipe without a word: it is ending anyway */
    (void)waitpid(pid, &status, 0);
    log_error("hand-over-failed", U("pid", (uint64_t)pid),
              I("status", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
              S("hint", "the new process ended before it could serve; this one goes on"));
}

static enum err give_birth(struct handover *h, const struct listeners *l, int tell_fd)
{
    struct birth b = {.program = h->program, .argv = h->argv};
    for (size_t i = 0; i < l->n; i++)
        b.fds[b.n++] = l->fds[i];
    b.fds[b.n++] = tell_fd;
    make_env(&b);
    /* nng's handlers of fork(3) are of no use to a process that becomes another program at once. */
    h->pid = _Fork();
    if (h->pid == 0)
        be_born(&b);
    enum err e = h->pid > 0 ? ERR_OK : err_from_errno(errno);
    free(b.env);
    return e;
}

enum err handover_start(struct handover *h, const struct listeners *l)
{
    int ends[2];
    if (h->pipe.fd >= 0)
        return ERR_IN_USE;
    if (!l->are_given || l->unlink_path != NULL || h->program == NULL)
        return ERR_UNSUPPORTED;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_from_errno(errno);
    h->pipe = (struct loop_watch){ends[0], on_word};
    enum err e = loop_watch_add(h->loop, &h->pipe, EPOLLIN);
    if (e == ERR_OK)
        e = give_birth(h, l, ends[1]);
    (void)close(ends[1]);
    if (e != ERR_OK)
        forget(h);
    return e;
}

void handover_cancel(struct handover *h)
{
    if (h->pid > 0)
        (void)kill(h->pid, SIGTERM);
    forget(h);
}

void handover_tell(struct handover *h)
{
    if (h->tell_fd < 0)
        return;
    (void)!write(h->tell_fd, "", 1); /* if it has died, systemd knows */
    (void)close(h->tell_fd);
    h->tell_fd = -1;
}

/* ---- life -------------------------------------------------------------------------------------- */

/* The descriptor that a predecessor left to us, -1 if none did. */
static int inherited(void)
{
    const char *text = getenv(TELL);
    char *end = NULL;
    long fd = text != NULL && *text != '\0' ? strtol(text, &end, 10) : -1;
    (void)unsetenv(TELL);
    if (end == NULL || *end != '\0' || fd < SD_LISTEN_FDS_START || fd > INT_MAX ||
        fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return (int)fd;
}

void handover_init(struct handover *h, struct loop *loop, char *const *argv, void (*done)(void *),
                   void *ctx)
{
    *h = (struct handover){.loop = loop, .argv = argv, .pipe.fd = -1, .done = done, .ctx = ctx};
    /* Asked now: after an upgrade the link names a deleted file. */
    h->program = realpath("/proc/self/exe", NULL);
    h->tell_fd = inherited();
}

void handover_fini(struct handover *h)
{
    if (h->loop == NULL)
        return;
    handover_cancel(h);
    if (h->tell_fd >= 0)
        (void)close(h->tell_fd);
    free(h->program);
    *h = (struct handover){.pipe.fd = -1, .tell_fd = -1};
}
