/* Holds the key schedule, and the records under its keys, to the vectors of docs/PROTOCOL.md. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/key_schedule.h"
#include "crypto/mceliece.h"
#include "crypto/record.h"

#define DOCUMENT DOCS_FOLDER "/PROTOCOL.md"

#define VALUE_MAX 512

struct vector {
    char name[32];
    uint8_t value[VALUE_MAX];
    size_t len;
};

struct block {
    struct vector vectors[96];
    size_t n;
};

static struct block blocks[3]; /* one for each kem_mode */

static void append_hex(struct vector *v, const char *hex)
{
    for (; strchr(" \n", hex[0]) == NULL; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        char *end = NULL;
        assert_true(v->len < VALUE_MAX);
        v->value[v->len++] = (uint8_t)strtoul(pair, &end, 16);
        assert_ptr_equal(end, pair + 2);
    }
}

static int read_document(void **state)
{
    (void)state;
    FILE *f = fopen(DOCUMENT, "r");
    assert_non_null(f);
    char line[256];
    int which = -1;
    while (fgets(line, sizeof(line), f) != NULL) {
        int number = 0;
        if (sscanf(line, "### 13.%d ", &number) == 1) {
            assert_in_range(number, 1, 3);
            which = number - 1;
            continue;
        }
        if (which < 0)
            continue;
        struct block *b = &blocks[which];
        char *is = strstr(line, " =");
        if (is != NULL) {
            assert_true(b->n < sizeof(b->vectors) / sizeof(b->vectors[0]));
            struct vector *v = &b->vectors[b->n++];
            assert_true((size_t)(is - line) < sizeof(v->name));
            memcpy(v->name, line, (size_t)(is - line));
            append_hex(v, is[2] == ' ' ? is + 3 : "\n");
        } else if (strncmp(line, "  ", 2) == 0) {
            assert_true(b->n > 0);
            append_hex(&b->vectors[b->n - 1], line + 2);
        }
    }
    fclose(f);
    return 0;
}

static const struct vector *get(const struct block *b, const char *name)
{
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->vectors[i].name, name) == 0)
            return &b->vectors[i];
    fail_msg("%s has no vector %s", DOCUMENT, name);
    return NULL;
}

static struct kdf_bytes bytes(const struct block *b, const char *name)
{
    const struct vector *v = get(b, name);
    return (struct kdf_bytes){v->value, v->len};
}

static void is(const struct block *b, const char *name, const uint8_t *got, size_t len)
{
    const struct vector *v = get(b, name);
    assert_int_equal(v->len, len);
    for (size_t i = 0; i < len; i++)
        if (v->value[i] != got[i])
            fail_msg("%s differs at byte %zu", name, i);
}

static void transcript_matches(const struct block *b)
{
    struct kdf_bytes offer = bytes(b, "offer"), answer = bytes(b, "answer");
    size_t kem_size = bytes(b, "kem_mode").data[0] == KEM_MLKEM768 ? 0 : MCELIECE_PUBLIC_KEY_SIZE;
    size_t len = 0;
    uint8_t *all = malloc(offer.len + 4 + kem_size + answer.len), hash[KDF_SIZE];
    memcpy(all, offer.data, offer.len);
    len += offer.len;
    if (kem_size > 0) {
        memcpy(all + len, "\x02\x07\xff\x80", 4); /* KEM_KEY, 524,160 bytes */
        len += 4;
        for (size_t i = 0; i < kem_size; i++)
            all[len++] = (uint8_t)(7 * i + i / 256);
    }
    struct kdf_bytes kem_key = {all + offer.len, len - offer.len};
    assert_int_equal(kdf_hash(hash, kem_key), ERR_OK);
    is(b, "kem_key_hash", hash, sizeof(hash));
    memcpy(all + len, answer.data, answer.len);
    len += answer.len;
    assert_int_equal(kdf_hash(hash, (struct kdf_bytes){all, len}), ERR_OK);
    is(b, "transcript_hash", hash, sizeof(hash));
    free(all);
}

static struct session_keys *derive_root(const struct block *b)
{
    struct key_context in = {
        .kem_mode = bytes(b, "kem_mode").data[0],
        .source_cert = bytes(b, "source_cert"),
        .dest_cert = bytes(b, "dest_cert"),
    };
    memcpy(in.transcript_hash, bytes(b, "transcript_hash").data, KDF_SIZE);
    uint8_t context[KDF_SIZE], root[KDF_SIZE];
    assert_int_equal(key_schedule_context(context, &in), ERR_OK);
    is(b, "context", context, sizeof(context));
    assert_int_equal(
        key_schedule_root(root, context, bytes(b, "tls_secret").data, bytes(b, "kem_secret")),
        ERR_OK);
    is(b, "root", root, sizeof(root));

    struct session_keys *keys = NULL;
    assert_int_equal(session_keys_new(&keys, KEM_MLKEM768, root, context), ERR_OK);
    return keys;
}

static void record_matches(const struct block *b, const char *side, const struct traffic_keys *k,
                           unsigned epoch, unsigned last)
{
    struct kdf_bytes plain = bytes(b, "plaintext");
    struct record_sealer *s = NULL;
    assert_int_equal(record_sealer_new(&s, k, (uint8_t)epoch), ERR_OK);
    for (unsigned counter = 0; counter <= last; counter++) {
        char name[32];
        uint8_t copy[64], out[128];
        size_t n = 0;
        memcpy(copy, plain.data, plain.len);
        struct iovec part = {copy, plain.len};
        assert_int_equal(record_seal(s, &part, 1, out, sizeof(out), &n), ERR_OK);
        snprintf(name, sizeof(name), "record[%s,%u,%u]", side, epoch, counter);
        is(b, name, out, n);
    }
    record_sealer_free(s);
}

static void traffic_matches(const struct block *b, struct session_keys *keys,
                            enum key_direction direction)
{
    const char *side = direction == KEY_FROM_SOURCE ? "source" : "dest";
    for (unsigned epoch = 0; epoch < 3; epoch++) {
        char name[32];
        struct traffic_keys k;
        assert_int_equal(session_keys_epoch(keys, direction), epoch);
        assert_int_equal(session_keys_traffic(keys, direction, &k), ERR_OK);
        snprintf(name, sizeof(name), "key[%s,%u]", side, epoch);
        is(b, name, k.key, sizeof(k.key));
        snprintf(name, sizeof(name), "prefix[%s,%u]", side, epoch);
        is(b, name, k.prefix, sizeof(k.prefix));
        if (epoch == 0)
            record_matches(b, side, &k, epoch, direction == KEY_FROM_SOURCE ? 1 : 0);
        if (epoch == 1 && direction == KEY_FROM_DEST)
            record_matches(b, side, &k, epoch, 0);
        assert_int_equal(session_keys_ratchet(keys, direction), ERR_OK);
    }
}

static struct key_exchange exchange_of(const struct block *b, unsigned generation)
{
    struct key_exchange exchange;
    char name[32];
    snprintf(name, sizeof(name), "exchange_secret[%u]", generation);
    exchange.secret = bytes(b, name);
    snprintf(name, sizeof(name), "offer_hash[%u]", generation);
    memcpy(exchange.offer_hash, bytes(b, name).data, KDF_SIZE);
    snprintf(name, sizeof(name), "answer_hash[%u]", generation);
    memcpy(exchange.answer_hash, bytes(b, name).data, KDF_SIZE);
    return exchange;
}

/* The ratchets of traffic_matches have brought both directions into epoch 3 of generation 0. */
static void generations_match(const struct block *b, struct session_keys *keys)
{
    for (unsigned generation = 1; generation <= 2; generation++) {
        struct key_exchange exchange = exchange_of(b, generation);
        assert_int_equal(session_keys_rotate(keys, &exchange), ERR_OK);
        for (enum key_direction d = KEY_FROM_SOURCE; d <= KEY_FROM_DEST; d++) {
            const char *side = d == KEY_FROM_SOURCE ? "source" : "dest";
            char name[32];
            struct traffic_keys k;
            assert_int_equal(session_keys_generation(keys, d), generation - 1);
            assert_int_equal(session_keys_switch(keys, d), ERR_OK);
            assert_int_equal(session_keys_generation(keys, d), generation);
            assert_int_equal(session_keys_traffic(keys, d, &k), ERR_OK);
            snprintf(name, sizeof(name), "key[%s,%u]", side, 2 + generation);
            is(b, name, k.key, sizeof(k.key));
            snprintf(name, sizeof(name), "prefix[%s,%u]", side, 2 + generation);
            is(b, name, k.prefix, sizeof(k.prefix));
        }
    }
}

static void proofs_match(const struct block *b, const struct session_keys *keys)
{
    uint8_t proof[KDF_SIZE];
    const uint8_t *secret = session_keys_tunnel_secret(keys);
    const uint8_t *id = bytes(b, "tunnel_id").data, *binder = bytes(b, "binder").data;
    is(b, "tunnel_secret", secret, TUNNEL_SECRET_SIZE);
    assert_int_equal(key_schedule_proof(proof, KEY_FROM_SOURCE, secret, id, binder), ERR_OK);
    is(b, "proof[source]", proof, sizeof(proof));
    assert_int_equal(key_schedule_proof(proof, KEY_FROM_DEST, secret, id, binder), ERR_OK);
    is(b, "proof[dest]", proof, sizeof(proof));
}

static void every_step_equals_the_document(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        const struct block *b = &blocks[i];
        assert_int_equal(bytes(b, "kem_mode").data[0], i + 1);
        transcript_matches(b);
        struct session_keys *keys = derive_root(b);
        proofs_match(b, keys);
        traffic_matches(b, keys, KEY_FROM_SOURCE);
        traffic_matches(b, keys, KEY_FROM_DEST);
        generations_match(b, keys);
        session_keys_free(keys);
    }
}

static void context_binds_every_input(void **state)
{
    (void)state;
    static const uint8_t a[] = "certificate a", c[] = "certificate b";
    struct key_context in = {.kem_mode = KEM_HYBRID, .source_cert = {a, 13}, .dest_cert = {c, 13}};
    uint8_t base[KDF_SIZE], other[KDF_SIZE];
    assert_int_equal(key_schedule_context(base, &in), ERR_OK);
    struct key_context changed[5] = {in, in, in, in, in};
    changed[0].kem_mode = KEM_MLKEM768;
    changed[1].source_cert = in.dest_cert;
    changed[2].dest_cert = (struct kdf_bytes){NULL, 0};
    changed[3].transcript_hash[KDF_SIZE - 1] = 1;
    changed[4].source_cert = in.dest_cert;
    changed[4].dest_cert = in.source_cert;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(key_schedule_context(other, &changed[i]), ERR_OK);
        assert_memory_not_equal(base, other, KDF_SIZE);
    }
}

static void root_needs_every_secret(void **state)
{
    (void)state;
    uint8_t context[KDF_SIZE] = {1}, tls[KDF_SIZE] = {2}, kem[32] = {3};
    uint8_t base[KDF_SIZE], other[KDF_SIZE];
    struct kdf_bytes k = {kem, sizeof(kem)}, none = {NULL, 0};
    assert_int_equal(key_schedule_root(base, context, tls, k), ERR_OK);
    assert_int_equal(key_schedule_root(other, context, tls, none), ERR_OK);
    assert_memory_not_equal(base, other, KDF_SIZE);
    kem[31] ^= 1;
    assert_int_equal(key_schedule_root(other, context, tls, k), ERR_OK);
    assert_memory_not_equal(base, other, KDF_SIZE);
    kem[31] ^= 1;
    tls[47] ^= 1;
    assert_int_equal(key_schedule_root(other, context, tls, k), ERR_OK);
    assert_memory_not_equal(base, other, KDF_SIZE);
    tls[47] ^= 1;
    context[47] ^= 1;
    assert_int_equal(key_schedule_root(other, context, tls, k), ERR_OK);
    assert_memory_not_equal(base, other, KDF_SIZE);
}

static void directions_ratchet_apart(void **state)
{
    (void)state;
    uint8_t root[KDF_SIZE] = {9}, context[KDF_SIZE] = {8};
    struct session_keys *keys = NULL;
    struct traffic_keys source, dest, again;
    assert_int_equal(session_keys_new(&keys, KEM_MLKEM768, root, context), ERR_OK);
    assert_int_equal(session_keys_traffic(keys, KEY_FROM_SOURCE, &source), ERR_OK);
    assert_int_equal(session_keys_traffic(keys, KEY_FROM_DEST, &dest), ERR_OK);
    assert_memory_not_equal(source.key, dest.key, sizeof(source.key));
    assert_memory_not_equal(source.prefix, dest.prefix, sizeof(source.prefix));
    assert_int_equal(session_keys_ratchet(keys, KEY_FROM_SOURCE), ERR_OK);
    assert_int_equal(session_keys_epoch(keys, KEY_FROM_SOURCE), 1);
    assert_int_equal(session_keys_epoch(keys, KEY_FROM_DEST), 0);
    assert_int_equal(session_keys_traffic(keys, KEY_FROM_DEST, &again), ERR_OK);
    assert_memory_equal(&again, &dest, sizeof(dest));
    session_keys_free(keys);
    session_keys_free(NULL);
}

static void generations_switch_one_direction_at_a_time(void **state)
{
    (void)state;
    static const uint8_t secret[64] = {7};
    uint8_t root[KDF_SIZE] = {9}, context[KDF_SIZE] = {8};
    struct key_exchange exchange = {.offer_hash = {1}, .answer_hash = {2}, .secret = {secret, 64}};
    struct session_keys *keys = NULL;
    struct traffic_keys before, after;
    assert_int_equal(session_keys_new(&keys, KEM_HYBRID, root, context), ERR_OK);
    assert_int_equal(session_keys_mode(keys), KEM_HYBRID);
    assert_int_equal(session_keys_switch(keys, KEY_FROM_DEST), ERR_UNEXPECTED);
    assert_int_equal(session_keys_rotate(keys, &exchange), ERR_OK);
    assert_int_equal(session_keys_rotate(keys, &exchange), ERR_UNEXPECTED);

    /* Until it switches, a direction stays as it is, and may even ratchet. */
    assert_int_equal(session_keys_traffic(keys, KEY_FROM_SOURCE, &before), ERR_OK);
    assert_int_equal(session_keys_switch(keys, KEY_FROM_DEST), ERR_OK);
    assert_int_equal(session_keys_switch(keys, KEY_FROM_DEST), ERR_UNEXPECTED);
    assert_int_equal(session_keys_rotate(keys, &exchange), ERR_UNEXPECTED);
    assert_int_equal(session_keys_traffic(keys, KEY_FROM_SOURCE, &after), ERR_OK);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(session_keys_ratchet(keys, KEY_FROM_SOURCE), ERR_OK);
    assert_int_equal(session_keys_switch(keys, KEY_FROM_SOURCE), ERR_OK);
    assert_int_equal(session_keys_epoch(keys, KEY_FROM_SOURCE), 2);
    assert_int_equal(session_keys_epoch(keys, KEY_FROM_DEST), 1);
    assert_int_equal(session_keys_generation(keys, KEY_FROM_SOURCE), 1);
    assert_int_equal(session_keys_rotate(keys, &exchange), ERR_OK);
    session_keys_free(keys);
}

static void a_generation_needs_every_input(void **state)
{
    (void)state;
    static const uint8_t secret[64] = {7}, other_secret[64] = {[63] = 1};
    const struct key_exchange base = {.secret = {secret, 64}};
    struct key_exchange changed[5] = {base, base, base, base, base};
    struct traffic_keys k[6];
    changed[1].offer_hash[KDF_SIZE - 1] = 1;
    changed[2].answer_hash[KDF_SIZE - 1] = 1;
    changed[3].secret.data = other_secret;
    changed[4].secret.len = 32;
    for (size_t i = 0; i < 6; i++) {
        uint8_t root[KDF_SIZE] = {i == 5 ? 10 : 9}, context[KDF_SIZE] = {8};
        struct session_keys *keys = NULL;
        assert_int_equal(session_keys_new(&keys, KEM_HYBRID, root, context), ERR_OK);
        assert_int_equal(session_keys_rotate(keys, &changed[i % 5]), ERR_OK);
        assert_int_equal(session_keys_switch(keys, KEY_FROM_SOURCE), ERR_OK);
        assert_int_equal(session_keys_traffic(keys, KEY_FROM_SOURCE, &k[i]), ERR_OK);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(k[i].key, k[j].key, sizeof(k[i].key));
        session_keys_free(keys);
    }
}

static void modes_have_names(void **state)
{
    (void)state;
    assert_string_equal(kem_mode_name(KEM_HYBRID), "hybrid");
    assert_string_equal(kem_mode_name(KEM_MLKEM768), "mlkem768");
    assert_string_equal(kem_mode_name(KEM_MCELIECE460896), "mceliece460896");
    assert_string_equal(kem_mode_name(0), "unknown");
    assert_string_equal(kem_mode_name(77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_equals_the_document),
        cmocka_unit_test(context_binds_every_input),
        cmocka_unit_test(root_needs_every_secret),
        cmocka_unit_test(directions_ratchet_apart),
        cmocka_unit_test(generations_switch_one_direction_at_a_time),
        cmocka_unit_test(a_generation_needs_every_input),
        cmocka_unit_test(modes_have_names),
    };
    return cmocka_run_group_tests(tests, read_document, NULL);
}
