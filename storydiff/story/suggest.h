/* "Did you mean ...?": the known name most like one that is not known.
 *
 *   struct suggestion s = {.word = "Comik book"};
 *   suggestion_offer(&s, "Comic book");      // every known name, in any order
 *   s.best                                   // "Comic book"; NULL if nothing is close
 *
 * Close is an edit distance (Levenshtein 1966: letters inserted, deleted, exchanged) of at most a third of the word,
 * or 1; failing that, a name that contains the word, as "Film Noir" contains "noir". Capitals do not count. */
#ifndef STORYDIFF_SUGGEST_H
#define STORYDIFF_SUGGEST_H

#include <stddef.h>

struct suggestion {
    const char *word;
    const char *best; /* points at the name that was offered */
    size_t cost;      /* private: of `best` */
};

/* Keeps the name if it is closer than all before; of equals the first stays. */
void suggestion_offer(struct suggestion *s, const char *name);

#endif
