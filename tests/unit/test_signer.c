#include "pki.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "crypto/cert_key.h"
#include "crypto/private_key.h"
#include "crypto/signer.h"

#define KEY "own.key" /* that the signer may read */

/* What a dest's CertificateVerify signs; the hash is any. */
static const char message[64 + 34 + 48] =
    "                                                                "
    "TLS 1.3, server CertificateVerify\0"
    "a transcript's hash of the length that SHA-384 h";

struct stage {
    struct pki *pki;
    struct signer *signer;
    pid_t pid;
    int raw; /* our end of the socket, for messages that signer.c would not send */
};

static int setup(void **state)
{
    struct stage *s = calloc(1, sizeof(*s));
    void *pki = NULL;
    int ends[2];

    assert_int_equal(pki_setup(&pki), 0);
    s->pki = pki;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        const struct pki_path path = pki_path(s->pki, KEY);

        close(ends[0]);
        signer_serve(
            &(struct signer_options){.fd = ends[1], .key_path = path.text, .use = IDENTITY_DEST});
        _exit(0);
    }
    close(ends[1]);
    s->raw = ends[0];
    assert_int_equal(signer_new(&s->signer, ends[0]), ERR_OK);
    *state = s;
    return 0;
}

/* Its status, when the socket is closed or it ends by itself. */
static int wait_for_signer(struct stage *s)
{
    int status = 0;

    if (s->pid > 0)
        assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    s->pid = 0;
    return status;
}

static int teardown(void **state)
{
    struct stage *s = *state;
    void *pki = s->pki;

    signer_free(s->signer);
    assert_int_equal(wait_for_signer(s), 0);
    free(s);
    return pki_teardown(&pki);
}

static EVP_PKEY *load(const struct stage *s, const char *name)
{
    struct err_detail d = {""};
    EVP_PKEY *key = NULL;

    if (signer_load(s->signer, &key, pki_path(s->pki, name).text, "key", FILE_SECRET, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return key;
}

/* The real key of a file, to compare with. */
static EVP_PKEY *real(const struct stage *s, const char *name)
{
    EVP_PKEY *key = NULL;

    assert_int_equal(pem_read_key(&key, pki_path(s->pki, name).text, "key", FILE_SECRET, NULL),
                     ERR_OK);
    return key;
}

enum padding { PADDING_OWN, PADDING_PSS };

static void check_signature(EVP_PKEY *signing, EVP_PKEY *verifying, const char *digest,
                            enum padding padding)
{
    uint8_t signature[SIGNER_ANSWER_MAX];
    size_t len = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;

    assert_int_equal(EVP_DigestSignInit_ex(md, &ctx, digest, NULL, NULL, signing, NULL), 1);
    if (padding == PADDING_PSS) {
        assert_true(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0);
        assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0);
    }
    assert_int_equal(EVP_DigestSign(md, NULL, &len, (const uint8_t *)message, sizeof(message)), 1);
    assert_true(len <= sizeof(signature));
    assert_int_equal(EVP_DigestSign(md, signature, &len, (const uint8_t *)message, sizeof(message)),
                     1);
    EVP_MD_CTX_free(md);

    md = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit_ex(md, &ctx, digest, NULL, NULL, verifying, NULL), 1);
    if (padding == PADDING_PSS) {
        assert_true(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0);
        assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0);
    }
    assert_int_equal(
        EVP_DigestVerify(md, signature, len, (const uint8_t *)message, sizeof(message)), 1);
    signature[len / 2] ^= 1;
    assert_int_not_equal(
        EVP_DigestVerify(md, signature, len, (const uint8_t *)message, sizeof(message)), 1);
    EVP_MD_CTX_free(md);
    ERR_clear_error();
}

/* There is nothing private in it, by whatever way it is asked for. */
static void check_nothing_private(EVP_PKEY *key)
{
    uint8_t bytes[8192];
    size_t len = sizeof(bytes);
    BIGNUM *number = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    OSSL_PARAM *params = NULL;

    assert_int_not_equal(EVP_PKEY_get_raw_private_key(key, bytes, &len), 1);
    assert_int_not_equal(EVP_PKEY_get_bn_param(key, "priv", &number), 1);
    assert_int_not_equal(EVP_PKEY_get_bn_param(key, "d", &number), 1);
    assert_int_not_equal(EVP_PKEY_get_octet_string_param(key, "priv", bytes, sizeof(bytes), &len),
                         1);
    if (!EVP_PKEY_is_a(key, "EC")) /* whose "seed" is its curve's */
        assert_int_not_equal(
            EVP_PKEY_get_octet_string_param(key, "seed", bytes, sizeof(bytes), &len), 1);
    assert_int_not_equal(EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params), 1);
    assert_int_not_equal(PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    OSSL_PARAM_free(params);
    BIO_free(out);
    ERR_clear_error();
}

static void every_algorithm_signs(void **state)
{
    struct stage *s = *state;

    for (int a = 0; a < CERT_KEY_COUNT; a++) {
        EVP_PKEY *key;
        EVP_PKEY *own;
        const EVP_MD *md;

        pki_issue(s->pki, "own",
                  (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                              .algorithm = (enum cert_key_algorithm)a,
                                              .common_name = "dest",
                                              .dns_names = "localhost"});
        own = real(s, KEY);
        key = load(s, KEY);
        assert_int_equal(EVP_PKEY_eq(own, key), 1);
        assert_int_equal(EVP_PKEY_eq(key, own), 1);
        assert_int_equal(EVP_PKEY_get_bits(key), EVP_PKEY_get_bits(own));
        md = cert_key_digest(own);
        check_signature(key, own, md != NULL ? EVP_MD_get0_name(md) : NULL, PADDING_OWN);
        check_nothing_private(key);
        EVP_PKEY_free(key);
        EVP_PKEY_free(own);
    }
}

static void rsa_signs(void **state)
{
    static const char *const kinds[] = {"RSA", "RSA-PSS"};
    struct stage *s = *state;

    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kinds[i], NULL);
        struct file_bytes pem;
        EVP_PKEY *own = NULL;
        EVP_PKEY *key;

        assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
        assert_int_equal(EVP_PKEY_generate(ctx, &own), 1);
        EVP_PKEY_CTX_free(ctx);
        assert_int_equal(pem_encode_key(&pem, own), ERR_OK);
        pki_write(s->pki, KEY, pem.data, pem.len, 0600);
        file_bytes_free(&pem);
        key = load(s, KEY);
        check_signature(key, own, "SHA256", PADDING_PSS);
        check_signature(key, own, "SHA512", PADDING_PSS);
        check_nothing_private(key);
        EVP_PKEY_free(key);
        EVP_PKEY_free(own);
    }
}

/* What is wrong is said as by whoever reads the file himself. */
static void errors_come_across(void **state)
{
    struct stage *s = *state;
    struct err_detail theirs;
    struct err_detail ours;
    EVP_PKEY *key;
    const struct {
        const char *text;
        mode_t mode;
        enum err wanted;
    } files[] = {
        {"-----BEGIN PRIVATE KEY-----\nnonsense\n", 0600, ERR_CERT_FORMAT},
        {"", 0600, ERR_CERT_FORMAT},
        {"-----BEGIN PRIVATE KEY-----\nnonsense\n", 0644, ERR_KEY_MODE},
        {"x", 0644, ERR_CERT_FORMAT},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        const struct pki_path path = pki_path(s->pki, KEY);

        pki_write(s->pki, KEY, files[i].text, strlen(files[i].text), files[i].mode);
        assert_int_equal(signer_load(s->signer, &key, path.text, "server key", FILE_SECRET, &ours),
                         files[i].wanted);
        assert_null(key);
        assert_int_equal(pem_read_key(&key, path.text, "server key", FILE_SECRET, &theirs),
                         files[i].wanted);
        assert_string_equal(ours.text, theirs.text);
    }
    assert_int_equal(unlink(pki_path(s->pki, KEY).text), 0);
    assert_int_equal(
        signer_load(s->signer, &key, pki_path(s->pki, KEY).text, "key", FILE_SECRET, &ours),
        ERR_NOT_FOUND);
    assert_int_equal(signer_load(s->signer, &key, "/etc/passwd", "key", FILE_PUBLIC, &ours),
                     ERR_CLOSED); /* only key files: it ends with who asks for others */
    (void)wait_for_signer(s);
}

/* Keys that are freed here are forgotten there; and there is an end to their number. */
static void keys_are_forgotten(void **state)
{
    struct stage *s = *state;
    EVP_PKEY *keys[SIGNER_KEYS_MAX];
    struct err_detail d;
    EVP_PKEY *one_more;

    pki_issue(s->pki, "own",
              (struct cert_issue_request){
                  .kind = CERT_ISSUE_CLIENT, .algorithm = CERT_KEY_ED25519, .common_name = "a"});
    for (int i = 0; i < 3 * SIGNER_KEYS_MAX; i++)
        EVP_PKEY_free(load(s, KEY));
    for (int i = 0; i < SIGNER_KEYS_MAX; i++)
        keys[i] = load(s, KEY);
    assert_int_equal(
        signer_load(s->signer, &one_more, pki_path(s->pki, KEY).text, "key", FILE_SECRET, &d),
        ERR_LIMIT);
    assert_null(one_more);
    for (int i = 0; i < SIGNER_KEYS_MAX; i++)
        EVP_PKEY_free(keys[i]);
    EVP_PKEY_free(load(s, KEY));
}

static void wait_for_answers(const struct stage *s, time_t seconds, suseconds_t us)
{
    const struct timeval patience = {.tv_sec = seconds, .tv_usec = us};

    assert_int_equal(setsockopt(s->raw, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
}

/* A signer that was slow does not keep what nobody has waited for. */
static void keys_that_come_late_are_forgotten(void **state)
{
    struct stage *s = *state;
    struct err_detail d;
    EVP_PKEY *key;
    int status;

    pki_issue(s->pki, "own",
              (struct cert_issue_request){
                  .kind = CERT_ISSUE_CLIENT, .algorithm = CERT_KEY_ED25519, .common_name = "a"});
    assert_int_equal(kill(s->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(s->pid, &status, WUNTRACED), s->pid);
    wait_for_answers(s, 0, 1000);
    for (int i = 0; i < SIGNER_KEYS_MAX; i++)
        assert_int_equal(
            signer_load(s->signer, &key, pki_path(s->pki, KEY).text, "key", FILE_SECRET, &d),
            ERR_TIMEOUT);
    assert_int_equal(kill(s->pid, SIGCONT), 0);
    wait_for_answers(s, SIGNER_PATIENCE_SECS, 0);
    /* This one's turn comes before those others are forgotten. */
    assert_int_equal(
        signer_load(s->signer, &key, pki_path(s->pki, KEY).text, "key", FILE_SECRET, &d),
        ERR_LIMIT);
    EVP_PKEY_free(load(s, KEY));
}

static bool signs(EVP_PKEY *key)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t signature[128];
    size_t len = sizeof(signature);
    bool done = EVP_DigestSignInit_ex(md, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
                EVP_DigestSign(md, signature, &len, (const uint8_t *)message, sizeof(message)) == 1;

    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return done;
}

static void a_dead_signer_is_an_error(void **state)
{
    struct stage *s = *state;
    struct err_detail d;
    EVP_PKEY *key;
    EVP_PKEY *other;

    pki_issue(s->pki, "own",
              (struct cert_issue_request){
                  .kind = CERT_ISSUE_CLIENT, .algorithm = CERT_KEY_ED25519, .common_name = "b"});
    key = load(s, KEY);
    assert_true(signs(key));
    assert_int_equal(kill(s->pid, SIGKILL), 0);
    (void)wait_for_signer(s);
    assert_false(signs(key));
    assert_int_equal(
        signer_load(s->signer, &other, pki_path(s->pki, KEY).text, "key", FILE_SECRET, &d),
        ERR_CLOSED);
    assert_null(other);
    assert_non_null(strstr(d.text, "does not answer"));
    EVP_PKEY_free(key);
}

/* Whoever has taken over the other process may send what he likes. */
static void nonsense_ends_it(void **state)
{
    struct stage *s = *state;
    uint8_t junk[6000];

    for (size_t i = 0; i < sizeof(junk); i++)
        junk[i] = (uint8_t)(i * 7 + 3);
    assert_int_equal(send(s->raw, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
    assert_int_equal(wait_for_signer(s), 0);
}

static void unknown_numbers_sign_nothing(void **state)
{
    static const struct signer_scheme scheme = {.digest = "SHA256"};
    struct stage *s = *state;
    uint8_t signature[256];
    size_t len = sizeof(signature);

    assert_int_equal(signer_sign(s->signer, 0, &scheme, message, sizeof(message), signature, &len),
                     ERR_CRYPTO);
    assert_int_equal(signer_sign(s->signer, 77, &scheme, message, sizeof(message), signature, &len),
                     ERR_CRYPTO);
    assert_int_equal(
        signer_sign(s->signer, 77, &scheme, message, SIGNER_QUESTION_MAX + 1, signature, &len),
        ERR_TOO_LARGE);
    signer_drop(s->signer, 77);
}

static enum err sign(const struct stage *s, uint32_t key, const struct signer_scheme *scheme,
                     const void *data, size_t len)
{
    uint8_t signature[SIGNER_ANSWER_MAX];
    size_t room = sizeof(signature);

    return signer_sign(s->signer, key, scheme, data, len, signature, &room);
}

/* A handshake of this role, and nothing else: no certificate, no handshake of the other. */
static void only_handshakes_are_signed(void **state)
{
    static const struct signer_scheme own = {.digest = ""};
    struct stage *s = *state;
    char other[sizeof(message) + 1];
    EVP_PKEY *key;

    pki_issue(s->pki, "own",
              (struct cert_issue_request){.kind = CERT_ISSUE_CA,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "a CA's key in the wrong place"});
    key = load(s, KEY);
    assert_int_equal(sign(s, 1, &own, message, sizeof(message)), ERR_OK);
    assert_int_equal(sign(s, 1, &own, "any TBSCertificate", 18), ERR_NOT_ALLOWED);
    assert_int_equal(sign(s, 1, &own, "", 0), ERR_NOT_ALLOWED);
    /* Each byte before the hash counts, and the hash's length. */
    for (size_t i = 0; i < 64 + 34; i++) {
        memcpy(other, message, sizeof(message));
        other[i] ^= 1;
        assert_int_equal(sign(s, 1, &own, other, sizeof(message)), ERR_NOT_ALLOWED);
    }
    memcpy(other, message, sizeof(message));
    other[sizeof(message)] = 0;
    assert_int_equal(sign(s, 1, &own, other, sizeof(message) - 1), ERR_NOT_ALLOWED);
    assert_int_equal(sign(s, 1, &own, other, sizeof(message) + 1), ERR_NOT_ALLOWED);
    memcpy(other + 64, "TLS 1.3, client CertificateVerify", 34);
    assert_int_equal(sign(s, 1, &own, other, sizeof(message)), ERR_NOT_ALLOWED);
    assert_int_equal(sign(s, 1, &own, message, sizeof(message)), ERR_OK);
    EVP_PKEY_free(key);
}

/* Weak hashes would let a signature stand for something else. */
static void only_schemes_of_tls_are_used(void **state)
{
    static const struct {
        const char *algorithm;
        struct signer_scheme scheme;
        enum err wanted;
    } rows[] = {
        {"RSA", {.digest = "SHA256", .padding = RSA_PKCS1_PSS_PADDING, .salt_len = -1}, ERR_OK},
        {"RSA", {.digest = "SHA256", .padding = RSA_PKCS1_PADDING}, ERR_NOT_ALLOWED},
        {"RSA", {.digest = "SHA256", .padding = RSA_NO_PADDING}, ERR_NOT_ALLOWED},
        {"RSA", {.digest = "SHA256"}, ERR_NOT_ALLOWED},
        {"RSA", {.digest = "", .padding = RSA_PKCS1_PSS_PADDING}, ERR_NOT_ALLOWED},
        {"RSA", {.digest = "SHA1", .padding = RSA_PKCS1_PSS_PADDING}, ERR_NOT_ALLOWED},
        {"EC", {.digest = "SHA256"}, ERR_OK},
        {"EC", {.digest = "MD5"}, ERR_NOT_ALLOWED},
        {"EC", {.digest = ""}, ERR_NOT_ALLOWED},
        {"EC", {.digest = "no such hash"}, ERR_NOT_ALLOWED},
    };
    struct stage *s = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct file_bytes pem;
        EVP_PKEY *own =
            strcmp(rows[i].algorithm, "EC") == 0 ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048);
        EVP_PKEY *key;
        enum err e;

        assert_int_equal(pem_encode_key(&pem, own), ERR_OK);
        pki_write(s->pki, KEY, pem.data, pem.len, 0600);
        file_bytes_free(&pem);
        key = load(s, KEY);
        e = sign(s, (uint32_t)i + 1, &rows[i].scheme, message, sizeof(message));
        if (e != rows[i].wanted)
            fail_msg("row %zu: %s", i, err_name(e));
        EVP_PKEY_free(key);
        EVP_PKEY_free(own);
    }
    ERR_clear_error();
}

/* Not even a CA's key that lies beside it. */
static void only_the_key_that_was_named_is_read(void **state)
{
    struct stage *s = *state;
    struct err_detail d = {""};
    EVP_PKEY *key;
    char around[200];

    pki_issue(s->pki, "own",
              (struct cert_issue_request){
                  .kind = CERT_ISSUE_SERVER, .algorithm = CERT_KEY_ED25519, .common_name = "own"});
    snprintf(around, sizeof(around), "%s/./%s", s->pki->dir, KEY);
    for (int i = 0; i < 2; i++) {
        const struct pki_path ca = pki_path(s->pki, "ca.key");

        assert_int_equal(
            signer_load(s->signer, &key, i == 0 ? ca.text : around, "key", FILE_SECRET, &d),
            ERR_NOT_ALLOWED);
        assert_null(key);
        assert_non_null(strstr(d.text, "restart utun"));
    }
    /* One that takes its place is read. */
    EVP_PKEY_free(load(s, KEY));
    pki_issue(s->pki, "own",
              (struct cert_issue_request){
                  .kind = CERT_ISSUE_SERVER, .algorithm = CERT_KEY_ED25519, .common_name = "own"});
    EVP_PKEY_free(load(s, KEY));
}

/* An identity takes its key from wherever keys are. */
static void private_keys_come_from_the_signer(void **state)
{
    struct stage *s = *state;
    EVP_PKEY *key;
    uint8_t bytes[64];
    size_t len = sizeof(bytes);

    pki_issue(s->pki, "own",
              (struct cert_issue_request){
                  .kind = CERT_ISSUE_CLIENT, .algorithm = CERT_KEY_ED25519, .common_name = "c"});
    const struct pki_path path = pki_path(s->pki, KEY);
    private_key_use(s->signer);
    assert_int_equal(private_key_read(&key, path.text, "key", FILE_SECRET, NULL), ERR_OK);
    assert_int_not_equal(EVP_PKEY_get_raw_private_key(key, bytes, &len), 1);
    EVP_PKEY_free(key);
    private_key_use(NULL);
    assert_int_equal(private_key_read(&key, path.text, "key", FILE_SECRET, NULL), ERR_OK);
    len = sizeof(bytes);
    assert_int_equal(EVP_PKEY_get_raw_private_key(key, bytes, &len), 1);
    EVP_PKEY_free(key);
    ERR_clear_error();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_algorithm_signs, setup, teardown),
        cmocka_unit_test_setup_teardown(rsa_signs, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_come_across, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_that_come_late_are_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_signer_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_numbers_sign_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(only_handshakes_are_signed, setup, teardown),
        cmocka_unit_test_setup_teardown(only_schemes_of_tls_are_used, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_key_that_was_named_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(private_keys_come_from_the_signer, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
