/* Who is drawn with whom: every panel of a story is in one pass.
 *
 *   write pass   the id panels of one character, together: the first id_length panels in which it is alone, wherever
 *                they are in the story
 *   read pass    one other panel, looking at the id panels of its characters, if any
 *
 * The sampler and consistent self-attention take passes as they are here; they need to know no more of a story. */
#ifndef STORYDIFF_PLAN_H
#define STORYDIFF_PLAN_H

#include "storydiff/story/script.h"

enum story_pass_kind { STORY_WRITE, STORY_READ };

/* AUTO: the story decides (story_plan_make). */
enum { STORY_ID_LENGTH_AUTO = 0, STORY_ID_LENGTH_DEFAULT = 4 };

/* Panels that are denoised as one batch. */
struct story_pass {
    enum story_pass_kind kind;
    const int *panels;     /* in the order of their lines: id_length of them to write, one to read */
    const int *characters; /* rows of the cast: the one to write; those to read, in order, maybe none */
    int panel_count, character_count;
};

/* Where a panel is drawn: panel `index` of a pass. In a write pass that is id panel `index` of its character. */
struct story_place {
    int pass, index;
};

struct story_plan {
    int id_length;
    int *cast;                  /* [cast_count] indices of the characters that appear, in the order of their lines */
    struct story_pass *passes;  /* [pass_count] write passes in the order of the cast, then read passes of panels */
    struct story_place *places; /* [panel_count] */
    int cast_count, pass_count;
    char *notice; /* what was changed, one line each, no newline at the end; "" if nothing */
};

/* Assigns every panel its pass. With STORY_ID_LENGTH_AUTO, id_length is 4, or less (with a notice) if a character is
 * alone in fewer panels. A given id_length is kept; a character that is alone in fewer panels is then refused, with
 * its line, the number and what to do. So is, in any case, one that appears but never alone. One that does not appear
 * is left out, with a notice. The caller frees the plan; it holds no pointers into the story. */
status story_plan_make(const struct story *story, int id_length, struct story_plan *plan, struct error *e);
void story_plan_free(struct story_plan *plan); /* fine on a zeroed struct, and twice */

#endif
