/* SPDX-License-Identifier: MIT */
/* Catches what is written to a descriptor (stdout 1, stderr 2) between start and stop. */
#ifndef HALO_TESTS_COMMON_CAPTURE_H
#define HALO_TESTS_COMMON_CAPTURE_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct capture {
    int fd;
    int saved;
    FILE *file;
    char text[65536];
};

static inline void capture_start(struct capture *c, int fd)
{
    (void)fflush(NULL);
    c->fd = fd;
    c->saved = dup(fd);
    c->file = tmpfile();
    assert_true(c->saved >= 0 && c->file != NULL);
    assert_int_equal(dup2(fileno(c->file), fd), fd);
}

/* The text, NUL-terminated. */
static inline const char *capture_stop(struct capture *c)
{
    (void)fflush(NULL);
    assert_int_equal(dup2(c->saved, c->fd), c->fd);
    (void)close(c->saved);
    rewind(c->file);
    size_t n = fread(c->text, 1, sizeof c->text - 1, c->file);
    c->text[n] = '\0';
    (void)fclose(c->file);
    return c->text;
}

static inline void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

#endif
