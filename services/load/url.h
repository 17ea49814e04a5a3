/* SPDX-License-Identifier: MIT */
/* url: where a gateway listens: http://HOST:PORT[/PATH] or unix:PATH. */
#ifndef HALO_LOAD_URL_H
#define HALO_LOAD_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct url {
    char host[300]; /* for the Host header */
    char base[200]; /* path before /chat/completions: "/v1" or what the URL says */
    struct sockaddr_storage address;
    socklen_t address_len;
};

/* Parses and resolves; of several addresses takes the first that accepts a connection. False, and a
 * line in `why`, if it is no such URL or the host is not known. */
bool url_resolve(const char *text, struct url *ret_url, char *why, size_t cap_why);

/* A socket that is connected or about to be; -1 and errno. */
int url_connect(const struct url *u);

#endif
