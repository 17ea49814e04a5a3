/* SPDX-License-Identifier: MIT */
#include "common/program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"

enum { FD3 = 3 };

static int plan_files(const struct program *s, posix_spawn_file_actions_t *files)
{
    int rc = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(files, s->out_fd, 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(files, s->out_fd, 2);
    if (rc == 0 && s->fd3 >= 0)
        rc = posix_spawn_file_actions_adddup2(files, s->fd3, FD3);
    return rc;
}

static int plan_attributes(const struct program *s, posix_spawnattr_t *attr)
{
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    flags |= s->group == PROGRAM_SESSION ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    int rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    return rc != 0 ? rc : posix_spawnattr_setflags(attr, flags);
}

enum err program_start(const struct program *s, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    int rc = posix_spawn_file_actions_init(&files);
    if (rc != 0)
        return err_from_errno(rc);
    rc = posix_spawnattr_init(&attr);
    if (rc == 0) {
        rc = plan_files(s, &files);
        if (rc == 0)
            rc = plan_attributes(s, &attr);
        if (rc == 0)
            rc = posix_spawn(ret_pid, s->path, &files, &attr, s->argv, s->env);
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&files);
    return rc == 0 ? ERR_OK : err_from_errno(rc);
}

static bool is_changed(const char *entry, char *const *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(changes[i], "=");
        if (strncmp(entry, changes[i], len) == 0 && entry[len] == '=')
            return true;
    }
    return false;
}

char **program_environment(char *const *changes, size_t n_changes)
{
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    char **env = mem_zalloc(n + n_changes + 1, sizeof *env);
    size_t k = 0;
    for (size_t i = 0; i < n_changes; i++) {
        if (strchr(changes[i], '=') != NULL)
            env[k++] = changes[i];
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_changed(environ[i], changes, n_changes))
            env[k++] = environ[i];
    }
    return env;
}
