/*
 * The Host header of a request (RFC 9110, 7.2) to a server on loopback. A page of the web can have
 * a browser ask there under the page's own name, by a name server that points it to 127.0.0.1 (DNS
 * rebinding), and then reads the answer as its own. It cannot have it ask by a name that no name
 * server is asked about.
 */
#ifndef UTUN_OPS_HTTP_HOST_H
#define UTUN_OPS_HTTP_HOST_H

#include <stdbool.h>

/*
 * Whether what stands in the header is localhost or an IP address, with any port or none. An empty
 * or malformed one is neither.
 */
bool http_host_is_fixed(const char *host);

#endif
