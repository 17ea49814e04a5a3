/* SPDX-License-Identifier: MIT */
/* stuck_engine RUN: an engine that takes a request, says from then on that it is busy, and never makes
 * progress. A process of its own, because being busy is a process's property. Ends with SIGKILL. */
#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/notify.h"
#include "proto/link.h"

static void on_up(void *ctx, struct link *l)
{
    (void)ctx;
    struct frame_engine says = {
        .model_hash = STR_LIT("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        .model_name = STR_LIT("a"),
        .context = 4096,
        .max_seqs = 4,
        .kv_blocks = 100,
        .block_tokens = 16,
        .backend = STR_LIT("stuck"),
    };
    notify_busy(false);
    if (link_send(l, FRAME_engine, &says) != ERR_OK)
        link_break(l, ERR_CLOSED);
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    (void)ctx;
    (void)l;
    if (f->type == FRAME_submit)
        notify_busy(true);
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    (void)ctx;
    (void)l;
    (void)why;
}

int main(int argc, char **argv)
{
    struct loop *loop;
    struct link *l;
    if (argc != 2 || loop_new(&loop) != ERR_OK)
        return 2;
    log_init("stuck", LOG_ERROR);
    struct link_config c = {.loop = loop,
                            .run = argv[1],
                            .service = "engine",
                            .instance = "0", /* first by name: it is chosen */
                            .epoch = clock_random_u64()};
    struct link_handler h = {on_up, on_frame, on_down, NULL};
    if (link_dial(&c, "router", &h, &l) != ERR_OK)
        return 2;
    loop_run(loop);
    return 0;
}
