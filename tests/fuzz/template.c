/* SPDX-License-Identifier: MIT */
/* Chat templates: the first part of the input is the template, what follows a byte 0xff the messages, and
 * what follows another one the further arguments. Any of them may be anything; a run must end, in bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "services/tokenizer/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Up to the next byte 0xff, which no UTF-8 has. */
static struct str part(const uint8_t **data, size_t *size)
{
    const char *from = (const char *)*data;
    const uint8_t *end = *size > 0 ? memchr(*data, 0xff, *size) : NULL;
    size_t n = end ? (size_t)(end - *data) : *size;
    size_t skip = end ? n + 1 : n;
    *data += skip;
    *size -= skip;
    return (struct str){n > 0 ? from : "", n};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[256];
    struct template *t = NULL;
    struct str source = part(&data, &size);
    struct template_input in = {.messages = part(&data, &size), .args = part(&data, &size)};
    if (in.messages.len == 0)
        in.messages = STR_LIT("[{\"role\":\"user\",\"content\":\"a <|end|> b\"},"
                              "{\"role\":\"assistant\",\"content\":\" c \"}]");
    in.add_generation_prompt = source.len % 2 == 0;
    in.continue_final = source.len % 3 == 0;
    if (template_new(source, STR_LIT("<s>"), STR_LIT("</s>"), why, sizeof why, &t) != ERR_OK) {
        ASSERT(memchr(why, '\0', sizeof why) != NULL);
        return 0;
    }
    struct tmpl_output out = {0};
    if (template_render(t, &in, why, sizeof why, &out) == ERR_OK) {
        ASSERT(out.text.len == out.origins.len);
        ASSERT(out.text.len <= TEMPLATE_MAX_OUTPUT);
    }
    buf_fini(&out.text);
    buf_fini(&out.origins);
    template_free(t);
    return 0;
}
