/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/tokenizer/shared_data.h"

static const char MESSAGES[] =
    "[{\"role\":\"system\",\"content\":\"  H\xc3\xa4llo "
    "\\n\"},{\"role\":\"user\",\"content\":\"a,b,,c\"},"
    "{\"role\":\"king\",\"content\":\"x\",\"n\":2.5,\"list\":[1,null,true,{\"k\":\"v\"}]}]";
static const char ARGS[] =
    "{\"s\":\" ab cd  ef "
    "\",\"n\":7,\"l\":[3,1,2],\"d\":{\"b\":1,\"items\":2},\"e\":\"\",\"z\":null,"
    "\"u\":\"na\xc3\xafve\",\"messages\":\"not mine\",\"bos_token\":\"nor mine\"}";

static enum err render(const char *source, const char *messages, const char *args, char *why,
                       size_t cap_why, struct tmpl_output *out)
{
    struct template *t = NULL;
    enum err e = template_new(str_from(source), STR_LIT("<s>"), STR_LIT("</s>"), why, cap_why, &t);
    const struct template_input in = {
        .messages = str_from(messages), .args = str_from(args), .add_generation_prompt = true};
    if (e == ERR_OK)
        e = template_render(t, &in, why, cap_why, out);
    template_free(t);
    return e;
}

static void check(const char *source, const char *want)
{
    char why[300] = "";
    struct tmpl_output out = {0};
    enum err e = render(source, MESSAGES, ARGS, why, sizeof why, &out);
    if (e != ERR_OK)
        fail_msg("%s: %s: %s", source, err_name(e), why);
    if (!str_is(buf_str(&out.text), want))
        fail_msg("%s gives \"%s\", expected \"%s\"", source, buf_str(&out.text).ptr, want);
    assert_int_equal(out.text.len, out.origins.len);
    buf_fini(&out.text);
    buf_fini(&out.origins);
}

static void refuses(const char *source, enum err want, const char *message)
{
    char why[300] = "";
    struct tmpl_output out = {0};
    assert_int_equal(render(source, MESSAGES, ARGS, why, sizeof why, &out), want);
    if (strncmp(why, message, strlen(message)) != 0)
        fail_msg("%s says \"%s\", expected \"%s\"", source, why, message);
    buf_fini(&out.text);
    buf_fini(&out.origins);
}

/* Expected texts of this file are what jinja2 3.1.6 gives. */
static void expressions_give_what_jinja_gives(void **state)
{
    (void)state;
    check("{{ 1 + 2 * 3 - 4 // 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 * 'ab' }}",
          "6 -4 2 3.5 abab");
    check("{{ 'a' ~ 1 ~ none ~ undef ~ true }}", "a1NoneTrue");
    check("{{ 1 < 2 < 3 }} {{ 'a' in 'cat' }} {{ 4 not in l }} {{ 'b' in d }} {{ not e }}",
          "True True True True True");
    check("{{ 'yes' if n > 5 else 'no' }}{{ 'x' if false }} {{ e or 'or' }} {{ n and e }}|",
          "yes or |");
    check("{{ l[-1] }} {{ l[::-1] }} {{ s[1:3] }} {{ u[2] }} {{ u[::-1] }} {{ l[9] }}|",
          "2 [2, 1, 3] ab \xc3\xaf ev\xc3\xaf"
          "an |");
    check("{{ messages[2]['list'] }} {{ d }} {{ (1,) }} {{ ['it\\'s'] }}",
          "[1, None, True, {'k': 'v'}] {'b': 1, 'items': 2} (1,) [\"it's\"]");
    check("{{ 'a\\tb\\x41\\u00e9\\\\' \"cat\" }}", "a\tbA\xc3\xa9\\cat");
    check("{{ 1.0 }} {{ 0.1 }} {{ 1e20 }} {{ 1e-7 }} {{ 123456789.125 }}",
          "1.0 0.1 1e+20 1e-07 123456789.125");
    check("{{ d.items is defined }} {{ d['items'] }} {{ d.nope is defined }} {{ z is none }}",
          "True 2 False True");
}

static void filters_and_methods_give_what_jinja_gives(void **state)
{
    (void)state;
    check("{{ s | trim }}|{{ s.strip() }}|{{ s.lstrip() }}|{{ 'xaxx'.rstrip('x') }}",
          "ab cd  ef|ab cd  ef|ab cd  ef |xa");
    check("{{ messages[0].content | trim }}|{{ '\xe3\x80\x80x\xc2\x85' | trim }}",
          "H\xc3\xa4llo|x");
    check(
        "{{ 'aB cD' | upper }} {{ 'aB' | lower }} {{ 'aB cD' | title }} {{ 'aB cD' | capitalize }}",
        "AB CD ab Ab Cd Ab cd");
    check("{{ 'a,b,,c'.split(',') }} {{ s.split() }} {{ 'a,b,c'.split(',', 1) }} {{ "
          "'a,b,c'.rsplit(',', 1) }}",
          "['a', 'b', '', 'c'] ['ab', 'cd', 'ef'] ['a', 'b,c'] ['a,b', 'c']");
    check("{{ 'abab' | replace('a', 'x') }} {{ 'abab'.replace('ab', '', 1) }} {{ 'ab'.replace('', "
          "'-') }}",
          "xbxb ab -a-b-");
    check("{{ 'ab'.startswith('a') }} {{ 'ab'.endswith(('x', 'b')) }} {{ 'abc'.find('c') }}",
          "True True 2");
    check("{{ u | length }} {{ l | length }} {{ l | first }} {{ l | last }} {{ l | sort | "
          "join('-') }}",
          "5 3 3 2 1-2-3");
    check("{{ undef | default('d') }} {{ e | default('d', true) }} {{ z | default('d') }}",
          "d d None");
    check("{{ messages | map(attribute='role') | join(', ') }}", "system, user, king");
    check(
        "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first }}",
        "a,b,,c");
    check("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{{ d.get('x', 5) }}",
          "b=1;items=2;5");
}

static void tojson_writes_what_python_writes(void **state)
{
    (void)state;
    check("{{ messages[2] | tojson }}", "{\"role\": \"king\", \"content\": \"x\", \"n\": 2.5, "
                                        "\"list\": [1, null, true, {\"k\": \"v\"}]}");
    check("{{ {'a': [1, {}], 'b': []} | tojson(indent=2) }}",
          "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
    check("{{ 'q\"\\\\\\n\\t\\x01\\x7f<\xc3\xa9' | tojson }}",
          "\"q\\\"\\\\\\n\\t\\u0001\x7f<\xc3\xa9\"");
    check("{{ 'é😀' | tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83d\\ude00\"");
}

static void blocks_and_scopes_are_those_of_jinja(void **state)
{
    (void)state;
    check("{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "3121");
    check("{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ "
          "ns.x }}",
          "6");
    check("{% for i in l %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.revindex0 }} {% "
          "endfor %}",
          "1TrueFalse2 2FalseFalse1 3FalseTrue0 ");
    check("{% for i in l if i > 1 %}{{ i }}{{ loop.length }}{% else %}none{% endfor %}", "3222");
    check("{% for i in [] %}x{% else %}none{% endfor %}", "none");
    check(
        "{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}"
        "{% endif %}{{ i }}{% endfor %}",
        "023");
    check("{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}", "b");
    check("{% macro f(a, b='-') %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(b=2, a=3) }}", "1-32");
    check("{% set t %} {{ n }} {% endset %}[{{ t }}]{% generation %}g{% endgeneration %}",
          "[ 7 ]g");
    check("{% set a, b = 1, 2 %}{{ b }}{{ a }}{% raw %}{{ n }}{% endraw %}", "21{{ n }}");
}

static void white_space_is_cut_as_transformers_do(void **state)
{
    (void)state;
    check("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc");
    check("a \n {%- if true -%} \n b {%- endif %} c", "ab c");
    check("a\n  {{ n }}\nb {# c #}\n {# d -#} \n e", "a\n  7\nb e");
    check("a\n  {%+ if true %}b{% endif +%}\nc\r\nd", "a\n  b\nc\nd");
}

static void the_services_variables_cannot_be_replaced(void **state)
{
    (void)state;
    check("{{ messages | length }}{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ "
          "tools }}",
          "3<s></s>TrueNone");
}

static void what_cannot_be_run_is_refused_with_its_line(void **state)
{
    (void)state;
    refuses("a\n{{ x | frobnicate }}", ERR_UNSUPPORTED,
            "line 2: filter 'frobnicate' is not supported");
    refuses("{{ x is odder }}", ERR_UNSUPPORTED, "line 1: test 'odder' is not supported");
    refuses("\n\n{{ x.format() }}", ERR_UNSUPPORTED, "line 3: method 'format' is not supported");
    refuses("{{ lipsum(3) }}", ERR_UNSUPPORTED, "line 1: function 'lipsum' is not supported");
    refuses("\n{% include 'x' %}", ERR_UNSUPPORTED, "line 2: unexpected or unsupported tag");
    refuses("{% for x in y %}", ERR_TEMPLATE, "line 1: a tag is still open");
    refuses("{{ 'abc }}", ERR_TEMPLATE, "line 1: the string does not end");
    refuses("{{ (1 }}", ERR_TEMPLATE, "line 1: unexpected '}'");
    refuses("{# x", ERR_TEMPLATE, "line 1: the comment does not end");
    refuses("{{ 1 2 }}", ERR_TEMPLATE, "line 1: expected '}}'");
    refuses("{% if true %}{% endfor %}", ERR_UNSUPPORTED, "line 1: unexpected or unsupported tag");
    refuses("{% break %}", ERR_TEMPLATE, "line 1: there is no loop to leave");
}

static void refusals_of_the_template_reach_the_client(void **state)
{
    (void)state;
    refuses(
        "{% for m in messages %}\n{% if m.role == 'king' %}{{ raise_exception('no ' + m.role) }}"
        "{% endif %}{% endfor %}",
        ERR_TEMPLATE, "line 2: no king");
    refuses("{{ undef.x }}", ERR_TEMPLATE, "line 1: undef is undefined");
    refuses("{{ 'a' + undef }}", ERR_TEMPLATE, "line 1: undef is undefined");
    refuses("{{ 'a' + 1 }}", ERR_TEMPLATE, "line 1: no operation + between string and integer");
    refuses("{{ 1 // 0 }}", ERR_TEMPLATE, "line 1: division by zero");
    refuses("{{ 9223372036854775807 + 1 }}", ERR_TEMPLATE, "line 1: a number is too large");
    refuses("{% if strftime_now is defined %}x{% endif %}{{ strftime_now('%Y') }}", ERR_TEMPLATE,
            "line 1: strftime_now is not a function");
}

static void every_run_ends(void **state)
{
    (void)state;
    refuses("{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
            ERR_TOO_LARGE, "line 1: the template");
    refuses(
        "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(90) %}{% set ns.t = ns.t + ns.t %}"
        "{% endfor %}",
        ERR_TOO_LARGE, "line 1: the template needs too much memory");
    refuses("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% "
            "endfor %}"
            "{{ ns.l }}",
            ERR_TOO_LARGE, "line 1: a value is too large");
    refuses("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% "
            "endfor %}"
            "{{ ns.l == [ns.l] }}{{ ns.l == ns.l }}",
            ERR_DEPTH, "line 1: values are nested");
    refuses("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", ERR_DEPTH,
            "line 1: calls are nested too deeply");
    refuses("{{ range(1000000000) }}", ERR_TOO_LARGE, "line 1: range is longer");
    refuses("{{ 'ab' * 99999 * 99999 }}", ERR_TOO_LARGE,
            "line 1: the template needs too many steps");
}

static void deep_sources_are_refused(void **state)
{
    (void)state;
    static const char *const PARTS[][3] = {{"{{ ", "(", "1"},
                                           {"{{ ", "not ", "1 }}"},
                                           {"{{ ", "- ", "1 }}"},
                                           {"{{ 1", " + 1", " }}"},
                                           {"{{ a", ".b", " }}"},
                                           {"{{ ", "[", "1"},
                                           {"", "{% if a %}", ""},
                                           {"{{ ", "1 if 1 else ", "1 }}"},
                                           {"{% if a %}", "{% elif a %}", "{% endif %}"},
                                           {"{{ a", "[0]", " }}"},
                                           {"{{ a", "|trim", " }}"}};
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        struct buf source = {0};
        char why[300] = "";
        struct template *t = NULL;
        buf_add_cstr(&source, PARTS[i][0]);
        for (int n = 0; n < 20000; n++)
            buf_add_cstr(&source, PARTS[i][1]);
        buf_add_cstr(&source, PARTS[i][2]);
        enum err e = template_new(buf_str(&source), STR_LIT(""), STR_LIT(""), why, sizeof why, &t);
        if (e != ERR_DEPTH)
            fail_msg("%s%s...: %s %s", PARTS[i][0], PARTS[i][1], err_name(e), why);
        buf_fini(&source);
    }
}

static void bad_messages_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "", "{}", "[1]", "[", "[{}] x", "\"a\"", "[{\"a\":\"\\ud800\"}]"};
    struct tmpl_output out = {0};
    char why[300];
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_int_equal(render("{{ n }}", BAD[i], "", why, sizeof why, &out), ERR_INVALID);
    assert_int_equal(render("{{ n }}", "[]", "[]", why, sizeof why, &out), ERR_INVALID);
    struct buf deep = {0};
    for (int i = 0; i < 300; i++)
        buf_add_char(&deep, '[');
    for (int i = 0; i < 300; i++)
        buf_add_char(&deep, ']');
    assert_int_equal(render("{{ n }}", deep.ptr, "", why, sizeof why, &out), ERR_DEPTH);
    buf_fini(&deep);
    buf_fini(&out.text);
    buf_fini(&out.origins);
}

/* ---- origins ------------------------------------------------------------------------------------ */

/* T for each byte of the template, u for the request, o for the open message. */
static void check_origins(const char *source, const char *messages, bool continue_final,
                          const char *text, const char *origins)
{
    char why[300] = "";
    struct template *t = NULL;
    struct tmpl_output out = {0};
    const struct template_input in = {.messages = str_from(messages),
                                      .args = STR_LIT("{\"a\":\" Ab,c \"}"),
                                      .add_generation_prompt = true,
                                      .continue_final = continue_final};
    assert_int_equal(template_new(str_from(source), STR_LIT(""), STR_LIT(""), why, sizeof why, &t),
                     ERR_OK);
    enum err e = template_render(t, &in, why, sizeof why, &out);
    if (e != ERR_OK)
        fail_msg("%s: %s", source, why);
    assert_true(str_is(buf_str(&out.text), text));
    assert_int_equal(out.origins.len, strlen(origins));
    for (size_t i = 0; i < out.origins.len; i++)
        assert_int_equal("uTo"[(uint8_t)out.origins.ptr[i]], origins[i]);
    buf_fini(&out.text);
    buf_fini(&out.origins);
    template_free(t);
}

static void each_byte_knows_where_it_came_from(void **state)
{
    (void)state;
    const char *m =
        "[{\"role\":\"user\",\"content\":\"<x>\"},{\"role\":\"<x>\",\"content\":\"y\"}]";
    check_origins("<{{ '|' + messages[0].role + '|' }}>", m, false, "<|user|>", "TTTTTTTT");
    check_origins("<{{ messages[1].role }}>", m, false, "<<x>>", "TuuuT");
    check_origins("{{ ('<' ~ messages[0].content ~ '>') | upper }}", m, false, "<<X>>", "TuuuT");
    check_origins("{{ ('b' + a + 'b') | trim('b') | trim }}", m, false, "Ab,c", "uuuu");
    check_origins("{{ ('b,' + a).split(',') | join('+') }}", m, false, "b+ Ab+c ", "TTuuuTuu");
    check_origins("{{ ('b' + a).replace('b', 'xy') }}", m, false, "xy Axy,c ", "TTuuTTuuu");
    check_origins("{{ ('b' + a)[0:3] }}{{ ('b' + a)[::-1] }}", m, false, "b A c,bA b",
                  "Tuuuuuuuu"
                  "T");
    check_origins("{{ ['<', a] | tojson }}", m, false, "[\"<\", \" Ab,c \"]", "uuuuuuuuuuuuuuu");
    check_origins("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(a) }}", m, false, "< Ab,c >",
                  "TuuuuuuT");
    check_origins("{% set t %}<{{ a | trim }}{% endset %}{{ t }}", m, false, "<Ab,c", "Tuuuu");
}

static void an_open_message_ends_the_text(void **state)
{
    (void)state;
    const char *t = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }};{% endfor %}"
                    "{% if add_generation_prompt %}[assistant]{% endif %}";
    check_origins(
        t, "[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":\" ab \"}]",
        true, "[user]ab;[assistant]ab", "TTTTTTuuTTTTTTTTTTTToo");
    check_origins(
        t, "[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":\" \\n\"}]",
        true, "[user]ab;[assistant]", "TTTTTTuuTTTTTTTTTTTT");
    char why[300] = "";
    struct template *drops = NULL;
    struct tmpl_output out = {0};
    const struct template_input in = {
        .messages = STR_LIT("[{\"role\":\"user\",\"content\":\"a\"}]"), .continue_final = true};
    assert_int_equal(template_new(STR_LIT("x"), STR_LIT(""), STR_LIT(""), why, sizeof why, &drops),
                     ERR_OK);
    assert_int_equal(template_render(drops, &in, why, sizeof why, &out), ERR_TEMPLATE);
    template_free(drops);
    buf_fini(&out.text);
    buf_fini(&out.origins);
}

/* ---- random sources ----------------------------------------------------------------------------- */

static void random_templates_do_no_harm(void **state)
{
    (void)state;
    static const char *const PARTS[] = {
        "{{",     "}}",    "{%",       "%}",        "{%-",      "-%}",      "{#",     "#}",
        " ",      "\n",    "if",       "else",      "endif",    "for",      "in",     "endfor",
        "set",    "=",     "messages", "x",         "loop",     ".",        "[",      "]",
        "(",      ")",     ",",        ":",         "|",        "is",       "not",    "'",
        "'a'",    "1",     "2.5",      "-",         "+",        "~",        "*",      "==",
        "<",      "and",   "or",       "defined",   "trim",     "length",   "tojson", "join",
        "split",  "items", "range",    "namespace", "macro",    "endmacro", "endset", "raw",
        "endraw", "{",     "}",        "\\",        "\xc3\xa9", "\xff",     "true",   "none",
        "last",   "first", "%",        "//",        "**"};
    test_random_start(23);
    for (int round = 0; round < 60000; round++) {
        struct buf source = {0};
        char why[300] = "";
        struct tmpl_output out = {0};
        for (int n = test_random() % 24; n >= 0; n--) {
            buf_add_cstr(&source, PARTS[(size_t)test_random() % (sizeof PARTS / sizeof PARTS[0])]);
            if (test_random() % 2)
                buf_add_char(&source, ' ');
        }
        enum err e =
            render(source.ptr, MESSAGES, "{\"x\":[1,\"a\",{\"b\":2}]}", why, sizeof why, &out);
        assert_true((e == ERR_OK) == (why[0] == '\0'));
        buf_fini(&source);
        buf_fini(&out.text);
        buf_fini(&out.origins);
    }
}

/* ---- the templates of real models --------------------------------------------------------------- */

static void check_real(const json_t *root, const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    struct template *t = NULL;
    char why[300] = "";
    enum err e = template_new(str_from(json_string_value(json_object_get(entry, "template"))),
                              str_from(json_string_value(json_object_get(entry, "bos_token"))),
                              str_from(json_string_value(json_object_get(entry, "eos_token"))), why,
                              sizeof why, &t);
    if (e != ERR_OK)
        fail_msg("%s: %s", name, why);
    size_t at;
    json_t *c;
    json_array_foreach(json_object_get(entry, "cases"), at, c)
    {
        const char *key = json_string_value(json_object_get(c, "messages"));
        char *messages = json_dumps(json_object_get(json_object_get(root, "messages"), key), 0);
        const json_t *kwargs = json_object_get(c, "kwargs");
        char *args = kwargs ? json_dumps(kwargs, 0) : NULL;
        struct tmpl_output out = {0};
        const struct template_input in = {
            .messages = str_from(messages),
            .args = str_from(args),
            .add_generation_prompt = json_is_true(json_object_get(c, "add_generation_prompt")),
        };
        e = template_render(t, &in, why, sizeof why, &out);
        const char *want = json_string_value(json_object_get(c, "expected"));
        if (e != ERR_OK || !str_is(buf_str(&out.text), want))
            fail_msg("%s, case %zu: %s%s, expected %s", name, at, why, buf_str(&out.text).ptr,
                     want);
        buf_fini(&out.text);
        buf_fini(&out.origins);
        free(messages);
        free(args);
    }
    template_free(t);
}

static void templates_of_real_models_render_as_expected(void **state)
{
    (void)state;
    struct blob b = shared_data_read("tokenizers/chat-templates.json");
    json_t *root = json_loadb((const char *)b.p, b.n, 0, NULL);
    assert_non_null(root);
    size_t at;
    json_t *entry;
    json_array_foreach(json_object_get(root, "templates"), at, entry) check_real(root, entry);
    assert_int_equal(at, 30);
    json_decref(root);
    free(b.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_give_what_jinja_gives),
        cmocka_unit_test(filters_and_methods_give_what_jinja_gives),
        cmocka_unit_test(tojson_writes_what_python_writes),
        cmocka_unit_test(blocks_and_scopes_are_those_of_jinja),
        cmocka_unit_test(white_space_is_cut_as_transformers_do),
        cmocka_unit_test(the_services_variables_cannot_be_replaced),
        cmocka_unit_test(what_cannot_be_run_is_refused_with_its_line),
        cmocka_unit_test(refusals_of_the_template_reach_the_client),
        cmocka_unit_test(every_run_ends),
        cmocka_unit_test(deep_sources_are_refused),
        cmocka_unit_test(bad_messages_are_refused),
        cmocka_unit_test(each_byte_knows_where_it_came_from),
        cmocka_unit_test(an_open_message_ends_the_text),
        cmocka_unit_test(random_templates_do_no_harm),
        cmocka_unit_test(templates_of_real_models_render_as_expected), /* needs shared data */
    };
    size_t n = sizeof tests / sizeof tests[0];
    return _cmocka_run_group_tests("template", tests, shared_data_is_at_hand() ? n : n - 1, NULL,
                                   NULL);
}
