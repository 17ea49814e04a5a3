/* SPDX-License-Identifier: MIT */
#include "proto/resolve.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"

struct resolve {
    struct loop_task task; /* first */
    struct loop *loop;
    struct resolve_target target;
    void (*done)(void *ctx, const struct addrinfo *found);
    void *ctx;
    struct addrinfo *found;
    pthread_mutex_t mutex; /* guards is_cancelled */
    bool is_cancelled;
};

/* ---- words ------------------------------------------------------------------------------------- */

bool resolve_parse(const char *url, struct resolve_target *ret_target, char *why, size_t cap_why)
{
    static const char SCHEME[] = "tls+tcp://";
    struct resolve_target t = {0};
    const char *host = url + sizeof SCHEME - 1;
    bool is_ours = strncmp(url, SCHEME, sizeof SCHEME - 1) == 0;
    const char *colon = is_ours ? strrchr(host, ':') : NULL;
    if (colon != NULL && host[0] == '[' && colon[-1] == ']') {
        (void)snprintf(t.host, sizeof t.host, "%.*s", (int)(colon - host - 2), host + 1);
    } else if (colon != NULL && memchr(host, ':', (size_t)(colon - host)) == NULL) {
        (void)snprintf(t.host, sizeof t.host, "%.*s", (int)(colon - host), host);
    }
    if (colon != NULL)
        (void)snprintf(t.port, sizeof t.port, "%s", colon + 1);
    size_t n_digits = strspn(t.port, "0123456789");
    long port = strtol(t.port, NULL, 10);
    if (t.host[0] != '\0' && n_digits > 0 && n_digits == strlen(colon + 1) && port <= 65535) {
        *ret_target = t;
        return true;
    }
    (void)snprintf(why, cap_why,
                   "'%.200s' is no address; expected tls+tcp://HOST:PORT, as "
                   "tls+tcp://a.example:8443",
                   url);
    return false;
}

void resolve_text(const struct sockaddr *address, socklen_t len, char text[RESOLVE_TEXT_CAP])
{
    char host[64];
    char port[8];
    if (getnameinfo(address, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)snprintf(text, RESOLVE_TEXT_CAP, "?");
        return;
    }
    bool is_v6 = strchr(host, ':') != NULL;
    (void)snprintf(text, RESOLVE_TEXT_CAP, is_v6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- look-ups ---------------------------------------------------------------------------------- */

static struct addrinfo *look_up(const struct resolve_target *t, int flags)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    return getaddrinfo(t->host, t->port, &hints, &found) == 0 ? found : NULL;
}

struct addrinfo *resolve_number(const struct resolve_target *target, bool does_listen)
{
    return look_up(target, AI_NUMERICHOST | AI_NUMERICSERV | (does_listen ? AI_PASSIVE : 0));
}

void resolve_prepare(const struct resolve_target *target)
{
    struct addrinfo *found = look_up(target, AI_NUMERICSERV);
    if (found != NULL)
        freeaddrinfo(found);
}

static void free_resolve(struct resolve *r)
{
    if (r->found != NULL)
        freeaddrinfo(r->found);
    (void)pthread_mutex_destroy(&r->mutex);
    free(r);
}

static void finish(struct loop_task *task)
{
    struct resolve *r = (struct resolve *)(void *)task;
    pthread_mutex_lock(&r->mutex); /* its other thread may still be within post */
    bool is_wanted = !r->is_cancelled;
    pthread_mutex_unlock(&r->mutex);
    if (is_wanted)
        r->done(r->ctx, r->found);
    free_resolve(r);
}

/* From then on the loop's thread frees it. */
static void post(struct resolve *r)
{
    pthread_mutex_lock(&r->mutex);
    bool is_wanted = !r->is_cancelled;
    if (is_wanted)
        loop_post(r->loop, &r->task); /* a cancelled one's loop may be gone */
    pthread_mutex_unlock(&r->mutex);
    if (!is_wanted)
        free_resolve(r);
}

static void *work(void *arg)
{
    struct resolve *r = arg;
    r->found = look_up(&r->target, AI_NUMERICSERV);
    post(r);
    return NULL;
}

static bool start_thread(struct resolve *r)
{
    pthread_t thread;
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    ASSERT(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
    bool is_started = pthread_create(&thread, NULL, work, r) == 0;
    ASSERT(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    if (is_started)
        ASSERT(pthread_detach(thread) == 0);
    return is_started;
}

struct resolve *resolve_start(struct loop *loop, const struct resolve_target *target,
                              void (*done)(void *ctx, const struct addrinfo *found), void *ctx)
{
    struct resolve *r = mem_zalloc(1, sizeof *r);
    r->task.run = finish;
    r->loop = loop;
    r->target = *target;
    r->done = done;
    r->ctx = ctx;
    ASSERT(pthread_mutex_init(&r->mutex, NULL) == 0);
    r->found = resolve_number(target, false);
    if (r->found != NULL || !start_thread(r))
        loop_post(loop, &r->task);
    return r;
}

void resolve_cancel(struct resolve *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->mutex);
    r->is_cancelled = true;
    pthread_mutex_unlock(&r->mutex);
}
