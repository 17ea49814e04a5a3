/* SPDX-License-Identifier: MIT */
/* How the verbs print: durations, colours when stdout is a terminal, the --run option. */
#ifndef HALO_HALO_PRINT_H
#define HALO_HALO_PRINT_H

#include <stddef.h>
#include <stdint.h>

enum color { COLOR_OFF, COLOR_GOOD, COLOR_WARN, COLOR_BAD, COLOR_DIM };

/* The terminal's sequence for it; "" when stdout is not a terminal or $NO_COLOR is set. */
const char *print_color(enum color c);

/* "12 s", "3 min 4 s", "2 h 5 min", "4 d 3 h" */
void print_duration(uint64_t seconds, char *text, size_t cap);

/* Option row: the struct has `const char *run`. */
#define PRINT_RUN_ROW(strct)                                                                       \
    OPT_STR_ROW(strct, run, "run", NULL, "DIR",                                                    \
                "run directory of the stack; default $HALO_RUN, $XDG_RUNTIME_DIR/halo or "         \
                "/tmp/halo-<uid>, or the stack that systemd runs")

#endif
