#include "net/http_connect.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

void http_connect_init(struct http_connect *h, const struct login *login)
{
    memset(h, 0, sizeof(*h));
    h->login = login;
}

void http_connect_fini(struct http_connect *h)
{
    OPENSSL_cleanse(h->line, sizeof(h->line));
}

static enum err fail(struct http_connect *h, enum err why, uint16_t status, const char *fault)
{
    h->state = HTTP_CONNECT_FAILED;
    h->status = status;
    h->fault = fault;
    return why;
}

static enum err malformed(struct http_connect *h, const char *fault)
{
    return fail(h, ERR_MALFORMED, 400, fault);
}

/* Told at the end of the request: a client that is still sending would not read it. */
static void decide(struct http_connect *h, uint16_t status, const char *text)
{
    if (h->verdict != 0)
        return;
    h->verdict = status;
    h->verdict_text = text;
}

/* -- the request line -- */

static bool is_token_byte(char c)
{
    return c != '\0' && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "!#$%&'*+-.^_`|~",
                               c) != NULL;
}

static size_t token_len(const char *text)
{
    size_t len = 0;

    while (is_token_byte(text[len]))
        len++;
    return len;
}

static bool is_known_method(const char *method)
{
    static const char *const methods[] = {"GET",    "HEAD",    "POST",  "PUT",
                                          "DELETE", "OPTIONS", "TRACE", "PATCH"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(method, methods[i]) == 0)
            return true;
    }
    return false;
}

static enum err take_version(struct http_connect *h, const char *version)
{
    if (strncmp(version, "HTTP/", 5) != 0 || version[5] < '0' || version[5] > '9' ||
        version[6] != '.' || version[7] < '0' || version[7] > '9' || version[8] != '\0')
        return malformed(h, "the request line does not end with an HTTP version");
    if (version[5] != '1')
        decide(h, 505, "a version of HTTP other than 1.0 and 1.1");
    h->has_minor_version = version[7] != '0';
    return ERR_OK;
}

/* method SP target SP version, the separators made to ends of strings. */
static enum err take_request_line(struct http_connect *h)
{
    size_t method_len = token_len(h->line);
    char *target = h->line + method_len + 1;
    char *version;

    if (method_len == 0 || h->line[method_len] != ' ')
        return malformed(h, "the request does not begin with a method and a space");
    h->line[method_len] = '\0';
    version = strchr(target, ' ');
    if (version == NULL || version == target)
        return malformed(h, "the request line does not have three parts");
    *version++ = '\0';
    enum err e = take_version(h, version);
    if (e != ERR_OK)
        return e;
    if (strcmp(h->line, "CONNECT") == 0) {
        if (destination_parse(&h->destination, target) != ERR_OK)
            decide(h, 400, "the target of CONNECT is not host:port");
    } else if (is_known_method(h->line)) {
        decide(h, 405, "a method other than CONNECT");
    } else {
        decide(h, 501, "an unknown method");
    }
    h->state = HTTP_CONNECT_FIELDS;
    return ERR_OK;
}

/* -- header fields -- */

/* "user:password" in base64 (RFC 7617, RFC 4648). */
static bool is_login_right(const struct http_connect *h, const char *text)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789+/";
    struct {
        uint8_t plain[HTTP_CONNECT_LINE_MAX];
    } tmp;
    size_t len = strlen(text);
    size_t signs = strspn(text, alphabet);
    size_t padding = len - signs;
    const uint8_t *colon = NULL;
    bool is_right = false;
    int n = -1;

    if (len % 4 == 0 && len > 0 && padding <= 2 && strspn(text + signs, "=") == padding)
        n = EVP_DecodeBlock(tmp.plain, (const unsigned char *)text, (int)len);
    if (n > 0) {
        size_t plain_len = (size_t)n - padding;
        colon = memchr(tmp.plain, ':', plain_len);
        if (colon != NULL) {
            size_t name_len = (size_t)(colon - tmp.plain);
            is_right = h->login->is_right(h->login, tmp.plain, name_len, colon + 1,
                                          plain_len - name_len - 1);
        }
    }
    OPENSSL_cleanse(&tmp, sizeof(tmp));
    return is_right;
}

static enum err take_authorization(struct http_connect *h, const char *value)
{
    size_t scheme = token_len(value);

    if (h->has_authorization)
        return malformed(h, "Proxy-Authorization is there twice");
    h->has_authorization = true;
    if (h->login == NULL)
        return ERR_OK;
    if (scheme != 5 || strncasecmp(value, "Basic", 5) != 0 || value[scheme] != ' ')
        return ERR_OK;
    h->is_logged_in = is_login_right(h, value + scheme + strspn(value + scheme, " "));
    return ERR_OK;
}

static enum err take_known_field(struct http_connect *h, const char *name, const char *value)
{
    if (strcasecmp(name, "Host") == 0) {
        if (h->has_host)
            return malformed(h, "Host is there twice");
        h->has_host = true;
    } else if (strcasecmp(name, "Proxy-Authorization") == 0) {
        return take_authorization(h, value);
    } else if (strcasecmp(name, "Transfer-Encoding") == 0 ||
               (strcasecmp(name, "Content-Length") == 0 && strspn(value, "0") != strlen(value))) {
        /* Only CONNECT has none; what does not belong there could be taken for the tunnel's. */
        decide(h, 400, "CONNECT with content");
    }
    return ERR_OK;
}

static enum err take_field(struct http_connect *h)
{
    size_t name_len = token_len(h->line);
    char *value = h->line + name_len + 1;
    size_t value_len;

    if (name_len == 0 || h->line[name_len] != ':')
        return malformed(h, "a header field without a name");
    h->line[name_len] = '\0';
    value += strspn(value, " \t");
    value_len = strlen(value);
    while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value[--value_len] = '\0';
    return take_known_field(h, h->line, value);
}

static enum err take_end(struct http_connect *h)
{
    if (h->verdict == 0 && h->has_minor_version && !h->has_host)
        return malformed(h, "HTTP/1.1 without Host");
    if (h->verdict != 0)
        return fail(h, ERR_MALFORMED, h->verdict, h->verdict_text);
    if (h->login != NULL && !h->is_logged_in)
        return fail(h, ERR_NOT_ALLOWED, 407,
                    h->has_authorization ? "a wrong name or password" : "the client has to log in");
    h->state = HTTP_CONNECT_DONE;
    return ERR_OK;
}

/* -- bytes -- */

static enum err take_line(struct http_connect *h)
{
    enum err e;

    h->line[h->len] = '\0';
    if (h->state == HTTP_CONNECT_LINE)
        e = take_request_line(h);
    else
        e = h->len == 0 ? take_end(h) : take_field(h);
    OPENSSL_cleanse(h->line, h->len);
    h->len = 0;
    h->is_after_cr = false;
    return e;
}

static enum err too_large(struct http_connect *h)
{
    return h->state == HTTP_CONNECT_LINE
               ? fail(h, ERR_TOO_LARGE, 414, "the request line is too long")
               : fail(h, ERR_TOO_LARGE, 431, "the header fields are too large");
}

static enum err take_byte(struct http_connect *h, uint8_t byte)
{
    if (++h->size > HTTP_CONNECT_REQUEST_MAX)
        return too_large(h);
    if (h->is_after_cr)
        return byte == '\n' ? take_line(h) : malformed(h, "a line does not end with CR LF");
    if (byte == '\r') {
        h->is_after_cr = true;
        return ERR_OK;
    }
    if ((byte < ' ' && byte != '\t') || byte == 0x7f)
        return malformed(h,
                         byte == '\n' ? "a line does not end with CR LF" : "a control character");
    if (h->len == HTTP_CONNECT_LINE_MAX)
        return too_large(h);
    h->line[h->len++] = (char)byte;
    return ERR_OK;
}

enum err http_connect_feed(struct http_connect *h, const uint8_t *data, size_t len, size_t *used)
{
    *used = 0;
    while (h->state < HTTP_CONNECT_DONE && *used < len) {
        enum err e = take_byte(h, data[(*used)++]);
        if (e != ERR_OK)
            return e;
    }
    return h->state == HTTP_CONNECT_FAILED ? ERR_UNEXPECTED : ERR_OK;
}

/* -- responses -- */

static const char *phrase(unsigned status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 405:
        return "Method Not Allowed";
    case 407:
        return "Proxy Authentication Required";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "HTTP Version Not Supported";
    }
}

/* fields: whole lines, or "". */
static size_t encode(unsigned status, const char *fields, const char *text, char *room)
{
    char body[256];
    int body_len =
        snprintf(body, sizeof(body),
                 "%s.\nThis port of utun is a proxy: it takes SOCKS5, and HTTP CONNECT.\n", text);

    assert(body_len > 0 && (size_t)body_len < sizeof(body));
    int len = snprintf(room, HTTP_CONNECT_REPLY_MAX,
                       "HTTP/1.1 %u %s\r\n%sContent-Type: text/plain; charset=utf-8\r\n"
                       "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                       status, phrase(status), fields, body_len, body);
    assert(len > 0 && len < HTTP_CONNECT_REPLY_MAX);
    return (size_t)len;
}

size_t http_connect_encode_failure(const struct http_connect *h,
                                   char room[static HTTP_CONNECT_REPLY_MAX])
{
    const char *fields = "";

    assert(h->state == HTTP_CONNECT_FAILED);
    if (h->status == 405)
        fields = "Allow: CONNECT\r\n";
    else if (h->status == 407)
        fields = "Proxy-Authenticate: Basic realm=\"utun\", charset=\"UTF-8\"\r\n";
    return encode(h->status, fields, h->fault, room);
}

struct outcome {
    unsigned status;
    const char *error; /* RFC 9209, 2.3 */
    const char *text;
};

static struct outcome outcome_of(enum err why)
{
    switch ((int)why) {
    case ERR_NOT_ALLOWED:
        return (struct outcome){403, "destination_ip_prohibited", "This target is not allowed"};
    case ERR_NO_SERVICE:
        return (struct outcome){403, "http_request_denied", "There is no such service"};
    case ERR_REFUSED:
        return (struct outcome){502, "connection_refused", "The target refused the connection"};
    case ERR_UNREACHABLE:
        return (struct outcome){502, "destination_ip_unroutable", "The target is unreachable"};
    case ERR_RESOLVE:
        return (struct outcome){502, "dns_error", "The target's name does not resolve"};
    case ERR_TIMEOUT:
        return (struct outcome){504, "connection_timeout", "The target did not answer in time"};
    case ERR_LIMIT:
    case ERR_BUDGET:
        return (struct outcome){503, "connection_limit_reached", "A limit is reached; try again"};
    case ERR_SHUTDOWN:
    case ERR_CLOSED:
        return (struct outcome){503, "destination_unavailable",
                                "There is no connection with the dest; try again"};
    default:
        return (struct outcome){502, "proxy_internal_error", "The connection failed"};
    }
}

size_t http_connect_encode_reply(enum err why, char room[static HTTP_CONNECT_REPLY_MAX])
{
    static const char good[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    struct outcome outcome;
    char fields[96];

    if (why == ERR_OK) {
        memcpy(room, good, sizeof(good));
        return sizeof(good) - 1;
    }
    outcome = outcome_of(why);
    snprintf(fields, sizeof(fields), "Proxy-Status: utun; error=%s\r\n", outcome.error);
    return encode(outcome.status, fields, outcome.text, room);
}
