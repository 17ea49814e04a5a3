/* SPDX-License-Identifier: MIT */
/* config_json: struct source_config to and from the JSON of an .h1b file's "config" section. */
#ifndef HALO_MODEL_CONFIG_JSON_H
#define HALO_MODEL_CONFIG_JSON_H

#include "services/model/source.h"

/* The section's text, after common/model_config.c has accepted it: what an engine would refuse is
 * refused here, with its words. The caller frees *ret_text. */
MUST_CHECK enum err config_json_write(const struct source_config *c, struct why *why,
                                      char **ret_text);

/* Reads a section. Members without a field go to c->extra. */
MUST_CHECK enum err config_json_read(const char *text, size_t n, struct source_config *c,
                                     struct why *why);

#endif
