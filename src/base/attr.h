/* Compiler attributes, spelled once. */
#ifndef UTUN_BASE_ATTR_H
#define UTUN_BASE_ATTR_H

#define MUST_USE            __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, a) __attribute__((format(printf, fmt, a)))
#define NORETURN            __attribute__((noreturn))

#endif
