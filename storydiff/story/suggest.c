#include "storydiff/story/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum {
    LONGEST_WORD = 64,        /* keeps the table below on the stack */
    SHORTEST_PART = 3,        /* "a" is in nearly every name */
    CONTAINED = LONGEST_WORD, /* costs more than any typing error */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Two words of at most LONGEST_WORD bytes. One row of the table is enough: row[j] is the distance between the letters
 * of `a` seen so far and the first j of `b`. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[LONGEST_WORD + 1], length = strlen(b);
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            bool same = tolower((unsigned char)a[i]) == tolower((unsigned char)b[j]);
            size_t exchanged = diagonal + !same;
            diagonal = row[j + 1];
            row[j + 1] = smaller(exchanged, smaller(row[j], row[j + 1]) + 1);
        }
    }
    return row[length];
}

static bool contains(const char *name, const char *word)
{
    size_t length = strlen(word);
    if (length < SHORTEST_PART)
        return false;
    for (; strlen(name) >= length; name++)
        if (strncasecmp(name, word, length) == 0)
            return true;
    return false;
}

void suggestion_offer(struct suggestion *s, const char *name)
{
    size_t length = strlen(s->word);
    if (length > LONGEST_WORD || strlen(name) > LONGEST_WORD)
        return;
    size_t cost = edit_distance(s->word, name);
    bool typing_error = cost <= length / 3 || (cost == 1 && length > 1);
    if (!typing_error && !contains(name, s->word))
        return;
    if (!typing_error)
        cost = CONTAINED + strlen(name);
    if (s->best == NULL || cost < s->cost) {
        s->best = name;
        s->cost = cost;
    }
}
