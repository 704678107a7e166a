#include "crypto/cert_names.h"

#include <arpa/inet.h>
#include <string.h>

#include <openssl/err.h>

#define DNS_LABEL_MAX 63
#define DNS_NAME_MAX  253
#define URI_MAX       2000

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *label_fault(const char *label, size_t len)
{
    if (len == 0)
        return "it has an empty label (two dots, or a dot at an end)";
    if (len > DNS_LABEL_MAX)
        return "a label is longer than 63 characters";
    if (label[0] == '-' || label[len - 1] == '-')
        return "a label starts or ends with '-'";
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)label[i] >= 0x80)
            return "it is not ASCII: write internationalized names in punycode (xn--...)";
        if (label[i] == '*')
            return "'*' may only be the whole leftmost label (*.example.com)";
        if (!is_letter(label[i]) && !is_digit(label[i]) && label[i] != '-' && label[i] != '_')
            return "only letters, digits, '-', '_' and dots are allowed";
    }
    return NULL;
}

static const char *dns_fault(const char *name)
{
    const char *label = name;
    const char *fault = NULL;
    int labels = 0;
    bool is_wildcard = strncmp(name, "*.", 2) == 0;

    if (name[0] == 0)
        return "it is empty";
    if (strlen(name) > DNS_NAME_MAX)
        return "it is longer than 253 characters";
    if (cert_names_is_ip(name))
        return "it is an IP address: give it in --ip-addresses";
    if (is_wildcard)
        label += 2;
    while (fault == NULL) {
        size_t len = strcspn(label, ".");

        fault = label_fault(label, len);
        labels++;
        if (label[len] == 0)
            break;
        label += len + 1;
    }
    if (fault == NULL && is_wildcard && labels < 2)
        return "a wildcard for a whole top-level domain is not accepted by anyone";
    return fault;
}

bool cert_names_is_dns(const char *name, const char **why)
{
    const char *fault = dns_fault(name);

    if (fault != NULL && why != NULL)
        *why = fault;
    return fault == NULL;
}

/* The bytes of an address in out, and how many; 0 if it is none. */
static int parse_ip(uint8_t out[16], const char *text)
{
    if (inet_pton(AF_INET, text, out) == 1)
        return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

bool cert_names_is_ip(const char *text)
{
    uint8_t bytes[16];

    return parse_ip(bytes, text) != 0;
}

static bool is_uri(const char *text)
{
    const char *p = text;

    if (!is_letter(*p))
        return false;
    while (is_letter(*p) || is_digit(*p) || *p == '+' || *p == '-' || *p == '.')
        p++;
    if (*p != ':' || p[1] == 0)
        return false;
    for (; *p != 0; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return false;
    return true;
}

/* Adds one name of the given type unless it is there; bytes are copied. */
static enum err add(GENERAL_NAMES *names, int type, const void *bytes, int len)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value =
        type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_STRING_type_new(V_ASN1_IA5STRING);

    if (name == NULL || value == NULL || ASN1_STRING_set(value, bytes, len) != 1)
        goto fail;
    GENERAL_NAME_set0_value(name, type, value);
    value = NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(names, i), name) == 0) {
            GENERAL_NAME_free(name);
            return ERR_OK;
        }
    }
    if (sk_GENERAL_NAME_push(names, name) > 0)
        return ERR_OK;
fail:
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    ERR_clear_error();
    return ERR_NOMEM;
}

static enum err add_dns(GENERAL_NAMES *names, const char *entry, struct err_detail *d)
{
    const char *why = NULL;

    if (!cert_names_is_dns(entry, &why))
        return err_set(d, ERR_USAGE, "DNS name \"%s\": %s", entry, why);
    return add(names, GEN_DNS, entry, (int)strlen(entry));
}

static enum err add_ip(GENERAL_NAMES *names, const char *entry, struct err_detail *d)
{
    uint8_t bytes[16];
    int len = parse_ip(bytes, entry);

    if (len == 0)
        return err_set(d, ERR_USAGE,
                       "IP address \"%s\": is neither an IPv4 nor an IPv6 address; write it like "
                       "192.0.2.1 or 2001:db8::1, without brackets, zone or prefix length",
                       entry);
    return add(names, GEN_IPADD, bytes, len);
}

static enum err add_uri(GENERAL_NAMES *names, const char *entry, struct err_detail *d)
{
    if (!is_uri(entry))
        return err_set(d, ERR_USAGE,
                       "URI \"%s\": is not a URI; write it like spiffe://example.com/edge", entry);
    return add(names, GEN_URI, entry, (int)strlen(entry));
}

/* Calls take for each entry of the list. */
static enum err each_entry(GENERAL_NAMES *names, const char *list, struct err_detail *d,
                           enum err (*take)(GENERAL_NAMES *, const char *, struct err_detail *))
{
    const char *at = list;
    char entry[URI_MAX + 1];
    enum err e = ERR_OK;

    while (at != NULL && e == ERR_OK) {
        size_t len = strcspn(at, ",");
        const char *next = at[len] == ',' ? at + len + 1 : NULL;

        while (len > 0 && *at == ' ') {
            at++;
            len--;
        }
        while (len > 0 && at[len - 1] == ' ')
            len--;
        if (len > URI_MAX)
            return err_set(d, ERR_USAGE, "name \"%.60s...\": is longer than %d characters", at,
                           URI_MAX);
        if (len == 0)
            return err_set(d, ERR_USAGE, "\"%s\": an entry of the list is empty", list);
        memcpy(entry, at, len);
        entry[len] = 0;
        e = take(names, entry, d);
        at = next;
    }
    return e;
}

enum err cert_names_add_dns(GENERAL_NAMES *names, const char *list, struct err_detail *d)
{
    return each_entry(names, list, d, add_dns);
}

enum err cert_names_add_ip(GENERAL_NAMES *names, const char *list, struct err_detail *d)
{
    return each_entry(names, list, d, add_ip);
}

enum err cert_names_add_uri(GENERAL_NAMES *names, const char *list, struct err_detail *d)
{
    return each_entry(names, list, d, add_uri);
}
