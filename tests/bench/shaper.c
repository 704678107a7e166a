/*
 * A long fat path on one machine: two network namespaces, each with a TUN device, and this process
 * between them, which passes packets on as a link of that rate and a cable of that length would.
 * What runs in the namespaces uses its own TCP over it, with real round trips.
 *
 *   shaper RATE-MBITS DELAY-MS QUEUE-BYTES
 *
 * In either direction a packet waits until the link is free, takes its bytes / RATE to be sent and
 * arrives DELAY later; one that finds more than QUEUE bytes waiting is dropped. Prints "ready",
 * with the two namespaces as /proc/PID/fd/N, which nsenter takes, and on SIGTERM what was carried
 * and dropped. The addresses are 10.99.0.1 and 10.99.0.2. Needs root and /dev/net/tun, and leaves
 * nothing behind: the namespaces end with the process.
 *
 * Packets cross the TUN devices as TCP hands them down (segmentation offload, up to 64 KiB), but
 * count for the link as the packets of the MTU that they stand for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKET_MAX   (65536 + sizeof(struct virtio_net_hdr))
#define HEADERS      52 /* IP and TCP with timestamps, of each packet that a large one stands for */
#define BUFFER_BYTES "4096 131072 67108864" /* so that TCP's own limits do not set the rate */
#define TAKE_AT_ONCE 64

struct packet {
    struct packet *next;
    uint64_t arrives_ns;
    size_t len;
    uint8_t data[];
};

struct direction {
    struct packet *first;
    struct packet **last;
    uint64_t free_ns; /* when the link has sent all that it was given */
    uint64_t packets;
    uint64_t bytes;
    uint64_t dropped;
};

struct link {
    double bytes_per_ns;
    uint64_t delay_ns;
    uint64_t queue_ns; /* the time that a full queue takes */
};

static volatile sig_atomic_t is_over;

static void fail(const char *what)
{
    fprintf(stderr, "shaper: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* -- the namespaces -- */

static void write_setting(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        fail(path);
    close(fd);
}

static void set_address(int control, struct ifreq *r, unsigned long request, const char *address)
{
    struct sockaddr_in a = {.sin_family = AF_INET};

    inet_pton(AF_INET, address, &a.sin_addr);
    memcpy(&r->ifr_addr, &a, sizeof(a));
    if (ioctl(control, request, r) < 0)
        fail(address);
}

static void bring_up(int control, struct ifreq *r)
{
    r->ifr_flags = IFF_UP;
    if (ioctl(control, SIOCSIFFLAGS, r) < 0)
        fail(r->ifr_name);
}

/* The TUN device of a new namespace, in which this process is afterwards. */
static int make_side(const char *own, const char *other, int *namespace)
{
    struct ifreq tun = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    struct ifreq loopback = {.ifr_name = "lo"};
    int header = sizeof(struct virtio_net_hdr);
    int control;
    int fd;

    if (unshare(CLONE_NEWNET) < 0)
        fail("a network namespace");
    *namespace = open("/proc/self/ns/net", O_RDONLY);
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (*namespace < 0 || control < 0 || fd < 0)
        fail("/dev/net/tun");
    if (ioctl(fd, TUNSETIFF, &tun) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
        fail("the TUN device");
    set_address(control, &tun, SIOCSIFADDR, own);
    set_address(control, &tun, SIOCSIFDSTADDR, other);
    bring_up(control, &tun);
    bring_up(control, &loopback);
    close(control);
    write_setting("/proc/sys/net/ipv4/tcp_rmem", BUFFER_BYTES);
    write_setting("/proc/sys/net/ipv4/tcp_wmem", BUFFER_BYTES);
    return fd;
}

/* -- the path -- */

/* What the link has to send: a large packet goes out as several, each with its headers. */
static size_t bytes_on_link(const uint8_t *data, size_t len)
{
    struct virtio_net_hdr header;
    size_t bytes = len - sizeof(header);

    memcpy(&header, data, sizeof(header));
    if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE && header.gso_size > 0 && bytes > HEADERS)
        bytes += ((bytes - HEADERS - 1) / header.gso_size) * HEADERS;
    return bytes;
}

static void take(int from, struct direction *d, const struct link *link)
{
    static uint8_t buffer[PACKET_MAX];

    for (int i = 0; i < TAKE_AT_ONCE; i++) {
        ssize_t n = read(from, buffer, sizeof(buffer));
        uint64_t now = now_ns();
        struct packet *p;
        size_t bytes;

        if (n <= (ssize_t)sizeof(struct virtio_net_hdr))
            return;
        bytes = bytes_on_link(buffer, (size_t)n);
        if (d->free_ns < now)
            d->free_ns = now;
        if (d->free_ns - now > link->queue_ns) {
            d->dropped++;
            continue;
        }
        p = malloc(sizeof(*p) + (size_t)n);
        if (p == NULL)
            fail("malloc");
        d->free_ns += (uint64_t)((double)bytes / link->bytes_per_ns);
        d->bytes += bytes;
        d->packets++;
        *p = (struct packet){.arrives_ns = d->free_ns + link->delay_ns, .len = (size_t)n};
        memcpy(p->data, buffer, (size_t)n);
        *d->last = p;
        d->last = &p->next;
    }
}

static void deliver(int to, struct direction *d)
{
    uint64_t now = now_ns();

    while (d->first != NULL && d->first->arrives_ns <= now) {
        struct packet *p = d->first;

        d->first = p->next;
        if (d->first == NULL)
            d->last = &d->first;
        if (write(to, p->data, p->len) < 0)
            d->dropped++;
        free(p);
    }
}

static void run(const int tuns[2], const struct link *link, struct direction directions[2])
{
    while (!is_over) {
        struct pollfd fds[2] = {{.fd = tuns[0], .events = POLLIN},
                                {.fd = tuns[1], .events = POLLIN}};
        struct timespec wait = {.tv_sec = 1};
        uint64_t now = now_ns();

        for (int i = 0; i < 2; i++) {
            const struct packet *p = directions[i].first;
            uint64_t ns = p == NULL ? 1000000000 : p->arrives_ns > now ? p->arrives_ns - now : 0;

            if (ns < (uint64_t)wait.tv_sec * 1000000000 + (uint64_t)wait.tv_nsec)
                wait = (struct timespec){.tv_sec = 0, .tv_nsec = (long)ns};
        }
        if (ppoll(fds, 2, &wait, NULL) < 0 && errno != EINTR)
            fail("ppoll");
        for (int i = 0; i < 2; i++) {
            deliver(tuns[1 - i], &directions[i]);
            if (fds[i].revents != 0)
                take(tuns[i], &directions[i], link);
        }
    }
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct direction directions[2] = {{.last = &directions[0].first},
                                      {.last = &directions[1].first}};
    struct link link;
    int namespaces[2];
    int tuns[2];

    if (argc != 4 || strtod(argv[1], NULL) <= 0) {
        fprintf(stderr, "usage: shaper RATE-MBITS DELAY-MS QUEUE-BYTES\n");
        return 2;
    }
    link.bytes_per_ns = strtod(argv[1], NULL) / 8e3;
    link.delay_ns = (uint64_t)(strtod(argv[2], NULL) * 1e6);
    link.queue_ns = (uint64_t)(strtod(argv[3], NULL) / link.bytes_per_ns);
    tuns[0] = make_side("10.99.0.1", "10.99.0.2", &namespaces[0]);
    tuns[1] = make_side("10.99.0.2", "10.99.0.1", &namespaces[1]);
    if (sigaction(SIGTERM, &action, NULL) < 0 || prctl(PR_SET_TIMERSLACK, 1000) < 0)
        fail("signals and timers");
    printf("ready /proc/%d/fd/%d /proc/%d/fd/%d\n", getpid(), namespaces[0], getpid(),
           namespaces[1]);
    fflush(stdout);
    run(tuns, &link, directions);
    for (int i = 0; i < 2; i++)
        printf("%s: %llu packets, %llu bytes, %llu dropped\n", i == 0 ? "there" : "back",
               (unsigned long long)directions[i].packets, (unsigned long long)directions[i].bytes,
               (unsigned long long)directions[i].dropped);
    return 0;
}
