/* The actions of utun cert that have a file of their own. They return the exit status. */
#ifndef UTUN_CLI_CERT_H
#define UTUN_CLI_CERT_H

#include "base/error.h"

int cert_run_crl(int argc, char **argv);
int cert_run_show(int argc, char **argv);

/* Prints the error of an action ("cert crl") and returns the exit status for it. */
int cert_report(const char *command, enum err e, const struct err_detail *d);

#endif
