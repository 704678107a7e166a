/* Handshakes that succeed, and those that two honest peers refuse each other. */
#include "handshake_peers.h"

static const enum kem_mode modes[] = {KEM_HYBRID, KEM_MLKEM768, KEM_MCELIECE460896};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static int setup(void **state)
{
    if (pki_setup(state) != 0)
        return -1;
    pki_issue_pair(*state);
    return 0;
}

/* Completes it, compares both results and hands them over. */
static void complete(struct handshake *source, struct handshake *dest, size_t chunk,
                     struct handshake_result **s, struct handshake_result **d)
{
    converse(source, dest, chunk);
    if (handshake_status(source) != HANDSHAKE_DONE || handshake_status(dest) != HANDSHAKE_DONE)
        fail_msg("source: %s; dest: %s", handshake_error_text(source), handshake_error_text(dest));
    *s = take(source);
    *d = take(dest);
    assert_true(same_keys(*s, *d));
    assert_memory_equal((*s)->tunnel_secret, (*d)->tunnel_secret, TUNNEL_SECRET_SIZE);
    assert_memory_equal((*s)->tunnel_id, (*d)->tunnel_id, TUNNEL_ID_SIZE);
    assert_int_equal((*s)->is_resumed, (*d)->is_resumed);
    assert_int_equal((*s)->bytes_in, (*d)->bytes_out);
    assert_int_equal((*d)->bytes_in, (*s)->bytes_out);
    assert_string_equal((*s)->group, (*d)->group);
    pki_assert_no_openssl_error();
    assert_int_equal(handshake_deadline_ms(source), UINT64_MAX);
    assert_int_equal(handshake_deadline_ms(dest), UINT64_MAX);
    handshake_free(source);
    handshake_free(dest);
}

static void free_results(struct handshake_result *a, struct handshake_result *b)
{
    handshake_result_free(a);
    handshake_result_free(b);
}

static void every_mode_completes(void **state)
{
    static const char *groups[] = {"X25519MLKEM768", "X25519MLKEM768", "X25519"};
    for (size_t i = 0; i < MODES; i++) {
        struct handshake_result *s = NULL, *d = NULL;
        struct peer_setup setup_of = {.mode = modes[i]};
        complete(source_new(*state, setup_of), dest_new(*state, setup_of), 65536, &s, &d);
        assert_int_equal(s->kem_mode, modes[i]);
        assert_int_equal(strcasecmp(s->group, groups[i]), 0);
        assert_string_equal(s->peer.common_name, "dest");
        assert_string_equal(d->peer.common_name, "edge-1");
        assert_string_equal(s->peer_signature, "ed25519");
        assert_string_equal(d->peer_signature, "ed25519");
        assert_false(s->is_resumed);
        assert_null(s->leftover);
        assert_null(d->leftover);
        free_results(s, d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_completes),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
