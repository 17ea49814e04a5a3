/* SPDX-License-Identifier: MIT */
/* Options of a program: one table gives parsing, --help, --version, --print-config, the shipped
 * halo.conf (--print-defaults) and the checks.
 *
 * Values come from, weakest first: the table's default, `--config FILE` (lines "name = value" under
 * "[program]" headings), the command line (--name VALUE, --name=VALUE, --flag). An unknown or
 * malformed one stops the start with one line that names it and the remedy. */
#ifndef HALO_COMMON_OPT_H
#define HALO_COMMON_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_type {
    OPT_STR, /* const char *; with `choices` only those */
    OPT_U32, /* uint32_t in [min, max] */
    OPT_U64, /* uint64_t in [min, max]; suffixes k, M, G (1024) */
    OPT_BOOL, /* bool; on the command line --name and --no-name, in the file true and false */
};

struct opt {
    const char *name; /* without dashes */
    enum opt_type type;
    size_t offset; /* of the value in the caller's struct */
    const char *def; /* default as text; NULL: an OPT_STR is NULL unless given */
    uint64_t min;
    uint64_t max;
    const char *choices; /* OPT_STR: "a|b|c", else NULL */
    const char *meta; /* placeholder in --help */
    const char *doc; /* one or two lines: what it does, why the default */
};

/* Rows for use inside a table. */
#define OPT_STR_ROW(strct, field, long_name, dflt, metavar, text)                                  \
    {                                                                                              \
        long_name, OPT_STR, offsetof(strct, field), dflt, 0, 0, NULL, metavar, text                \
    }
#define OPT_CHOICE_ROW(strct, field, long_name, dflt, one_of, text)                                \
    {                                                                                              \
        long_name, OPT_STR, offsetof(strct, field), dflt, 0, 0, one_of, NULL, text                 \
    }
#define OPT_U32_ROW(strct, field, long_name, dflt, least, most, metavar, text)                     \
    {                                                                                              \
        long_name, OPT_U32, offsetof(strct, field), dflt, least, most, NULL, metavar, text         \
    }
#define OPT_U64_ROW(strct, field, long_name, dflt, least, most, metavar, text)                     \
    {                                                                                              \
        long_name, OPT_U64, offsetof(strct, field), dflt, least, most, NULL, metavar, text         \
    }
#define OPT_BOOL_ROW(strct, field, long_name, dflt, text)                                          \
    {                                                                                              \
        long_name, OPT_BOOL, offsetof(strct, field), dflt, 0, 1, NULL, NULL, text                  \
    }

struct opt_program {
    const char *name; /* "halo-engine"; also the heading in the config file */
    const char *summary; /* one line */
    const char *operands; /* shown in the usage line, e.g. "[TEXT]"; NULL: no operands allowed */
    const char *example; /* shown in --help; may be NULL */
    const struct opt *opts;
    size_t n_opts;
    void *values; /* the caller's struct, zeroed before */
};

/* Parses. Returns true to go on; *ret_operands is then the index in argv of the first operand (argc if
 * none; argv is permuted so that operands are last). Returns false when the program should end now with
 * *ret_exit: 0 after --help, --version, --print-config or --print-defaults (printed to stdout), 2 after an error
 * (printed to stderr). Strings point into argv or live as long as the process. */
bool opt_parse(const struct opt_program *p, int argc, char **argv, int *ret_operands,
               int *ret_exit);

/* Prints the table as a section of halo.conf: each option commented out with its default and doc. */
void opt_print_config(const struct opt_program *p, bool with_values);

/* The run directory when --run is not given: $HALO_RUN, else $XDG_RUNTIME_DIR/halo, else
 * /tmp/halo-<uid>. Lives as long as the process. */
const char *opt_default_run_dir(void);

/* The build id and version: "0.1.0 (a1b2c3d)". */
const char *opt_version(void);

/* Rows that every service has: --run, --log-level. The struct has `const char *run, *log_level`. */
#define OPT_COMMON_ROWS(strct)                                                                     \
    OPT_STR_ROW(strct, run, "run", NULL, "DIR",                                                    \
                "directory of the sockets; default $HALO_RUN, $XDG_RUNTIME_DIR/halo or "           \
                "/tmp/halo-<uid>"),                                                                \
        OPT_CHOICE_ROW(strct, log_level, "log-level", "info", "debug|info|warn|error",             \
                       "least level that is logged to stderr")

/* What every service does first: applies --run's default and --log-level, asks for short time slices
 * (common/timeslice.h), checks that the run directory exists, is ours and closed
 * to others. Prints one line to stderr and returns false if not. */
bool opt_common_setup(const char *service, const char **run, const char *log_level);

#endif
