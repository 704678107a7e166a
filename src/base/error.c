#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *text;
    enum err_class class;
} list[ERR_COUNT] = {
#define ERR_ROW(code, name, text, class) [code] = {name, text, ERR_CLASS_##class},
    ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

static enum err known(enum err e)
{
    return (unsigned)e < ERR_COUNT ? e : ERR_INTERNAL;
}

const char *err_name(enum err e)
{
    return list[known(e)].name;
}

const char *err_text(enum err e)
{
    return list[known(e)].text;
}

enum err_class err_class(enum err e)
{
    return list[known(e)].class;
}

enum err err_from_errno(int errnum)
{
    switch (errnum) {
    case 0:
        return ERR_OK;
    case ENOMEM:
    case ENOBUFS:
        return ERR_NOMEM;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_PERMISSION;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECONNREFUSED:
        return ERR_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
    case EHOSTDOWN:
    case ENETDOWN:
        return ERR_UNREACHABLE;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return ERR_RESET;
    case EADDRINUSE:
        return ERR_ADDR_IN_USE;
    case EMFILE:
    case ENFILE:
        return ERR_LIMIT;
    default:
        return ERR_IO;
    }
}

enum err err_set(struct err_detail *d, enum err e, const char *fmt, ...)
{
    va_list args;

    if (d == NULL)
        return e;
    va_start(args, fmt);
    vsnprintf(d->text, sizeof(d->text), fmt, args);
    va_end(args);
    return e;
}
