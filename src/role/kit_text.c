#include "role/kit_text.h"

#include <stdbool.h>
#include <string.h>

#include "config/host.h"

void kit_text_dest_config(FILE *out, const struct kit_request *r)
{
    fprintf(out,
            "# The dest, beside the services. `utun check --keys` explains every key there is.\n\n"
            "[dest]\n"
            "listen_ip = \"%s\"\n"
            "tunnel_port = %u\n",
            host_is_address(r->dest_host) && strchr(r->dest_host, ':') != NULL ? "::" : "0.0.0.0",
            r->tunnel_port);
    for (size_t i = 0; i < r->service_count; i++) {
        const struct kit_service *s = &r->services[i];

        fprintf(out,
                "\n[[dest.exposed_services]]\n"
                "name = \"%s\"\n"
                "port = %u\n"
                "target_ip = \"%s\"\n"
                "target_port = %u\n"
                "protocol = \"%s\"\n",
                s->name, s->port, s->target_host, s->target_port,
                config_protocol_name(s->protocol));
    }
    fprintf(out, "\n[auth]\n"
                 "ca_cert_path = \"" KIT_CA_CERT "\"\n"
                 "server_cert_path = \"" KIT_DEST_CERT "\"\n"
                 "server_key_path = \"" KIT_DEST_KEY "\"\n");
}

void kit_text_source_config(FILE *out, const struct kit_request *r)
{
    fprintf(out,
            "# The source, near the clients. `utun check --keys` explains every key there is.\n\n"
            "[source]\n"
            "listen_ip = \"%s\"\n"
            "dest_host = \"%s\"\n"
            "dest_tunnel_port = %u\n",
            r->listen_ip, r->dest_host, r->tunnel_port);
    for (size_t i = 0; i < r->service_count; i++) {
        const struct kit_service *s = &r->services[i];

        fprintf(out,
                "\n[[source.exposed_ports]]\n"
                "port = %u  # %s\n"
                "protocol = \"%s\"\n",
                s->port, s->name, config_protocol_name(s->protocol));
    }
    fprintf(out, "\n[auth]\n"
                 "ca_cert_path = \"" KIT_CA_CERT "\"\n"
                 "client_cert_path = \"" KIT_SOURCE_CERT "\"\n"
                 "client_key_path = \"" KIT_SOURCE_KEY "\"\n");
}

/* -- compose.yml -- */

static void print_container(FILE *out, const char *role, const char *options)
{
    fprintf(out,
            "# Start it as whoever owns the files here: the key is for its owner alone.\n"
            "#   UTUN_USER=$(id -u):$(id -g) docker compose up -d\n"
            "services:\n"
            "  utun-%s:\n"
            "    image: utun\n"
            "    command: [\"%s\"%s]\n"
            "    user: \"${UTUN_USER:-0:0}\"\n"
            "    volumes:\n"
            "      - .:/etc/utun:ro\n"
            "    read_only: true\n"
            "    cap_drop: [ALL]\n"
            "    security_opt: [\"no-new-privileges:true\"]\n"
            "    restart: unless-stopped\n",
            role, role, options);
}

void kit_text_dest_compose(FILE *out, const struct kit_request *request)
{
    (void)request;
    print_container(out, "dest", "");
    fprintf(out, "    network_mode: host  # the targets are those that this host sees\n");
}

static void print_port(FILE *out, const char *listen_ip, uint16_t port, const char *protocol)
{
    bool has_colon = strchr(listen_ip, ':') != NULL;

    fprintf(out, "      - \"");
    if (!host_is_any(listen_ip))
        fprintf(out, has_colon ? "[%s]:" : "%s:", listen_ip);
    fprintf(out, "%u:%u/%s\"\n", port, port, protocol);
}

void kit_text_source_compose(FILE *out, const struct kit_request *r)
{
    print_container(out, "source", ", \"--listen-ip\", \"0.0.0.0\"");
    fprintf(out, "    sysctls:\n"
                 "      net.ipv4.ip_unprivileged_port_start: 0\n"
                 "    ports:\n");
    for (size_t i = 0; i < r->service_count; i++) {
        const struct kit_service *s = &r->services[i];

        if ((s->protocol & CONFIG_TCP) != 0)
            print_port(out, r->listen_ip, s->port, "tcp");
        if ((s->protocol & CONFIG_UDP) != 0)
            print_port(out, r->listen_ip, s->port, "udp");
    }
}

/* -- drop-ins -- */

static void print_unit(FILE *out, const char *role)
{
    fprintf(out,
            "# A drop-in of utun-%s.service, for this folder as /etc/utun/%s.\n"
            "[Service]\n"
            "ExecStart=\n"
            "ExecStart=utun %s --config /etc/utun/%s/" KIT_CONFIG "\n",
            role, role, role, role);
}

void kit_text_dest_unit(FILE *out, const struct kit_request *request)
{
    (void)request;
    print_unit(out, "dest");
}

void kit_text_source_unit(FILE *out, const struct kit_request *request)
{
    (void)request;
    print_unit(out, "source");
}

/* -- READMEs -- */

static void print_readme(FILE *out, const char *role)
{
    fprintf(out,
            "By hand: utun check --config " KIT_CONFIG ", then utun %s --config " KIT_CONFIG
            "; in a container: see " KIT_COMPOSE ".\n"
            "With systemd, as root, whose own the files then are: umask 022; systemd-sysusers; "
            "mkdir -p /etc/utun/%s; cp -r . /etc/utun/%s; install -D -m 644 utun-%s.conf "
            "/etc/systemd/system/utun-%s.service.d/utun.conf; systemctl daemon-reload; systemctl "
            "enable --now utun-%s\n",
            role, role, role, role, role, role);
}

void kit_text_dest_readme(FILE *out, const struct kit_request *r)
{
    fprintf(out,
            "This folder is for %s: copy it there. Sources must be able to reach TCP port %u.\n",
            r->dest_host, r->tunnel_port);
    print_readme(out, "dest");
}

void kit_text_source_readme(FILE *out, const struct kit_request *r)
{
    fprintf(out,
            "This folder is for the host near the clients: copy it there. Clients connect to %s:",
            r->listen_ip);
    for (size_t i = 0; i < r->service_count; i++)
        fprintf(out, "%s %u (%s)", i > 0 ? "," : "", r->services[i].port, r->services[i].name);
    fprintf(out, ".\n");
    print_readme(out, "source");
}

void kit_text_ca_readme(FILE *out, const struct kit_request *request)
{
    (void)request;
    fprintf(out,
            "This folder stays home: whoever has " KIT_CA_KEY
            " can make sources and dests that the others trust.\n"
            "Neither host needs it. Keep it offline, with a copy, and with the list of revoked "
            "certificates once there is one.\n"
            "Another source, or a new certificate in a year: utun cert client --help; "
            "for a dest: utun cert server --help; where a key is stolen: utun cert crl --help\n");
}
