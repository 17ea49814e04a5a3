/* SPDX-License-Identifier: MIT */
/* ppl_report: what halo-ppl prints. */
#ifndef HALO_ENGINE_PPL_REPORT_H
#define HALO_ENGINE_PPL_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "services/engine/ppl.h"

/* For people; has_positions adds the table by position and the verdict on drift. */
void ppl_report_text(FILE *to, const struct ppl_config *c, const struct ppl_results *r,
                     bool has_positions);

/* One JSON object with everything; false if it could not be written. */
bool ppl_report_json(FILE *to, const struct ppl_config *c, const struct ppl_results *r);

#endif
