#include "storydiff/page/bidi.h"

#include <stdlib.h>
#include <string.h>

#include "storydiff/page/bidi_class.h"
#include "tensor/utf8.h"

enum { BRACKETS_OPEN_MOST = 63 }; /* UAX 9, BD16 */

/* Opening and closing, in turn: BidiBrackets.txt. */
static const char brackets[] =
    "()[]{}༺༻༼༽᚛᚜⁅⁆⁽⁾₍₎⌈⌉⌊⌋〈〉❨❩❪❫❬❭❮❯❰❱❲❳❴❵⟅⟆⟦⟧⟨⟩⟪⟫⟬⟭⟮⟯"
    "⦃⦄⦅⦆⦇⦈⦉⦊⦋⦌⦍⦐⦏⦎⦑⦒⦓⦔⦕⦖⦗⦘⧘⧙⧚⧛⧼⧽⸢⸣⸤⸥⸦⸧⸨⸩⹕⹖⹗⹘⹙⹚⹛⹜〈〉《》「」"
    "『』【】〔〕〖〗〘〙〚〛﹙﹚﹛﹜﹝﹞（）［］｛｝｟｠｢｣";

/* Mirrored, but no brackets to the rules: the commoner ones of BidiMirroring.txt. */
static const char mirrored[] = "<>«»‹›≤≥≪≫≺≻⊂⊃⊆⊇∈∋⊢⊣﹤﹥＜＞";

/* The other one of a pair, 0 if there is none. *opens: it is the first. */
static uint32_t partner(const char *pairs, uint32_t code, bool *opens)
{
    while (*pairs != '\0') {
        const uint32_t first = utf8_next(&pairs), second = utf8_next(&pairs);
        *opens = code == first;
        if (code == first || code == second)
            return code == first ? second : first;
    }
    return 0;
}

uint32_t bidi_mirrored(uint32_t code)
{
    bool opens;
    uint32_t other = partner(brackets, code, &opens);
    if (other == 0)
        other = partner(mirrored, code, &opens);
    return other != 0 ? other : code;
}

bool bidi_is_mark(uint32_t code)
{
    return bidi_class_of(code) == NSM;
}

int bidi_base(const uint32_t *codes, int count)
{
    for (int i = 0; i < count; i++) {
        const enum bidi_class class = bidi_class_of(codes[i]);
        if (class == L || class == R || class == AL)
            return class != L;
    }
    return 0;
}

/* The characters of a paragraph that are not invisible, and what the rules have made of their classes so far. */
struct run {
    const uint32_t *codes;
    int *at; /* [count] their indices in the paragraph */
    uint8_t *class;
    int count;
    enum bidi_class embedding; /* L or R: the paragraph's direction, which also stands before and after it */
};

static enum bidi_class original(const struct run *r, int i)
{
    return bidi_class_of(r->codes[r->at[i]]);
}

/* W1 to W3, and W4's pairs of numbers. `strong`: the last letter with a direction. */
static void resolve_numbers(struct run *r)
{
    enum bidi_class strong = r->embedding, before = r->embedding;
    for (int i = 0; i < r->count; i++) {
        enum bidi_class class = (enum bidi_class)r->class[i];
        if (class == NSM)
            class = before; /* W1 */
        before = class;
        if (class == L || class == R || class == AL)
            strong = class;
        r->class[i] = (uint8_t)(class == EN && strong == AL ? AN : class); /* W2 */
    }
    for (int i = 0; i < r->count; i++) /* W3 */
        r->class[i] = r->class[i] == AL ? R : r->class[i];
    for (int i = 1; i + 1 < r->count; i++) { /* W4 */
        const uint8_t left = r->class[i - 1], class = r->class[i];
        if (left == r->class[i + 1] && ((class == ES && left == EN) || (class == CS && (left == EN || left == AN))))
            r->class[i] = left;
    }
}

/* W5 to W7: signs belong to the numbers they touch; numbers after letters of Latin are part of their text. */
static void resolve_signs(struct run *r)
{
    for (int i = 0, end; i < r->count; i = end) {
        for (end = i; end < r->count && r->class[end] == ET; end++)
            ;
        const bool touches = (i > 0 && r->class[i - 1] == EN) || (end < r->count && r->class[end] == EN);
        for (int k = i; k < end; k++)
            r->class[k] = touches ? EN : ET;
        end += end == i;
    }
    enum bidi_class strong = r->embedding;
    for (int i = 0; i < r->count; i++) {
        uint8_t *class = &r->class[i];
        if (*class == ES || *class == ET || *class == CS)
            *class = ON;
        if (*class == L || *class == R)
            strong = (enum bidi_class)*class;
        if (*class == EN && strong == L)
            *class = L;
    }
}

/* L or R as the rules for neutrals see it, where numbers count as R; ON if neither. */
static enum bidi_class direction(uint8_t class)
{
    return class == L ? L : class == R || class == EN || class == AN ? R : ON;
}

/* N0 for one pair at i and k: both take the direction of what they enclose. */
static void resolve_pair(struct run *r, int i, int k)
{
    bool same = false, other = false;
    for (int j = i + 1; j < k; j++) {
        const enum bidi_class d = direction(r->class[j]);
        same = same || d == r->embedding;
        other = other || (d != ON && d != r->embedding);
    }
    if (!same && !other)
        return;
    enum bidi_class result = r->embedding;
    if (!same) { /* the opposite, if that is the direction before the pair, too */
        int j = i - 1;
        while (j >= 0 && direction(r->class[j]) == ON)
            j--;
        result = j >= 0 ? direction(r->class[j]) : r->embedding;
    }
    const int ends[2] = {i, k};
    for (int n = 0; n < 2; n++) {
        r->class[ends[n]] = (uint8_t)result;
        for (int j = ends[n] + 1; j < r->count && original(r, j) == NSM; j++)
            r->class[j] = (uint8_t)result;
    }
}

/* 〈 and 〈 are one bracket to the rules: U+2329 is canonically U+3008. */
static uint32_t canonical(uint32_t code)
{
    return code == 0x2329 ? 0x3008 : code == 0x232A ? 0x3009 : code;
}

/* N0. pair: [count] room: of each opening bracket that is closed, where. */
static void resolve_brackets(struct run *r, int *pair)
{
    struct {
        int at;
        uint32_t closes;
    } open[BRACKETS_OPEN_MOST];
    int depth = 0;
    for (int i = 0; i < r->count; i++)
        pair[i] = -1;
    for (int i = 0; i < r->count; i++) {
        const uint32_t code = canonical(r->codes[r->at[i]]);
        bool opens;
        const uint32_t other = r->class[i] == ON ? partner(brackets, code, &opens) : 0;
        if (other == 0)
            continue;
        if (opens && depth == BRACKETS_OPEN_MOST)
            break;
        if (opens) {
            open[depth].at = i;
            open[depth++].closes = canonical(other);
            continue;
        }
        int d = depth - 1;
        while (d >= 0 && open[d].closes != code)
            d--;
        if (d >= 0)
            pair[open[d].at] = i;
        depth = d >= 0 ? d : depth;
    }
    for (int i = 0; i < r->count; i++)
        if (pair[i] >= 0)
            resolve_pair(r, i, pair[i]);
}

/* N1 and N2: between two letters of one direction it goes on, else that of the paragraph does. */
static void resolve_neutrals(struct run *r)
{
    enum bidi_class before = r->embedding;
    for (int i = 0, end; i < r->count; i = end) {
        for (end = i; end < r->count && direction(r->class[end]) == ON; end++)
            ;
        const enum bidi_class after = end < r->count ? direction(r->class[end]) : r->embedding;
        for (int k = i; k < end; k++)
            r->class[k] = (uint8_t)(before == after ? before : r->embedding);
        before = after;
        end += end == i;
    }
}

/* I1 and I2. */
static int level_of(uint8_t class, int base)
{
    if (base == 0)
        return class == L ? 0 : class == R ? 1 : 2;
    return class == R ? 1 : 2;
}

/* L1: tabs, and blanks before them and at the end, have the paragraph's level. */
static void reset_blanks(const uint32_t *codes, int count, int base, uint8_t *levels)
{
    bool at_end = true;
    for (int i = count - 1; i >= 0; i--) {
        const enum bidi_class class = bidi_class_of(codes[i]);
        at_end = class == S || class == B || (at_end && (class == WS || class == BN));
        if (at_end)
            levels[i] = (uint8_t)base;
    }
}

status bidi_levels(const uint32_t *codes, int count, int base, uint8_t *levels, struct error *e)
{
    struct run r = {.codes = codes, .embedding = base ? R : L};
    int *room = calloc((size_t)count * 2 + 1, sizeof *room);
    r.at = room;
    r.class = calloc((size_t)count + 1, 1);
    if (room == NULL || r.class == NULL) {
        free(room);
        free(r.class);
        return fail(e, ERR_MEMORY, "no memory for a text of %d letters", count);
    }
    for (int i = 0; i < count; i++) {
        const enum bidi_class class = bidi_class_of(codes[i]);
        if (class == BN)
            continue;
        r.at[r.count] = i;
        r.class[r.count++] = (uint8_t)class;
    }
    resolve_numbers(&r);
    resolve_signs(&r);
    resolve_brackets(&r, room + count);
    resolve_neutrals(&r);
    memset(levels, base, (size_t)count);
    for (int i = 0; i < r.count; i++)
        levels[r.at[i]] = (uint8_t)level_of(r.class[i], base);
    for (int i = 1; i < count; i++) /* what is invisible stays with what is before it */
        if (bidi_class_of(codes[i]) == BN)
            levels[i] = levels[i - 1];
    reset_blanks(codes, count, base, levels);
    free(room);
    free(r.class);
    return OK;
}

static void reverse(int *order, int first, int end)
{
    for (; first + 1 < end; first++, end--) {
        const int other = order[first];
        order[first] = order[end - 1];
        order[end - 1] = other;
    }
}

void bidi_order(const uint32_t *codes, const uint8_t *levels, int count, int *order)
{
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int level = 2; level > 0; level--)
        for (int i = 0, end; i < count; i = end) {
            for (end = i; end < count && levels[order[end]] >= level; end++)
                ;
            reverse(order, i, end);
            end += end == i;
        }
    for (int i = 0, end; i < count; i = end) { /* L3: marks, and the letter behind them that carries them */
        for (end = i; end < count && levels[order[end]] == 1 && bidi_is_mark(codes[order[end]]); end++)
            ;
        if (end > i && end < count && levels[order[end]] == 1)
            reverse(order, i, ++end);
        end += end == i;
    }
}
