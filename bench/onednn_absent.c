/* In the place of bench/onednn.c where Debian's libdnnl-dev is not installed. */
#include <stdio.h>

#include "bench/peer.h"

bool onednn_open(struct peer *peer, const struct problem *p)
{
    (void)peer;
    (void)p;
    return false;
}

void onednn_version(char *text, size_t size)
{
    snprintf(text, size, "no oneDNN (libdnnl-dev is not installed)");
}
