#include "storydiff/studio/guard.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_address(const char *name)
{
    struct in6_addr room;
    size_t length = strlen(name);
    char bare[64];
    if (inet_pton(AF_INET, name, &room) == 1)
        return true;
    if (length < 4 || length >= sizeof bare || name[0] != '[' || name[length - 1] != ']')
        return false;
    memcpy(bare, name + 1, length - 2);
    bare[length - 2] = '\0';
    return inet_pton(AF_INET6, bare, &room) == 1;
}

static bool is_here(const char *name)
{
    return strcmp(name, "127.0.0.1") == 0 || strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0;
}

bool guard_host(const struct guard *g, const char *host)
{
    char name[64];
    if (host == NULL || strlen(host) >= sizeof name)
        return false;
    strcpy(name, host);
    char *colon = strrchr(name, ':'), *end;
    long port = 80;
    if (colon != NULL && strchr(colon, ']') == NULL) {
        if (colon[1] < '0' || colon[1] > '9')
            return false;
        port = strtol(colon + 1, &end, 10);
        if (*end != '\0')
            return false;
        *colon = '\0';
    }
    return port == g->port && (is_here(name) || (g->allow_remote && is_address(name)));
}

bool guard_origin(const struct guard *g, const char *origin)
{
    return origin == NULL || (strncmp(origin, "http://", 7) == 0 && guard_host(g, origin + 7));
}

bool guard_site(const char *site)
{
    return site == NULL || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
}
