/* SPDX-License-Identifier: MIT */
#include "services/gateway/routes.h"

#include <stdio.h>

#include "common/check.h"
#include "services/gateway/pages.h"
#include "services/gateway/reply.h"
#include "services/gateway/resume.h"

enum match { EXACT, PREFIX, LANE, LANE_PREFIX, LANE_OWNED };

/* A request on its way to a handler. */
struct visit {
    uint32_t lane;
    struct key *key; /* who asks; NULL: nobody needs to say */
    struct str rest; /* of the path, after a prefix */
};

struct route {
    const char *method;
    const char *path;
    enum match match;
    void (*handle)(struct gateway *g, struct exchange *take_x, const struct visit *v);
    const char *doc;
};

static void refuse(struct exchange *x, const char *wanted);

/* What the operator asks is answered to whom comes himself; a proxy that passes it on is mistaken. Then
 * there is nothing here. */
static bool is_forwarded(struct exchange *take_x)
{
    if (exchange_header(take_x, "x-forwarded-for").len == 0 &&
        exchange_header(take_x, "forwarded").len == 0)
        return false;
    refuse(take_x, "");
    return true;
}

/* ---- handlers ------------------------------------------------------------------------------------ */

static void on_chat(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    reply_start(g, take_x, ENDPOINT_CHAT, v->lane, v->key);
}

static void on_completions(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    reply_start(g, take_x, ENDPOINT_COMPLETIONS, v->lane, v->key);
}

static void on_models(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    pages_models(g, take_x, v->lane);
}

static void on_model(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    pages_model(g, take_x, v->lane, v->rest);
}

static void on_stream(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    resume_get(g, take_x, v->rest, v->key);
}

static void on_stream_delete(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    resume_delete(g, take_x, v->rest, v->key);
}

static void on_healthz(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    (void)g;
    (void)v;
    exchange_answer(take_x, 200, "application/json", STR_LIT("{\"status\":\"ok\"}\n"));
}

static void on_readyz(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    (void)v;
    pages_readyz(g, take_x);
}

static void on_metrics(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    (void)v;
    pages_metrics(g, take_x);
}

static void on_traces(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    (void)v;
    if (!is_forwarded(take_x))
        pages_traces(g, take_x);
}

static void on_trace(struct gateway *g, struct exchange *take_x, const struct visit *v)
{
    if (!is_forwarded(take_x))
        pages_trace(g, take_x, v->rest);
}

static const struct route ROUTES[] = {
#define ROUTE(method, path, match, handler, doc) {method, path, match, on_##handler, doc},
#include "services/gateway/routes.def"
#undef ROUTE
};

/* ---- matching ------------------------------------------------------------------------------------ */

static bool starts_with(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && memcmp(s.ptr, prefix, n) == 0;
}

static bool is_match(const struct route *route, struct str path, struct visit *v)
{
    *v = (struct visit){0};
    if (route->match == EXACT)
        return str_is(path, route->path);
    if (route->match == PREFIX) {
        size_t n_path = strlen(route->path);
        v->rest = (struct str){path.ptr + n_path, path.len > n_path ? path.len - n_path : 0};
        return v->rest.len > 0 && starts_with(path, route->path);
    }
    if (!starts_with(path, "/v1/") && !starts_with(path, "/v2/"))
        return false;
    v->lane = path.ptr[2] == '2';
    path.ptr += 3;
    path.len -= 3;
    if (route->match == LANE)
        return str_is(path, route->path);
    size_t n = strlen(route->path);
    v->rest = (struct str){path.ptr + n, path.len - n};
    return path.len > n && starts_with(path, route->path);
}

static bool is_method(const struct route *route, struct str method)
{
    return str_is(method, route->method) ||
           (str_is(method, "HEAD") && strcmp(route->method, "GET") == 0);
}

/* A browser asks before it lets a page of another origin call; the headers come with every answer. */
static void answer_preflight(struct exchange *x)
{
    exchange_add_header(x, "access-control-allow-methods", STR_LIT("GET, POST, DELETE"));
    exchange_add_header(x, "access-control-allow-headers",
                        exchange_header(x, "access-control-request-headers"));
    exchange_add_header(x, "access-control-max-age", STR_LIT("600"));
    exchange_answer(x, 200, "text/plain", STR_LIT(""));
}

/* `wanted` are the methods that the path takes; "" if there is no such path. */
static void refuse(struct exchange *x, const char *wanted)
{
    struct api_error e;
    struct str path = exchange_path(x);
    struct str method = exchange_method(x);
    int n = (int)(path.len < 200 ? path.len : 200);
    int m = (int)(method.len < 20 ? method.len : 20);
    if (wanted[0] == '\0') {
        error_set(&e, PROBLEM_PATH_UNKNOWN, NULL, "There is nothing at %.*s.", n, path.ptr);
    } else {
        error_set(&e, PROBLEM_METHOD, NULL, "%.*s takes %s, not %.*s.", n, path.ptr, wanted, m,
                  method.ptr);
        exchange_add_header(x, "allow", str_from(wanted));
    }
    exchange_refuse(x, &e);
}

/* Lanes need a key where the gateway has keys; what tells that the process lives does not. */
static void visit(struct gateway *g, struct exchange *take_x, const struct route *route,
                  struct visit *v)
{
    struct api_error e;
    bool has_lane = route->match != EXACT && route->match != PREFIX;
    if (g->keys != NULL && has_lane) {
        v->key = keys_identify(g->keys, take_x, &e);
        if (v->key == NULL && route->match != LANE_OWNED) {
            exchange_add_header(take_x, "www-authenticate", STR_LIT("Bearer"));
            exchange_refuse(take_x, &e);
            return;
        }
    }
    route->handle(g, take_x, v);
}

void routes_dispatch(struct gateway *g, struct exchange *take_x)
{
    struct str path = exchange_path(take_x);
    struct str method = exchange_method(take_x);
    char wanted[32] = "";
    struct visit v;
    for (size_t i = 0; i < ARRAY_LEN(ROUTES); i++) {
        if (!is_match(&ROUTES[i], path, &v))
            continue;
        size_t n = strlen(wanted);
        (void)snprintf(wanted + n, sizeof wanted - n, "%s%s", n > 0 ? ", " : "", ROUTES[i].method);
        if (is_method(&ROUTES[i], method)) {
            exchange_set_route(take_x, ROUTES[i].path);
            visit(g, take_x, &ROUTES[i], &v);
            return;
        }
    }
    if (wanted[0] != '\0' && g->options->cors_origin != NULL && str_is(method, "OPTIONS"))
        answer_preflight(take_x);
    else
        refuse(take_x, wanted);
}
