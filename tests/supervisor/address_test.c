/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "services/supervisor/address.h"

static void a_free_port_is_taken_and_named_in_the_url(void **state)
{
    (void)state;
    char why[512] = "";
    int fd = -1;
    assert_int_equal(address_listen("127.0.0.1:0", why, sizeof why, &fd), ERR_OK);
    char *url = address_url(fd);
    assert_int_equal(strncmp(url, "http://127.0.0.1:", 17), 0);
    assert_in_range(strtoul(url + 17, NULL, 10), 1024, 65535);
    free(url);
    (void)close(fd);
}

static void all_interfaces_are_reached_by_loopback(void **state)
{
    (void)state;
    char why[512] = "";
    int fd = -1;
    assert_int_equal(address_listen("0.0.0.0:0", why, sizeof why, &fd), ERR_OK);
    char *url = address_url(fd);
    assert_int_equal(strncmp(url, "http://127.0.0.1:", 17), 0);
    free(url);
    (void)close(fd);
}

static void ipv6_is_written_in_brackets(void **state)
{
    (void)state;
    char why[512] = "";
    int fd = -1;
    enum err e = address_listen("[::1]:0", why, sizeof why, &fd);
    if (e != ERR_OK) {
        /* A machine without IPv6 says so; it is not taken for a misspelling. */
        assert_int_not_equal(e, ERR_INVALID);
        return;
    }
    char *url = address_url(fd);
    assert_int_equal(strncmp(url, "http://[::1]:", 13), 0);
    free(url);
    (void)close(fd);
}

static void a_port_in_use_is_named_with_another_to_try(void **state)
{
    (void)state;
    char why[512] = "";
    char http[64];
    int fd = -1;
    int other = -1;
    assert_int_equal(address_listen("127.0.0.1:0", why, sizeof why, &fd), ERR_OK);
    char *url = address_url(fd);
    const char *port = strrchr(url, ':') + 1;
    (void)snprintf(http, sizeof http, "127.0.0.1:%s", port);
    assert_int_equal(address_listen(http, why, sizeof why, &other), ERR_IN_USE);
    assert_int_equal(other, -1);
    assert_non_null(strstr(why, port));
    assert_non_null(strstr(why, "--http 127.0.0.1:"));
    free(url);
    (void)close(fd);
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",          "8180",       ":8180",          "127.0.0.1:",   "127.0.0.1",
        "1.2.3.4:x", "1.2.3.4:-1", "1.2.3.4:123456", "host:8180",    "1.2.3.4:80 ",
        "[]:80",     "[::1:80",    "/tmp/sock",      "256.1.1.1:80", "1.2.3.4:0x50"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        char why[512] = "";
        int fd = -1;
        assert_int_equal(address_listen(BAD[i], why, sizeof why, &fd), ERR_INVALID);
        assert_int_equal(fd, -1);
        assert_non_null(strstr(why, "127.0.0.1:8180"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_port_is_taken_and_named_in_the_url),
        cmocka_unit_test(all_interfaces_are_reached_by_loopback),
        cmocka_unit_test(ipv6_is_written_in_brackets),
        cmocka_unit_test(a_port_in_use_is_named_with_another_to_try),
        cmocka_unit_test(what_is_no_address_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
