/*
 * States (docs/PROTOCOL.md, section 3.4):
 *
 *   source:  TLS ──S2──> ANSWER ──S3──> DONE
 *   dest:    TLS ──> OFFER ──D2, D3──> KEM_KEY (modes with McEliece) ──D4, D5──> DONE
 *
 * and from each of them to FAILED.
 */
#include "tunnel/handshake.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "crypto/secret.h"
#include "tunnel/handshake_state.h"

/* Raw bytes that TLS is given at a time: a full record, so that what it holds stays small. */
#define FEED_STEP 16384

const char *handshake_peer_word(const struct handshake *h)
{
    return h->role == IDENTITY_SOURCE ? "dest" : "source";
}

bool handshake_has_mceliece(const struct handshake *h)
{
    return h->mode != KEM_MLKEM768;
}

/* -- life -- */

static void wipe_secrets(struct handshake *h)
{
    mceliece_keypair_free(h->keypair);
    h->keypair = NULL;
    secret_free(h->secrets, sizeof(*h->secrets));
    h->secrets = NULL;
}

static void forget_incoming(struct handshake *h)
{
    free(h->in.data);
    h->in = (struct handshake_incoming){0};
}

static void run(struct handshake *h, uint64_t now_ms);

enum err handshake_new(struct handshake **out, const struct handshake_options *options,
                       uint64_t now_ms, struct err_detail *d)
{
    *out = NULL;
    enum err e = ERR_OK;
    struct handshake *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    h->role = tls_context_role(options->tls);
    h->mode = tls_context_kem_mode(options->tls);
    assert(options->on_keypair != NULL || h->role == IDENTITY_DEST || !handshake_has_mceliece(h));
    h->owner = options->owner;
    h->on_resume = options->on_resume;
    h->on_admit = options->on_admit;
    h->on_keypair = options->on_keypair;
    h->max_size = options->max_size;
    if (h->max_size == 0)
        h->max_size = handshake_has_mceliece(h) ? HANDSHAKE_SIZE_MCELIECE : HANDSHAKE_SIZE_MLKEM;
    h->last_ms = now_ms;
    memcpy(h->tunnel_id, options->tunnel_id, sizeof(h->tunnel_id));

    h->secrets = secret_new(sizeof(*h->secrets));
    if (h->secrets == NULL) {
        e = err_set(d, ERR_NOMEM, "out of memory");
        goto out;
    }
    if (h->role == IDENTITY_SOURCE && options->tunnel_secret != NULL) {
        memcpy(h->secrets->resume, options->tunnel_secret, TUNNEL_SECRET_SIZE);
        h->wants_resume = true;
    }
    e = tls_channel_new(&h->tls, options->tls, options->dest_host, d);
    if (e != ERR_OK)
        goto out;
    run(h, now_ms);
    *out = h;
    h = NULL;
out:
    handshake_free(h);
    return e;
}

void handshake_free(struct handshake *h)
{
    if (h == NULL)
        return;
    wipe_secrets(h);
    forget_incoming(h);
    tls_channel_free(h->tls);
    handshake_result_free(h->result);
    free(h->offer);
    free(h);
}

void handshake_result_free(struct handshake_result *r)
{
    if (r == NULL)
        return;
    session_keys_free(r->keys);
    secret_free(r->tunnel_secret, TUNNEL_SECRET_SIZE);
    peer_cert_free(r->peer_cert);
    free(r->leftover);
    free(r);
}

/* -- failing -- */

static enum wire_code code_of(enum err e)
{
    if (e == ERR_KEM_MODE)
        return WIRE_KEM_MODE;
    if (e == ERR_VERSION)
        return WIRE_VERSION;
    if (e == ERR_IDENTITY)
        return WIRE_IDENTITY;
    if (e == ERR_SHUTDOWN)
        return WIRE_SHUTDOWN;
    if (e == ERR_NOT_ALLOWED)
        return WIRE_NOT_ALLOWED;
    if (e == ERR_TIMEOUT)
        return WIRE_TIMEOUT;
    if (e == ERR_LIMIT || e == ERR_BUDGET || e == ERR_RATE)
        return WIRE_LIMIT;
    return err_class(e) == ERR_CLASS_SYSTEM || err_class(e) == ERR_CLASS_INTERNAL ? WIRE_INTERNAL
                                                                                  : WIRE_PROTOCOL;
}

static void send_abort(struct handshake *h, enum err e)
{
    uint8_t message[HANDSHAKE_ABORT_SIZE];
    const char *text = h->refusal != NULL ? h->refusal : err_text(e);
    struct handshake_abort m = {
        .code = (uint16_t)code_of(e),
        .kem_mode = (uint8_t)h->mode,
        .retry_after_ms = h->retry_after_ms,
        .text = (const uint8_t *)text,
        .text_len = strlen(text),
    };
    size_t n = handshake_abort_encode(message, &m);
    /* Where this fails too, the peer just sees us close. */
    if (tls_channel_write(h->tls, message, n) != ERR_OK)
        return;
}

static void fail_silently(struct handshake *h, enum err e)
{
    assert(e != ERR_OK && h->state != HANDSHAKE_STATE_FAILED);
    h->state = HANDSHAKE_STATE_FAILED;
    h->error = e;
    wipe_secrets(h);
    forget_incoming(h);
    handshake_result_free(h->result);
    h->result = NULL;
    /* A peer may take its time to hear why: what it has shown is not kept for that long. */
    tls_channel_end(h->tls);
}

/* For everything that the peer has neither told us itself nor learnt from TLS's alert. */
static void fail(struct handshake *h, enum err e)
{
    if (h->detail.text[0] == '\0')
        err_set(&h->detail, e, "the handshake failed: %s", err_text(e));
    if (h->is_tls_up)
        send_abort(h, e);
    fail_silently(h, e);
}

/* -- TLS -- */

static enum err make_result(struct handshake *h)
{
    struct handshake_result *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    const X509 *peer = tls_channel_peer_cert(h->tls);
    if (peer != NULL && h->role == IDENTITY_DEST &&
        peer_identity_of(r->peer_identity, peer, tls_channel_peer_issuer(h->tls)) != ERR_OK) {
        free(r);
        return ERR_NOMEM;
    }
    if (peer != NULL) {
        r->has_peer = true;
        identity_of_cert(&r->peer, peer);
        snprintf(r->peer_signature, sizeof(r->peer_signature), "%s",
                 tls_channel_peer_signature(h->tls));
    }
    enum err e = tls_channel_keep_peer(h->tls, &r->peer_cert);
    if (e != ERR_OK) {
        free(r);
        return e;
    }
    r->kem_mode = h->mode;
    snprintf(r->group, sizeof(r->group), "%s", tls_channel_group(h->tls));
    h->result = r;
    return ERR_OK;
}

bool handshake_is_group_right(const struct handshake *h)
{
    return OPENSSL_strcasecmp(h->result->group, tls_context_group(h->mode)) == 0;
}

/* Returns whether to go on at once. */
static bool run_tls(struct handshake *h, uint64_t now_ms)
{
    bool is_done = false;
    enum err e = tls_channel_handshake(h->tls, &is_done, &h->detail);
    if (e == ERR_OK && tls_channel_consumed(h->tls) > HANDSHAKE_TLS_MAX)
        e = err_set(&h->detail, ERR_TOO_LARGE, "the %s's TLS handshake is beyond %zu bytes",
                    handshake_peer_word(h), HANDSHAKE_TLS_MAX);
    if (e != ERR_OK) {
        fail_silently(h, e); /* TLS has put its alert into the output */
        return false;
    }
    if (!is_done)
        return false;

    h->is_tls_up = true;
    h->last_ms = now_ms;
    e = make_result(h);
    if (e == ERR_OK && h->role == IDENTITY_SOURCE)
        e = handshake_send_offer(h);
    if (e != ERR_OK) {
        fail(h, e);
        return false;
    }
    h->state = h->role == IDENTITY_SOURCE ? HANDSHAKE_STATE_ANSWER : HANDSHAKE_STATE_OFFER;
    return true;
}

/* -- both sides -- */

/* The peer's text goes into our log: only printable ASCII of it. */
static void sanitize(char *out, size_t size, const uint8_t *text, size_t len)
{
    size_t n = 0;
    for (; n < len && n + 1 < size; n++)
        out[n] = (char)(text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?');
    out[n] = '\0';
}

static enum err error_of(uint16_t code)
{
    switch (code) {
    case WIRE_KEM_MODE:
        return ERR_KEM_MODE;
    case WIRE_VERSION:
        return ERR_VERSION;
    case WIRE_IDENTITY:
        return ERR_IDENTITY;
    case WIRE_SHUTDOWN:
        return ERR_SHUTDOWN;
    case WIRE_LIMIT:
        return ERR_LIMIT;
    case WIRE_NOT_ALLOWED:
        return ERR_NOT_ALLOWED;
    case WIRE_TIMEOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_REFUSED;
    }
}

static void on_abort(struct handshake *h)
{
    struct handshake_abort m;
    char text[HANDSHAKE_TEXT_MAX + 1];
    struct kdf_bytes body = handshake_body(h);
    if (handshake_abort_decode(&m, body.data, body.len) != ERR_OK) {
        fail(h, err_set(&h->detail, ERR_MALFORMED, "the %s's ABORT is malformed",
                        handshake_peer_word(h)));
        return;
    }
    sanitize(text, sizeof(text), m.text, m.text_len);
    h->retry_after_ms = m.retry_after_ms;
    enum err e = error_of(m.code);
    if (e == ERR_KEM_MODE)
        err_set(&h->detail, e,
                "kem_mode: this %s is set to \"%s\", the %s to \"%s\"; set both alike",
                h->role == IDENTITY_SOURCE ? "source" : "dest", kem_mode_name(h->mode),
                handshake_peer_word(h), kem_mode_name(m.kem_mode));
    else
        err_set(&h->detail, e, "the %s ended the handshake: %s (code %u)", handshake_peer_word(h),
                text, m.code);
    fail_silently(h, e);
}

static void finish(struct handshake *h)
{
    struct handshake_result *r = h->result;
    memcpy(r->tunnel_id, h->tunnel_id, TUNNEL_ID_SIZE);
    r->is_resumed = h->is_resumed;
    r->bytes_in = tls_channel_consumed(h->tls);
    wipe_secrets(h);
    h->state = HANDSHAKE_STATE_DONE;
}

/* Acts on the message in h->in; returns whether to go on at once. */
static bool act(struct handshake *h, uint64_t now_ms)
{
    enum err e = ERR_INTERNAL;
    bool is_last = h->state != HANDSHAKE_STATE_OFFER || !handshake_has_mceliece(h);
    h->last_ms = now_ms;
    if (h->in.header[0] == HANDSHAKE_ABORT) {
        on_abort(h);
        return false;
    }
    if (h->state == HANDSHAKE_STATE_OFFER)
        e = handshake_on_offer(h);
    else if (h->state == HANDSHAKE_STATE_KEM_KEY)
        e = handshake_on_kem_key(h);
    else if (h->state == HANDSHAKE_STATE_ANSWER)
        e = handshake_on_answer(h);
    if (e != ERR_OK) {
        fail(h, e);
        return false;
    }
    forget_incoming(h);
    if (is_last)
        finish(h);
    return !is_last;
}

static void run(struct handshake *h, uint64_t now_ms)
{
    bool goes_on = handshake_status(h) == HANDSHAKE_IN_PROGRESS;
    while (goes_on) {
        if (h->state == HANDSHAKE_STATE_TLS) {
            goes_on = run_tls(h, now_ms);
            continue;
        }
        enum err e = ERR_OK;
        switch (handshake_receive(h, &e)) {
        case HANDSHAKE_RECEIPT_NEEDS_MORE:
            goes_on = false;
            break;
        case HANDSHAKE_RECEIPT_WHOLE:
            goes_on = act(h, now_ms);
            break;
        case HANDSHAKE_RECEIPT_BROKEN_TLS:
            fail_silently(h, e);
            goes_on = false;
            break;
        case HANDSHAKE_RECEIPT_BAD_MESSAGE:
            fail(h, e);
            goes_on = false;
            break;
        }
    }
}

enum err handshake_feed(struct handshake *h, const uint8_t *data, size_t len, uint64_t now_ms)
{
    while (len > 0 && h->state != HANDSHAKE_STATE_FAILED) {
        size_t n = len;
        if (h->state != HANDSHAKE_STATE_DONE && n > FEED_STEP)
            n = FEED_STEP;
        enum err e = tls_channel_put(h->tls, data, n);
        if (e != ERR_OK) {
            fail(h, e);
            break;
        }
        data += n;
        len -= n;
        run(h, now_ms);
    }
    return h->error;
}

enum err handshake_feed_end(struct handshake *h, uint64_t now_ms)
{
    (void)now_ms;
    if (handshake_status(h) != HANDSHAKE_IN_PROGRESS)
        return h->error;
    if (h->only_abort)
        err_set(&h->detail, ERR_CLOSED,
                "the dest closed the connection; it agreed on TLS group %s, so its kem_mode is not "
                "this source's \"%s\"",
                h->result->group, kem_mode_name(h->mode));
    else
        err_set(&h->detail, ERR_CLOSED,
                "the %s closed the connection in the middle of the handshake (%s was awaited)",
                handshake_peer_word(h), handshake_awaited(h));
    fail_silently(h, ERR_CLOSED);
    return h->error;
}

void handshake_drain(const struct handshake *h, const uint8_t **data, size_t *len)
{
    tls_channel_output(h->tls, data, len);
}

static bool has_output(const struct handshake *h)
{
    const uint8_t *data = NULL;
    size_t len = 0;
    handshake_drain(h, &data, &len);
    return len > 0;
}

void handshake_drained(struct handshake *h, size_t n, uint64_t now_ms)
{
    tls_channel_sent(h->tls, n);
    h->bytes_out += n;
    if (n > 0 && !has_output(h) && h->state != HANDSHAKE_STATE_FAILED)
        h->last_ms = now_ms; /* our message is gone: now it is the peer's turn */
}

/* A dest is short with those of whom it knows nothing. */
static uint64_t patience_ms(const struct handshake *h)
{
    return h->role == IDENTITY_DEST && !h->is_tls_up ? HANDSHAKE_STRANGER_MS : HANDSHAKE_MESSAGE_MS;
}

uint64_t handshake_deadline_ms(const struct handshake *h)
{
    bool waits = handshake_status(h) == HANDSHAKE_IN_PROGRESS || has_output(h);
    return waits ? h->last_ms + patience_ms(h) : UINT64_MAX;
}

enum err handshake_tick(struct handshake *h, uint64_t now_ms)
{
    if (h->state == HANDSHAKE_STATE_FAILED || now_ms < handshake_deadline_ms(h))
        return h->error;
    unsigned seconds = (unsigned)(patience_ms(h) / 1000);
    if (has_output(h))
        err_set(&h->detail, ERR_TIMEOUT, "the %s did not take what was sent to it for %u s",
                handshake_peer_word(h), seconds);
    else if (h->in.size > 0)
        err_set(&h->detail, ERR_TIMEOUT, "the %s did not finish %s within %u s (%zu of %zu bytes)",
                handshake_peer_word(h), handshake_awaited(h), seconds, h->in.have, h->in.size);
    else
        err_set(&h->detail, ERR_TIMEOUT, "the %s did not finish %s within %u s",
                handshake_peer_word(h), handshake_awaited(h), seconds);
    fail(h, ERR_TIMEOUT);
    h->last_ms = now_ms; /* for what is left to tell the peer */
    return h->error;
}

void handshake_refuse(struct handshake *h, enum err why, uint32_t retry_after_ms)
{
    if (handshake_status(h) != HANDSHAKE_IN_PROGRESS)
        return;
    err_set(&h->detail, why, "the %s was refused: %s", handshake_peer_word(h), err_text(why));
    h->retry_after_ms = retry_after_ms;
    if (h->is_tls_up)
        send_abort(h, why);
    fail_silently(h, why);
}

enum handshake_status handshake_status(const struct handshake *h)
{
    switch (h->state) {
    case HANDSHAKE_STATE_DONE:
        return HANDSHAKE_DONE;
    case HANDSHAKE_STATE_FAILED:
        return HANDSHAKE_FAILED;
    case HANDSHAKE_STATE_TLS:
    case HANDSHAKE_STATE_OFFER:
    case HANDSHAKE_STATE_KEM_KEY:
    case HANDSHAKE_STATE_ANSWER:
        break;
    }
    return HANDSHAKE_IN_PROGRESS;
}

bool handshake_is_authenticated(const struct handshake *h)
{
    return h->is_tls_up;
}

enum err handshake_error(const struct handshake *h)
{
    return h->error;
}

const char *handshake_error_text(const struct handshake *h)
{
    return h->detail.text;
}

uint32_t handshake_retry_after_ms(const struct handshake *h)
{
    return h->retry_after_ms;
}

enum err handshake_take_result(struct handshake *h, struct handshake_result **out)
{
    *out = NULL;
    assert(h->state == HANDSHAKE_STATE_DONE && h->result != NULL);
    enum err e = tls_channel_take_rest(h->tls, &h->result->leftover, &h->result->leftover_len);
    if (e != ERR_OK)
        return e;
    const uint8_t *data = NULL;
    size_t pending = 0;
    handshake_drain(h, &data, &pending);
    h->result->bytes_out = h->bytes_out + pending;
    *out = h->result;
    h->result = NULL;
    return ERR_OK;
}
