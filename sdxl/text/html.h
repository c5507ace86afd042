/* Character references of HTML ("&amp;", "&#233;") as Python's html.unescape reads them. */
#ifndef SDXL_HTML_H
#define SDXL_HTML_H

#include "sdxl/text/unicode.h"
#include "tensor/status.h"

/* Appends `text` with its references replaced, once: "&amp;lt;" becomes "&lt;". Numbers are all known, names are
 * those of HTML 4 and those that HTML 5 accepts without a semicolon; the other names of HTML 5 stay as they are.
 * `out` must be another array. Fails for want of memory only. */
status html_unescape(const struct code_points *text, struct code_points *out, struct error *e);

#endif
