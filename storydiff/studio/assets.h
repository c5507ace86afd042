/* The page's files, embedded in the program when it is built (assets.S). */
#ifndef STUDIO_ASSETS_H
#define STUDIO_ASSETS_H

struct asset {
    const char *path, *type; /* "/studio.css", "text/css"; the list ends with a NULL path */
    const char *begin, *end;
};
extern const struct asset assets[];

#endif
