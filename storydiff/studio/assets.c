#include "storydiff/studio/assets.h"

#include <stddef.h>

extern const char studio_html[], studio_html_end[], studio_css[], studio_css_end[], studio_js[], studio_js_end[],
    studio_icon[], studio_icon_end[], studio_styles[], studio_styles_end[];

const struct asset assets[] = {
    {"/", "text/html; charset=utf-8", studio_html, studio_html_end},
    {"/studio.css", "text/css; charset=utf-8", studio_css, studio_css_end},
    {"/studio.js", "text/javascript; charset=utf-8", studio_js, studio_js_end},
    {"/icon.svg", "image/svg+xml", studio_icon, studio_icon_end},
    {"/styles.png", "image/png", studio_styles, studio_styles_end},
    {NULL, NULL, NULL, NULL},
};
