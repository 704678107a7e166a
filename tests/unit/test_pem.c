#include "pki.h"

/* The bytes of one file after another, to be freed. */
static struct file_bytes join(const struct pki *p, const char *const *names)
{
    struct file_bytes all = {0};

    for (; *names != NULL; names++) {
        struct file_bytes b;

        assert_int_equal(file_read(&b, pki_path(p, *names).text, "x", FILE_PUBLIC, NULL), ERR_OK);
        all.data = realloc(all.data, all.len + b.len);
        assert_non_null(all.data);
        memcpy(all.data + all.len, b.data, b.len);
        all.len += b.len;
        file_bytes_free(&b);
    }
    return all;
}

static struct file_bytes text_bytes(const char *text)
{
    struct file_bytes b = {.data = (uint8_t *)strdup(text), .len = strlen(text)};

    assert_non_null(b.data);
    return b;
}

static enum err decode_certs(const struct file_bytes *b, int *count, struct err_detail *d)
{
    STACK_OF(X509) *certs = NULL;
    enum err e = pem_decode_certs(&certs, b, "test", d);

    assert_true((e == ERR_OK) == (certs != NULL));
    if (count != NULL)
        *count = sk_X509_num(certs);
    sk_X509_pop_free(certs, X509_free);
    pki_assert_no_openssl_error();
    return e;
}

static enum err decode_key(const struct file_bytes *b, struct err_detail *d)
{
    EVP_PKEY *key = NULL;
    enum err e = pem_decode_key(&key, b, "test", d);

    assert_true((e == ERR_OK) == (key != NULL));
    EVP_PKEY_free(key);
    pki_assert_no_openssl_error();
    return e;
}

static void a_bundle_keeps_its_order_and_ignores_other_blocks(void **state)
{
    struct file_bytes b =
        join(*state, (const char *const[]){"server.crt", "server.key", "client.crt", "ca.crt", 0});
    STACK_OF(X509) *certs = NULL;
    X509 *client = pki_read_cert(*state, "client.crt");

    assert_int_equal(pem_decode_certs(&certs, &b, "test", NULL), ERR_OK);
    assert_int_equal(sk_X509_num(certs), 3);
    assert_int_equal(X509_cmp(sk_X509_value(certs, 1), client), 0);
    assert_int_equal(decode_key(&b, NULL), ERR_OK);
    X509_free(client);
    sk_X509_pop_free(certs, X509_free);
    file_bytes_free(&b);
}

static void text_around_the_blocks_is_ignored(void **state)
{
    struct file_bytes b = join(*state, (const char *const[]){"note", "ca.crt", "note", 0});
    int count = 0;

    assert_int_equal(decode_certs(&b, &count, NULL), ERR_OK);
    assert_int_equal(count, 1);
    file_bytes_free(&b);
}

static void a_cut_pem_is_never_accepted(void **state)
{
    struct file_bytes b = join(*state, (const char *const[]){"ca.crt", 0});
    struct file_bytes key = join(*state, (const char *const[]){"ca.key", 0});
    size_t full = b.len;

    /* The last byte is the newline behind the END line, which may be missing. */
    for (b.len = 1; b.len < full - 1; b.len++)
        assert_int_equal(decode_certs(&b, NULL, NULL), ERR_CERT_FORMAT);
    full = key.len;
    for (key.len = 1; key.len < full - 1; key.len++)
        assert_int_equal(decode_key(&key, NULL), ERR_CERT_FORMAT);
    file_bytes_free(&b);
    file_bytes_free(&key);
}

static void a_cut_second_block_is_not_silently_dropped(void **state)
{
    struct file_bytes b = join(*state, (const char *const[]){"ca.crt", "server.crt", 0});
    struct err_detail d;

    b.len -= 40;
    assert_int_equal(decode_certs(&b, NULL, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "block 2"));
    file_bytes_free(&b);
}

static void der_is_one_whole_structure(void **state)
{
    X509 *cert = pki_read_cert(*state, "server.crt");
    struct file_bytes b = {0};
    int len = i2d_X509(cert, &b.data);
    int count = 0;

    assert_true(len > 0);
    b.len = (size_t)len;
    assert_int_equal(decode_certs(&b, &count, NULL), ERR_OK);
    assert_int_equal(count, 1);
    for (b.len = 1; b.len < (size_t)len; b.len++)
        assert_int_equal(decode_certs(&b, NULL, NULL), ERR_CERT_FORMAT);
    b.len = (size_t)len;
    b.data = realloc(b.data, b.len + 1);
    b.data[b.len++] = 0;
    assert_int_equal(decode_certs(&b, NULL, NULL), ERR_CERT_FORMAT);
    file_bytes_free(&b);
    X509_free(cert);
}

static void keys_come_in_every_usual_form(void **state)
{
    struct pki *p = *state;
    EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    EVP_PKEY *keys[] = {p->ca.key, ec, rsa};

    for (size_t i = 0; i < 3; i++) {
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(keys[i]);
        struct file_bytes b = {0};
        BIO *bio = BIO_new(BIO_s_mem());
        char *text = NULL;

        b.len = (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &b.data);
        assert_int_equal(decode_key(&b, NULL), ERR_OK);
        file_bytes_free(&b);
        assert_int_equal(pem_encode_key(&b, keys[i]), ERR_OK);
        assert_memory_equal(b.data, "-----BEGIN PRIVATE KEY-----", 27);
        assert_int_equal(decode_key(&b, NULL), ERR_OK);
        file_bytes_free(&b);
        if (keys[i] != p->ca.key) {
            assert_int_equal(
                PEM_write_bio_PrivateKey_traditional(bio, keys[i], NULL, NULL, 0, NULL, NULL), 1);
            b.len = (size_t)BIO_get_mem_data(bio, &text);
            b.data = (uint8_t *)text;
            assert_int_equal(decode_key(&b, NULL), ERR_OK);
        }
        BIO_free(bio);
        PKCS8_PRIV_KEY_INFO_free(info);
    }
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
}

static void an_encrypted_key_names_the_way_to_decrypt_it(void **state)
{
    struct pki *p = *state;
    BIO *bio = BIO_new(BIO_s_mem());
    struct file_bytes b = {0};
    struct err_detail d;
    char *text = NULL;
    EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");

    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(bio, p->ca.key, EVP_aes_256_cbc(), "secret", 6, NULL, NULL),
        1);
    b.len = (size_t)BIO_get_mem_data(bio, &text);
    b.data = (uint8_t *)text;
    assert_int_equal(decode_key(&b, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "encrypted"));
    (void)BIO_reset(bio);
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, ec, EVP_aes_256_cbc(),
                                                          (const unsigned char *)"secret", 6, NULL,
                                                          NULL),
                     1);
    b.len = (size_t)BIO_get_mem_data(bio, &text);
    b.data = (uint8_t *)text;
    assert_int_equal(decode_key(&b, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "openssl pkey"));
    BIO_free(bio);
    EVP_PKEY_free(ec);
}

static void the_wrong_kind_of_file_is_called_by_its_name(void **state)
{
    struct file_bytes key = join(*state, (const char *const[]){"ca.key", 0});
    struct file_bytes cert = join(*state, (const char *const[]){"ca.crt", 0});
    struct file_bytes text = text_bytes("just some words\n");
    struct file_bytes odd = text_bytes("-----BEGIN CERTIFICATE-----\nAAAA\n-----END "
                                       "CERTIFICATE-----\n");
    STACK_OF(X509_CRL) *crls = NULL;
    struct err_detail d;

    assert_int_equal(decode_certs(&key, NULL, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "\"PRIVATE KEY\" but no certificate"));
    assert_int_equal(decode_key(&cert, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "\"CERTIFICATE\" but no private key"));
    assert_int_equal(pem_decode_crls(&crls, &cert, "test", &d), ERR_CERT_FORMAT);
    assert_null(crls);
    assert_int_equal(decode_certs(&text, NULL, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "neither PEM nor DER"));
    assert_int_equal(decode_key(&text, &d), ERR_CERT_FORMAT);
    assert_int_equal(pem_decode_crls(&crls, &text, "test", &d), ERR_CERT_FORMAT);
    assert_int_equal(decode_certs(&odd, NULL, &d), ERR_CERT_FORMAT);
    assert_non_null(strstr(d.text, "block 1 is not a valid certificate"));
    file_bytes_free(&key);
    file_bytes_free(&cert);
    file_bytes_free(&text);
    file_bytes_free(&odd);
}

static void errors_carry_no_key_material(void **state)
{
    struct file_bytes key = join(*state, (const char *const[]){"ca.key", 0});
    struct err_detail d;
    char piece[17];

    memcpy(piece, key.data + 40, 16);
    piece[16] = 0;
    key.len -= 30;
    assert_int_equal(decode_key(&key, &d), ERR_CERT_FORMAT);
    assert_null(strstr(d.text, piece));
    file_bytes_free(&key);
}

static void a_crl_goes_to_pem_and_back(void **state)
{
    const struct pki *p = *state;
    STACK_OF(X509_CRL) *crls = NULL;
    STACK_OF(X509_CRL) *again = NULL;
    struct file_bytes pem = {0};

    pki_write_crl(p, "ca.crl", p->ca.cert, p->ca.key, p->ca.cert, (int64_t)time(NULL) + PKI_DAY);
    assert_int_equal(pem_read_crls(&crls, pki_path(p, "ca.crl").text, "CRL", NULL), ERR_OK);
    assert_int_equal(pem_encode_crl(&pem, sk_X509_CRL_value(crls, 0)), ERR_OK);
    assert_int_equal(pem_decode_crls(&again, &pem, "again", NULL), ERR_OK);
    assert_int_equal(X509_CRL_match(sk_X509_CRL_value(crls, 0), sk_X509_CRL_value(again, 0)), 0);
    pki_assert_no_openssl_error();
    file_bytes_free(&pem);
    sk_X509_CRL_pop_free(again, X509_CRL_free);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
}

static int setup(void **state)
{
    int failed = pki_setup(state);

    if (failed == 0) {
        pki_issue_pair(*state);
        pki_write(*state, "note", "the CA of the lab\n", 18, 0644);
    }
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bundle_keeps_its_order_and_ignores_other_blocks),
        cmocka_unit_test(text_around_the_blocks_is_ignored),
        cmocka_unit_test(a_cut_pem_is_never_accepted),
        cmocka_unit_test(a_cut_second_block_is_not_silently_dropped),
        cmocka_unit_test(der_is_one_whole_structure),
        cmocka_unit_test(keys_come_in_every_usual_form),
        cmocka_unit_test(an_encrypted_key_names_the_way_to_decrypt_it),
        cmocka_unit_test(the_wrong_kind_of_file_is_called_by_its_name),
        cmocka_unit_test(errors_carry_no_key_material),
        cmocka_unit_test(a_crl_goes_to_pem_and_back),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
