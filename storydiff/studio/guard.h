/* Who may talk to the studio. It binds to this machine alone, but any page in the person's browser can send requests
 * here, and a name server can make a foreign name point here (DNS rebinding). So:
 *
 *   Host      must be this machine by number or as localhost, with the studio's port; with allow_remote also any other
 *             IP address, but still no name, since only names can be rebound
 *   Origin    if there is one, the same; "null" (files, sandboxed frames) is refused
 *   Sec-Fetch-Site   if there is one, same-origin or none: other sites' images, scripts and links get nothing */
#ifndef STUDIO_GUARD_H
#define STUDIO_GUARD_H

#include <stdbool.h>

struct guard {
    int port;
    bool allow_remote;
};

/* NULL: the header is not there. */
bool guard_host(const struct guard *g, const char *host);
bool guard_origin(const struct guard *g, const char *origin);
bool guard_site(const char *sec_fetch_site);

#endif
