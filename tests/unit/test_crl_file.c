#include "pki.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "crypto/crl_file.h"
#include "crypto/crl_info.h"

/* What a request points to; the list is NAME in the folder. */
struct call {
    struct pki_path ca_cert;
    struct pki_path ca_key;
    struct pki_path crl;
    struct pki_path cert;
    const char *cert_path;
    struct crl_file_request request;
};

/* To revoke one certificate, or none (NULL). */
static struct call *call_for(struct call *c, const struct pki *p, const char *name,
                             const char *revoked)
{
    *c = (struct call){
        .ca_cert = pki_path(p, "ca.crt"),
        .ca_key = pki_path(p, "ca.key"),
        .crl = pki_path(p, name),
        .cert = pki_path(p, revoked != NULL ? revoked : ""),
    };
    c->cert_path = c->cert.text;
    c->request = (struct crl_file_request){
        .ca_cert_path = c->ca_cert.text,
        .ca_key_path = c->ca_key.text,
        .crl_path = c->crl.text,
        .cert_paths = &c->cert_path,
        .cert_count = revoked != NULL ? 1 : 0,
    };
    return c;
}

/* Renews NAME; how many certificates it revokes then. */
static size_t renew(const struct pki *p, const char *name, const char *revoked)
{
    struct call c;
    struct crl_file_result r;
    struct err_detail d = {""};
    size_t count = 0;

    if (crl_file_renew(&r, &call_for(&c, p, name, revoked)->request, &d) != ERR_OK)
        fail_msg("%s", d.text);
    count = crl_info_count(r.issued.crl);
    crl_file_result_fini(&r);
    pki_assert_no_openssl_error();
    return count;
}

static enum err refusal(const struct call *c, struct err_detail *d)
{
    struct crl_file_result r;
    enum err e = crl_file_renew(&r, &c->request, d);

    assert_null(r.issued.crl);
    pki_assert_no_openssl_error();
    return e;
}

static X509_CRL *read_list(const struct pki *p, const char *name)
{
    STACK_OF(X509_CRL) *crls = NULL;
    X509_CRL *crl = NULL;

    assert_int_equal(pem_read_crls(&crls, pki_path(p, name).text, "CRL", NULL), ERR_OK);
    assert_int_equal(sk_X509_CRL_num(crls), 1);
    crl = sk_X509_CRL_shift(crls);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return crl;
}

static size_t count_of(const struct pki *p, const char *name)
{
    X509_CRL *crl = read_list(p, name);
    size_t count = crl_info_count(crl);

    X509_CRL_free(crl);
    return count;
}

/* Files that begin with it: the list alone, unless a temporary one was left. */
static int files_like(const struct pki *p, const char *name)
{
    DIR *folder = opendir(p->dir);
    int count = 0;

    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (strncmp(entry->d_name, name, strlen(name)) == 0)
            count++;
    closedir(folder);
    return count;
}

static void a_list_is_made_and_gone_on_with(void **state)
{
    const struct pki *p = *state;
    struct call c;
    struct crl_file_result r;
    struct stat st;
    mode_t before = umask(077);

    assert_int_equal(crl_file_renew(&r, &call_for(&c, p, "a.crl", NULL)->request, NULL), ERR_OK);
    umask(before);
    assert_true(r.is_first);
    crl_file_result_fini(&r);
    assert_int_equal(stat(c.crl.text, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(count_of(p, "a.crl"), 0);

    assert_int_equal(crl_file_renew(&r, &call_for(&c, p, "a.crl", "client.crt")->request, NULL),
                     ERR_OK);
    assert_false(r.is_first);
    assert_int_equal(r.issued.added, 1);
    crl_file_result_fini(&r);
    assert_int_equal(count_of(p, "a.crl"), 1);
    assert_int_equal(renew(p, "a.crl", "server.crt"), 2);
    assert_int_equal(renew(p, "a.crl", "server.crt"), 2);
    assert_int_equal(count_of(p, "a.crl"), 2);
    assert_int_equal(files_like(p, "a.crl"), 1);
}

static void several_are_revoked_at_once(void **state)
{
    const struct pki *p = *state;
    const struct pki_path paths[] = {pki_path(p, "client.crt"), pki_path(p, "server.crt")};
    const char *const certs[] = {paths[0].text, paths[1].text};
    const char *const serials[] = {"01", "02:03", "0203"};
    struct call c;
    struct crl_file_result r;

    call_for(&c, p, "several.crl", NULL);
    c.request.cert_paths = certs;
    c.request.cert_count = 2;
    c.request.serials = serials;
    c.request.serial_count = 3;
    assert_int_equal(crl_file_renew(&r, &c.request, NULL), ERR_OK);
    assert_int_equal(r.issued.added, 4);
    assert_int_equal(r.issued.known, 1);
    assert_int_equal(crl_info_count(r.issued.crl), 4);
    crl_file_result_fini(&r);
}

static void a_chain_stands_for_its_first_certificate(void **state)
{
    const struct pki *p = *state;
    struct file_bytes leaf;
    struct file_bytes ca;
    char both[16384];

    assert_int_equal(file_read(&leaf, pki_path(p, "client.crt").text, "x", FILE_PUBLIC, NULL), 0);
    assert_int_equal(file_read(&ca, pki_path(p, "ca.crt").text, "x", FILE_PUBLIC, NULL), 0);
    assert_true(leaf.len + ca.len < sizeof(both));
    memcpy(both, leaf.data, leaf.len);
    memcpy(both + leaf.len, ca.data, ca.len);
    pki_write(p, "chain.crt", both, leaf.len + ca.len, 0644);
    assert_int_equal(renew(p, "chain.crl", "chain.crt"), 1);
    file_bytes_free(&leaf);
    file_bytes_free(&ca);
}

static void a_list_in_der_is_gone_on_with(void **state)
{
    const struct pki *p = *state;
    X509_CRL *crl = NULL;
    unsigned char *der = NULL;
    int len = 0;

    assert_int_equal(renew(p, "der.crl", "client.crt"), 1);
    crl = read_list(p, "der.crl");
    len = i2d_X509_CRL(crl, &der);
    pki_write(p, "der.crl", der, (size_t)len, 0644);
    assert_int_equal(renew(p, "der.crl", "server.crt"), 2);
    OPENSSL_free(der);
    X509_CRL_free(crl);
}

static void a_link_stays_and_one_that_leads_nowhere_is_refused(void **state)
{
    const struct pki *p = *state;
    struct call c;
    struct stat st;
    struct err_detail d;

    assert_int_equal(renew(p, "real.crl", "client.crt"), 1);
    assert_int_equal(symlink("real.crl", pki_path(p, "link.crl").text), 0);
    assert_int_equal(renew(p, "link.crl", "server.crt"), 2);
    assert_int_equal(lstat(pki_path(p, "link.crl").text, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(count_of(p, "real.crl"), 2);

    assert_int_equal(unlink(pki_path(p, "real.crl").text), 0);
    assert_int_equal(refusal(call_for(&c, p, "link.crl", NULL), &d), ERR_NOT_FOUND);
    assert_int_equal(lstat(pki_path(p, "link.crl").text, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

/* -- what stays as it was -- */

/* The call fails so, with this in its text, and does not touch the list. */
static void check_refused(const struct pki *p, const struct call *c, enum err expected,
                          const char *text)
{
    struct file_bytes before = {0};
    struct file_bytes after = {0};
    struct err_detail d = {""};
    bool is_there = access(c->crl.text, F_OK) == 0;
    bool can_read = false;
    const char *name = strrchr(c->crl.text, '/') + 1;
    int files = files_like(p, name);

    if (is_there)
        can_read = file_read(&before, c->crl.text, "x", FILE_PUBLIC, NULL) == ERR_OK;
    assert_int_equal(refusal(c, &d), expected);
    if (strstr(d.text, text) == NULL)
        fail_msg("%s", d.text);
    assert_int_equal(access(c->crl.text, F_OK) == 0, is_there);
    if (can_read)
        assert_int_equal(file_read(&after, c->crl.text, "x", FILE_PUBLIC, NULL), ERR_OK);
    assert_int_equal(before.len, after.len);
    if (before.len > 0)
        assert_memory_equal(before.data, after.data, before.len);
    assert_int_equal(files_like(p, name), files);
    file_bytes_free(&before);
    file_bytes_free(&after);
}

static void what_is_no_list_of_this_ca_is_left_alone(void **state)
{
    const struct pki *p = *state;
    struct cert_issue_request other = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Other CA"};
    struct cert_issue_result r;
    struct file_bytes good;
    struct call c;
    char both[16384];

    assert_int_equal(renew(p, "good.crl", "client.crt"), 1);
    assert_int_equal(file_read(&good, pki_path(p, "good.crl").text, "x", FILE_PUBLIC, NULL), 0);
    assert_int_equal(cert_issue(&r, &other, NULL), ERR_OK);
    pki_write_crl(p, "other.crl", r.cert, r.key, NULL, (int64_t)time(NULL) + PKI_DAY);
    cert_issue_result_fini(&r);
    pki_write(p, "empty.crl", "", 0, 0644);
    pki_write(p, "text.crl", "not a list\n", 11, 0644);
    pki_write(p, "cut.crl", good.data, good.len / 2, 0644);
    assert_true(2 * good.len < sizeof(both));
    memcpy(both, good.data, good.len);
    memcpy(both + good.len, good.data, good.len);
    pki_write(p, "both.crl", both, 2 * good.len, 0644);
    assert_int_equal(mkdir(pki_path(p, "folder.crl").text, 0755), 0);

    check_refused(p, call_for(&c, p, "other.crl", NULL), ERR_CERT_UNTRUSTED, "CN=Other CA");
    check_refused(p, call_for(&c, p, "empty.crl", NULL), ERR_CERT_FORMAT, "is empty");
    check_refused(p, call_for(&c, p, "text.crl", NULL), ERR_CERT_FORMAT, "is not a CRL");
    check_refused(p, call_for(&c, p, "cut.crl", NULL), ERR_CERT_FORMAT, "cut off or damaged");
    check_refused(p, call_for(&c, p, "both.crl", NULL), ERR_CERT_FORMAT, "holds 2 lists");
    check_refused(p, call_for(&c, p, "folder.crl", NULL), ERR_IO, "is a folder");
    check_refused(p, call_for(&c, p, "ca.crt", NULL), ERR_CERT_FORMAT, "but no CRL");
    check_refused(p, call_for(&c, p, "ca.key", NULL), ERR_CERT_FORMAT, "but no CRL");
    file_bytes_free(&good);
}

static void wrong_requests_leave_the_list_alone(void **state)
{
    const struct pki *p = *state;
    const char *const odd = "odd";
    struct call c;

    assert_int_equal(renew(p, "kept.crl", NULL), 0);
    check_refused(p, call_for(&c, p, "kept.crl", "foreign.crt"), ERR_CERT_UNTRUSTED,
                  "foreign.crt: was issued by \"CN=Other CA\"");
    check_refused(p, call_for(&c, p, "kept.crl", "none.crt"), ERR_NOT_FOUND, "none.crt");
    check_refused(p, call_for(&c, p, "kept.crl", "client.key"), ERR_CERT_FORMAT, "client.key");
    check_refused(p, call_for(&c, p, "kept.crl", "ca.crt"), ERR_USAGE, "itself");
    check_refused(p, call_for(&c, p, "no/such.crl", NULL), ERR_NOT_FOUND, "mkdir -p");
    call_for(&c, p, "kept.crl", NULL);
    c.request.serials = &odd;
    c.request.serial_count = 1;
    check_refused(p, &c, ERR_USAGE, "odd is no serial");
    call_for(&c, p, "kept.crl", NULL)->ca_key = pki_path(p, "client.key");
    check_refused(p, &c, ERR_KEY_MISMATCH, "does not belong to the CA key");
    call_for(&c, p, "kept.crl", NULL)->ca_cert = pki_path(p, "client.crt");
    c.ca_key = pki_path(p, "client.key");
    check_refused(p, &c, ERR_CERT_PURPOSE, "is not a CA's certificate");
}

static void an_open_ca_key_is_refused(void **state)
{
    const struct pki *p = *state;
    struct call c;

    assert_int_equal(renew(p, "mode.crl", NULL), 0);
    assert_int_equal(chmod(pki_path(p, "ca.key").text, 0640), 0);
    check_refused(p, call_for(&c, p, "mode.crl", NULL), ERR_KEY_MODE, "chmod 600");
    assert_int_equal(chmod(pki_path(p, "ca.key").text, 0600), 0);
}

static void a_full_disk_leaves_the_list_alone(void **state)
{
    const struct pki *p = *state;
    struct rlimit before;
    struct rlimit none;
    struct call c;

    assert_int_equal(renew(p, "full.crl", "client.crt"), 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = before;
    none.rlim_cur = 100; /* the file begins, and does not end */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    check_refused(p, call_for(&c, p, "full.crl", "server.crt"), ERR_IO, "full.crl: ");
    check_refused(p, call_for(&c, p, "full-first.crl", "server.crt"), ERR_IO, "full-first.crl: ");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(count_of(p, "full.crl"), 1);
}

/* A list that its readers would refuse is worse than none: the number of entries has an end. */
static void a_list_does_not_outgrow_its_readers(void **state)
{
    const struct pki *p = *state;
    X509_CRL *crl = NULL;
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL));
    BIO *bio = NULL;
    struct call c;

    assert_int_equal(renew(p, "long.crl", NULL), 0);
    crl = read_list(p, "long.crl");
    for (int64_t i = 0; i < 30000; i++) {
        X509_REVOKED *entry = X509_REVOKED_new();

        assert_int_equal(ASN1_INTEGER_set_int64(serial, INT64_MAX - i), 1);
        assert_int_equal(X509_REVOKED_set_serialNumber(entry, serial), 1);
        assert_int_equal(X509_REVOKED_set_revocationDate(entry, now), 1);
        assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
    }
    assert_true(X509_CRL_sign(crl, p->ca.key, NULL) > 0);
    bio = BIO_new_file(pki_path(p, "long.crl").text, "w");
    assert_int_equal(i2d_X509_CRL_bio(bio, crl), 1);
    BIO_free(bio);
    check_refused(p, call_for(&c, p, "long.crl", "client.crt"), ERR_TOO_LARGE, "new CA");
    ASN1_TIME_free(now);
    ASN1_INTEGER_free(serial);
    X509_CRL_free(crl);
}

/* Two who revoke at the same time: neither loses the other's entry. */
static void nobody_is_forgotten_when_two_revoke(void **state)
{
    const struct pki *p = *state;
    pid_t children[4];

    assert_int_equal(renew(p, "two.crl", NULL), 0);
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            char serial[3] = {'a', (char)('0' + i), 0};
            const char *const serials = serial;
            struct crl_file_result r;
            struct call c;
            bool failed = false;

            call_for(&c, p, "two.crl", NULL);
            c.request.serials = &serials;
            c.request.serial_count = 1;
            for (int j = 0; !failed && j < 8; j++) {
                serial[0] = (char)('1' + j);
                failed = crl_file_renew(&r, &c.request, NULL) != ERR_OK;
                crl_file_result_fini(&r);
            }
            _exit(failed);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status = -1;

        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_of(p, "two.crl"), 32);
}

static int setup(void **state)
{
    struct cert_issue_request other = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Other CA"};
    struct cert_issue_result r;
    const struct pki *p = NULL;

    if (pki_setup(state) != 0)
        return -1;
    p = *state;
    pki_issue_pair(p);
    if (cert_issue(&r, &other, NULL) != ERR_OK)
        return -1;
    pki_issue_by(p, "foreign",
                 (struct cert_issue_request){.kind = CERT_ISSUE_CLIENT,
                                             .algorithm = CERT_KEY_ED25519,
                                             .common_name = "foreign"},
                 &r);
    cert_issue_result_fini(&r);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_made_and_gone_on_with),
        cmocka_unit_test(several_are_revoked_at_once),
        cmocka_unit_test(a_chain_stands_for_its_first_certificate),
        cmocka_unit_test(a_list_in_der_is_gone_on_with),
        cmocka_unit_test(a_link_stays_and_one_that_leads_nowhere_is_refused),
        cmocka_unit_test(what_is_no_list_of_this_ca_is_left_alone),
        cmocka_unit_test(wrong_requests_leave_the_list_alone),
        cmocka_unit_test(an_open_ca_key_is_refused),
        cmocka_unit_test(a_full_disk_leaves_the_list_alone),
        cmocka_unit_test(a_list_does_not_outgrow_its_readers),
        cmocka_unit_test(nobody_is_forgotten_when_two_revoke),
    };

    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
