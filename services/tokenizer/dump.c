/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/dump.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/utf8.h"

enum { READ_BYTES = 1 << 16 };

static enum err read_text(int fd, struct buf *text)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(text, READ_BYTES), READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return ERR_OK;
        text->len += (size_t)n;
        if (text->len > DUMP_MAX_BYTES)
            return ERR_TOO_LARGE;
    }
}

static enum err write_all(int fd, const void *data, size_t n)
{
    const char *at = data;
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_from_errno(errno);
        at += done;
        n -= (size_t)done;
    }
    return ERR_OK;
}

static enum err write_ids(int fd, const struct ids *ids)
{
    struct buf bytes = {0};
    for (size_t i = 0; i < ids->n; i++) {
        for (unsigned shift = 0; shift < 32; shift += 8)
            buf_add_char(&bytes, (char)(unsigned char)(ids->v[i] >> shift & 0xff));
    }
    enum err e = write_all(fd, buf_str(&bytes).ptr, bytes.len);
    buf_fini(&bytes);
    return e;
}

enum err dump_ids(struct model *m, int in_fd, int out_fd, char *why, size_t cap_why)
{
    struct buf text = {0};
    struct ids ids = {0};
    const char *what = "reading the text";
    enum err e = read_text(in_fd, &text);
    if (e == ERR_OK) {
        what = "the text";
        if (!utf8_is_valid(buf_str(&text).ptr, text.len))
            e = ERR_UTF8;
    }
    if (e == ERR_OK)
        e = encode_text(m->encoder, buf_str(&text), NULL, &ids);
    if (e == ERR_OK) {
        what = "writing the ids";
        e = write_ids(out_fd, &ids);
    }
    if (e != ERR_OK)
        (void)snprintf(why, cap_why, "%s: %s", what, err_text(e));
    ids_fini(&ids);
    buf_fini(&text);
    return e;
}
