/* SPDX-License-Identifier: MIT */
/* The rendezvous: answers hello on the well-known rep0 socket with the path of a fresh pipe. */
#include "proto/link_internal.h"

#include <dirent.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/opt.h"
#include "proto/closer.h"
#include "proto/door.h"

static void on_hello_received(void *arg)
{
    struct link_server *s = arg;
    loop_post(s->config.loop, &s->task);
}

void link_server_forget(struct link_server *s, struct link *l)
{
    struct link **p = &s->links;
    while (*p != l)
        p = &(*p)->next;
    *p = l->next;
}

static nng_msg *to_msg(struct buf *b)
{
    nng_msg *msg;
    ASSERT(nng_msg_alloc(&msg, 0) == 0);
    ASSERT(nng_msg_append(msg, b->ptr, b->len) == 0);
    return msg;
}

static void answer(struct link_server *s, enum frame_type type, const void *body)
{
    buf_reset(&s->scratch);
    ASSERT(frame_encode(&s->scratch, type, s->config.epoch, body) == ERR_OK);
    nng_msg *msg = to_msg(&s->scratch);
    if (nng_sendmsg(s->sock, msg, NNG_FLAG_NONBLOCK) != 0)
        nng_msg_free(msg); /* the caller is gone */
}

static void refuse(struct link_server *s, enum err code, const char *detail)
{
    struct frame_refuse r = {.code = (uint32_t)code, .detail = str_from(detail)};
    log_warn("hello-refused", S("why", detail));
    answer(s, FRAME_refuse, &r);
}

bool link_refuses_hello(const struct link_config *config, const struct frame_hello *h, char *detail)
{
    if (h->protocol >= PROTO_OLDEST)
        return false;
    (void)snprintf(detail, LINK_DETAIL_CAP,
                   "halo-%.*s (%.*s) speaks protocol %u, halo-%s (%s) needs %d; install both from "
                   "one build",
                   (int)(h->service.len < 32 ? h->service.len : 32), h->service.ptr,
                   (int)(h->build.len < 40 ? h->build.len : 40), h->build.ptr, h->protocol,
                   config->service, opt_version(), PROTO_OLDEST);
    return true;
}

struct frame_welcome link_welcome(const struct link_config *config, const char *address)
{
    return (struct frame_welcome){
        .protocol = PROTO_VERSION,
        .build = str_from(opt_version()),
        .service = str_from(config->service),
        .instance = str_from(config->instance),
        .epoch = config->epoch,
        .pid = (uint32_t)getpid(),
        .address = str_from(address),
    };
}

static void welcome(struct link_server *s, const struct frame_hello *h)
{
    char path[192];
    char address[224];
    struct link *l = link_new(&s->config, &s->handler);
    link_set_peer(l, h->service, h->instance, h->build, h->epoch, h->pid);
    l->peer_protocol = h->protocol;
    (void)snprintf(path, sizeof path, "%s/%s.p%u-%04x.sock", s->config.run, s->config.service,
                   s->serial++, (unsigned)(clock_random_u64() & 0xffff));
    (void)snprintf(address, sizeof address, "ipc://%s", path);
    l->peer_path = mem_strndup(path, strlen(path));
    l->server = s;
    l->next = s->links;
    s->links = l;
    enum err e = link_await(l, path);
    if (e != ERR_OK) {
        link_break(l, e);
        refuse(s, e, "cannot open a socket in the run directory");
        return;
    }
    const struct frame_welcome w = link_welcome(&s->config, address);
    answer(s, FRAME_welcome, &w);
}

static void on_hello(struct link_server *s, const struct frame *f)
{
    char detail[LINK_DETAIL_CAP];
    if (link_refuses_hello(&s->config, f->body, detail))
        refuse(s, ERR_VERSION, detail);
    else
        welcome(s, f->body);
}

static void run_hello(struct loop_task *t)
{
    struct link_server *s =
        (struct link_server *)(void *)((char *)t - offsetof(struct link_server, task));
    int rv = nng_aio_result(s->aio);
    if (s->is_closed && rv == 0)
        nng_msg_free(nng_aio_get_msg(s->aio));
    if (s->is_closed)
        return;
    if (rv == 0) {
        nng_msg *msg = nng_aio_get_msg(s->aio);
        struct frame f;
        enum err e = frame_decode(nng_msg_body(msg), nng_msg_len(msg), &s->arena, &f);
        if (e == ERR_OK && f.type == FRAME_hello) {
            on_hello(s, &f);
        } else {
            log_warn("bad-hello", S("err", err_name(e == ERR_OK ? ERR_PROTOCOL : e)),
                     U("bytes", nng_msg_len(msg)));
            (void)nng_pipe_close(nng_msg_get_pipe(msg));
        }
        arena_reset(&s->arena);
        nng_msg_free(msg);
    }
    nng_recv_aio(s->sock, s->aio);
}

/* Files of pair sockets that a killed predecessor left. Our well-known address is ours by now, so
 * nobody else owns them. */
static void remove_leftovers(const struct link_config *c)
{
    char prefix[128];
    DIR *d = opendir(c->run);
    if (d == NULL)
        return;
    (void)snprintf(prefix, sizeof prefix, "%s.p", c->service);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && n > 5 &&
            strcmp(e->d_name + n - 5, ".sock") == 0)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    (void)closedir(d);
}

enum err link_listen(const struct link_config *config, const struct link_handler *handler,
                     struct link_server **ret_server)
{
    char path[256];
    if (strlen(config->run) + strlen(config->service) > 80)
        return ERR_TOO_LARGE;
    (void)snprintf(path, sizeof path, "%s/%s.sock", config->run, config->service);
    struct link_server *s = mem_zalloc(1, sizeof *s);
    s->config = *config;
    s->handler = *handler;
    s->task.run = run_hello;
    s->arena.cap_bytes = (size_t)1 << 20;
    enum err e = link_err_from_nng(nng_rep0_open(&s->sock));
    if (e != ERR_OK)
        goto fail;
    s->has_sock = true;
    e = link_limit_socket(s->sock);
    if (e == ERR_OK)
        e = link_err_from_nng(nng_socket_set_size(s->sock, NNG_OPT_RECVMAXSZ, 65536));
    if (e == ERR_OK)
        e = door_open(config->loop, s->sock, path, &s->door);
    if (e != ERR_OK)
        goto fail;
    remove_leftovers(config);
    ASSERT(nng_aio_alloc(&s->aio, on_hello_received, s) == 0);
    nng_recv_aio(s->sock, s->aio);
    *ret_server = s;
    return ERR_OK;
fail:
    link_server_close(s);
    return e;
}

static void free_server(struct loop_task *t)
{
    struct link_server *s =
        (struct link_server *)(void *)((char *)t - offsetof(struct link_server, free_task));
    nng_aio_free(s->aio);
    free(s);
}

void link_server_close(struct link_server *s)
{
    if (s == NULL)
        return;
    while (s->links != NULL)
        link_break(s->links, ERR_CLOSED);
    link_remote_close_door(s->remote);
    s->is_closed = true;
    if (s->aio != NULL)
        nng_aio_stop(s->aio);
    if (s->door != NULL)
        door_close(s->door);
    else if (s->has_sock)
        closer_close(s->sock, NULL, NULL);
    arena_fini(&s->arena);
    buf_fini(&s->scratch);
    s->free_task.run = free_server; /* a hello may be queued before it */
    loop_post(s->config.loop, &s->free_task);
}
