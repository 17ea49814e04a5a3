/* SPDX-License-Identifier: MIT */
#include "services/load/probe.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "services/load/ask.h"
#include "services/load/response.h"

enum { RETRY_MS = 10, TURN_MS = 50 };

struct probe {
    struct loop *loop;
    struct loop_watch watch;
    struct buf out;
    size_t sent;
    bool is_over;
    int error;
    struct response response;
};

static void send_out(struct probe *p)
{
    ssize_t n = send(p->watch.fd, p->out.ptr + p->sent, p->out.len - p->sent, MSG_NOSIGNAL);
    if (n > 0)
        p->sent += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        p->error = errno;
    if (p->sent < p->out.len)
        return;
    loop_watch_remove(p->loop, &p->watch);
    if (loop_watch_add(p->loop, &p->watch, EPOLLIN) != ERR_OK)
        p->error = EIO;
}

static void receive(struct probe *p)
{
    char bytes[16 * 1024];
    ssize_t n = recv(p->watch.fd, bytes, sizeof bytes, 0);
    if (n > 0)
        (void)response_feed(&p->response, bytes, (size_t)n);
    else if (n == 0 && !response_close(&p->response))
        p->error = ECONNRESET;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        p->error = errno;
}

static void on_ready(struct loop_watch *w, uint32_t events)
{
    struct probe *p = (struct probe *)(void *)((char *)w - offsetof(struct probe, watch));
    if (p->sent < p->out.len) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0)
            send_out(p);
    } else {
        receive(p);
    }
    enum response_state s = p->response.state;
    p->is_over = p->error != 0 || s == RESPONSE_DONE || s == RESPONSE_BAD;
}

static void ignore_event(void *ctx, struct str data)
{
    (void)ctx;
    (void)data;
}

int probe_get(struct loop *loop, const struct url *url, const char *headers, const char *path,
              uint32_t timeout_ms, struct buf *ret_body)
{
    const struct ask_config ask = {.base = "", .host = url->host, .headers = headers};
    struct probe p = {.loop = loop,
                      .watch = {url_connect(url), on_ready},
                      .response = {.event = ignore_event, .body_cap = PROBE_BODY_MAX}};
    if (p.watch.fd < 0)
        return 0;
    ask_write_get(&ask, path, &p.out);
    uint64_t end = clock_now_ms() + timeout_ms;
    if (loop_watch_add(loop, &p.watch, EPOLLOUT | EPOLLIN) != ERR_OK)
        p.is_over = true;
    while (!p.is_over && clock_now_ms() < end && !loop_is_stopping(loop))
        loop_turn(loop, TURN_MS);
    loop_watch_remove(loop, &p.watch);
    (void)close(p.watch.fd);
    int status = p.response.state == RESPONSE_DONE ? p.response.status : 0;
    if (status != 0 && ret_body != NULL)
        buf_add_str(ret_body, buf_str(&p.response.body));
    response_fini(&p.response);
    buf_fini(&p.out);
    errno = p.error != 0 ? p.error : ETIMEDOUT;
    return status;
}

bool probe_wait_ready(struct loop *loop, const struct url *url, uint32_t timeout_ms)
{
    uint64_t end = clock_now_ms() + timeout_ms;
    while (clock_now_ms() < end && !loop_is_stopping(loop)) {
        if (probe_get(loop, url, "", "/readyz", timeout_ms, NULL) == 200)
            return true;
        uint64_t again = clock_now_ms() + RETRY_MS;
        while (clock_now_ms() < again && !loop_is_stopping(loop))
            loop_turn(loop, RETRY_MS);
    }
    return false;
}

bool probe_model(struct loop *loop, const struct url *url, const char *headers, char *ret_name,
                 size_t cap_name, char *why, size_t cap_why)
{
    struct buf body = {0};
    char path[256];
    (void)snprintf(path, sizeof path, "%s/models", url->base);
    int status = probe_get(loop, url, headers, path, 10000, &body);
    int error = errno;
    json_t *root = json_loadb(buf_str(&body).ptr, body.len, 0, NULL);
    const json_t *first = json_array_get(json_object_get(root, "data"), 0);
    const char *name = json_string_value(json_object_get(first, "id"));
    bool ok = status == 200 && name != NULL && strlen(name) < cap_name;
    if (ok)
        memcpy(ret_name, name, strlen(name) + 1);
    else if (status == 0)
        (void)snprintf(why, cap_why, "no answer: %s", strerrordesc_np(error));
    else
        (void)snprintf(why, cap_why, "GET %s says %d and names no model; name one with --model",
                       path, status);
    json_decref(root);
    buf_fini(&body);
    return ok;
}
