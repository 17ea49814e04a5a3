/* SPDX-License-Identifier: MIT */
/* Logging: one event, one line on stderr.
 *
 *   ts=2026-01-02T03:04:05.678Z level=info svc=router ev=engine-up name=engine.1 kv_blocks=512
 *
 * The slug is stable (dashboards and tests look for it); values are typed. error: someone must act;
 * warn: degraded and went on; info: lifecycle; debug: for developers. Prompts and replies are never
 * logged. Thread-safe: a line is one write. No locks, so a signal's handler may log. */
#ifndef HALO_COMMON_LOG_H
#define HALO_COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

enum log_type { LOG_T_STR, LOG_T_STRN, LOG_T_I64, LOG_T_U64, LOG_T_F64, LOG_T_HEX };

struct log_field {
    const char *key;
    enum log_type type;
    union {
        const char *s;
        int64_t i;
        uint64_t u;
        double f;
    } v;
    size_t len; /* LOG_T_STRN */
};

#define S(k, x) ((struct log_field){.key = (k), .type = LOG_T_STR, .v.s = (x)})
#define SN(k, p, n) ((struct log_field){.key = (k), .type = LOG_T_STRN, .v.s = (p), .len = (n)})
#define I(k, x) ((struct log_field){.key = (k), .type = LOG_T_I64, .v.i = (int64_t)(x)})
#define U(k, x) ((struct log_field){.key = (k), .type = LOG_T_U64, .v.u = (uint64_t)(x)})
#define F(k, x) ((struct log_field){.key = (k), .type = LOG_T_F64, .v.f = (double)(x)})
#define X(k, x) ((struct log_field){.key = (k), .type = LOG_T_HEX, .v.u = (uint64_t)(x)})

/* Name of the process in every line, and the least level that is written. `service` is borrowed
 * for the life of the process. */
void log_init(const char *service, enum log_level least);

/* As given to log_init. */
const char *log_service(void);

/* "debug", "info", "warn", "error" -> level; false if it is none of them. */
bool log_level_from(const char *name, enum log_level *ret_level);

void log_write(enum log_level level, const char *slug, const struct log_field *fields, size_t n);

#define LOG_(level, slug, ...)                                                                     \
    log_write(level, slug, (const struct log_field[]){{0}, ##__VA_ARGS__} + 1,                     \
              sizeof((const struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field) -  \
                  1)

#define log_debug(slug, ...) LOG_(LOG_DEBUG, slug, ##__VA_ARGS__)
#define log_info(slug, ...) LOG_(LOG_INFO, slug, ##__VA_ARGS__)
#define log_warn(slug, ...) LOG_(LOG_WARN, slug, ##__VA_ARGS__)
#define log_error(slug, ...) LOG_(LOG_ERROR, slug, ##__VA_ARGS__)

#endif
