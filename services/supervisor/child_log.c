/* SPDX-License-Identifier: MIT */
#include "services/supervisor/child_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"

enum { READ_BYTES = 16384 };

struct child_log {
    struct loop_watch watch; /* read end of the pipe; -1 when closed */
    struct loop *loop;
    int file_fd;
    char *path;
    size_t size;
    size_t max_bytes;
    char last[CHILD_LOG_LINE + 1]; /* last whole line that was not blank */
    char line[CHILD_LOG_LINE + 1]; /* the line that is being written */
    size_t n_line;
};

static enum err open_file(struct child_log *l)
{
    struct stat st;
    l->file_fd = open(l->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->file_fd < 0 || fstat(l->file_fd, &st) != 0)
        return err_from_errno(errno);
    l->size = (size_t)st.st_size;
    return ERR_OK;
}

static void rotate(struct child_log *l)
{
    struct buf old = {0};
    buf_printf(&old, "%s.1", l->path);
    (void)rename(l->path, old.ptr);
    buf_fini(&old);
    (void)close(l->file_fd);
    if (open_file(l) != ERR_OK)
        l->size = 0; /* nothing is kept until it can be opened again */
}

static void remember_line(struct child_log *l)
{
    size_t blank = strspn(l->line, " \t\r");
    if (l->n_line > blank)
        memcpy(l->last, l->line, l->n_line + 1);
    l->n_line = 0;
    l->line[0] = '\0';
}

static void follow_lines(struct child_log *l, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') {
            remember_line(l);
        } else if (l->n_line < CHILD_LOG_LINE) {
            l->line[l->n_line++] = text[i];
            l->line[l->n_line] = '\0';
        }
    }
}

void child_log_add(struct child_log *l, const char *text, size_t len)
{
    follow_lines(l, text, len);
    if (l->size > 0 && l->size + len > l->max_bytes)
        rotate(l);
    if (l->file_fd < 0)
        return;
    ssize_t n = write(l->file_fd, text, len); /* a full disk loses lines, not the service */
    if (n > 0)
        l->size += (size_t)n;
}

static bool read_some(struct child_log *l)
{
    char text[READ_BYTES];
    errno = 0; /* the end of the pipe is not EAGAIN */
    ssize_t n = read(l->watch.fd, text, sizeof text);
    if (n > 0)
        child_log_add(l, text, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

static void close_pipe(struct child_log *l)
{
    if (l->watch.fd < 0)
        return;
    loop_watch_remove(l->loop, &l->watch);
    (void)close(l->watch.fd);
    l->watch.fd = -1;
    remember_line(l);
}

static void on_readable(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct child_log *l = (struct child_log *)(void *)w;
    if (!read_some(l) && errno != EAGAIN)
        close_pipe(l);
}

enum err child_log_new(struct loop *loop, const char *directory, const char *name, size_t max_bytes,
                       struct child_log **ret_log)
{
    struct buf path = {0};
    struct child_log *l = mem_zalloc(1, sizeof *l);
    l->watch = (struct loop_watch){-1, on_readable};
    l->loop = loop;
    l->max_bytes = max_bytes > 0 ? max_bytes : CHILD_LOG_BYTES;
    buf_printf(&path, "%s/%s.log", directory, name);
    l->path = buf_detach(&path);
    enum err e = open_file(l);
    if (e != ERR_OK) {
        child_log_free(l);
        return e;
    }
    *ret_log = l;
    return ERR_OK;
}

void child_log_free(struct child_log *l)
{
    if (l == NULL)
        return;
    close_pipe(l);
    if (l->file_fd >= 0)
        (void)close(l->file_fd);
    free(l->path);
    free(l);
}

enum err child_log_open(struct child_log *l, int *ret_write_fd)
{
    int fds[2];
    close_pipe(l);
    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_from_errno(errno);
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    l->watch.fd = fds[0];
    l->last[0] = '\0';
    enum err e = loop_watch_add(l->loop, &l->watch, EPOLLIN);
    if (e != ERR_OK) {
        (void)close(fds[0]);
        (void)close(fds[1]);
        l->watch.fd = -1;
        return e;
    }
    *ret_write_fd = fds[1];
    return ERR_OK;
}

void child_log_close(struct child_log *l)
{
    while (l->watch.fd >= 0 && read_some(l)) {
    }
    close_pipe(l);
}

const char *child_log_last_line(const struct child_log *l)
{
    return l->last;
}
