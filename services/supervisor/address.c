/* SPDX-License-Identifier: MIT */
#include "services/supervisor/address.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/str.h"

struct parts {
    char host[128]; /* without brackets */
    const char *port;
};

static bool split(const char *http, struct parts *ret_parts)
{
    const char *colon = strrchr(http, ':');
    if (colon == NULL || colon == http || colon[1] == '\0')
        return false;
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5)
        return false;
    const char *start = http;
    size_t n = (size_t)(colon - http);
    if (start[0] == '[' && start[n - 1] == ']') {
        start++;
        n -= 2;
    }
    if (n == 0 || n >= sizeof ret_parts->host)
        return false;
    memcpy(ret_parts->host, start, n);
    ret_parts->host[n] = '\0';
    ret_parts->port = colon + 1;
    return true;
}

/* 0, or errno. */
static int try_listen(const struct addrinfo *a, int *ret_fd)
{
    int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) {
        *ret_fd = fd;
        return 0;
    }
    int rc = errno;
    (void)close(fd);
    return rc;
}

enum err address_listen(const char *http, char *why, size_t cap_why, int *ret_fd)
{
    struct parts p;
    struct addrinfo *found = NULL;
    struct addrinfo want = {.ai_family = AF_UNSPEC,
                            .ai_socktype = SOCK_STREAM,
                            .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    if (!split(http, &p) || getaddrinfo(p.host, p.port, &want, &found) != 0) {
        (void)snprintf(why, cap_why,
                       "--http %s is not an address; expected ADDRESS:PORT such as 127.0.0.1:8180",
                       http);
        return ERR_INVALID;
    }
    int rc = try_listen(found, ret_fd);
    freeaddrinfo(found);
    if (rc == 0)
        return ERR_OK;
    if (rc == EADDRINUSE)
        (void)snprintf(why, cap_why,
                       "port %s is in use by another program (http %s); stop it (find it with: ss "
                       "-ltnp 'sport = :%s') or choose another with --http %s:%ld",
                       p.port, http, p.port, p.host, strtol(p.port, NULL, 10) % 65535 + 1);
    else
        (void)snprintf(why, cap_why, "cannot listen on %s: %s; choose another address with --http",
                       http, strerrordesc_np(rc));
    return err_from_errno(rc);
}

char *address_url(int listen_fd)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    char host[NI_MAXHOST] = "127.0.0.1";
    char port[NI_MAXSERV] = "0";
    struct buf url = {0};
    if (getsockname(listen_fd, (struct sockaddr *)(void *)&own, &len) == 0)
        (void)getnameinfo((const struct sockaddr *)(const void *)&own, len, host, sizeof host, port,
                          sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    const char *name = host;
    if (strcmp(host, "0.0.0.0") == 0)
        name = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        name = "::1";
    bool is_v6 = strchr(name, ':') != NULL;
    buf_printf(&url, "http://%s%s%s:%s", is_v6 ? "[" : "", name, is_v6 ? "]" : "", port);
    return buf_detach(&url);
}
