#include "role/demo_web.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

#include "base/thread.h"
#include "role/demo_data.h"

#define BLOCK_SIZE ((size_t)256 * 1024)

/* Of a connection that takes an upload, what libmicrohttpd reads at once. */
#define CONNECTION_MEMORY ((size_t)512 * 1024)

/* "name.of.some.length.example:65535" */
#define HOST_MAX 100

struct demo_web {
    struct MHD_Daemon *daemon;
    uint16_t port;
};

/* One upload while it comes in. */
struct upload {
    uint64_t received;
    uint64_t right; /* bytes before the first wrong one */
};

/* With the address that the client has used. */
static const char page_text[] =
    "This page came through utun: a TLS 1.3 handshake with ML-KEM-768, Classic McEliece\n"
    "inside it, and AES-256-GCM records.\n"
    "\n"
    "  curl http://%s/bytes/1000000 | sha256sum\n";

static char page_html[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>utun demo</title>"
    "<style>body{font:18px/1.6 system-ui,sans-serif;max-width:36em;margin:4em auto;padding:0 1em}"
    "</style><h1>It works</h1><p>This page came through <b>utun</b>: a TLS 1.3 handshake with "
    "ML-KEM-768, Classic McEliece inside it, and AES-256-GCM records.</p>"
    "<p><a href=\"/bytes/1000000\">A million pseudo-random bytes</a></p></html>\n";

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct MHD_Response *response)
{
    enum MHD_Result result;

    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, char *text)
{
    return answer(connection, status, "text/plain; charset=utf-8",
                  MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY));
}

/* What the client calls us, if it is such a thing as can be shown. */
static const char *host_of(struct MHD_Connection *connection)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-:[]";
    const char *host =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);

    if (host == NULL || strlen(host) > HOST_MAX || host[strspn(host, allowed)] != 0)
        return "HOST:PORT";
    return host;
}

static enum MHD_Result answer_page(struct MHD_Connection *connection)
{
    const char *accept =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    char text[sizeof(page_text) + HOST_MAX];

    if (accept != NULL && strstr(accept, "text/html") != NULL)
        return answer(
            connection, MHD_HTTP_OK, "text/html; charset=utf-8",
            MHD_create_response_from_buffer(strlen(page_html), page_html, MHD_RESPMEM_PERSISTENT));
    snprintf(text, sizeof(text), page_text, host_of(connection));
    return answer_text(connection, MHD_HTTP_OK, text);
}

static ssize_t read_block(void *context, uint64_t offset, char *out, size_t max)
{
    (void)context;
    demo_data_fill(DEMO_SEED_DOWN, offset, (uint8_t *)out, max);
    return (ssize_t)max;
}

static enum MHD_Result answer_bytes(struct MHD_Connection *connection, const char *number)
{
    char *end = NULL;
    uint64_t size = strtoull(number, &end, 10);
    char usage[] = "say how many bytes: /bytes/1000000\n";

    if (number[0] < '0' || number[0] > '9' || *end != 0 || size > INT64_MAX)
        return answer_text(connection, MHD_HTTP_BAD_REQUEST, usage);
    return answer(connection, MHD_HTTP_OK, "application/octet-stream",
                  MHD_create_response_from_callback(size, BLOCK_SIZE, read_block, NULL, NULL));
}

/* Called for the request, then for each part of its body, then once more with no part. */
static enum MHD_Result answer_check(struct MHD_Connection *connection, const char *data,
                                    size_t *len, void **state)
{
    struct upload *upload = *state;
    char text[80];

    if (upload == NULL) {
        *state = calloc(1, sizeof(*upload));
        return *state != NULL ? MHD_YES : MHD_NO;
    }
    if (*len > 0) {
        if (upload->right == upload->received)
            upload->right +=
                demo_data_check(DEMO_SEED_UP, upload->received, (const uint8_t *)data, *len);
        upload->received += *len;
        *len = 0;
        return MHD_YES;
    }
    bool is_right = upload->right == upload->received;
    if (is_right)
        snprintf(text, sizeof(text), "%" PRIu64 " bytes, every one right\n", upload->received);
    else
        snprintf(text, sizeof(text), "byte %" PRIu64 " is wrong\n", upload->right);
    return answer_text(connection, is_right ? MHD_HTTP_OK : MHD_HTTP_UNPROCESSABLE_CONTENT, text);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **state)
{
    static const char bytes[] = "/bytes/";
    char missing[] = "there are: GET /, GET /bytes/N, POST /check\n";

    (void)context;
    (void)version;
    if (strcmp(method, MHD_HTTP_METHOD_POST) == 0 && strcmp(url, "/check") == 0)
        return answer_check(connection, data, len, state);
    if (*len > 0) { /* a body that nobody asked for */
        *len = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 && strcmp(url, "/") == 0)
        return answer_page(connection);
    if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 && strncmp(url, bytes, sizeof(bytes) - 1) == 0)
        return answer_bytes(connection, url + sizeof(bytes) - 1);
    return answer_text(connection, MHD_HTTP_NOT_FOUND, missing);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)connection;
    (void)code;
    free(*state);
    *state = NULL;
}

/* Its thread takes no signals: they are for who runs the demo. */
static struct MHD_Daemon *start_daemon(const struct sockaddr_in *address)
{
    struct MHD_Daemon *daemon;
    sigset_t before;

    thread_block_signals(&before);
    daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, 0, NULL, NULL,
                              on_request, NULL, MHD_OPTION_SOCK_ADDR, address,
                              MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
                              MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    thread_restore_signals(&before);
    return daemon;
}

enum err demo_web_start(struct demo_web **out)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct demo_web *web = calloc(1, sizeof(*web));
    const union MHD_DaemonInfo *info;

    *out = NULL;
    if (web == NULL)
        return ERR_NOMEM;
    web->daemon = start_daemon(&address);
    info = web->daemon != NULL ? MHD_get_daemon_info(web->daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    if (info == NULL) {
        demo_web_stop(web);
        return ERR_LIMIT;
    }
    web->port = info->port;
    *out = web;
    return ERR_OK;
}

void demo_web_stop(struct demo_web *web)
{
    if (web == NULL)
        return;
    if (web->daemon != NULL)
        MHD_stop_daemon(web->daemon);
    free(web);
}

uint16_t demo_web_port(const struct demo_web *web)
{
    return web->port;
}
