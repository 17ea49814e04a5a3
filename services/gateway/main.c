/* SPDX-License-Identifier: MIT */
/* halo-gateway: HTTP on one side, the tokenizer on the other. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/buf.h"
#include "common/loop.h"
#include "common/opt.h"
#include "common/sandbox.h"
#include "proto/link.h"
#include "services/gateway/fields.h"
#include "services/gateway/gateway.h"
#include "services/gateway/options.h"

enum { LINK_DRAIN_MS = 500 };

static int print_fields(void)
{
    struct buf out = {0};
    fields_print(&out);
    int rc = fputs(buf_str(&out).ptr, stdout) < 0 ? 1 : 0;
    buf_fini(&out);
    return rc;
}

/* Each connection needs up to two. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct gateway gateway;
    struct loop *loop;
    int rc;
    if (!options_parse(&options, argc, argv, &rc))
        return rc;
    if (options.print_fields)
        return print_fields();
    if (!opt_common_setup("gateway", &options.run, options.log_level) ||
        !sandbox_begin(options.sandbox))
        return 1;
    (void)signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    json_object_seed(0);
    if (loop_new(&loop) != ERR_OK) {
        fprintf(stderr, "halo-gateway: cannot make an event loop: no descriptors left\n");
        return 1;
    }

    bool ok = gateway_init(&gateway, &options, loop, argv) &&
              sandbox_enter(options.sandbox, SANDBOX_GATEWAY);
    if (ok)
        gateway_run(&gateway);

    gateway_fini(&gateway);
    (void)link_drain(LINK_DRAIN_MS);
    loop_free(loop);
    return ok ? 0 : 1;
}
