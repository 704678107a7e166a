/* Whatever the text is, reading a configuration ends in a configuration or in an error. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "config/config.h"

/* A small generator, so that every run tries the same inputs. */
static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*seed >> 33);
}

static void try_text(const char *text, size_t len)
{
    /* Own memory of the exact size, so that a sanitizer sees a read past its end. */
    char *copy = malloc(len + 1);
    struct problems *p = problems_new();
    struct config *c;

    assert_non_null(copy);
    memcpy(copy, text, len);
    char *exact = realloc(copy, len > 0 ? len : 1);
    enum err e = config_parse(&c, exact, len, "f", CONFIG_ROLE_ANY, NULL, p);
    assert_true((e == ERR_OK) == (c != NULL));
    assert_true((e == ERR_OK) == (problems_errors(p) == 0));
    config_free(c);
    problems_free(p);
    free(exact);
}

static const char whole[] =
    "[source]\ndest_host=\"dest.example\"\ndest_tunnel_port=9443\nmode=\"hybrid\"\n"
    "accept_proxy_protocol=[\"10.0.0.0/8\", \"::1\"]\n"
    "[[source.exposed_ports]]\nport=22\nprotocol=\"both\"\n"
    "[dest]\ntunnel_port=9443\n"
    "[[dest.exposed_services]]\nname=\"web\"\nport=80\ntarget_ip=\"127.0.0.1\"\n"
    "target_port=8080\nallowed_clients=[\"*.a\"]\n"
    "[auth]\nca_cert_path=\"ca\"\nclient_cert_path=\"cc\"\nclient_key_path=\"ck\"\n"
    "server_cert_path=\"sc\"\nserver_key_path=\"sk\"\n"
    "[crypto]\nkem_mode=\"mlkem768\"\n";

static void no_truncation_crashes(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof(whole); len++)
        try_text(whole, len);
}

static void no_mutation_crashes(void **state)
{
    static const char *const words[] = {"[",       "]",          "\"",   "=",
                                        "\n",      "[[",         "{",    "}",
                                        ",",       "'''",        "-1",   "1e9",
                                        "true",    "source",     "dest", ".",
                                        "\\u0000", "2026-11-22", "inf",  "0x7fffffffffffffff",
                                        "\xff",    "#"};
    char text[sizeof(whole) + 64];
    uint64_t seed = 1;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        size_t len = sizeof(whole) - 1;
        memcpy(text, whole, len);
        for (uint32_t edits = 1 + next_random(&seed) % 3; edits > 0; edits--) {
            const char *word = words[next_random(&seed) % (sizeof(words) / sizeof(words[0]))];
            size_t word_len = strlen(word);
            size_t at = next_random(&seed) % len;
            size_t removed = next_random(&seed) % 4;

            if (at + removed > len)
                removed = len - at;
            memmove(text + at + word_len, text + at + removed, len - at - removed);
            memcpy(text + at, word, word_len);
            len = len - removed + word_len;
        }
        try_text(text, len);
    }
}

static void no_random_bytes_crash(void **state)
{
    static const char alphabet[] = " \n=[]{}\"'.,#ab019-_\\";
    char text[300] = "";
    uint64_t seed = 2;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        size_t len = next_random(&seed) % sizeof(text);
        for (size_t i = 0; i < len; i++)
            text[i] = round % 2 == 0 ? (char)next_random(&seed)
                                     : alphabet[next_random(&seed) % (sizeof(alphabet) - 1)];
        try_text(text, len);
    }
}

static void the_whole_text_is_good(void **state)
{
    struct problems *p = problems_new();
    struct config *c;

    (void)state;
    assert_int_equal(config_parse(&c, whole, sizeof(whole) - 1, "f", CONFIG_ROLE_ANY, NULL, p),
                     ERR_OK);
    config_free(c);
    problems_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_text_is_good),
        cmocka_unit_test(no_truncation_crashes),
        cmocka_unit_test(no_mutation_crashes),
        cmocka_unit_test(no_random_bytes_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
