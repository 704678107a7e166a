#include "pki.h"

#include <fcntl.h>

#include "ops/log.h"
#include "role/credentials.h"

#define SECOND ((uint64_t)1000 * 1000)

struct scene {
    struct pki *pki;
    struct config *config;
    struct credentials *credentials;
    uint64_t now;
    int log;
    char text[16384];
};

static struct identity *load(const struct config *config)
{
    const struct identity_files files = {.cert_path = config->auth.server_cert_path,
                                         .key_path = config->auth.server_key_path,
                                         .ca_path = config->auth.ca_cert_path,
                                         .use = IDENTITY_DEST};
    struct identity *identity;
    struct err_detail d = {""};

    if (identity_load(&identity, &files, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return identity;
}

static void issue_server(const struct pki *p, const char *name)
{
    pki_issue(p, "server",
              (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = name,
                                          .dns_names = "localhost"});
}

/* auth_more: further lines of [auth]. */
static void begin(struct scene *s, struct pki *p, const char *auth_more)
{
    struct problems *problems = problems_new();
    struct log_options log = {.level = LOG_LEVEL_INFO, .format = LOG_FORMAT_PLAIN};
    struct identity *identity;
    struct err_detail d = {""};
    char text[2048];
    int n;

    memset(s, 0, sizeof(*s));
    s->pki = p;
    s->now = 77 * SECOND;
    issue_server(p, "first");
    n = snprintf(text, sizeof(text),
                 "[dest]\ntunnel_port = 1\n[auth]\nca_cert_path = \"%s/ca.crt\"\n"
                 "server_cert_path = \"%s/server.crt\"\nserver_key_path = \"%s/server.key\"\n%s",
                 p->dir, p->dir, p->dir, auth_more);
    pki_write(p, "config.toml", text, (size_t)n, 0644);
    if (config_load(&s->config, pki_path(p, "config.toml").text, CONFIG_ROLE_DEST, NULL,
                    problems) != ERR_OK)
        fail_msg("%s", problems_at(problems, 0)->text);
    problems_free(problems);
    s->log = open(pki_path(p, "log").text, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(s->log >= 0);
    log.fd = s->log;
    log_init(&log);
    identity = load(s->config);
    assert_int_equal(credentials_new(&s->credentials, s->config, identity, &d), ERR_OK);
    identity_free(identity);
}

static void end(struct scene *s)
{
    credentials_free(s->credentials);
    config_free(s->config);
    log_fini();
    close(s->log);
}

/* How many lines of that event there are in the log, and the last of them that says `says`. */
static unsigned logged(struct scene *s, const char *event, const char *says)
{
    ssize_t n = pread(s->log, s->text, sizeof(s->text) - 1, 0);
    unsigned count = 0;
    char *line;
    char *rest;

    assert_true(n >= 0);
    s->text[n] = '\0';
    for (line = strtok_r(s->text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        count += strstr(line, event) != NULL && strstr(line, says) != NULL ? 1 : 0;
    return count;
}

/* The common name of what a handshake would show now. */
static void assert_shows(struct scene *s, enum credentials_when when, const char *name)
{
    struct tls_notes notes = {0};
    struct identity_name shown;
    SSL *ssl = tls_context_make(credentials_use(s->credentials, when, s->now), &notes);

    assert_non_null(ssl);
    identity_of_cert(&shown, SSL_get_certificate(ssl));
    SSL_free(ssl);
    assert_string_equal(shown.common_name, name);
    pki_assert_no_openssl_error();
}

static void what_changes_is_read_and_said_once(void **state)
{
    struct scene s;

    begin(&s, *state, "");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    s.now += 10 * SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    assert_int_equal(logged(&s, "identity.", ""), 0);
    issue_server(s.pki, "second");
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "second");
    assert_int_equal(logged(&s, "identity.reloaded", "certificate=second"), 1);
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_AFRESH, "second");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "second");
    assert_int_equal(logged(&s, "identity.", ""), 1);
    end(&s);
}

static void files_are_looked_at_once_a_second(void **state)
{
    struct scene s;

    begin(&s, *state, "");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    issue_server(s.pki, "second");
    s.now += SECOND - 1;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    assert_shows(&s, CREDENTIALS_AFRESH, "first");
    s.now += 1;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "second");
    end(&s);
}

static void a_change_before_the_first_handshake_counts(void **state)
{
    struct scene s;

    begin(&s, *state, "");
    issue_server(s.pki, "second");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "second");
    end(&s);
}

static void a_bad_set_changes_nothing_and_is_said_once(void **state)
{
    struct pki_path key;
    struct scene s;

    begin(&s, *state, "");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    pki_write(s.pki, "server.crt", "no certificate\n", 15, 0644);
    for (int i = 0; i < 5; i++) {
        s.now += SECOND;
        assert_shows(&s, i % 2 == 0 ? CREDENTIALS_IF_CHANGED : CREDENTIALS_AFRESH, "first");
    }
    assert_int_equal(logged(&s, "identity.reload_failed", "server.crt"), 1);

    /* Another fault is news. */
    issue_server(s.pki, "second");
    key = pki_path(s.pki, "server.key");
    assert_int_equal(unlink(key.text), 0);
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    assert_int_equal(logged(&s, "identity.reload_failed", "server.key"), 1);

    /* Mended, it is used, and the old fault would be news again. */
    issue_server(s.pki, "third");
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "third");
    assert_int_equal(logged(&s, "identity.reloaded", "certificate=third"), 1);
    pki_write(s.pki, "server.crt", "no certificate\n", 15, 0644);
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "third");
    assert_int_equal(logged(&s, "identity.reload_failed", "server.crt"), 2);
    end(&s);
}

static void a_certificate_of_another_key_is_not_mixed_in(void **state)
{
    struct pki_path crt;
    struct pki_path kept;
    struct scene s;

    begin(&s, *state, "");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    crt = pki_path(s.pki, "server.crt");
    kept = pki_path(s.pki, "kept.crt");
    assert_int_equal(rename(crt.text, kept.text), 0);
    issue_server(s.pki, "second"); /* its key stays, and the old certificate comes back */
    assert_int_equal(rename(kept.text, crt.text), 0);
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    assert_int_equal(logged(&s, "identity.reload_failed", "key_mismatch"), 1);
    end(&s);
}

static void a_bad_set_may_become_good_by_itself(void **state)
{
    struct cert_issue_request soon = {.kind = CERT_ISSUE_SERVER,
                                      .algorithm = CERT_KEY_ED25519,
                                      .common_name = "soon",
                                      .dns_names = "localhost",
                                      .not_before = (int64_t)time(NULL) + 2,
                                      .not_after = (int64_t)time(NULL) + PKI_DAY};
    struct scene s;

    begin(&s, *state, "");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    pki_issue(s.pki, "server", soon);
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    assert_int_equal(logged(&s, "identity.reload_failed", "cert_not_yet_valid"), 1);
    while (time(NULL) <= (time_t)soon.not_before)
        usleep(100000);
    s.now += CREDENTIALS_AGAIN_US - SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "soon");
    assert_int_equal(logged(&s, "identity.reloaded", "certificate=soon"), 1);
    end(&s);
}

static void a_renewal_is_another_certificate_of_our_own(void **state)
{
    struct credentials *fresh;
    struct identity *identity;
    struct err_detail d = {""};
    struct scene s;

    begin(&s, *state, "");
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_AFRESH, "first");
    assert_int_equal(credentials_generation(s.credentials), CREDENTIALS_FIRST + 2);
    assert_int_equal(credentials_renewals(s.credentials), 0);

    /* The same names again. */
    issue_server(s.pki, "first");
    s.now += SECOND;
    assert_shows(&s, CREDENTIALS_IF_CHANGED, "first");
    assert_int_equal(credentials_renewals(s.credentials), 1);

    /* What a new configuration brings counts alike. */
    for (unsigned i = 0; i < 2; i++) {
        if (i == 1)
            issue_server(s.pki, "second");
        identity = load(s.config);
        assert_int_equal(credentials_new(&fresh, s.config, identity, &d), ERR_OK);
        identity_free(identity);
        assert_int_equal(credentials_renewals(fresh), 0);
        credentials_adopt(s.credentials, fresh);
        assert_int_equal(credentials_renewals(s.credentials), 1 + i);
    }
    end(&s);
}

static void what_is_insecure_is_said_at_the_start_only(void **state)
{
    struct scene s;

    begin(&s, *state, "verify_client_cert = false\n");
    assert_shows(&s, CREDENTIALS_AFRESH, "first");
    issue_server(s.pki, "second");
    for (int i = 0; i < 3; i++) {
        s.now += SECOND;
        assert_shows(&s, CREDENTIALS_AFRESH, "second");
    }
    assert_int_equal(logged(&s, "auth.insecure", "verify_client_cert"), 1);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_changes_is_read_and_said_once),
        cmocka_unit_test(files_are_looked_at_once_a_second),
        cmocka_unit_test(a_change_before_the_first_handshake_counts),
        cmocka_unit_test(a_bad_set_changes_nothing_and_is_said_once),
        cmocka_unit_test(a_certificate_of_another_key_is_not_mixed_in),
        cmocka_unit_test(a_bad_set_may_become_good_by_itself),
        cmocka_unit_test(a_renewal_is_another_certificate_of_our_own),
        cmocka_unit_test(what_is_insecure_is_said_at_the_start_only),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
