/* SPDX-License-Identifier: MIT */
#include "services/supervisor/exec_child.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/program.h"

enum {
    EXEC_FIXED_ARGS = 5, /* self, --exec-child, parent, signal, sockets */
    FIRST_SOCKET = 3, /* SD_LISTEN_FDS_START */
    EXEC_FAILED = 127, /* what shells say when a program cannot be run */
};

/* ---- the parent's side ------------------------------------------------------------------------- */

static char **make_arguments(const struct exec_child *s, char *self, char *flag, char *parent,
                             char *signal, char *sockets)
{
    size_t n = 0;
    while (s->argv[n] != NULL)
        n++;
    char **argv = mem_zalloc(EXEC_FIXED_ARGS + 1 + n + 1, sizeof *argv);
    argv[0] = self;
    argv[1] = flag;
    argv[2] = parent;
    argv[3] = signal;
    argv[4] = sockets;
    memcpy(&argv[5], &s->program, sizeof s->program);
    memcpy(&argv[6], s->argv, n * sizeof *argv);
    return argv;
}

enum err exec_child_spawn(const struct exec_child *s, pid_t *ret_pid)
{
    char self[] = "halo-supervisor";
    char flag[] = "--exec-child";
    char parent[16];
    char signal[] = "9"; /* services keep nothing that a kill could harm */
    char sockets[] = "0";
    char watchdog[48];
    char no_pid[] = "WATCHDOG_PID";
    char no_listen_fds[] = "LISTEN_FDS";
    char no_listen_pid[] = "LISTEN_PID";
    char no_listen_names[] = "LISTEN_FDNAMES";
    struct buf run = {0};
    struct buf notify = {0};
    (void)snprintf(parent, sizeof parent, "%d", (int)getpid());
    (void)snprintf(watchdog, sizeof watchdog, "WATCHDOG_USEC=%llu",
                   (unsigned long long)s->watchdog_usec);
    buf_printf(&run, "HALO_RUN=%s", s->run);
    buf_printf(&notify, "NOTIFY_SOCKET=%s", s->notify);
    if (s->listen_fd >= 0)
        sockets[0] = '1';
    char *changes[] = {run.ptr,       notify.ptr,    watchdog,       no_pid,
                       no_listen_fds, no_listen_pid, no_listen_names};
    char **env = program_environment(changes, ARRAY_LEN(changes));
    char **argv = make_arguments(s, self, flag, parent, signal, sockets);
    /* Not our path: an upgrade may have replaced the file under it. */
    enum err e = program_start(&(struct program){.path = "/proc/self/exe",
                                                 .argv = argv,
                                                 .env = env,
                                                 .group = PROGRAM_GROUP,
                                                 .out_fd = s->out_fd,
                                                 .fd3 = s->listen_fd},
                               ret_pid);
    free(argv);
    free(env);
    buf_fini(&run);
    buf_fini(&notify);
    return e;
}

/* ---- the child's side -------------------------------------------------------------------------- */

bool exec_child_is_asked(int argc, char **argv)
{
    return argc > EXEC_FIXED_ARGS + 1 && strcmp(argv[1], "--exec-child") == 0;
}

int exec_child_main(int argc, char **argv)
{
    (void)argc;
    long parent = strtol(argv[2], NULL, 10);
    long signal = strtol(argv[3], NULL, 10);
    if (prctl(PR_SET_PDEATHSIG, signal) != 0)
        return EXEC_FAILED;
    if (getppid() != (pid_t)parent)
        return EXEC_FAILED; /* it died before the line above took hold */
    long n_sockets = strtol(argv[4], NULL, 10);
    /* Descriptors that a library opened without O_CLOEXEC stay here. */
    (void)close_range((unsigned)(FIRST_SOCKET + n_sockets), ~0U, 0);
    if (n_sockets > 0) {
        char pid[16];
        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        if (setenv("LISTEN_PID", pid, 1) != 0 || setenv("LISTEN_FDS", argv[4], 1) != 0)
            return EXEC_FAILED;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* a connection is a descriptor */
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)execv(argv[5], &argv[6]);
    (void)fprintf(stderr, "cannot execute %s: %s\n", argv[5], strerrordesc_np(errno));
    return EXEC_FAILED;
}
