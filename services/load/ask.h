/* SPDX-License-Identifier: MIT */
/* ask: a prompt as an HTTP request of OpenAI's API, streamed. */
#ifndef HALO_LOAD_ASK_H
#define HALO_LOAD_ASK_H

#include <stdbool.h>

#include "common/buf.h"
#include "services/load/prompts.h"

struct ask_config {
    const char *model;
    const char *base; /* path before /chat/completions */
    const char *host;
    const char *headers; /* further ones, each with its line end; may be "" */
    const char *members; /* further members of the body, each after a comma; may be "" */
    bool does_keep_alive;
};

/* Appends the whole request. */
void ask_write(const struct ask_config *c, const struct prompt *p, struct buf *out);

/* Appends GET base + path. */
void ask_write_get(const struct ask_config *c, const char *path, struct buf *out);

#endif
