#include "net/socks5.h"

#include <assert.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/wire.h"
#include "tunnel/frame.h"

#define LOGIN_VERSION 1

enum method {
    METHOD_NONE = 0,
    METHOD_PASSWORD = 2,
    METHOD_UNACCEPTABLE = 0xff,
};

enum login_status {
    LOGIN_GOOD = 0,
    LOGIN_BAD = 1,
};

enum address_type {
    TYPE_IPV4 = 1,
    TYPE_NAME = 3,
    TYPE_IPV6 = 4,
};

enum reply {
    REPLY_SUCCEEDED = 0,
    REPLY_FAILURE = 1,
    REPLY_NOT_ALLOWED = 2,
    REPLY_NETWORK_UNREACHABLE = 3,
    REPLY_HOST_UNREACHABLE = 4,
    REPLY_REFUSED = 5,
    REPLY_TTL_EXPIRED = 6,
    REPLY_COMMAND = 7,
    REPLY_ADDRESS_TYPE = 8,
};

/* VER, CMD or REP, RSV, ATYP. */
#define REQUEST_HEAD 4
#define PORT_SIZE    2

static void expect(struct socks5 *s, enum socks5_state state, uint16_t want)
{
    s->state = state;
    s->have = 0;
    s->want = want;
}

void socks5_init(struct socks5 *s, const struct login *login)
{
    memset(s, 0, sizeof(*s));
    s->login = login;
    expect(s, SOCKS5_GREETING, 2);
}

void socks5_fini(struct socks5 *s)
{
    OPENSSL_cleanse(s->message, sizeof(s->message));
}

static void answer(struct socks5 *s, uint8_t first, uint8_t second)
{
    assert((size_t)s->answers_len + 2 <= sizeof(s->answers));
    s->answers[s->answers_len++] = first;
    s->answers[s->answers_len++] = second;
}

static enum err fail(struct socks5 *s, enum err why, const char *fault)
{
    s->state = SOCKS5_FAILED;
    s->fault = fault;
    return why;
}

/* -- greeting and login -- */

static enum err take_greeting(struct socks5 *s)
{
    uint8_t method = s->login == NULL ? METHOD_NONE : METHOD_PASSWORD;
    uint8_t count = s->message[1];

    if (s->message[0] != SOCKS5_VERSION)
        return fail(s, ERR_MALFORMED, "the greeting is not one of SOCKS5");
    if (s->have < 2U + count) {
        s->want = (uint16_t)(2 + count);
        return ERR_OK;
    }
    if (memchr(s->message + 2, method, count) == NULL) {
        answer(s, SOCKS5_VERSION, METHOD_UNACCEPTABLE);
        return fail(s, ERR_NOT_ALLOWED,
                    method == METHOD_PASSWORD
                        ? "the client does not offer to log in with name and password"
                        : "the client insists on a login, but there are no users");
    }
    answer(s, SOCKS5_VERSION, method);
    if (method == METHOD_PASSWORD)
        expect(s, SOCKS5_LOGIN, 2);
    else
        expect(s, SOCKS5_REQUEST, REQUEST_HEAD);
    return ERR_OK;
}

static enum err take_login(struct socks5 *s)
{
    const uint8_t *name = s->message + 2;
    size_t name_len = s->message[1];
    const uint8_t *password = name + name_len + 1;
    size_t password_len;

    if (s->message[0] != LOGIN_VERSION) {
        answer(s, LOGIN_VERSION, LOGIN_BAD);
        return fail(s, ERR_MALFORMED, "a login of an unknown version");
    }
    if (s->have < 2 + name_len + 1) {
        s->want = (uint16_t)(2 + name_len + 1);
        return ERR_OK;
    }
    password_len = password[-1];
    if (s->have < 2 + name_len + 1 + password_len) {
        s->want = (uint16_t)(2 + name_len + 1 + password_len);
        return ERR_OK;
    }
    bool is_right = s->login->is_right(s->login, name, name_len, password, password_len);
    OPENSSL_cleanse(s->message, sizeof(s->message));
    answer(s, LOGIN_VERSION, is_right ? LOGIN_GOOD : LOGIN_BAD);
    if (!is_right)
        return fail(s, ERR_NOT_ALLOWED, "a wrong name or password");
    expect(s, SOCKS5_REQUEST, REQUEST_HEAD);
    return ERR_OK;
}

/* -- addresses -- */

/*
 * Bytes of ATYP, address and port, as far as that is known from the first len of them: 0 for an
 * unknown type.
 */
static size_t address_size(const uint8_t *data, size_t len)
{
    if (data[0] == TYPE_IPV4)
        return 1 + 4 + PORT_SIZE;
    if (data[0] == TYPE_IPV6)
        return 1 + 16 + PORT_SIZE;
    if (data[0] == TYPE_NAME)
        return len < 2 ? 2 : 2U + data[1] + PORT_SIZE;
    return 0;
}

/* All of address_size is there. */
static enum err decode_address(const uint8_t *data, struct destination *d)
{
    size_t size = address_size(data, 2);
    enum err e = ERR_OK;

    if (data[0] == TYPE_NAME)
        e = destination_set_host(d, data + 2, data[1]);
    else
        destination_set_ip(d, data + 1, size - 1 - PORT_SIZE);
    d->port = (uint16_t)(data[size - 2] << 8 | data[size - 1]);
    return e;
}

static void put_address(struct wire_writer *w, const struct stream_address *c)
{
    static const uint8_t unspecified[4];

    wire_put_u8(w, c->address_len == 16 ? TYPE_IPV6 : TYPE_IPV4);
    if (c->address_len == 0)
        wire_put_bytes(w, unspecified, sizeof(unspecified));
    else
        wire_put_bytes(w, c->address, c->address_len);
    wire_put_u16(w, c->port);
}

/* -- request -- */

static size_t encode(enum reply reply, const struct address *bound, uint8_t *room)
{
    struct stream_address client = {.address_len = 0};
    struct wire_writer w;

    wire_writer_init(&w, room, SOCKS5_REPLY_MAX);
    wire_put_u8(&w, SOCKS5_VERSION);
    wire_put_u8(&w, (uint8_t)reply);
    wire_put_u8(&w, 0);
    if (bound != NULL)
        address_to_stream(bound, &client);
    put_address(&w, &client);
    return wire_written(&w);
}

static enum reply reply_of(enum err why)
{
    switch ((int)why) {
    case ERR_OK:
        return REPLY_SUCCEEDED;
    case ERR_NOT_ALLOWED:
    case ERR_NO_SERVICE:
        return REPLY_NOT_ALLOWED;
    case ERR_UNREACHABLE:
        return REPLY_NETWORK_UNREACHABLE;
    case ERR_RESOLVE:
        return REPLY_HOST_UNREACHABLE;
    case ERR_REFUSED:
        return REPLY_REFUSED;
    case ERR_TIMEOUT:
        return REPLY_TTL_EXPIRED;
    default:
        return REPLY_FAILURE;
    }
}

size_t socks5_encode_reply(enum err why, const struct address *bound,
                           uint8_t room[static SOCKS5_REPLY_MAX])
{
    return encode(reply_of(why), bound, room);
}

static enum err refuse(struct socks5 *s, enum reply reply, const char *fault)
{
    assert((size_t)s->answers_len + SOCKS5_REPLY_MAX <= sizeof(s->answers));
    s->answers_len = (uint8_t)(s->answers_len + encode(reply, NULL, s->answers + s->answers_len));
    return fail(s, ERR_MALFORMED, fault);
}

static enum err take_request(struct socks5 *s)
{
    const uint8_t *address = s->message + REQUEST_HEAD - 1;
    uint8_t command = s->message[1];
    size_t size;

    if (s->message[0] != SOCKS5_VERSION || s->message[2] != 0)
        return refuse(s, REPLY_FAILURE, "the request is not one of SOCKS5");
    if (command != SOCKS5_CONNECT && command != SOCKS5_UDP_ASSOCIATE)
        return refuse(s, REPLY_COMMAND, "a command other than CONNECT and UDP ASSOCIATE");
    size = address_size(address, (size_t)s->have - (REQUEST_HEAD - 1));
    if (size == 0)
        return refuse(s, REPLY_ADDRESS_TYPE, "an unknown type of address");
    if (s->have < REQUEST_HEAD - 1U + size) {
        s->want = (uint16_t)(REQUEST_HEAD - 1 + size);
        return ERR_OK;
    }
    if (decode_address(address, &s->destination) != ERR_OK)
        return refuse(s, REPLY_FAILURE, "the target is neither an address nor a name");
    if (command == SOCKS5_CONNECT && s->destination.port == 0)
        return refuse(s, REPLY_FAILURE, "the target's port is 0");
    s->command = (enum socks5_command)command;
    s->state = SOCKS5_DONE;
    return ERR_OK;
}

static enum err take(struct socks5 *s)
{
    if (s->state == SOCKS5_GREETING)
        return take_greeting(s);
    if (s->state == SOCKS5_LOGIN)
        return take_login(s);
    return take_request(s);
}

enum err socks5_feed(struct socks5 *s, const uint8_t *data, size_t len, size_t *used)
{
    *used = 0;
    while (s->state < SOCKS5_DONE && *used < len) {
        size_t n = len - *used;

        if (n > (size_t)(s->want - s->have))
            n = (size_t)(s->want - s->have);
        memcpy(s->message + s->have, data + *used, n);
        s->have = (uint16_t)(s->have + n);
        *used += n;
        if (s->have < s->want)
            break;
        enum err e = take(s);
        if (e != ERR_OK)
            return e;
    }
    return s->state == SOCKS5_FAILED ? ERR_UNEXPECTED : ERR_OK;
}

size_t socks5_drain(struct socks5 *s, uint8_t room[static SOCKS5_ANSWERS_MAX])
{
    size_t len = s->answers_len;

    memcpy(room, s->answers, len);
    s->answers_len = 0;
    return len;
}

/* -- UDP -- */

enum err socks5_udp_decode(const uint8_t *data, size_t len, struct destination *to, size_t *header)
{
    const uint8_t *address = data + 3;
    size_t size;

    *header = 0;
    if (len < REQUEST_HEAD || data[0] != 0 || data[1] != 0)
        return ERR_MALFORMED;
    if (data[2] != 0)
        return ERR_UNEXPECTED;
    size = address_size(address, len - 3);
    if (size == 0 || len - 3 < size)
        return ERR_MALFORMED;
    if (decode_address(address, to) != ERR_OK || to->port == 0)
        return ERR_MALFORMED;
    *header = 3 + size;
    return ERR_OK;
}

size_t socks5_udp_encode(const struct destination *from, uint8_t room[static SOCKS5_UDP_HEADER_MAX])
{
    size_t name_len = strlen(from->host);
    struct stream_address client;
    struct address address;
    struct wire_writer w;

    wire_writer_init(&w, room, SOCKS5_UDP_HEADER_MAX);
    wire_put_u16(&w, 0);
    wire_put_u8(&w, 0);
    if (address_parse(&address, from->host, from->port) == ERR_OK) {
        address_to_stream(&address, &client);
        put_address(&w, &client);
    } else {
        wire_put_u8(&w, TYPE_NAME);
        wire_put_u8(&w, (uint8_t)name_len);
        wire_put_bytes(&w, (const uint8_t *)from->host, name_len);
        wire_put_u16(&w, from->port);
    }
    return wire_written(&w);
}
