/* SPDX-License-Identifier: MIT */
/* halo doctor: looks at everything that a working stack needs, the answer to a known question
 * included, and says what to do about what is not as it should be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/check.h"
#include "common/h1b.h"
#include "common/opt.h"
#include "services/halo/checks.h"
#include "services/halo/control.h"
#include "services/halo/engine_list.h"
#include "services/halo/host.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/talk.h"
#include "services/halo/verbs.h"

enum {
    STATUS_TIMEOUT_MS = 5000,
    GET_TIMEOUT_MS = 5000,
    QUESTION_TIMEOUT_MS = 60000,
    QUESTION_TOKENS = 64,
    MIB = 1024 * 1024,
    DAY_S = 86400,
    CERTIFICATE_WARN_S = 7200, /* Caddy renews its own of 12 hours after 8 */
    WORKER_CERT_WARN_D = 30,
    HASH_CAP = 65,
    DISK_FAIL_MIB = 32, /* not even the logs' next lines are safe */
    DISK_WARN_MIB = 256,
    MEMORY_FAIL_MIB = 128,
    MEMORY_WARN_MIB = 512,
};

static const char QUESTION[] = "What is the capital of France?";
static const char ANSWER[] = "Paris";

struct options {
    const char *run;
    const char *url;
    bool does_store;
    bool is_json;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_STR_ROW(struct options, url, "url", NULL, "URL",
                "look at this server's API instead of that of the stack in the run directory"),
    OPT_BOOL_ROW(struct options, does_store, "store-baseline", "false",
                 "keep this machine's memory speed, for later runs to compare with"),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "print one JSON object"),
};

/* ---- this machine ------------------------------------------------------------------------------ */

static void check_run_directory(struct checks *c, const char *run)
{
    static const char WHAT[] = "run directory";
    char why[STACK_INFO_WHY_CAP];
    struct stat st;
    if (stat(run, &st) != 0)
        checks_add(c, OUTCOME_FAIL, WHAT,
                   "start a stack with `halo up`, or name its run directory with --run",
                   "%s does not exist", run);
    else if (!stack_info_trusts(run, why, sizeof why))
        checks_add(c, OUTCOME_FAIL, WHAT, "use a directory of your own, mode 0700", "%s", why);
    else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        checks_add(c, OUTCOME_WARN, WHAT, "close it to others: chmod 0700 on it",
                   "%s can be read by others (mode %04o)", run, (unsigned)(st.st_mode & 07777));
    else
        checks_add(c, OUTCOME_OK, WHAT, NULL, "%s, closed to others", run);
}

static void check_disk(struct checks *c, const char *run)
{
    struct statvfs fs;
    if (statvfs(run, &fs) != 0)
        return; /* said by the check of the run directory */
    unsigned long long mib = (unsigned long long)fs.f_bavail * fs.f_frsize / MIB;
    enum outcome o = mib < DISK_FAIL_MIB   ? OUTCOME_FAIL
                     : mib < DISK_WARN_MIB ? OUTCOME_WARN
                                           : OUTCOME_OK;
    checks_add(c, o, "disk space", "free some, or move the run directory with --run",
               "%llu MiB free for the logs in %s", mib, run);
}

static void check_memory(struct checks *c)
{
    char line[128];
    unsigned long long kib = 0;
    bool is_found = false;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f != NULL && !is_found && fgets(line, sizeof line, f) != NULL) {
        static const char KEY[] = "MemAvailable:";
        if (strncmp(line, KEY, strlen(KEY)) == 0) {
            kib = strtoull(line + strlen(KEY), NULL, 10);
            is_found = true;
        }
    }
    if (f != NULL)
        (void)fclose(f);
    if (!is_found) {
        checks_add(c, OUTCOME_WARN, "memory", "mount /proc", "cannot be read from /proc/meminfo");
        return;
    }
    unsigned long long mib = kib / 1024;
    enum outcome o = mib < MEMORY_FAIL_MIB   ? OUTCOME_FAIL
                     : mib < MEMORY_WARN_MIB ? OUTCOME_WARN
                                             : OUTCOME_OK;
    checks_add(c, o, "memory",
               "stop other programs, or give the engines a smaller cache (--kv-tokens N)",
               "%llu MiB available", mib);
}

/* Gives the file's hash ("" if it is damaged) in `hash` (HASH_CAP bytes). */
static void check_model(struct checks *c, const char *path, char *hash)
{
    char why[512];
    struct h1b *h = NULL;
    if (h1b_open(path, H1B_VERIFY_ALL, why, sizeof why, &h) != ERR_OK) {
        checks_add(c, OUTCOME_FAIL, "model file", "copy or download the file again", "%s", why);
        return;
    }
    checks_add(c, OUTCOME_OK, "model file", NULL,
               "%s, %llu MiB, all checksums match, hash %.16s...", path,
               (unsigned long long)h1b_file_size(h) / MIB, h1b_hash(h));
    (void)snprintf(hash, HASH_CAP, "%s", h1b_hash(h));
    h1b_close(h);
}

/* ---- the processes ----------------------------------------------------------------------------- */

static void check_process(struct checks *c, const struct rec_child *p)
{
    char remedy[128];
    (void)snprintf(remedy, sizeof remedy, "look at `halo logs %s`", p->name.ptr);
    if (!str_is(p->state, "ready"))
        checks_add(c, OUTCOME_FAIL, p->name.ptr, remedy, "%s, restarts %u%s%s", p->state.ptr,
                   p->restarts, p->last_exit.len > 0 ? ", last end: " : "", p->last_exit.ptr);
    else if (p->restarts > 0)
        checks_add(c, OUTCOME_WARN, p->name.ptr, remedy,
                   "ready (pid %u), but restarted %u times, last end: %s", p->pid, p->restarts,
                   p->last_exit.ptr);
    else
        checks_add(c, OUTCOME_OK, p->name.ptr, NULL, "ready (pid %u)", p->pid);
}

static void check_processes(struct checks *c, const char *run, const struct stack_info *info)
{
    struct control_reply reply;
    if (info->pid == 0) {
        checks_add(c, OUTCOME_FAIL, "supervisor",
                   "start a stack with `halo up`, or name its run directory with --run",
                   "no stack runs in %s", run);
        return;
    }
    bool is_ok = control_ask(run, "status", "", STATUS_TIMEOUT_MS, &reply) == ERR_OK;
    if (info->is_systemd)
        checks_add(c, is_ok ? OUTCOME_OK : OUTCOME_FAIL, "systemd",
                   "start the stack with `systemctl start halo.target`", "%s",
                   is_ok ? "runs the stack" : reply.detail);
    else if (!is_ok)
        checks_add(c, OUTCOME_FAIL, "supervisor",
                   "stop the stack with `halo down` and start it again", "pid %d: %s",
                   (int)info->pid, reply.detail);
    else
        checks_add(c, OUTCOME_OK, "supervisor", NULL, "pid %d answers", (int)info->pid);
    for (size_t i = 0; i < reply.n_children; i++)
        check_process(c, &reply.children[i]);
    control_reply_fini(&reply);
}

/* ---- other machines ---------------------------------------------------------------------------- */

static void check_machine(struct checks *c, const json_t *engine)
{
    const char *state = json_string_value(json_object_get(engine, "state"));
    const char *name = json_string_value(json_object_get(engine, "name"));
    const char *build = json_string_value(json_object_get(engine, "build"));
    const char *backend = json_string_value(json_object_get(engine, "backend"));
    const char *address = engine_list_address(engine);
    if (address[0] == '\0' || state == NULL || name == NULL || build == NULL || backend == NULL)
        return;
    bool is_serving = strcmp(state, "serving") == 0;
    checks_add(c, is_serving ? OUTCOME_OK : OUTCOME_WARN, name,
               is_serving ? NULL : "put it back into service with `halo undrain`",
               "%s at %s, %s, build %s", state, address, backend, build);
}

/* Engines on other machines and the certificates for them. */
static void check_machines(struct checks *c, const char *run)
{
    json_t *all = engine_list_ask_all(run);
    const json_t *engines = json_object_get(all, "engines");
    const json_t *remote = json_object_get(all, "remote");
    const char *url = json_string_value(json_object_get(remote, "url"));
    for (size_t i = 0; i < json_array_size(engines); i++)
        check_machine(c, json_array_get(engines, i));
    if (url != NULL) {
        double days = (double)json_integer_value(json_object_get(remote, "left_s")) / DAY_S;
        checks_add(c,
                   days < 0                    ? OUTCOME_FAIL
                   : days < WORKER_CERT_WARN_D ? OUTCOME_WARN
                                               : OUTCOME_OK,
                   "worker door", "make new certificates: `halo cert router`, `halo cert worker`",
                   "open at %s, its certificates end in %.0f days", url, days);
    }
    json_decref(all);
}

/* ---- the API ----------------------------------------------------------------------------------- */

static bool check_endpoint(struct checks *c, const char *base, const char *path)
{
    struct api_answer a;
    api_get(base, path, GET_TIMEOUT_MS, &a);
    if (a.status == 200)
        checks_add(c, OUTCOME_OK, path, NULL, "answers 200");
    else if (a.status != 0)
        checks_add(c, OUTCOME_FAIL, path, "look at `halo status` and `halo logs gateway`",
                   "%s%s answers %ld", base, path, a.status);
    else
        checks_add(c, OUTCOME_FAIL, path, "look at `halo status` and `halo logs gateway`",
                   "%s%s: %s", base, path, a.error);
    buf_fini(&a.body);
    return a.status == 200;
}

/* Gives the model to ask; the caller frees it. NULL if there is none. */
static char *check_models(struct checks *c, const char *base)
{
    char error[API_ERROR_CAP];
    char *model = api_first_model(base, error);
    if (model != NULL)
        checks_add(c, OUTCOME_OK, "/v1/models", NULL, "lists %s", model);
    else
        checks_add(c, OUTCOME_FAIL, "/v1/models",
                   "look at `halo logs engine.1` and `halo logs router`", "%s", error);
    return model;
}

/* Whether what is served is what the file holds now. */
static void check_served_hash(struct checks *c, const char *base, const char *hash)
{
    struct api_answer a;
    const char *served = NULL;
    bool is_same = false;
    api_get(base, "/v1/models", GET_TIMEOUT_MS, &a);
    json_t *o = a.body.len > 0 ? json_loadb(a.body.ptr, a.body.len, 0, NULL) : NULL;
    const json_t *data = json_object_get(o, "data");
    for (size_t i = 0; i < json_array_size(data); i++) {
        served = json_string_value(json_object_get(json_array_get(data, i), "hash"));
        is_same = is_same || (served != NULL && strcmp(served, hash) == 0);
    }
    if (is_same)
        checks_add(c, OUTCOME_OK, "model hash", NULL, "the engines serve this file");
    else if (served != NULL)
        checks_add(c, OUTCOME_WARN, "model hash",
                   "the file was changed after the start: `halo restart` serves it",
                   "the engines serve %.16s...", served);
    json_decref(o);
    buf_fini(&a.body);
}

static void check_certificate(struct checks *c, const char *base)
{
    static const char WHAT[] = "certificate";
    char error[API_ERROR_CAP];
    int64_t left_s = 0;
    if (!api_certificate_left(base, GET_TIMEOUT_MS, &left_s, error))
        checks_add(c, OUTCOME_FAIL, WHAT,
                   "give the proxy a certificate that this machine trusts, or name its authority: "
                   "`caddy trust`, or SSL_CERT_FILE=root.crt",
                   "%s", error);
    else
        checks_add(c, left_s < CERTIFICATE_WARN_S ? OUTCOME_WARN : OUTCOME_OK, WHAT,
                   "see why the proxy does not renew it", "trusted, %.1f days left",
                   (double)left_s / DAY_S);
}

static void keep_text(void *ctx, struct str text)
{
    buf_add_str(ctx, text);
}

static void check_answer(struct checks *c, const char *base, const char *model)
{
    struct talk_config config = {.base = base,
                                 .model = model,
                                 .max_tokens = QUESTION_TOKENS,
                                 .temperature = 0,
                                 .timeout_ms = QUESTION_TIMEOUT_MS};
    struct api_reply r;
    struct buf said = {0};
    struct talk *talk = talk_new(&config, "");
    talk_say(talk, QUESTION, -1, keep_text, &said, &r);
    (void)buf_reserve(&said, 0);
    if (r.end != API_DONE)
        checks_add(c, OUTCOME_FAIL, "answer", "look at `halo logs`", "asked \"%s\": %s", QUESTION,
                   r.error);
    else if (strstr(said.ptr, ANSWER) == NULL)
        checks_add(c, OUTCOME_FAIL, "answer",
                   "the model's numbers are wrong, or it is not one that chats: check the model "
                   "file, then report it with `halo version`",
                   "asked \"%s\", it said: %.200s", QUESTION, said.ptr);
    else
        checks_add(c, OUTCOME_OK, "answer", NULL,
                   "\"%s\" -> %.200s (%llu tokens, first after %.2f s, all after %.2f s)", QUESTION,
                   said.ptr, (unsigned long long)r.completion_tokens, r.first_s, r.total_s);
    buf_fini(&said);
    talk_free(talk);
}

static void check_api(struct checks *c, const char *url, const char *hash)
{
    char *base = api_base(url);
    api_init();
    if (strncmp(base, "https://", strlen("https://")) == 0)
        check_certificate(c, base);
    (void)check_endpoint(c, base, "/healthz");
    bool is_ready = check_endpoint(c, base, "/readyz");
    char *model = check_models(c, base);
    if (hash[0] != '\0')
        check_served_hash(c, base, hash);
    if (model != NULL && is_ready) /* else it would wait in vain */
        check_answer(c, base, model);
    free(model);
    api_fini();
    free(base);
}

int verb_doctor(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo doctor",
        .summary =
            "Checks a stack, asks it a known question and says what to do about what is not "
            "as it should be. Exit status: 0 all is well, 1 warnings, 2 something is broken.",
        .example = "halo doctor --json",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    const char *run = o.run != NULL ? o.run : stack_info_default_run();
    struct stack_info info;
    struct checks c;
    char hash[HASH_CAP] = "";
    checks_init(&c, o.is_json);
    stack_info_read(run, &info);
    host_check_kernel(&c);
    host_check_processor(&c);
    host_check_gpu(&c);
    host_check_temperature(&c);
    host_check_clock(&c);
    check_memory(&c);
    host_check_bandwidth(&c, o.does_store);
    if (o.url == NULL) {
        if (!info.is_systemd) /* its run directory is the installation's matter */
            check_run_directory(&c, run);
        check_disk(&c, run);
        check_processes(&c, run, &info);
        check_machines(&c, run);
        if (info.has_facts && !info.is_systemd)
            check_model(&c, info.model, hash);
    }
    if (o.url != NULL || info.has_facts)
        check_api(&c, o.url != NULL ? o.url : info.url, hash);
    stack_info_fini(&info);
    rc = checks_end(&c);
    checks_fini(&c);
    return rc;
}
