/*
 * Strangers in their thousands, each from an address of its own, and a door to compare with.
 *
 *   flood PORT RATE [KIND COUNT]   to 127.0.0.1, RATE connections a second until SIGTERM; perhaps
 *                                  only COUNT of that kind, which are held
 *   flood door                     a server that accepts and closes; prints "port N"
 *
 * In turn they are silent, send half a ClientHello, a whole one, a byte now and then, garbage, or
 * speak TLS as well as anybody (X25519MLKEM768, the right ALPN) and have no certificate to show.
 * Whom the server has turned away at once is not made to compute: TLS begins a tick later.
 *
 * It prints "flooding", with a COUNT "answered" when so many have been sent something, and at the
 * end how many of each kind there were, in how many seconds, and what CPU time it took, as JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define OPEN_MAX_AT_ONCE 3000 /* the oldest is closed to make room */
#define DRIPS_A_TURN     8
#define TICK_MS          5
#define NICE             5 /* attackers' own machines would do this work */

enum kind { SILENT, HALF_A_HELLO, HELLO, DRIP, GARBAGE, TLS, KINDS };

static const char *const names[KINDS] = {"silent", "half_a_hello", "hello",
                                         "drip",   "garbage",      "tls"};

struct stranger {
    int fd; /* -1: none */
    enum kind kind;
    SSL *tls; /* has begun to speak it */
    bool is_answered;
};

static struct stranger strangers[OPEN_MAX_AT_ONCE];
static uint64_t opened;  /* the next one's number; its place is the number's remainder */
static uint64_t waiting; /* of those in TLS: the first that has not begun */
static uint64_t dripped;
static uint64_t counts[KINDS];
static uint64_t closed, answered, tls_done;
static uint8_t hello[4096], garbage[2048];
static size_t hello_len;
static SSL_CTX *context;
static int epoll_fd;
static volatile sig_atomic_t is_over;

static void fail(const char *what)
{
    fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say(const char *word)
{
    printf("%s\n", word);
    fflush(stdout);
}

/* User and system time of this process so far, as members of a JSON object. */
static void print_cpu(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    printf("\"user\": %.3f, \"system\": %.3f",
           (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6,
           (double)used.ru_stime.tv_sec + (double)used.ru_stime.tv_usec / 1e6);
}

/* -- what they say -- */

static void prepare_words(void)
{
    static const uint8_t alpn[] = "\x06utun/1";
    BIO *out;
    SSL *tls;
    int len;

    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_set1_groups_list(context, "X25519MLKEM768:X25519") != 1 ||
        SSL_CTX_set_alpn_protos(context, alpn, sizeof(alpn) - 1) != 0)
        fail("TLS");
    tls = SSL_new(context);
    out = BIO_new(BIO_s_mem());
    if (tls == NULL || out == NULL)
        fail("TLS");
    SSL_set_bio(tls, BIO_new(BIO_s_mem()), out);
    (void)SSL_connect(tls);
    len = BIO_read(out, hello, sizeof(hello));
    if (len <= 0 || getrandom(garbage, sizeof(garbage), 0) != sizeof(garbage))
        fail("words");
    hello_len = (size_t)len;
    SSL_free(tls);
}

static void say_something(const struct stranger *s)
{
    static const size_t part_of_hello[KINDS] = {[HALF_A_HELLO] = 2, [HELLO] = 1};

    if (s->kind == GARBAGE)
        (void)!send(s->fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
    else if (s->kind == DRIP)
        (void)!send(s->fd, hello, 1, MSG_NOSIGNAL);
    else if (part_of_hello[s->kind] != 0)
        (void)!send(s->fd, hello, hello_len / part_of_hello[s->kind], MSG_NOSIGNAL);
}

/* -- one of them -- */

static void drop(struct stranger *s)
{
    if (s->fd < 0)
        return;
    SSL_free(s->tls);
    close(s->fd);
    *s = (struct stranger){.fd = -1};
}

/* An address for each: 127.2.0.1 and up. */
static struct sockaddr_in address_of(uint64_t number)
{
    uint32_t low = (uint32_t)(number % 254) + 1;
    uint32_t high = (uint32_t)(number / 254 % (UINT64_C(200) * 256)) + 2 * 256;

    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(127u << 24 | high << 8 | low)};
}

static void open_one(enum kind kind, const struct sockaddr_in *server)
{
    const int one = 1;
    const struct sockaddr_in from = address_of(opened);
    uint64_t place = opened % OPEN_MAX_AT_ONCE;
    struct stranger *s = &strangers[place];
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = place};

    drop(s);
    s->kind = kind;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        fail("socket");
    (void)setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(s->fd, (const struct sockaddr *)&from, sizeof(from)) < 0)
        fail("bind");
    (void)connect(s->fd, (const struct sockaddr *)server, sizeof(*server));
    say_something(s);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e) < 0)
        fail("epoll");
    counts[kind]++;
    opened++;
}

/* Whether the server's next words are awaited. */
static bool go_on_with_tls(struct stranger *s)
{
    int result;

    ERR_clear_error();
    result = SSL_connect(s->tls);
    tls_done += result == 1 ? 1 : 0;
    return result != 1 && SSL_get_error(s->tls, result) == SSL_ERROR_WANT_READ;
}

static void begin_tls(struct stranger *s)
{
    s->tls = SSL_new(context);
    if (s->tls == NULL || SSL_set_fd(s->tls, s->fd) != 1)
        fail("TLS");
    (void)go_on_with_tls(s);
}

static void on_ready(struct stranger *s)
{
    uint8_t room[16 * 1024];
    ssize_t n;

    if (s->fd < 0)
        return; /* made room for another in the meantime */
    if (!s->is_answered && recv(s->fd, room, 1, MSG_PEEK) == 1) {
        s->is_answered = true;
        answered++;
    }
    if (s->tls != NULL && !SSL_is_init_finished(s->tls) && go_on_with_tls(s))
        return;
    n = recv(s->fd, room, sizeof(room), 0);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    closed++;
    drop(s);
}

/* -- all of them -- */

static void let_tls_begin(uint64_t until)
{
    for (; waiting < until; waiting++) {
        struct stranger *s = &strangers[waiting % OPEN_MAX_AT_ONCE];

        if (s->fd >= 0 && s->kind == TLS && s->tls == NULL)
            begin_tls(s);
    }
}

static void drip(void)
{
    for (int i = 0; i < DRIPS_A_TURN; i++) {
        const struct stranger *s = &strangers[dripped++ % OPEN_MAX_AT_ONCE];

        if (s->fd >= 0 && s->kind == DRIP)
            (void)!send(s->fd, "\x01", 1, MSG_NOSIGNAL);
    }
}

static void react(void)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, TICK_MS);

    for (int i = 0; i < n; i++)
        on_ready(&strangers[events[i].data.u64]);
}

static void flood(uint16_t port, double rate, enum kind only, uint64_t count)
{
    const struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    double started = now();
    uint64_t done = 0;
    bool is_told = false;

    say("flooding");
    while (!is_over) {
        uint64_t due = (uint64_t)((now() - started) * rate);
        uint64_t before = opened;

        /* What could not be done in a quarter of a second is not made up for. */
        if (due - done > (uint64_t)rate / 4)
            done = due - (uint64_t)rate / 4;
        for (; done < due && opened < count; done++)
            open_one(only < KINDS ? only : (enum kind)(opened % KINDS), &server);
        done = due;
        react();
        let_tls_begin(before);
        drip();
        if (answered == count && !is_told) {
            say("answered");
            is_told = true;
        }
    }
    printf("{\"seconds\": %.2f, \"opened\": %llu, ", now() - started, (unsigned long long)opened);
    for (int i = 0; i < KINDS; i++)
        printf("\"%s\": %llu, ", names[i], (unsigned long long)counts[i]);
    printf("\"answered\": %llu, \"tls_done\": %llu, \"closed_by_the_server\": %llu, ",
           (unsigned long long)answered, (unsigned long long)tls_done, (unsigned long long)closed);
    print_cpu();
    printf("}\n");
}

/* -- the door -- */

static void be_a_door(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t accepted = 0;

    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, len) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        fail("door");
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    while (!is_over) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client < 0)
            continue;
        close(client);
        accepted++;
    }
    printf("{\"accepted\": %llu, ", (unsigned long long)accepted);
    print_cpu();
    printf("}\n");
}

static enum kind kind_named(const char *name)
{
    enum kind kind = 0;

    while (kind < KINDS && strcmp(names[kind], name) != 0)
        kind++;
    return kind;
}

int main(int argc, char **argv)
{
    const struct sigaction on_end = {.sa_handler = on_signal}; /* accept4 is to be interrupted */
    struct rlimit descriptors = {OPEN_MAX_AT_ONCE + 64, OPEN_MAX_AT_ONCE + 64};
    enum kind only = argc > 3 ? kind_named(argv[3]) : KINDS;
    uint64_t count = argc > 4 ? strtoull(argv[4], NULL, 10) : UINT64_MAX;

    sigaction(SIGTERM, &on_end, NULL);
    signal(SIGPIPE, SIG_IGN);
    (void)!nice(NICE);
    if (argc == 2 && strcmp(argv[1], "door") == 0) {
        be_a_door();
        return 0;
    }
    if ((argc != 3 && argc != 5) || (argc == 5 && (only == KINDS || count > OPEN_MAX_AT_ONCE))) {
        fprintf(stderr, "usage: flood PORT RATE [KIND COUNT] | flood door\n");
        return 2;
    }
    (void)setrlimit(RLIMIT_NOFILE, &descriptors);
    for (size_t i = 0; i < OPEN_MAX_AT_ONCE; i++)
        strangers[i].fd = -1;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        fail("epoll");
    prepare_words();
    flood((uint16_t)strtoul(argv[1], NULL, 10), strtod(argv[2], NULL), only, count);
    return 0;
}
