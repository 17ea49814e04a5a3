/* SPDX-License-Identifier: MIT */
/* halo-tokenizer: text on the gateway's side, token ids on the router's. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/notify.h"
#include "common/sandbox.h"
#include "proto/link.h"
#include "services/tokenizer/dump.h"
#include "services/tokenizer/model.h"
#include "services/tokenizer/options.h"
#include "services/tokenizer/pretoken.h"
#include "services/tokenizer/service.h"

struct tokenizer {
    struct options options;
    struct loop *loop;
    struct model *model;
    struct service *service;
};

static void on_terminate(void *ctx)
{
    struct tokenizer *t = ctx;
    notify_stopping();
    service_leave(t->service);
}

/* --encode; the exit status. */
static int encode_stdin(struct tokenizer *t)
{
    char why[512] = "";
    enum err e = model_open(t->options.model, why, sizeof why, &t->model);
    if (e == ERR_OK)
        e = dump_ids(t->model, STDIN_FILENO, STDOUT_FILENO, why, sizeof why);
    if (e != ERR_OK)
        (void)fprintf(stderr, "halo-tokenizer: %s\n", why);
    model_close(t->model);
    return e == ERR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool start(struct tokenizer *t)
{
    char why[512] = "";
    /* Signals are handled when the loop runs; until then they wait. */
    if (loop_new(&t->loop) || loop_on_terminate(t->loop, on_terminate, t)) {
        log_error("no-loop");
        return false;
    }
    enum err e = ERR_OK;
    if (t->options.model != NULL)
        e = model_open(t->options.model, why, sizeof why, &t->model);
    if (e != ERR_OK) {
        log_error("model-refused", S("err", err_name(e)), S("why", why),
                  S("hint", "--model names an .h1b file: halo convert makes one, halo inspect "
                            "checks it"));
        return false;
    }
    if (t->model != NULL && t->model->has_other_template)
        log_warn("template-replaced", S("model", t->model->config.name));
    e = service_start(t->loop, t->options.run, t->model, &t->service);
    if (e != ERR_OK)
        log_error("service-refused", S("err", err_name(e)), S("run", t->options.run));
    return e == ERR_OK;
}

static void say_ready(const struct tokenizer *t)
{
    const struct model *m = t->model;
    char status[160] = "serving the vocabularies of the engines' models";
    if (m == NULL) {
        log_info("ready", S("model", "of engines"));
        notify_watchdog_start(t->loop);
        notify_ready(status);
        return;
    }
    (void)snprintf(status, sizeof status, "serving the vocabulary of %s", m->config.name);
    log_info("ready", S("model", m->config.name), U("tokens", vocab_size(m->vocab)),
             S("rule", m->config.is_spm ? "spm" : m->config.pre_tokenizer),
             U("jit", encode_has_jit(m->encoder)), U("template", m->template != NULL));
    notify_watchdog_start(t->loop);
    notify_ready(status);
}

int main(int argc, char **argv)
{
    struct tokenizer t = {0};
    int status = 0;
    if (!options_parse(&t.options, argc, argv, &status))
        return status;
    if (t.options.does_encode)
        return encode_stdin(&t);
    status = EXIT_FAILURE;
    pretoken_prepare();
    if (sandbox_begin(t.options.sandbox) && start(&t) &&
        sandbox_enter(t.options.sandbox, SANDBOX_TOKENIZER)) {
        say_ready(&t);
        loop_run(t.loop);
        status = EXIT_SUCCESS;
        log_info("stopped");
    }
    service_stop(t.service);
    model_close(t.model);
    loop_free(t.loop);
    (void)link_drain(1000);
    return status;
}
