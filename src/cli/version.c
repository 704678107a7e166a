/* utun version: what this binary is made of, for a bug report. */
#include "cli/cli.h"

#include <stdio.h>

#include <mceliece.h>
#include <openssl/crypto.h>

#include "cli/options.h"

int cli_version(struct cli_globals *g, int argc, char **argv)
{
    const struct cli_syntax syntax = {
        .command = "version",
        .summary = "Prints the versions of utun and its libraries.",
    };
    int status;

    (void)g;
    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    printf("utun              %s\n", UTUN_VERSION);
    printf("build             %s\n", UTUN_BUILD_TYPE);
    printf("compiler          %s\n", __VERSION__);
    printf("OpenSSL           %s (built with %s)\n", OpenSSL_version(OPENSSL_VERSION_STRING),
           OPENSSL_VERSION_STR);
    printf("Classic McEliece  libmceliece %s (%s)\n", mceliece_version, mceliece_arch);
    return CLI_OK;
}
