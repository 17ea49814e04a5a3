/* SPDX-License-Identifier: MIT */
#include "common/opt_print.h"

#include <stdio.h>
#include <string.h>

#include "common/check.h"

/* What every program has; --version and --help come last. */
static const struct {
    const char *name;
    const char *meta; /* NULL: takes no value */
    const char *doc;
} COMMON[] = {
    {"config", "FILE", "read options from this program's section of FILE"},
    {"print-config", NULL, "print the options in effect in the form of FILE and exit"},
    {"print-defaults", NULL, "the same with every option commented out, for a new FILE"},
    {"print-man", NULL, "print the manual page and exit"},
    {"version", NULL, "print the version and exit"},
    {"help", NULL, "print this and exit"},
};

static bool has_shown_default(const struct opt *o)
{
    return o->def != NULL && o->def[0] != '\0' &&
           !(o->type == OPT_BOOL && strcmp(o->def, "false") == 0);
}

/* ---- help -------------------------------------------------------------------------------------- */

void opt_print_wrapped(const char *text, const char *margin)
{
    const int width = 96;
    const int indent = (int)strlen(margin);
    int col = indent;
    while (*text != '\0') {
        int n = (int)strcspn(text, " ");
        if (col > indent && col + 1 + n > width) {
            printf("\n%s", margin);
            col = indent;
        }
        if (col > indent) {
            putchar(' ');
            col++;
        }
        printf("%.*s", n, text);
        col += n;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void opt_print_help(const struct opt_program *p)
{
    printf("Usage: %s [OPTION]... %s\n%s\n\nOptions:\n", p->name,
           p->operands != NULL ? p->operands : "", p->summary);
    for (size_t i = 0; i < p->n_opts; i++) {
        const struct opt *o = &p->opts[i];
        if (o->type == OPT_BOOL)
            printf("  --[no-]%s", o->name);
        else
            printf("  --%s %s", o->name, o->choices != NULL ? o->choices : o->meta);
        if (has_shown_default(o))
            printf("  (default: %s)", o->def);
        printf("\n      ");
        opt_print_wrapped(o->doc, "      ");
    }
    for (size_t i = 0; i < ARRAY_LEN(COMMON); i++)
        printf("  --%s%s%s\n      %s\n", COMMON[i].name, COMMON[i].meta != NULL ? " " : "",
               COMMON[i].meta != NULL ? COMMON[i].meta : "", COMMON[i].doc);
    if (p->example != NULL)
        printf("\nExample:\n  %s\n", p->example);
}

/* ---- the manual page --------------------------------------------------------------------------- */

/* Text that roff shall not take for its own words. */
static void put_roff(const char *text)
{
    bool is_line_start = true;
    for (; *text != '\0'; text++) {
        if (is_line_start && (*text == '.' || *text == '\''))
            printf("\\&");
        if (*text == '\\')
            printf("\\e");
        else if (*text == '-')
            printf("\\-");
        else
            putchar(*text);
        is_line_start = *text == '\n';
    }
}

/* "halo up" is the page halo-up. */
static void put_page_name(const char *name)
{
    for (; *name != '\0'; name++)
        put_roff((const char[]){*name == ' ' ? '-' : *name, '\0'});
}

static void put_option(const char *prefix, const char *name, const char *value, const char *def,
                       const char *doc)
{
    printf(".TP\n.B ");
    put_roff(prefix);
    put_roff(name);
    if (value != NULL) {
        printf(" \\fI");
        put_roff(value);
        printf("\\fR");
    }
    printf("\n");
    put_roff(doc);
    if (def != NULL) {
        printf(". Default: ");
        put_roff(def);
    }
    printf(".\n");
}

void opt_print_man(const struct opt_program *p)
{
    printf(".TH \"");
    put_page_name(p->name);
    printf("\" 1 \"\" \"");
    put_roff(opt_version());
    printf("\" \"Halo\"\n.SH NAME\n");
    put_page_name(p->name);
    printf(" \\- ");
    put_roff(p->summary);
    printf("\n.SH SYNOPSIS\n.B ");
    put_roff(p->name);
    printf("\n[\\fIOPTION\\fR]... ");
    put_roff(p->operands != NULL ? p->operands : "");
    printf("\n.SH OPTIONS\n");
    for (size_t i = 0; i < p->n_opts; i++) {
        const struct opt *o = &p->opts[i];
        bool is_flag = o->type == OPT_BOOL;
        put_option(is_flag ? "--[no-]" : "--", o->name,
                   is_flag              ? NULL
                   : o->choices != NULL ? o->choices
                                        : o->meta,
                   has_shown_default(o) ? o->def : NULL, o->doc);
    }
    for (size_t i = 0; i < ARRAY_LEN(COMMON); i++)
        put_option("--", COMMON[i].name, COMMON[i].meta, NULL, COMMON[i].doc);
    if (p->example != NULL) {
        printf(".SH EXAMPLE\n.nf\n");
        put_roff(p->example);
        printf("\n.fi\n");
    }
    printf(".SH SEE ALSO\nhalo(1)\n");
}

/* ---- completion -------------------------------------------------------------------------------- */

void opt_print_words(const struct opt_program *p)
{
    for (size_t i = 0; i < p->n_opts; i++) {
        const struct opt *o = &p->opts[i];
        printf("--%s%s%s\n", o->name, o->choices != NULL ? "=" : "",
               o->choices != NULL ? o->choices : "");
    }
    for (size_t i = 0; i < ARRAY_LEN(COMMON); i++)
        printf("--%s\n", COMMON[i].name);
}
