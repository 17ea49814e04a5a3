/* SPDX-License-Identifier: MIT */
/* Chat templates: messages to the one text that a model was trained on, by the model's own Jinja
 * template (the part of the language that chat templates use, see tmpl_parse.h and tmpl_call.h; the
 * results are those of jinja2 with the settings of Hugging Face transformers).
 *
 * The output carries the origin of each byte, so that services/tokenizer/encode.h recognises control
 * tokens in what the template wrote and never in what a user wrote. Roles of the usual names count as the
 * template's, since many templates make a token of them ('<|' + role + '|>').
 *
 * Measured (Llama 3's template, Zen 3 VM): 65 us for 20 messages of 300 bytes, 26 ms for one of 1 MB; most
 * of it is parsing JSON.
 *
 * A template is immutable and may be shared between threads. Steps, depth, memory and output of a run are
 * bounded. What is rendered depends on the arguments only: there is no clock and no randomness. */
#ifndef HALO_TOKENIZER_TEMPLATE_H
#define HALO_TOKENIZER_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/str.h"
#include "services/tokenizer/tmpl_eval.h"

enum {
    TEMPLATE_MAX_SOURCE = 1 << 20,
    TEMPLATE_MAX_OUTPUT = 16 << 20,
    TEMPLATE_MAX_STEPS = 5 * 1000 * 1000,
};

struct template;

/* Parses. `bos` and `eos` are the texts of those tokens (may be empty). An unknown tag, filter, test,
 * method or function, or an error of syntax gives ERR_UNSUPPORTED, ERR_TEMPLATE, ERR_DEPTH or ERR_TOO_LARGE
 * and "line N: what" in `why`. All is copied. */
MUST_CHECK enum err template_new(struct str source, struct str bos, struct str eos, char *why,
                                 size_t cap_why, struct template **ret_template);
void template_free(struct template *t);

struct template_input {
    struct str messages; /* JSON array of objects */
    struct str args; /* JSON object of further variables (tools, enable_thinking, ...), or empty */
    bool add_generation_prompt;
    bool continue_final; /* the text ends with the content of the last message */
};

/* Renders into *out, which is emptied first; the caller frees its buffers. Errors: ERR_TEMPLATE (the
 * template refused or could not handle the messages; `why` has the reason, which is meant for the
 * client), ERR_INVALID (not the JSON that was asked for), ERR_DEPTH, ERR_TOO_LARGE. */
MUST_CHECK enum err template_render(const struct template *t, const struct template_input *in,
                                    char *why, size_t cap_why, struct tmpl_output *out);

#endif
