/* SPDX-License-Identifier: MIT */
#include "services/halo/checks.h"

#include <stdarg.h>
#include <stdio.h>

#include "services/halo/print.h"

enum { FOUND_CAP = 800 };

static const char *const NAMES[] = {"ok", "warn", "fail"};

void checks_init(struct checks *c, bool is_json)
{
    *c = (struct checks){.is_json = is_json, .rows = json_array()};
}

void checks_fini(struct checks *c)
{
    json_decref(c->rows);
}

static void print_row(enum outcome outcome, const char *what, const char *found, const char *remedy)
{
    static const enum color COLORS[] = {COLOR_GOOD, COLOR_WARN, COLOR_BAD};
    (void)printf("%s%-4s%s  %-18s %s\n", print_color(COLORS[outcome]), NAMES[outcome],
                 print_color(COLOR_OFF), what, found);
    if (outcome != OUTCOME_OK)
        (void)printf("      %-18s -> %s\n", "", remedy);
    (void)fflush(stdout);
}

void checks_add(struct checks *c, enum outcome outcome, const char *what, const char *remedy,
                const char *found, ...)
{
    char text[FOUND_CAP];
    va_list ap;
    va_start(ap, found);
    (void)vsnprintf(text, sizeof text, found, ap);
    va_end(ap);
    if (outcome > c->worst)
        c->worst = outcome;
    bool needs_remedy = outcome != OUTCOME_OK && remedy != NULL;
    if (!c->is_json)
        print_row(outcome, what, text, needs_remedy ? remedy : "");
    else
        (void)json_array_append_new(c->rows, json_pack("{s:s, s:s, s:s, s:s}", "check", what,
                                                       "outcome", NAMES[outcome], "found", text,
                                                       "remedy", needs_remedy ? remedy : ""));
}

int checks_end(struct checks *c)
{
    if (c->is_json) {
        json_t *o = json_pack("{s:s, s:O}", "outcome", NAMES[c->worst], "checks", c->rows);
        (void)json_dumpf(o, stdout, JSON_INDENT(2));
        (void)printf("\n");
        json_decref(o);
    } else {
        static const char *const SUMS[] = {"all is well", "it works, with warnings",
                                           "something is broken"};
        (void)printf("%s\n", SUMS[c->worst]);
    }
    return (int)c->worst;
}
