/* SPDX-License-Identifier: MIT */
/* bench_report: what halo-bench prints, and the comparison with an earlier run. */
#ifndef HALO_ENGINE_BENCH_REPORT_H
#define HALO_ENGINE_BENCH_REPORT_H

#include <stdio.h>

#include "services/engine/bench_run.h"

/* Tables for people. */
void bench_report_text(FILE *to, const struct bench_config *c, const struct bench_results *r);

/* One JSON object; false if it could not be written. */
bool bench_report_json(FILE *to, const struct bench_config *c, const struct bench_results *r);

/* Compares with a file that bench_report_json wrote, and prints a line for each measurement that is
 * in both. One is slower when its median tokens/s and its median share of the machine's limit both
 * fell by more than the noise: three standard deviations of both runs together, at least 3 %. So a
 * machine that is slower today is no regression. ERR_IO if the file cannot be used (a line in `why`).
 */
MUST_CHECK enum err bench_report_compare(FILE *to, const char *path, const struct bench_results *r,
                                         char *why, size_t cap_why, uint32_t *ret_n_slower);

#endif
