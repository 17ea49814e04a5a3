/* SPDX-License-Identifier: MIT */
/* halo cert: makes the certificates by which engines on other machines serve a router. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/opt.h"
#include "services/halo/cert_make.h"
#include "services/halo/verbs.h"

struct options {
    uint32_t days;
};

static const struct opt OPTS[] = {
    OPT_U32_ROW(struct options, days, "days", "365", 1, 3650, "N",
                "how long a router's or worker's certificate is valid; the authority's is for ten "
                "years"),
};

static int end(enum err e, const char *why)
{
    if (e != ERR_OK)
        (void)fprintf(stderr, "halo cert: %s\n", why);
    return e == ERR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int make(const struct options *o, const char *dir, enum cert_kind kind, int n, char **words)
{
    char why[CERT_WHY_CAP] = "";
    struct cert_request q = {.kind = kind, .name = "router", .days = (int)o->days};
    if (kind == CERT_WORKER) {
        q.name = words[0];
    } else {
        q.hosts = words;
        q.n_hosts = (size_t)n;
    }
    enum err e = cert_make(dir, &q, why);
    if (e == ERR_OK)
        (void)printf("%s/%s.pem and %s/%s.key, for %d days\n", dir, q.name, dir, q.name, q.days);
    return end(e, why);
}

static int new_authority(const struct options *o, int n, char **words)
{
    char why[CERT_WHY_CAP] = "";
    const char *dir = words[0];
    enum err e = cert_make_authority(dir, why);
    if (e != ERR_OK)
        return end(e, why);
    (void)printf("%s/ca.pem and %s/ca.key\n", dir, dir);
    int rc = make(o, dir, CERT_ROUTER, n - 1, words + 1);
    if (rc == EXIT_SUCCESS)
        (void)printf("Whoever has ca.key can make workers: let it leave this machine for a safe "
                     "place only.\n");
    return rc;
}

static int router(const struct options *o, int n, char **words)
{
    return make(o, words[0], CERT_ROUTER, n - 1, words + 1);
}

static int worker(const struct options *o, int n, char **words)
{
    (void)n;
    int rc = make(o, words[0], CERT_WORKER, 1, words + 1);
    if (rc == EXIT_SUCCESS)
        (void)printf("Take both and ca.pem to %s; ca.key stays.\n", words[1]);
    return rc;
}

static int show(const struct options *o, int n, char **words)
{
    char why[CERT_WHY_CAP] = "";
    int rc = EXIT_SUCCESS;
    (void)o;
    for (int i = 0; i < n; i++) {
        if (end(cert_describe(words[i], stdout, why), why) != EXIT_SUCCESS)
            rc = EXIT_FAILURE;
    }
    return rc;
}

static const struct action {
    const char *name;
    int least; /* words that follow */
    int most;
    int (*run)(const struct options *o, int n, char **words);
} ACTIONS[] = {
    {"new", 2, 1 + CERT_HOSTS_MAX, new_authority},
    {"router", 2, 1 + CERT_HOSTS_MAX, router},
    {"worker", 2, 2, worker},
    {"show", 1, 64, show},
};

int verb_cert(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo cert",
        .summary =
            "Makes certificates for engines on other machines: `new` a private authority and "
            "the router's certificate, for the names and addresses by which workers call "
            "it; `worker` one for a machine; `router` the router's again.",
        .operands = "new DIR HOST... | worker DIR NAME | router DIR HOST... | show FILE...",
        .example = "halo cert new /etc/halo/tls a.example 10.0.0.1",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int at;
    int rc;
    if (!opt_parse(&program, argc, argv, &at, &rc))
        return rc;
    int n = argc - at - 1;
    for (size_t i = 0; i < ARRAY_LEN(ACTIONS) && at < argc; i++) {
        const struct action *a = &ACTIONS[i];
        if (strcmp(argv[at], a->name) == 0 && n >= a->least && n <= a->most)
            return a->run(&o, n, argv + at + 1);
    }
    (void)fprintf(stderr,
                  "halo cert: expected new DIR HOST..., worker DIR NAME, router DIR HOST... "
                  "or show FILE...; see halo cert --help\n");
    return EXIT_BAD_USAGE;
}
