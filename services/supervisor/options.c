/* SPDX-License-Identifier: MIT */
#include "services/supervisor/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/opt.h"
#include "common/sandbox.h"

static const struct opt OPTS[] = {
    OPT_COMMON_ROWS(struct options),
    SANDBOX_ROW(struct options),
    OPT_STR_ROW(struct options, bin, "bin", NULL, "DIR",
                "directory of the halo-* binaries; default: that of halo-supervisor, or its "
                "siblings in a build tree"),
    OPT_STR_ROW(struct options, model, "model", NULL, "FILE", "model file (.h1b) to serve"),
    OPT_STR_ROW(struct options, http, "http", "127.0.0.1:8180", "ADDR:PORT",
                "where the gateway listens"),
    OPT_U32_ROW(struct options, n_engines, "engines", "1", 1, 64, "N", "number of engines"),
    OPT_STR_ROW(struct options, engine_args, "engine-args", "", "WORDS",
                "further arguments for each engine, separated by blanks"),
    OPT_STR_ROW(struct options, gateway_args, "gateway-args", "", "WORDS",
                "further arguments for the gateway, separated by blanks"),
    OPT_STR_ROW(struct options, router_args, "router-args", "", "WORDS",
                "further arguments for the router, separated by blanks"),
    OPT_U32_ROW(struct options, n_candidates, "candidates", "0", 0, 64, "N",
                "number of engines of the candidate lane, which answer /v2"),
    OPT_STR_ROW(struct options, candidate_bin, "candidate-bin", NULL, "DIR",
                "directory of the candidates' halo-engine, of another build; default: that of the "
                "others"),
    OPT_STR_ROW(struct options, candidate_args, "candidate-args", "", "WORDS",
                "further arguments for each candidate, separated by blanks"),
    OPT_U32_ROW(struct options, watchdog_ms, "watchdog-ms", "6000", 100, 3600000, "MS",
                "a ready process that is silent for so long is killed and started again"),
    OPT_U32_ROW(struct options, start_timeout_ms, "start-timeout-ms", "300000", 100, 3600000, "MS",
                "a process that is not ready by then is killed; large models take a while"),
    OPT_U32_ROW(struct options, stop_timeout_ms, "stop-timeout-ms", "40000", 100, 3600000, "MS",
                "time between SIGTERM and SIGKILL, in which replies in flight are finished"),
};

static bool resolve_model(struct options *o)
{
    if (o->model == NULL) {
        fprintf(stderr, "halo-supervisor: --model FILE is missing; see halo-supervisor --help\n");
        return false;
    }
    static char path[PATH_MAX];
    if (realpath(o->model, path) == NULL || access(path, R_OK) != 0) {
        fprintf(stderr, "halo-supervisor: cannot read the model %s: %s\n", o->model,
                strerrordesc_np(errno));
        return false;
    }
    o->model = path;
    return true;
}

bool options_parse(int argc, char **argv, struct options *ret_options, int *ret_exit)
{
    struct opt_program program = {
        .name = "halo-supervisor",
        .summary = "Starts the processes of a Halo stack, keeps them running and stops them.",
        .example = "halo-supervisor --run /run/halo --model halo-demo.h1b --engines 2",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = ret_options,
    };
    int operands;
    if (!opt_parse(&program, argc, argv, &operands, ret_exit))
        return false;
    *ret_exit = 2;
    return resolve_model(ret_options);
}
