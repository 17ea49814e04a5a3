/* SPDX-License-Identifier: MIT */
#include "services/halo/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/program.h"

enum { CAPTURE_BYTES = 65536, WORDS_MAX = 16 };

enum err process_start(const struct process_start *s, pid_t *ret_pid)
{
    struct buf notify = {0};
    if (s->notify != NULL)
        buf_printf(&notify, "NOTIFY_SOCKET=%s", s->notify);
    char **env = program_environment(&notify.ptr, s->notify != NULL);
    enum err e = program_start(&(struct program){.path = s->program,
                                                 .argv = s->argv,
                                                 .env = env,
                                                 .group = PROGRAM_SESSION,
                                                 .out_fd = s->out_fd,
                                                 .fd3 = -1},
                               ret_pid);
    free(env);
    buf_fini(&notify);
    return e;
}

static void read_all(int fd, struct buf *out)
{
    char text[512];
    size_t n_kept = 0;
    for (;;) {
        ssize_t n = read(fd, text, sizeof text);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        size_t room = CAPTURE_BYTES - n_kept;
        size_t kept = (size_t)n < room ? (size_t)n : room;
        buf_add(out, text, kept);
        n_kept += kept;
    }
}

bool process_capture(const char *program, const char *const *words, struct buf *out)
{
    char *argv[WORDS_MAX + 2] = {mem_strndup(program, strlen(program))};
    int fds[2];
    int status = -1;
    pid_t pid = -1;
    for (size_t i = 0; words[i] != NULL; i++) {
        ASSERT(i < WORDS_MAX);
        argv[i + 1] = mem_strndup(words[i], strlen(words[i]));
    }
    enum err e = pipe2(fds, O_CLOEXEC) == 0 ? ERR_OK : err_from_errno(errno);
    if (e == ERR_OK) {
        struct process_start s = {.program = program, .argv = argv, .out_fd = fds[1]};
        e = process_start(&s, &pid);
        (void)close(fds[1]);
        if (e == ERR_OK) {
            read_all(fds[0], out);
            (void)waitpid(pid, &status, 0);
        }
        (void)close(fds[0]);
    }
    for (size_t i = 0; argv[i] != NULL; i++)
        free(argv[i]);
    return e == ERR_OK && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool process_wait_all(pid_t *pids, size_t n, uint32_t timeout_ms)
{
    uint64_t end = clock_now_ms() + timeout_ms;
    bool all_ended = true;
    for (size_t i = 0; i < n; i++) {
        int fd = pids[i] > 0 ? pidfd_open(pids[i], 0) : -1;
        if (fd < 0) {
            pids[i] = 0;
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_now_ms();
        int rc;
        do {
            rc = poll(&p, 1, now < end ? (int)(end - now) : 0);
            now = clock_now_ms();
        } while (rc < 0 && errno == EINTR);
        if (rc == 1)
            pids[i] = 0;
        else
            all_ended = false;
        (void)close(fd);
    }
    return all_ended;
}
