#include "net/udp_io.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* More than any datagram: IPv6 without its fragments' limit carries 65,527 bytes. */
#define BUFFER_BYTES 65536

/* Control messages: packet information of both kinds, which a datagram of IPv4 has on "::". */
#define CONTROL_BYTES                                                                              \
    (CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)))

union control {
    struct cmsghdr align;
    uint8_t bytes[CONTROL_BYTES];
};

struct udp_io {
    /* in */
    struct mmsghdr in[UDP_BATCH];
    struct iovec in_parts[UDP_BATCH];
    struct sockaddr_storage in_names[UDP_BATCH];
    union control in_controls[UDP_BATCH];
    struct udp_packet packets[UDP_BATCH];
    uint8_t *buffers; /* UDP_BATCH times BUFFER_BYTES; pages are used as datagrams need them */

    /* out */
    struct mmsghdr out[UDP_BATCH];
    struct iovec out_parts[UDP_BATCH];
    struct sockaddr_storage out_names[UDP_BATCH];
    union control out_controls[UDP_BATCH];
    struct udp_send sends[UDP_BATCH];
    size_t n_out;
};

enum err udp_io_new(struct udp_io **out)
{
    struct udp_io *io = calloc(1, sizeof(*io));

    *out = NULL;
    if (io == NULL)
        return ERR_NOMEM;
    io->buffers = malloc((size_t)UDP_BATCH * BUFFER_BYTES);
    if (io->buffers == NULL) {
        free(io);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < UDP_BATCH; i++) {
        io->in_parts[i].iov_base = io->buffers + i * BUFFER_BYTES;
        io->in_parts[i].iov_len = BUFFER_BYTES;
    }
    *out = io;
    return ERR_OK;
}

void udp_io_free(struct udp_io *io)
{
    if (io == NULL)
        return;
    free(io->buffers);
    free(io);
}

/* -- in -- */

/*
 * Of IPv4 what IP_PKTINFO says, whatever the socket: the kernel names the address to answer from,
 * also where the datagram was sent to all (broadcast). IPv6 names only where it was sent to, and
 * nothing can be sent from a group: then the kernel is to choose.
 */
static void set_local(struct address *a, struct msghdr *message)
{
    struct cmsghdr *c;

    memset(a, 0, sizeof(*a));
    for (c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            struct sockaddr_in in = {.sin_family = AF_INET};

            memcpy(&info, CMSG_DATA(c), sizeof(info));
            in.sin_addr = info.ipi_spec_dst;
            address_from_sockaddr(a, (struct sockaddr *)&in, sizeof(in));
            return;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            struct sockaddr_in6 in = {.sin6_family = AF_INET6};

            memcpy(&info, CMSG_DATA(c), sizeof(info));
            in.sin6_addr = info.ipi6_addr;
            if (!IN6_IS_ADDR_MULTICAST(&in.sin6_addr))
                address_from_sockaddr(a, (struct sockaddr *)&in, sizeof(in));
        }
    }
}

static void prepare_in(struct udp_io *io)
{
    for (size_t i = 0; i < UDP_BATCH; i++) {
        io->in[i].msg_hdr = (struct msghdr){
            .msg_name = &io->in_names[i],
            .msg_namelen = sizeof(io->in_names[i]),
            .msg_iov = &io->in_parts[i],
            .msg_iovlen = 1,
            .msg_control = &io->in_controls[i],
            .msg_controllen = sizeof(io->in_controls[i]),
        };
    }
}

static void take(struct udp_io *io, size_t i)
{
    struct msghdr *message = &io->in[i].msg_hdr;
    struct udp_packet *p = &io->packets[i];

    if (message->msg_namelen > 0)
        address_from_sockaddr(&p->from, (struct sockaddr *)&io->in_names[i], message->msg_namelen);
    else
        memset(&p->from, 0, sizeof(p->from));
    set_local(&p->to, message);
    p->data = io->in_parts[i].iov_base;
    p->len = io->in[i].msg_len;
}

enum err udp_io_receive(struct udp_io *io, int fd, const struct udp_packet **packets, size_t *n)
{
    int got;

    *packets = io->packets;
    *n = 0;
    do {
        prepare_in(io);
        got = recvmmsg(fd, io->in, UDP_BATCH, MSG_DONTWAIT, NULL);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? ERR_OK : err_from_errno(errno);
    for (size_t i = 0; i < (size_t)got; i++)
        take(io, i);
    *n = (size_t)got;
    return ERR_OK;
}

/* -- out -- */

/* The packet information that makes the kernel send from that address. */
static void set_source(struct msghdr *message, union control *control, const struct address *from)
{
    struct cmsghdr *c;

    message->msg_control = control;
    message->msg_controllen = sizeof(*control);
    memset(control, 0, sizeof(*control));
    c = CMSG_FIRSTHDR(message);
    if (from->sockaddr.ss_family == AF_INET) {
        struct sockaddr_in in;
        struct in_pktinfo info = {.ipi_ifindex = 0};

        memcpy(&in, &from->sockaddr, sizeof(in));
        info.ipi_spec_dst = in.sin_addr;
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        message->msg_controllen = CMSG_SPACE(sizeof(info));
    } else {
        struct sockaddr_in6 in;
        struct in6_pktinfo info = {.ipi6_ifindex = 0};

        memcpy(&in, &from->sockaddr, sizeof(in));
        info.ipi6_addr = in.sin6_addr;
        c->cmsg_level = IPPROTO_IPV6;
        c->cmsg_type = IPV6_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        message->msg_controllen = CMSG_SPACE(sizeof(info));
    }
}

void udp_io_send(struct udp_io *io, const struct udp_send *send)
{
    size_t i;

    if (io->n_out == UDP_BATCH)
        udp_io_flush(io);
    i = io->n_out++;
    io->sends[i] = *send;
    /* The pointer is to const, but no call here writes through it. */
    io->out_parts[i] =
        (struct iovec){.iov_base = (uint8_t *)(uintptr_t)send->data, .iov_len = send->len};
    io->out[i].msg_hdr = (struct msghdr){.msg_iov = &io->out_parts[i], .msg_iovlen = 1};
    if (send->to != NULL) {
        memcpy(&io->out_names[i], &send->to->sockaddr, send->to->len);
        io->out[i].msg_hdr.msg_name = &io->out_names[i];
        io->out[i].msg_hdr.msg_namelen = send->to->len;
    }
    if (send->from != NULL && !address_is_none(send->from))
        set_source(&io->out[i].msg_hdr, &io->out_controls[i], send->from);
}

static void count_sent(const struct udp_send *s)
{
    stats_add(&s->stats->datagrams_to_local, 1);
    stats_add(&s->stats->datagram_bytes_to_local, s->len);
    stats_add(&s->total->datagrams_to_local, 1);
    stats_add(&s->total->datagram_bytes_to_local, s->len);
}

static void count_dropped(const struct udp_send *s, int error)
{
    if (error == EMSGSIZE) {
        stats_add(&s->stats->dropped_too_large, 1);
        stats_add(&s->total->dropped_too_large, 1);
    } else {
        stats_add(&s->stats->dropped_socket, 1);
        stats_add(&s->total->dropped_socket, 1);
    }
}

/* Those from..end-1 have one fd. How many of them are over: sent, or dropped. */
static size_t send_run(struct udp_io *io, size_t from, size_t end)
{
    bool was_refused = false;

    for (;;) {
        int n = sendmmsg(io->sends[from].fd, &io->out[from], (unsigned)(end - from),
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        for (int i = 0; i < n; i++)
            count_sent(&io->sends[from + (size_t)i]);
        if (n > 0)
            return (size_t)n;
        if (errno == EINTR)
            continue;
        /* This is the fate of an earlier one; the error is cleared by now. */
        if (errno == ECONNREFUSED && !was_refused) {
            was_refused = true;
            stats_add(&io->sends[from].stats->dropped_target_refused, 1);
            stats_add(&io->sends[from].total->dropped_target_refused, 1);
            continue;
        }
        count_dropped(&io->sends[from], errno);
        return 1;
    }
}

void udp_io_flush(struct udp_io *io)
{
    for (size_t from = 0; from < io->n_out;) {
        size_t end = from + 1;

        while (end < io->n_out && io->sends[end].fd == io->sends[from].fd)
            end++;
        while (from < end)
            from += send_run(io, from, end);
    }
    io->n_out = 0;
}
