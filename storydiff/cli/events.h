/* --progress_fd N: what a run is doing, as lines of JSON on descriptor N, for front ends. One object a line:
 *
 *   {"event": "begun", "step": 0, "steps": 40, "panels": 6, "width": 768, "height": 768, "seed": "3407",
 *    "model": "world"}                                       sampling starts; step > 0: it goes on
 *   {"event": "panel", "panels": [1, 2, 3, 4], "step": 7}    these are being denoised, in step 7 (from 1)
 *   {"event": "step", "step": 7, "steps": 40, "seconds_left": 12.5}   step 7 is done, its state is saved
 *   {"event": "preview", "file": "preview.png", "columns": 3, "rows": 2}   all panels on one sheet, row by row
 *   {"event": "picture", "panel": 3}                         its picture is being decoded
 *   {"event": "written", "file": "panel-03.png"}             complete, in the output folder; pages likewise
 *   {"event": "notice", "text": ".."}                        what the person should know
 *   {"event": "finished", "panels": 6, "pages": 1, "seconds": 5.3}     the last line, or one of these two:
 *   {"event": "stopped", "text": ".."}
 *   {"event": "failed", "text": "..", "exit": 2}
 *
 * A dry run says instead what it finds:
 *
 *   {"event": "plan", "panel": 1, "prompt": "..", "caption": "..", "role": "id" or "story", "characters": ["Rosa"],
 *    "tokens": 31, "cut": 0}                                 one a panel
 *   {"event": "cost", "negative_prompt": "..", "model": "..", "width": .., "height": .., "steps": .., "sampler": "..",
 *    "guidance_scale": .., "memory": BYTES, "memory_decode": BYTES, "weights": BYTES, "seconds": ..}
 *
 * (A mistake among the options themselves is told on standard error alone.)
 *
 * Settings in texts stand in backquotes, as their keys. Readers skip events and members that they do not know. Whoever
 * stops reading ends nothing but the telling. */
#ifndef STORYDIFF_EVENTS_H
#define STORYDIFF_EVENTS_H

#include <stdbool.h>

#include "storydiff/comic/comic.h"
#include "tensor/text.h"

struct events {
    int fd; /* -1: nobody wants to know, and all of these do nothing */
};

/* Fails if `fd` is not open for writing. From here on a reader that has gone is no reason to die (SIGPIPE). */
status events_open(struct events *events, int64_t fd, struct error *e);

void events_begun(struct events *events, const struct comic *c, int step);
void events_panels(struct events *events, const struct story_pass *pass, int step); /* step: from 0 */
void events_step(struct events *events, int step, int steps, double seconds_left);  /* likewise */
void events_picture(struct events *events, int panel);                              /* from 0 */
void events_written(struct events *events, const struct comic *c, const char *path);
void events_notice(struct events *events, const char *line);
void events_notices(struct events *events, const char *lines); /* one each; NULL: none */
void events_finished(struct events *events, int panels, int pages, double seconds);
void events_stopped(struct events *events, const char *text);
void events_failed(struct events *events, const char *text, int exit_status);

void events_plan(struct events *events, const struct comic *c, const struct comic_report *report);

#endif
