/* SPDX-License-Identifier: MIT */
#include "services/load/url.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { PROBE_MS = 2000 };

static bool is_https(const char *text)
{
    return strncmp(text, "https:", 6) == 0;
}

static bool set_unix(const char *path, struct url *u)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int n = snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    if (n <= 0 || (size_t)n >= sizeof un.sun_path)
        return false;
    memcpy(&u->address, &un, sizeof un);
    u->address_len = sizeof un;
    (void)snprintf(u->host, sizeof u->host, "localhost");
    (void)snprintf(u->base, sizeof u->base, "/v1");
    return true;
}

static bool does_accept(const struct url *u)
{
    int fd = url_connect(u);
    if (fd < 0)
        return false;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    bool ok = poll(&p, 1, PROBE_MS) == 1 &&
              getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
    (void)close(fd);
    return ok;
}

static bool resolve(const char *host, const char *port, struct url *u)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    if (getaddrinfo(host, port, &hints, &all) != 0)
        return false;
    for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        memcpy(&u->address, a->ai_addr, a->ai_addrlen);
        u->address_len = a->ai_addrlen;
        if (does_accept(u))
            break;
    }
    if (all != NULL && !does_accept(u)) { /* none does: the first one's error is as good as any */
        memcpy(&u->address, all->ai_addr, all->ai_addrlen);
        u->address_len = all->ai_addrlen;
    }
    freeaddrinfo(all);
    return true;
}

/* "[::1]:80", "host", "host:80" into two texts. */
static bool split(const char *authority, size_t n, char *host, size_t cap, const char **ret_port)
{
    char *colon = NULL;
    if (n == 0 || n >= cap)
        return false;
    memcpy(host, authority, n);
    host[n] = '\0';
    char *bracket = strchr(host, ']');
    colon = strrchr(bracket != NULL ? bracket : host, ':');
    *ret_port = colon != NULL ? colon + 1 : "80";
    if (colon != NULL)
        *colon = '\0';
    if (host[0] != '[')
        return host[0] != '\0';
    size_t len = strlen(host);
    if (len < 3 || host[len - 1] != ']')
        return false;
    memmove(host, host + 1, len - 2);
    host[len - 2] = '\0';
    return true;
}

bool url_resolve(const char *text, struct url *ret_url, char *why, size_t cap_why)
{
    static const char HTTP[] = "http://";
    char host[256];
    const char *port;
    *ret_url = (struct url){0};
    if (strncmp(text, "unix:", 5) == 0 && set_unix(text + 5, ret_url))
        return true;
    if (is_https(text)) {
        (void)snprintf(why, cap_why,
                       "%s: https is not spoken here; TLS would be measured with the stack. Load "
                       "the gateway itself: its http:// address or unix:PATH",
                       text);
        return false;
    }
    const char *authority = text + sizeof HTTP - 1;
    bool is_http = strncmp(text, HTTP, sizeof HTTP - 1) == 0;
    size_t n = is_http ? strcspn(authority, "/?#") : 0;
    if (!is_http || !split(authority, n, host, sizeof host, &port)) {
        (void)snprintf(why, cap_why, "%s: expected http://HOST:PORT or unix:PATH", text);
        return false;
    }
    const char *path = authority + n;
    size_t path_len = strcspn(path, "?#");
    while (path_len > 0 && path[path_len - 1] == '/')
        path_len--;
    (void)snprintf(ret_url->host, sizeof ret_url->host, "%.*s", (int)n, authority);
    (void)snprintf(ret_url->base, sizeof ret_url->base, "%.*s", (int)path_len, path);
    if (path_len == 0)
        (void)snprintf(ret_url->base, sizeof ret_url->base, "/v1");
    if (!resolve(host, port, ret_url)) {
        (void)snprintf(why, cap_why, "%s: the host is not known", text);
        return false;
    }
    return true;
}

int url_connect(const struct url *u)
{
    int fd = socket(u->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0)
        return -1;
    if (u->address.ss_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&u->address, u->address_len) == 0 ||
        errno == EINPROGRESS)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}
