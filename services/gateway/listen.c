/* SPDX-License-Identifier: MIT */
#include "services/gateway/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"

enum { BACKLOG = 1024, HOST_MAX = 256 };

static void say_bound(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof ss;
    char host[HOST_MAX] = "";
    char port[16] = "";
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return;
    if (ss.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&ss;
        log_info("listening", S("unix", un->sun_path));
        return;
    }
    if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    log_info("listening", S("host", host), S("port", port));
    if (strncmp(host, "127.", 4) != 0 && strcmp(host, "::1") != 0)
        log_warn("not-loopback", S("host", host),
                 S("hint", "there is no TLS and no authentication here: put a proxy in front"));
}

static bool add(struct listeners *l, int fd)
{
    if (l->n == LISTEN_MAX) {
        fprintf(stderr, "halo-gateway: more than %d sockets were handed over\n", LISTEN_MAX);
        return false;
    }
    l->fds[l->n++] = fd;
    say_bound(fd);
    return true;
}

static bool is_port(const char *s)
{
    char *end;
    unsigned long n = strtoul(s, &end, 10);
    return s[0] >= '0' && s[0] <= '9' && *end == '\0' && n <= 65535;
}

/* Splits "HOST:PORT" or "[HOST]:PORT"; NULL when it has another form. Gives the port. */
static const char *split_address(const char *address, char host[HOST_MAX])
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || !is_port(colon + 1))
        return NULL;
    size_t len = (size_t)(colon - address);
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len == 0 || len >= HOST_MAX)
        return NULL;
    memcpy(host, address, len);
    host[len] = '\0';
    return colon + 1;
}

static int bind_tcp(const struct addrinfo *ai)
{
    int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

static bool open_tcp(const char *address, struct listeners *l)
{
    char host[HOST_MAX];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const char *port = split_address(address, host);
    if (port == NULL || getaddrinfo(host, port, &hints, &found) != 0) {
        fprintf(stderr,
                "halo-gateway: --listen %s is not an address; expected HOST:PORT, for example "
                "127.0.0.1:8180\n",
                address);
        return false;
    }
    int fd = bind_tcp(found);
    int saved = errno;
    freeaddrinfo(found);
    if (fd < 0 && saved == EADDRINUSE)
        fprintf(stderr,
                "halo-gateway: %s is in use by another program; stop it, or choose another "
                "address with --listen HOST:PORT\n",
                address);
    else if (fd < 0)
        fprintf(stderr, "halo-gateway: cannot listen on %s: %s; choose another with --listen\n",
                address, strerror(saved));
    return fd >= 0 && add(l, fd);
}

/* Whether somebody accepts on it; a file that nobody listens on is left over and may go. */
static bool is_alive(const struct sockaddr_un *un)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool alive = connect(fd, (const struct sockaddr *)un, sizeof *un) == 0 || errno == EAGAIN;
    (void)close(fd);
    return alive;
}

static int bind_unix(const struct sockaddr_un *un, mode_t mode)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    /* The file must never be open to more than `mode`, not even before a chmod. */
    mode_t old = umask(0777 & ~mode);
    int rc = bind(fd, (const struct sockaddr *)un, sizeof *un);
    int saved = errno;
    (void)umask(old);
    if (rc == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    (void)close(fd);
    errno = saved;
    return -1;
}

static bool open_unix(const char *path, const char *mode_text, struct listeners *l)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    mode_t mode = strcmp(mode_text, "0600") == 0 ? 0600 : 0660;
    struct stat st;
    if (strlen(path) >= sizeof un.sun_path) {
        fprintf(stderr, "halo-gateway: --unix %s is too long; at most %zu bytes\n", path,
                sizeof un.sun_path - 1);
        return false;
    }
    memcpy(un.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (is_alive(&un)) {
            fprintf(stderr,
                    "halo-gateway: %s is in use by another program; stop it, or choose another "
                    "path with --unix\n",
                    path);
            return false;
        }
        (void)unlink(path);
    }
    int fd = bind_unix(&un, mode);
    if (fd < 0) {
        fprintf(stderr, "halo-gateway: cannot listen on %s: %s; choose another path with --unix\n",
                path, strerror(errno));
        return false;
    }
    l->unlink_path = mem_strndup(path, strlen(path));
    return add(l, fd);
}

int listen_unix(const char *path, mode_t mode)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path)
        return -1;
    memcpy(un.sun_path, path, strlen(path) + 1);
    (void)unlink(path);
    return bind_unix(&un, mode);
}

bool listen_open(const struct options *o, struct listeners *ret_listeners)
{
    *ret_listeners = (struct listeners){0};
    int n = sd_listen_fds(1);
    ret_listeners->are_given = n > 0;
    for (int i = 0; i < n; i++) {
        if (!add(ret_listeners, SD_LISTEN_FDS_START + i))
            return false;
    }
    if (n == 0 && strcmp(o->listen, "none") != 0 && !open_tcp(o->listen, ret_listeners))
        return false;
    if (o->unix_path != NULL && !open_unix(o->unix_path, o->unix_mode, ret_listeners))
        return false;
    if (ret_listeners->n == 0)
        fprintf(stderr, "halo-gateway: --listen none needs --unix PATH\n");
    return ret_listeners->n > 0;
}

void listen_fini(struct listeners *l)
{
    if (l->unlink_path == NULL)
        return;
    (void)unlink(l->unlink_path);
    free(l->unlink_path);
    l->unlink_path = NULL;
}
