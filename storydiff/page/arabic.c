#include "storydiff/page/arabic.h"

#include <stdbool.h>
#include <stddef.h>

#include "storydiff/page/bidi.h"

enum { LAM = 0x0644, TATWEEL = 0x0640, ZERO_WIDTH_JOINER = 0x200D };

/* The shapes of a letter follow each other: isolated, final, initial, medial. One: it never joins; two: only with the
 * letter before it. UnicodeData.txt, Unicode 15; the shapes of U+0649 within words, which are rare, lie elsewhere. */
static const struct joined {
    uint16_t letter, isolated, shapes;
} letters[] = {
    {0x0621, 0xFE80, 1}, {0x0622, 0xFE81, 2}, {0x0623, 0xFE83, 2}, {0x0624, 0xFE85, 2}, {0x0625, 0xFE87, 2},
    {0x0626, 0xFE89, 4}, {0x0627, 0xFE8D, 2}, {0x0628, 0xFE8F, 4}, {0x0629, 0xFE93, 2}, {0x062A, 0xFE95, 4},
    {0x062B, 0xFE99, 4}, {0x062C, 0xFE9D, 4}, {0x062D, 0xFEA1, 4}, {0x062E, 0xFEA5, 4}, {0x062F, 0xFEA9, 2},
    {0x0630, 0xFEAB, 2}, {0x0631, 0xFEAD, 2}, {0x0632, 0xFEAF, 2}, {0x0633, 0xFEB1, 4}, {0x0634, 0xFEB5, 4},
    {0x0635, 0xFEB9, 4}, {0x0636, 0xFEBD, 4}, {0x0637, 0xFEC1, 4}, {0x0638, 0xFEC5, 4}, {0x0639, 0xFEC9, 4},
    {0x063A, 0xFECD, 4}, {0x0641, 0xFED1, 4}, {0x0642, 0xFED5, 4}, {0x0643, 0xFED9, 4}, {0x0644, 0xFEDD, 4},
    {0x0645, 0xFEE1, 4}, {0x0646, 0xFEE5, 4}, {0x0647, 0xFEE9, 4}, {0x0648, 0xFEED, 2}, {0x0649, 0xFEEF, 2},
    {0x064A, 0xFEF1, 4}, {0x0671, 0xFB50, 2}, {0x0679, 0xFB66, 4}, {0x067A, 0xFB5E, 4}, {0x067B, 0xFB52, 4},
    {0x067E, 0xFB56, 4}, {0x067F, 0xFB62, 4}, {0x0680, 0xFB5A, 4}, {0x0683, 0xFB76, 4}, {0x0684, 0xFB72, 4},
    {0x0686, 0xFB7A, 4}, {0x0687, 0xFB7E, 4}, {0x0688, 0xFB88, 2}, {0x068C, 0xFB84, 2}, {0x068D, 0xFB82, 2},
    {0x068E, 0xFB86, 2}, {0x0691, 0xFB8C, 2}, {0x0698, 0xFB8A, 2}, {0x06A4, 0xFB6A, 4}, {0x06A6, 0xFB6E, 4},
    {0x06A9, 0xFB8E, 4}, {0x06AD, 0xFBD3, 4}, {0x06AF, 0xFB92, 4}, {0x06B1, 0xFB9A, 4}, {0x06B3, 0xFB96, 4},
    {0x06BA, 0xFB9E, 2}, {0x06BB, 0xFBA0, 4}, {0x06BE, 0xFBAA, 4}, {0x06C0, 0xFBA4, 2}, {0x06C1, 0xFBA6, 4},
    {0x06C5, 0xFBE0, 2}, {0x06C6, 0xFBD9, 2}, {0x06C7, 0xFBD7, 2}, {0x06C8, 0xFBDB, 2}, {0x06C9, 0xFBE2, 2},
    {0x06CB, 0xFBDE, 2}, {0x06CC, 0xFBFC, 4}, {0x06D0, 0xFBE4, 4}, {0x06D2, 0xFBAE, 2}, {0x06D3, 0xFBB0, 2},
};

/* alef, and the shape of lam with it, which is isolated; the next is final. */
static const uint16_t lam_alef[][2] = {{0x0622, 0xFEF5}, {0x0623, 0xFEF7}, {0x0625, 0xFEF9}, {0x0627, 0xFEFB}};

static const struct joined *find(uint32_t code)
{
    size_t low = 0, high = sizeof letters / sizeof *letters;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (letters[middle].letter == code)
            return &letters[middle];
        if (letters[middle].letter < code)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

uint32_t arabic_isolated(uint32_t code)
{
    const struct joined *j = find(code);
    return j != NULL ? j->isolated : 0;
}

static bool joins_next(uint32_t code)
{
    const struct joined *j = find(code);
    return code == TATWEEL || code == ZERO_WIDTH_JOINER || (j != NULL && j->shapes == 4);
}

static bool joins_previous(uint32_t code)
{
    const struct joined *j = find(code);
    return code == TATWEEL || code == ZERO_WIDTH_JOINER || (j != NULL && j->shapes >= 2);
}

static uint32_t ligature(uint32_t code)
{
    for (size_t i = 0; i < sizeof lam_alef / sizeof *lam_alef; i++)
        if (lam_alef[i][0] == code)
            return lam_alef[i][1];
    return 0;
}

/* The index of the neighbor of letter i, marks left out; outside of the text if there is none. */
static int neighbor(const uint32_t *codes, int count, int i, int step)
{
    do
        i += step;
    while (i >= 0 && i < count && bidi_is_mark(codes[i]));
    return i;
}

void arabic_join(const uint32_t *codes, int count, uint32_t *shown)
{
    for (int i = 0; i < count; i++)
        shown[i] = codes[i];
    for (int i = 0; i < count; i++) {
        const struct joined *j = find(codes[i]);
        if (j == NULL || shown[i] == 0)
            continue;
        const int left = neighbor(codes, count, i, -1), right = neighbor(codes, count, i, 1);
        const bool after = j->shapes >= 2 && left >= 0 && joins_next(codes[left]);
        const bool before = j->shapes == 4 && right < count && joins_previous(codes[right]);
        const uint32_t pair = codes[i] == LAM && right == i + 1 && right < count ? ligature(codes[right]) : 0;
        shown[i] = pair != 0 ? pair + after : j->isolated + (uint32_t)(after ? before ? 3 : 1 : before ? 2 : 0);
        if (pair != 0)
            shown[right] = 0;
    }
}
