/* SPDX-License-Identifier: MIT */
#include "services/supervisor/exec_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"

enum {
    EXEC_FIXED_ARGS = 5, /* self, --exec-child, parent, signal, sockets */
    FIRST_SOCKET = 3, /* SD_LISTEN_FDS_START */
    EXEC_FAILED = 127, /* what shells say when a program cannot be run */
};

/* ---- the parent's side ------------------------------------------------------------------------- */

static bool is_ours(const char *entry)
{
    static const char *const NAMES[] = {
        "HALO_RUN=",   "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=",
        "LISTEN_FDS=", "LISTEN_PID=",    "LISTEN_FDNAMES="};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strncmp(entry, NAMES[i], strlen(NAMES[i])) == 0)
            return true;
    }
    return false;
}

/* Our environment with the manager's variables replaced. The first three entries are the caller's. */
static char **make_environment(char *run, char *notify, char *watchdog)
{
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    char **env = mem_zalloc(n + 4, sizeof *env);
    size_t k = 0;
    env[k++] = run;
    env[k++] = notify;
    env[k++] = watchdog;
    for (size_t i = 0; i < n; i++) {
        if (!is_ours(environ[i]))
            env[k++] = environ[i];
    }
    return env;
}

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

static int run_spawn(const struct exec_child *s, char **argv, char **env, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int rc = posix_spawn_file_actions_init(&files);
    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attr);
    if (rc != 0) {
        (void)posix_spawn_file_actions_destroy(&files);
        return rc;
    }
    rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, s->out_fd, 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, s->out_fd, 2);
    if (rc == 0 && s->listen_fd >= 0)
        rc = posix_spawn_file_actions_adddup2(&files, s->listen_fd, FIRST_SOCKET);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setpgroup(&attr, 0);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    /* Not our path: an upgrade may have replaced the file under it. */
    if (rc == 0)
        rc = posix_spawn(ret_pid, "/proc/self/exe", &files, &attr, argv, env);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&files);
    return rc;
}

enum err exec_child_spawn(const struct exec_child *s, pid_t *ret_pid)
{
    char self[] = "halo-supervisor";
    char flag[] = "--exec-child";
    char parent[16];
    char signal[] = "9"; /* services keep nothing that a kill could harm */
    char sockets[] = "0";
    char watchdog[48];
    struct buf run = {0};
    struct buf notify = {0};
    (void)snprintf(parent, sizeof parent, "%d", (int)getpid());
    (void)snprintf(watchdog, sizeof watchdog, "WATCHDOG_USEC=%llu",
                   (unsigned long long)s->watchdog_usec);
    buf_printf(&run, "HALO_RUN=%s", s->run);
    buf_printf(&notify, "NOTIFY_SOCKET=%s", s->notify);
    if (s->listen_fd >= 0)
        sockets[0] = '1';
    char **env = make_environment(run.ptr, notify.ptr, watchdog);
    char **argv = make_arguments(s, self, flag, parent, signal, sockets);
    int rc = run_spawn(s, argv, env, ret_pid);
    free(argv);
    free(env);
    buf_fini(&run);
    buf_fini(&notify);
    return rc == 0 ? ERR_OK : err_from_errno(rc);
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
