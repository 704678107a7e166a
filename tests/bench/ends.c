/*
 * Both ends of connections through a forwarder: clients that connect to its entry, and the service
 * behind it, on a thread each. So what arrives is counted where it arrives, at one clock.
 *
 *   ends [OPTIONS] bulk ENTRY LISTEN up|down STREAMS SECONDS
 *       every stream carries all it can; prints, as JSON, the bytes of each stream in SECONDS, the
 *       bytes of all by tenths of a second, and those of the whole run
 *   ends [OPTIONS] pieces ENTRY LISTEN BYTES STREAMS SECONDS
 *       the service sends pieces of so many bytes; each client has asked for PIECES_AHEAD of them
 *       and asks for the next when one has come, so that thousands of streams are all busy and yet
 *       the kernel's buffers do not fill; prints the same
 *   ends [OPTIONS] pings ENTRY LISTEN BYTES SECONDS
 *       one client, one message on its way; prints, as JSON, how long the answers took
 *   ends [OPTIONS] hold ENTRY LISTEN STREAMS
 *       streams that have said one word each and are silent then; prints "held" and waits for
 * SIGTERM
 *
 *   --warm SECONDS   before bulk and pings are counted (0.3)
 *   --stalled N      of bulk's streams the last N are never read
 *   --entries N      clients take ENTRY's port and the next N - 1 in turn (1)
 *   --near FILE, --far FILE
 *       network namespaces (/proc/PID/ns/net or alike) of the clients and of the service
 *
 * ENTRY and LISTEN are IPv4 addresses with a port. Clients of `hold` come from many loopback
 * addresses, for one has no more than 28,000 ports.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STREAMS_MAX  200000
#define WRITE_BYTES  (128 * 1024)
#define READ_BYTES   (256 * 1024)
#define EVENTS       256
#define PINGS_MAX    4000000
#define PIECES_AHEAD 2
#define BATCH        200  /* streams of `hold` that are opened before their words are awaited */
#define PER_ADDRESS  5000 /* streams of `hold` from one loopback address */
#define SAMPLES_MAX  6000 /* tenths of a second */
#define DEADLINE_SEC 60   /* for a word of `hold` to come back */

enum kind { KIND_UP = 'u', KIND_DOWN = 'd', KIND_ECHO = 'e', KIND_PIECES = 'p' };

/* What a client says first; the service learns from it which stream this is. */
struct hello {
    uint32_t number;
    uint32_t kind;
};

struct end {
    int fd;
    uint32_t number;
    bool sends;
    bool echoes;
    bool is_known;    /* at the service: its hello has been read */
    bool asks;        /* a client of `pieces` */
    bool is_asked;    /* the service of `pieces` */
    uint64_t owed;    /* bytes that it has been asked for and has not sent */
    uint64_t pending; /* bytes that have come since the client asked last */
};

struct options {
    double warm;
    uint32_t stalled;
    size_t piece;
    uint32_t entries;
    const char *near;
    const char *far;
    struct sockaddr_in entry;
    struct sockaddr_in listen;
    uint32_t streams;
};

static struct options options = {.warm = 0.3, .entries = 1};
static atomic_uint_fast64_t arrived[STREAMS_MAX];

static void fail(const char *what)
{
    fprintf(stderr, "ends: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void enter(const char *namespace)
{
    int fd;

    if (namespace == NULL)
        return;
    fd = open(namespace, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        fail(namespace);
    close(fd);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void wait_until(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static struct sockaddr_in parse_address(const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    const char *colon = strchr(text, ':');
    char ip[INET_ADDRSTRLEN] = "";
    long port = colon == NULL ? 0 : strtol(colon + 1, NULL, 10);

    if (colon != NULL && (size_t)(colon - text) < sizeof(ip))
        memcpy(ip, text, (size_t)(colon - text));
    if (inet_pton(AF_INET, ip, &a.sin_addr) != 1 || port < 1 || port > 65535) {
        fprintf(stderr, "ends: %s is not IP:PORT\n", text);
        exit(2);
    }
    a.sin_port = htons((uint16_t)port);
    return a;
}

static void set_int(int fd, int level, int name, int value, const char *what)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
        fail(what);
}

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fail("socket");
    return fd;
}

static uint32_t awaited(const struct end *end)
{
    if (end->is_asked && end->owed > 0)
        return EPOLLIN | EPOLLOUT;
    return end->sends ? EPOLLOUT : EPOLLIN;
}

static void watch(int set, struct end *end)
{
    struct epoll_event e = {.events = awaited(end), .data.ptr = end};

    if (fcntl(end->fd, F_SETFL, O_NONBLOCK) < 0)
        fail("O_NONBLOCK");
    if (epoll_ctl(set, EPOLL_CTL_ADD, end->fd, &e) < 0)
        fail("epoll_ctl");
}

static bool is_stalled(uint32_t number)
{
    return number >= options.streams - options.stalled;
}

/* -- what either end does with a connection that is ready -- */

static void send_some(const struct end *end)
{
    static const uint8_t zeros[WRITE_BYTES];

    if (send(end->fd, zeros, sizeof(zeros), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        fail("send");
}

/* Takes what is asked for, and sends what is owed as far as it goes. */
static void answer(int set, struct end *end)
{
    static const uint8_t zeros[WRITE_BYTES];
    uint32_t before = awaited(end);
    uint8_t asked[64];
    ssize_t n = recv(end->fd, asked, sizeof(asked), 0);

    if (n == 0 || (n < 0 && errno != EAGAIN))
        fail("a stream ended early");
    if (n > 0)
        end->owed += (uint64_t)n * options.piece;
    while (end->owed > 0) {
        n = send(end->fd, zeros, end->owed < sizeof(zeros) ? end->owed : sizeof(zeros),
                 MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            fail("send");
        if (n < 0)
            break;
        end->owed -= (uint64_t)n;
    }
    if (awaited(end) != before) {
        struct epoll_event e = {.events = awaited(end), .data.ptr = end};

        if (epoll_ctl(set, EPOLL_CTL_MOD, end->fd, &e) < 0)
            fail("epoll_ctl");
    }
}

static void receive_some(struct end *end)
{
    static _Thread_local uint8_t buffer[READ_BYTES];
    ssize_t n = recv(end->fd, buffer, sizeof(buffer), 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        if (n == 0)
            errno = ECONNRESET;
        fail("a stream ended early");
    }
    if (end->echoes && send(end->fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
        fail("echo");
    for (end->pending += (uint64_t)n; end->asks && end->pending >= options.piece;) {
        end->pending -= options.piece;
        if (send(end->fd, "", 1, MSG_NOSIGNAL) != 1)
            fail("send");
    }
    (void)atomic_fetch_add_explicit(&arrived[end->number], (uint64_t)n, memory_order_relaxed);
}

/* -- the service -- */

static struct end *accept_one(int set, int listener)
{
    struct end *end = calloc(1, sizeof(*end));

    if (end == NULL)
        fail("calloc");
    end->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (end->fd < 0)
        fail("accept");
    set_int(end->fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
    watch(set, end);
    return end;
}

static void forget(struct end *end)
{
    close(end->fd);
    free(end);
}

/* A connection that says nothing, as a prober's, is none of ours. */
static void learn(int set, struct end *end)
{
    struct hello hello;
    ssize_t n = recv(end->fd, &hello, sizeof(hello), MSG_PEEK);

    if (n <= 0 && errno != EAGAIN) {
        forget(end);
        return;
    }
    if (n < (ssize_t)sizeof(hello))
        return;
    if (recv(end->fd, &hello, sizeof(hello), 0) != sizeof(hello) || hello.number >= STREAMS_MAX)
        fail("hello");
    end->number = hello.number;
    end->is_known = true;
    end->echoes = hello.kind == KIND_ECHO;
    end->sends = hello.kind == KIND_DOWN;
    end->is_asked = hello.kind == KIND_PIECES;
    if (hello.kind == KIND_UP && is_stalled(hello.number)) {
        if (epoll_ctl(set, EPOLL_CTL_DEL, end->fd, NULL) < 0)
            fail("epoll_ctl");
    } else if (end->sends) {
        struct epoll_event e = {.events = EPOLLOUT, .data.ptr = end};

        if (epoll_ctl(set, EPOLL_CTL_MOD, end->fd, &e) < 0)
            fail("epoll_ctl");
    }
}

static pthread_barrier_t listening;

static void *serve(void *unused)
{
    struct epoll_event events[EVENTS];
    struct end door = {0};
    int set;

    (void)unused;
    enter(options.far);
    set = epoll_create1(EPOLL_CLOEXEC);
    door.fd = open_socket();
    set_int(door.fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
    if (bind(door.fd, (const struct sockaddr *)&options.listen, sizeof(options.listen)) < 0)
        fail("bind");
    if (listen(door.fd, 4096) < 0)
        fail("listen");
    watch(set, &door);
    pthread_barrier_wait(&listening);
    for (;;) {
        int n = epoll_wait(set, events, EVENTS, -1);

        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct end *end = events[i].data.ptr;

            if (end == &door)
                (void)accept_one(set, door.fd);
            else if (!end->is_known)
                learn(set, end);
            else if (end->is_asked)
                answer(set, end);
            else if (end->sends)
                send_some(end);
            else
                receive_some(end);
        }
    }
    return NULL;
}

/* -- the clients -- */

static int connect_one(uint32_t number, enum kind kind, uint32_t address)
{
    struct hello hello = {.number = number, .kind = (uint32_t)kind};
    struct sockaddr_in entry = options.entry;
    int fd = open_socket();

    if (address != INADDR_ANY) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};

        set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, "IP_BIND_ADDRESS_NO_PORT");
        if (bind(fd, (const struct sockaddr *)&from, sizeof(from)) < 0)
            fail("bind");
    }
    entry.sin_port = htons((uint16_t)(ntohs(entry.sin_port) + number % options.entries));
    if (connect(fd, (const struct sockaddr *)&entry, sizeof(entry)) < 0)
        fail("connect");
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
    if (send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello))
        fail("hello");
    return fd;
}

static void *transfer(void *arg)
{
    struct epoll_event events[EVENTS];
    int set = *(int *)arg;

    for (;;) {
        int n = epoll_wait(set, events, EVENTS, -1);

        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct end *end = events[i].data.ptr;

            if (end->sends)
                send_some(end);
            else
                receive_some(end);
        }
    }
    return NULL;
}

static uint64_t sum(void)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < options.streams; i++)
        bytes += atomic_load_explicit(&arrived[i], memory_order_relaxed);
    return bytes;
}

/* The clients stand before the first of them moves a byte, and the clock starts with that byte. */
static void bulk(enum kind kind, double seconds)
{
    static uint64_t before[STREAMS_MAX];
    static uint64_t samples[SAMPLES_MAX];
    struct end *ends = calloc(options.streams, sizeof(*ends));
    int set = epoll_create1(EPOLL_CLOEXEC);
    size_t tenths = (size_t)((options.warm + seconds) * 10);
    uint64_t began;
    uint64_t first;
    uint64_t last;
    pthread_t thread;

    if (ends == NULL || set < 0 || tenths > SAMPLES_MAX)
        fail("bulk");
    for (uint32_t i = 0; i < options.streams; i++) {
        ends[i] = (struct end){.number = i, .sends = kind == KIND_UP, .asks = kind == KIND_PIECES};
        ends[i].fd = connect_one(i, kind, INADDR_ANY);
        if (kind == KIND_UP || !is_stalled(i))
            watch(set, &ends[i]);
    }
    for (uint32_t i = 0; kind == KIND_PIECES && i < options.streams; i++) {
        if (send(ends[i].fd, "........", PIECES_AHEAD, MSG_NOSIGNAL) != PIECES_AHEAD)
            fail("send");
    }
    began = now_ns();
    if (pthread_create(&thread, NULL, transfer, &set) != 0)
        fail("pthread_create");
    first = began;
    for (size_t i = 0; i <= tenths; i++) {
        wait_until(began + i * 100000000);
        if (i < tenths)
            samples[i] = sum();
        if (i == (size_t)(options.warm * 10)) {
            first = now_ns();
            for (uint32_t k = 0; k < options.streams; k++)
                before[k] = atomic_load_explicit(&arrived[k], memory_order_relaxed);
        }
    }
    last = now_ns();
    printf("{\"seconds\": %.6f, \"bytes\": [", (double)(last - first) / 1e9);
    for (uint32_t k = 0; k < options.streams; k++)
        printf("%s%llu", k == 0 ? "" : ", ",
               (unsigned long long)(atomic_load_explicit(&arrived[k], memory_order_relaxed) -
                                    before[k]));
    printf("], \"tenths\": [");
    for (size_t i = 1; i < tenths; i++)
        printf("%s%llu", i == 1 ? "" : ", ", (unsigned long long)(samples[i] - samples[i - 1]));
    printf("], \"total\": %llu}\n", (unsigned long long)sum());
    fflush(stdout);
    _exit(0); /* the threads never end */
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void pings(size_t bytes, double seconds)
{
    static uint32_t times[PINGS_MAX]; /* ns */
    static uint8_t message[READ_BYTES];
    int fd = connect_one(0, KIND_ECHO, INADDR_ANY);
    uint64_t first = now_ns() + (uint64_t)(options.warm * 1e9);
    uint64_t end = first + (uint64_t)(seconds * 1e9);
    uint64_t total = 0;
    size_t count = 0;
    size_t median;
    size_t hundredth;
    size_t worst;

    for (uint64_t now = now_ns(); count == 0 || (now < end && count < PINGS_MAX);) {
        uint64_t sent = now;

        if (send(fd, message, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
            fail("send");
        if (recv(fd, message, bytes, MSG_WAITALL) != (ssize_t)bytes)
            fail("an answer");
        now = now_ns();
        if (sent >= first) {
            times[count++] = now - sent < UINT32_MAX ? (uint32_t)(now - sent) : UINT32_MAX;
            total += now - sent;
        }
    }
    qsort(times, count, sizeof(times[0]), compare);
    median = count / 2;
    hundredth = count / 100;
    worst = count - 1;
    printf("{\"count\": %zu, \"mean_us\": %.2f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"most_us\": %.2f}\n",
           count, (double)total / (double)count / 1e3, times[median] / 1e3,
           times[worst - hundredth] / 1e3, times[worst] / 1e3);
    fflush(stdout);
    _exit(0);
}

static void hold(void)
{
    const struct timeval deadline = {.tv_sec = DEADLINE_SEC};
    int *fds = calloc(options.streams, sizeof(*fds));
    sigset_t terminate;
    int number;

    if (fds == NULL)
        fail("calloc");
    for (uint32_t first = 0; first < options.streams; first += BATCH) {
        uint32_t end = first + BATCH < options.streams ? first + BATCH : options.streams;

        for (uint32_t i = first; i < end; i++) {
            fds[i] = connect_one(i, KIND_ECHO, 0x7f020001 + i / PER_ADDRESS);
            if (send(fds[i], "w", 1, MSG_NOSIGNAL) != 1)
                fail("send");
        }
        for (uint32_t i = first; i < end; i++) {
            char word;

            (void)setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
            if (recv(fds[i], &word, 1, 0) != 1)
                fail("a word");
        }
    }
    printf("held\n");
    fflush(stdout);
    sigemptyset(&terminate);
    sigaddset(&terminate, SIGTERM);
    (void)sigwait(&terminate, &number);
    _exit(0);
}

/* -- the command line -- */

static void usage(void)
{
    fprintf(stderr, "usage: ends [OPTIONS] bulk ENTRY LISTEN up|down STREAMS SECONDS\n"
                    "       ends [OPTIONS] pieces ENTRY LISTEN BYTES STREAMS SECONDS\n"
                    "       ends [OPTIONS] pings ENTRY LISTEN BYTES SECONDS\n"
                    "       ends [OPTIONS] hold ENTRY LISTEN STREAMS\n"
                    "options: --warm SECONDS --stalled N --entries N\n"
                    "         --near FILE --far FILE\n");
    exit(2);
}

static uint32_t parse_count(const char *text, uint32_t most)
{
    unsigned long n = strtoul(text, NULL, 10);

    if (n < 1 || n > most) {
        fprintf(stderr, "ends: %s is not between 1 and %lu\n", text, (unsigned long)most);
        exit(2);
    }
    return (uint32_t)n;
}

static void parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"warm", required_argument, NULL, 'w'},
        {"stalled", required_argument, NULL, 'x'},
        {"socket", required_argument, NULL, 's'},
        {"entries", required_argument, NULL, 'e'},
        {"near", required_argument, NULL, 'n'},
        {"far", required_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "+", names, NULL)) != -1;) {
        switch (c) {
        case 'w':
            options.warm = strtod(optarg, NULL);
            break;
        case 'x':
            options.stalled = parse_count(optarg, STREAMS_MAX);
            break;
        case 'e':
            options.entries = parse_count(optarg, 1000);
            break;
        case 'n':
            options.near = optarg;
            break;
        case 'f':
            options.far = optarg;
            break;
        default:
            usage();
        }
    }
}

static void start_service(void)
{
    pthread_t thread;

    if (pthread_barrier_init(&listening, NULL, 2) != 0 ||
        pthread_create(&thread, NULL, serve, NULL) != 0)
        fail("the service");
    pthread_barrier_wait(&listening);
    enter(options.near);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    sigset_t terminate;
    char **words;
    int count;

    parse_options(argc, argv);
    words = argv + optind;
    count = argc - optind;
    if (count < 4)
        usage();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    options.entry = parse_address(words[1]);
    options.listen = parse_address(words[2]);
    if (strcmp(words[0], "bulk") == 0 && count == 6) {
        enum kind kind = strcmp(words[3], "up") == 0 ? KIND_UP : KIND_DOWN;

        options.streams = parse_count(words[4], STREAMS_MAX);
        if (options.stalled >= options.streams)
            usage();
        start_service();
        bulk(kind, strtod(words[5], NULL));
    } else if (strcmp(words[0], "pieces") == 0 && count == 6) {
        options.piece = parse_count(words[3], 1 << 30);
        options.streams = parse_count(words[4], STREAMS_MAX);
        start_service();
        bulk(KIND_PIECES, strtod(words[5], NULL));
    } else if (strcmp(words[0], "pings") == 0 && count == 5) {
        options.streams = 1;
        start_service();
        pings(parse_count(words[3], READ_BYTES), strtod(words[4], NULL));
    } else if (strcmp(words[0], "hold") == 0 && count == 4) {
        options.streams = parse_count(words[3], STREAMS_MAX);
        sigemptyset(&terminate);
        sigaddset(&terminate, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &terminate, NULL);
        start_service();
        hold();
    } else {
        usage();
    }
    return 0;
}
