/* SPDX-License-Identifier: MIT */
#include "services/halo/engine_list.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "services/halo/control.h"
#include "services/halo/print.h"

enum { ASK_TIMEOUT_MS = 2000 };

json_t *engine_list_ask_all(const char *run)
{
    struct control_reply reply;
    struct buf door = {0};
    buf_printf(&door, "%s/router.sock", run);
    bool is_there = access(door.ptr, F_OK) == 0;
    buf_fini(&door);
    if (!is_there)
        return NULL; /* no router: nothing to wait for */
    (void)control_ask_router(run, "engines", "", "", ASK_TIMEOUT_MS, &reply);
    json_t *o = json_loads(reply.data, 0, NULL);
    control_reply_fini(&reply);
    return o;
}

json_t *engine_list_ask(const char *run)
{
    json_t *o = engine_list_ask_all(run);
    json_t *list = json_incref(json_object_get(o, "engines"));
    json_decref(o);
    return json_is_array(list) ? list : json_array();
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

const char *engine_list_address(const json_t *engine)
{
    return text(engine, "address");
}

void engine_list_add_remote(const json_t *engines, struct buf *out)
{
    size_t i;
    const json_t *e;
    bool is_first = true;
    json_array_foreach(engines, i, e)
    {
        if (engine_list_address(e)[0] == '\0')
            continue;
        if (is_first)
            buf_printf(out, "\n%-20s %-9s %10s  %-14s %s\n", "ON OTHER MACHINES", "STATE",
                       "RUNNING", "BACKEND", "ADDRESS");
        is_first = false;
        const char *state = text(e, "state");
        buf_printf(out, "%-20s %s%-9s%s %6lld/%-3lld  %-14s %s\n", text(e, "name"),
                   print_color(strcmp(state, "serving") == 0 ? COLOR_GOOD : COLOR_WARN), state,
                   print_color(COLOR_OFF), number(e, "running"), number(e, "max_seqs"),
                   text(e, "backend"), text(e, "address"));
    }
}

void engine_list_print(const json_t *engines)
{
    size_t n = json_array_size(engines);
    if (n > 0)
        (void)printf("\n%-12s %-9s %8s %6s %9s %12s  %-14s %s\n", "ENGINE", "STATE", "PID", "LANE",
                     "REPLIES", "KV FREE", "BACKEND", "MODEL");
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(engines, i);
        char kv[32];
        const char *state = text(e, "state");
        (void)snprintf(kv, sizeof kv, "%lld/%lld", number(e, "kv_blocks_free"),
                       number(e, "kv_blocks"));
        (void)printf("%-12s %s%-9s%s %8lld %6s %9lld %12s  %-14s %s%s%s\n", text(e, "name"),
                     print_color(strcmp(state, "serving") == 0 ? COLOR_GOOD : COLOR_WARN), state,
                     print_color(COLOR_OFF), number(e, "pid"),
                     number(e, "lane") == 0 ? "/v1" : "/v2", number(e, "replies"), kv,
                     text(e, "backend"), text(e, "model"),
                     engine_list_address(e)[0] != '\0' ? " at " : "", engine_list_address(e));
    }
}
