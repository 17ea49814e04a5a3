/* SPDX-License-Identifier: MIT */
#include "services/router/remote.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "services/router/router_internal.h"

enum err remote_listen(struct router *r, char *why, size_t cap_why)
{
    char words[TLS_WHY_CAP];
    enum err e = link_listen_remote(r->server, &r->config.remote, words);
    if (e != ERR_OK)
        (void)snprintf(why, cap_why, "%s", words);
    return e;
}

bool remote_is(const struct engine *e)
{
    return link_peer_address(e->peer.link)[0] != '\0';
}

bool remote_shares_files(const struct engine *a, const struct engine *b)
{
    return !remote_is(a) && !remote_is(b);
}

/* What keeps the newcomer from serving beside an engine of its group; false: nothing. */
static bool differs(const struct engine *e, const struct engine *beside, char *detail)
{
    bool is_same = strcmp(e->model_hash, beside->model_hash) == 0;
    if (!is_same && strcmp(e->model_name, beside->model_name) == 0)
        (void)snprintf(detail, REMOTE_DETAIL_CAP,
                       "its model %.40s is %.16s..., that of %s is %.16s...: copy the file again",
                       e->model_name, e->model_hash, beside->peer.name, beside->model_hash);
    else if (is_same && e->numbers != 0 && beside->numbers != 0 && e->numbers != beside->numbers)
        (void)snprintf(detail, REMOTE_DETAIL_CAP,
                       "it computes other numbers (%s, build %s) than %s (%s, build %s): give both "
                       "one build and one --kv-type, or it another --lane",
                       e->numerics, e->build, beside->peer.name, beside->numerics, beside->build);
    else
        return false;
    return true;
}

bool remote_admit(struct router *r, struct engine *e)
{
    char detail[REMOTE_DETAIL_CAP];
    const struct engine *o = TAILQ_FIRST(&r->engines.list);
    while (o != NULL && (o == e || !o->is_ready || o->group != e->group || !differs(e, o, detail)))
        o = TAILQ_NEXT(o, entry);
    if (o == NULL) {
        if (r->engines.has_phases)
            log_warn("no-phases", S("name", e->peer.name),
                     S("why", "no file reaches another machine: it computes its prompts itself"));
        return true;
    }
    e->is_ready = false;
    e->is_unfit = true;
    log_error("engine-refused", S("name", e->peer.name), S("from", link_peer_address(e->peer.link)),
              S("why", detail));
    const struct frame_unfit f = {.code = ERR_UNSUPPORTED, .detail = str_from(detail)};
    if (link_send(e->peer.link, FRAME_unfit, &f) != ERR_OK)
        log_debug("refusal-not-sent", S("to", e->peer.name)); /* its link is going down */
    return false;
}
