#include "net/wire_error.h"

enum wire_code wire_code_of(enum err e)
{
    if (e == ERR_REFUSED)
        return WIRE_REFUSED;
    if (e == ERR_UNREACHABLE)
        return WIRE_UNREACHABLE;
    if (e == ERR_TIMEOUT)
        return WIRE_TIMEOUT;
    if (e == ERR_RESOLVE)
        return WIRE_RESOLVE;
    if (e == ERR_NOT_ALLOWED)
        return WIRE_NOT_ALLOWED;
    if (e == ERR_SHUTDOWN)
        return WIRE_SHUTDOWN;
    if (e == ERR_NOT_ALLOWED || err_class(e) == ERR_CLASS_AUTH)
        return WIRE_NOT_ALLOWED;
    if (e == ERR_NO_SERVICE)
        return WIRE_NO_SERVICE;
    if (err_class(e) == ERR_CLASS_LIMIT)
        return WIRE_LIMIT;
    return e == ERR_RESET ? WIRE_RESET : WIRE_INTERNAL;
}

enum err wire_error(enum wire_code code)
{
    static const enum err errors[] = {
        [WIRE_NO_ERROR] = ERR_RESET,        [WIRE_INTERNAL] = ERR_INTERNAL,
        [WIRE_PROTOCOL] = ERR_STREAM_STATE, [WIRE_RESET] = ERR_RESET,
        [WIRE_REFUSED] = ERR_REFUSED,       [WIRE_UNREACHABLE] = ERR_UNREACHABLE,
        [WIRE_TIMEOUT] = ERR_TIMEOUT,       [WIRE_RESOLVE] = ERR_RESOLVE,
        [WIRE_NO_SERVICE] = ERR_NO_SERVICE, [WIRE_NOT_ALLOWED] = ERR_NOT_ALLOWED,
        [WIRE_LIMIT] = ERR_LIMIT,           [WIRE_SHUTDOWN] = ERR_SHUTDOWN,
        [WIRE_SESSION_LOST] = ERR_CLOSED,
    };

    return code < sizeof(errors) / sizeof(errors[0]) ? errors[code] : ERR_RESET;
}
