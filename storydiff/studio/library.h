/* The library: a folder of comics, each a folder of its own that the command line understands.
 *
 *   LIBRARY/20261125-201500-3fa9/
 *     comic.story     the script, settings included
 *     studio.json     what the studio knows of it: {"state": "queued", "task": "draw", ..}
 *     log.txt         what storydiff said
 *     panel-01.png .. whatever storydiff writes (comic/output.h)
 *   LIBRARY/cast.json   characters kept between stories
 *
 * Both of ours are written aside and renamed: a kill at any moment leaves the old one or the new one. */
#ifndef STUDIO_LIBRARY_H
#define STUDIO_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/status.h"
#include "tensor/text.h"

enum { COMIC_ID = 40, COMIC_PATH = 4200, COMIC_MAX_PANELS_TEXT = 64 };

enum comic_state { COMIC_DRAFT, COMIC_QUEUED, COMIC_DRAWING, COMIC_STOPPED, COMIC_FINISHED, COMIC_FAILED };
extern const char *const comic_state_names[]; /* "draft", .., NULL */

enum comic_task { TASK_DRAW, TASK_RESUME, TASK_REDRAW, TASK_PAGES };
extern const char *const comic_task_names[]; /* "draw", "resume", "redraw", "pages", NULL */

struct comic_record {
    char id[COMIC_ID + 1];
    enum comic_state state;
    enum comic_task task;
    char panels[COMIC_MAX_PANELS_TEXT]; /* TASK_REDRAW: which, "3" */
    char seed[32];                      /* TASK_REDRAW: a new one, or "" */
    int64_t created, queued;            /* milliseconds since 1970 */
    char message[1024];                 /* of a failure, or "" */
};

struct library {
    char path[3900];
};

/* Makes the folder if need be. */
status library_open(struct library *l, const char *path, struct error *e);

/* Whether a text can be an id at all. Nothing else becomes part of a path. */
bool library_is_id(const char *id);

/* A new comic, a draft, with this script. */
status library_create(const struct library *l, const char *story, size_t length, struct comic_record *c,
                      struct error *e);
status library_read(const struct library *l, const char *id, struct comic_record *c, struct error *e);
status library_write(const struct library *l, const struct comic_record *c, struct error *e);
status library_delete(const struct library *l, const char *id, struct error *e);

/* All comics, the newest first; *records is the caller's to free(). What is no comic is skipped. */
status library_list(const struct library *l, struct comic_record **records, int *count, struct error *e);

/* The script. */
status library_read_story(const struct library *l, const char *id, struct text *story, struct error *e);
status library_write_story(const struct library *l, const char *id, const char *story, size_t length,
                           struct error *e);

/* LIBRARY/id/name; the name is ours, the id has been checked. */
status library_path(const struct library *l, const char *id, const char *name, char path[COMIC_PATH],
                    struct error *e);

/* When a file of a comic was last written, in milliseconds; 0: it is not there. */
int64_t library_time(const struct library *l, const char *id, const char *name);

int64_t library_now(void);

#endif
