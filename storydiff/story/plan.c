/* A panel can define how a character looks only if nobody else is in it. So a character's id panels are the first of
 * those, wherever they stand in the story, and the character with the fewest of those decides how many all have: one
 * id_length for the whole story. */
#include "storydiff/story/plan.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/text.h"

/* How often each character of the story appears at all, and alone. */
struct appearances {
    int panels[STORY_MAX_CHARACTERS], alone[STORY_MAX_CHARACTERS];
};

static struct appearances count_appearances(const struct story *story)
{
    struct appearances count = {0};
    for (int p = 0; p < story->panel_count; p++) {
        const struct story_panel *panel = &story->panels[p];
        for (int i = 0; i < panel->character_count; i++) {
            count.panels[panel->characters[i]]++;
            count.alone[panel->characters[i]] += panel->character_count == 1;
        }
    }
    return count;
}

static void append_name(struct text *t, const struct story_character *c)
{
    if (c->key[0] != '\0')
        text_append(t, "[%s]", c->key);
    else
        text_append(t, "the character");
}

static void begin_notice(struct text *notice, const struct story_character *c)
{
    if (notice->length > 0)
        text_append(notice, "\n");
    append_name(notice, c);
}

static const char *plural(int n)
{
    return n == 1 ? "" : "s";
}

static status fail_too_few(const struct story *story, int who, int alone, int id_length, struct error *e)
{
    const struct story_character *c = &story->characters[who];
    struct text name = {0};
    append_name(&name, c);
    const char *shown = name.failed ? "a character" : name.data;
    status s = alone == 0
                   ? fail(e, ERR_ARGUMENT, "%s:%d:%d: %s is never alone in a panel, so nothing defines how it looks: "
                          "add a panel that names nobody else", story->name, c->line, c->column, shown)
                   : fail(e, ERR_ARGUMENT, "%s:%d:%d: %s is alone in %d panel%s, but id_length is %d: add panels "
                          "that name nobody else, or set id_length to %d", story->name, c->line, c->column, shown,
                          alone, plural(alone), id_length, alone);
    text_free(&name);
    return s;
}

/* Settles id_length and who takes part; appends to `notice` what had to change. */
static status choose_cast(const struct story *story, const struct appearances *count, int id_length,
                          struct story_plan *plan, struct text *notice, struct error *e)
{
    int limiting = -1;
    plan->id_length = id_length == STORY_ID_LENGTH_AUTO ? STORY_ID_LENGTH_DEFAULT : id_length;
    for (int c = 0; c < story->character_count; c++) {
        if (count->panels[c] == 0) {
            begin_notice(notice, &story->characters[c]);
            text_append(notice, " is in no panel and is left out");
            continue;
        }
        plan->cast[plan->cast_count++] = c;
        if (count->alone[c] >= plan->id_length)
            continue;
        if (id_length != STORY_ID_LENGTH_AUTO || count->alone[c] == 0)
            return fail_too_few(story, c, count->alone[c], plan->id_length, e);
        plan->id_length = count->alone[c];
        limiting = c;
    }
    if (limiting >= 0) {
        begin_notice(notice, &story->characters[limiting]);
        text_append(notice, " is alone in %d panel%s only, so id_length is %d instead of %d", plan->id_length,
                    plural(plan->id_length), plan->id_length, STORY_ID_LENGTH_DEFAULT);
    }
    return OK;
}

/* Fills in passes and places; `numbers` has room for every index they need. */
static void assign_passes(const struct story *story, struct story_plan *plan, int *numbers)
{
    int row[STORY_MAX_CHARACTERS] = {0};
    for (int p = 0; p < story->panel_count; p++)
        plan->places[p].pass = -1;

    for (int i = 0; i < plan->cast_count; i++) {
        row[plan->cast[i]] = i;
        int *panels = numbers, n = 0;
        for (int p = 0; p < story->panel_count && n < plan->id_length; p++) {
            const struct story_panel *panel = &story->panels[p];
            if (panel->character_count != 1 || panel->characters[0] != plan->cast[i])
                continue;
            plan->places[p] = (struct story_place){.pass = plan->pass_count, .index = n};
            panels[n++] = p;
        }
        panels[n] = i;
        numbers += n + 1;
        plan->passes[plan->pass_count++] = (struct story_pass){
            .kind = STORY_WRITE, .panels = panels, .panel_count = n, .characters = panels + n, .character_count = 1,
        };
    }
    for (int p = 0; p < story->panel_count; p++) {
        if (plan->places[p].pass >= 0)
            continue;
        const struct story_panel *panel = &story->panels[p];
        int *panels = numbers;
        panels[0] = p;
        for (int i = 0; i < panel->character_count; i++)
            panels[1 + i] = row[panel->characters[i]];
        numbers += 1 + panel->character_count;
        plan->places[p] = (struct story_place){.pass = plan->pass_count};
        plan->passes[plan->pass_count++] = (struct story_pass){
            .kind = STORY_READ, .panels = panels, .panel_count = 1, .characters = panels + 1,
            .character_count = panel->character_count,
        };
    }
}

status story_plan_make(const struct story *story, int id_length, struct story_plan *plan, struct error *e)
{
    *plan = (struct story_plan){0};
    if (id_length < 0)
        return fail(e, ERR_ARGUMENT, "id_length is %d: at least 1 panel defines a character", id_length);

    /* The cast, the character of each write pass, each panel once, the characters of each panel. */
    size_t panels = (size_t)story->panel_count, characters = (size_t)story->character_count;
    size_t numbers = 2 * characters + panels;
    for (size_t p = 0; p < panels; p++)
        numbers += (size_t)story->panels[p].character_count;
    plan->cast = calloc(numbers + 1, sizeof *plan->cast);
    plan->passes = calloc(characters + panels + 1, sizeof *plan->passes);
    plan->places = calloc(panels + 1, sizeof *plan->places);
    plan->notice = calloc(1, 1);

    struct text notice = {0};
    struct appearances count = count_appearances(story);
    status s = OK;
    if (plan->cast == NULL || plan->passes == NULL || plan->places == NULL || plan->notice == NULL)
        s = fail(e, ERR_MEMORY, "%s: not enough memory to plan the story", story->name);
    if (s == OK)
        s = choose_cast(story, &count, id_length, plan, &notice, e);
    if (s == OK && notice.failed)
        s = fail(e, ERR_MEMORY, "%s: not enough memory to plan the story", story->name);
    if (s != OK) {
        text_free(&notice);
        story_plan_free(plan);
        return s;
    }
    if (notice.data != NULL) {
        free(plan->notice);
        plan->notice = notice.data;
    }
    assign_passes(story, plan, plan->cast + plan->cast_count);
    return OK;
}

void story_plan_free(struct story_plan *plan)
{
    free(plan->cast);
    free(plan->passes);
    free(plan->places);
    free(plan->notice);
    *plan = (struct story_plan){0};
}
