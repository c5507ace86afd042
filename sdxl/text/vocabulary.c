/* Reading a vocabulary. Everything is looked up once here, so that encoding only ever handles ids:
 *
 *     names:  "th" -> 513                    (hash of the spelling)
 *     merges: (513, 324) -> rank 6, id 518   (hash of the pair: "th" and "e</w>")
 *
 * OpenAI's ids: the 256 bytes in bytes_to_unicode's order, the same with "</w>", one per merge, begin, end. */
#include "sdxl/text/vocabulary.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "sdxl/text/unicode.h"
#include "tensor/utf8.h"
#include "tensor/file.h"
#include "tensor/json.h"

enum {
    MAX_MERGES = 49152 - 256 - 2, /* as the reference cuts the list: 49,152 minus 256 bytes minus begin and end */
    MAX_TOKENS = 1 << 20,
    MAX_TOKEN = 1024,             /* bytes in the spelling of a token */
    MAX_TEXT = 16 << 20,          /* bytes of a list of merges */
    MAX_PATH_LENGTH = 4096,
};

static const char end_of_word[] = "</w>";

/* bytes_to_unicode: bytes that print stand for themselves, the others follow from U+0100 on, in order. */
static bool prints(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* Writes the spelling of a byte's token to `name`, and returns its length. */
static size_t spell_byte(unsigned byte, bool final, char name[16])
{
    uint32_t c = byte;
    if (!prints(byte)) {
        c = 0x100;
        for (unsigned b = 0; b < byte; b++)
            c += !prints(b);
    }
    size_t length = utf8_write(c, name);
    if (!final)
        return length;
    memcpy(name + length, end_of_word, sizeof end_of_word - 1);
    return length + sizeof end_of_word - 1;
}

/* A token in a message: without line breaks, not endless. Returns `text`. */
struct quoted {
    char text[64];
};
static const char *quote(const char *name, size_t length, struct quoted *q)
{
    size_t n = length < sizeof q->text ? length : sizeof q->text - 1;
    for (size_t i = 0; i < n; i++)
        q->text[i] = (unsigned char)name[i] < ' ' ? '?' : name[i];
    q->text[n] = '\0';
    return q->text;
}

/* FNV-1a. */
static size_t hash_name(const char *name, size_t length)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)name[i]) * 0x100000001b3;
    return (size_t)(h ^ h >> 32);
}

static size_t hash_pair(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15;
    return (size_t)(h ^ h >> 32);
}

/* Where `name` is, or would be. The tables are never more than half full. */
static struct token_slot *token_slot(const struct vocabulary *v, const char *name, size_t length)
{
    size_t mask = v->token_slots - 1, i = hash_name(name, length) & mask;
    while (v->tokens[i].name != NULL &&
           (v->tokens[i].length != length || memcmp(v->tokens[i].name, name, length) != 0))
        i = (i + 1) & mask;
    return &v->tokens[i];
}

static struct merge *merge_slot(const struct vocabulary *v, int32_t left, int32_t right)
{
    size_t mask = v->merge_slots - 1, i = hash_pair(left, right) & mask;
    while (v->merges[i].rank >= 0 && (v->merges[i].left != left || v->merges[i].right != right))
        i = (i + 1) & mask;
    return &v->merges[i];
}

int32_t vocabulary_find(const struct vocabulary *v, const char *name, size_t length)
{
    const struct token_slot *slot = token_slot(v, name, length);
    return slot->name != NULL ? slot->id : -1;
}

const struct merge *vocabulary_merge(const struct vocabulary *v, int32_t left, int32_t right)
{
    const struct merge *merge = merge_slot(v, left, right);
    return merge->rank >= 0 ? merge : NULL;
}

void vocabulary_close(struct vocabulary *v)
{
    free(v->tokens);
    free(v->merges);
    free(v->names);
    *v = (struct vocabulary){0};
}

/* Makes room for so many tokens and merges, and for the bytes of all names together. */
static status allocate(struct vocabulary *v, size_t tokens, size_t merges, size_t names, struct error *e)
{
    v->token_slots = v->merge_slots = 1;
    while (v->token_slots < 2 * tokens)
        v->token_slots *= 2;
    while (v->merge_slots < 2 * merges)
        v->merge_slots *= 2;
    v->tokens = calloc(v->token_slots, sizeof *v->tokens);
    v->merges = malloc(v->merge_slots * sizeof *v->merges);
    v->names = v->names_end = malloc(names);
    if (v->tokens == NULL || v->merges == NULL || v->names == NULL)
        return fail(e, ERR_MEMORY, "no memory for a vocabulary of %zu tokens", tokens);
    v->names_limit = v->names + names;
    for (size_t i = 0; i < v->merge_slots; i++)
        v->merges[i].rank = -1;
    return OK;
}

/* False if the token is there already, or more come than were announced to allocate(). */
static bool add_token(struct vocabulary *v, const char *name, size_t length, int32_t id)
{
    struct token_slot *slot = token_slot(v, name, length);
    if (slot->name != NULL || (size_t)(v->names_limit - v->names_end) < length)
        return false;
    memcpy(v->names_end, name, length);
    *slot = (struct token_slot){.name = v->names_end, .length = (uint32_t)length, .id = id};
    v->names_end += length;
    v->size++;
    return true;
}

/* Fills `byte` and `final_byte` from the names. */
static status find_bytes(struct vocabulary *v, const char *path, struct error *e)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[16];
        v->byte[byte] = vocabulary_find(v, name, spell_byte(byte, false, name));
        v->final_byte[byte] = vocabulary_find(v, name, spell_byte(byte, true, name));
        if (v->byte[byte] < 0 || v->final_byte[byte] < 0)
            return fail(e, ERR_FORMAT, "%s: byte 0x%02x has no token, with or without \"</w>\": not CLIP's kind of "
                        "vocabulary", path, byte);
    }
    return OK;
}

/* A walk over lines, the way the reference does it: white space around the whole text does not count. */
struct lines {
    const char *next, *end;
    size_t number;      /* of the line read last, from 1 */
    const char *text;   /* that line, without its line end */
    size_t length;
};

static struct lines lines_of(const char *text, size_t size)
{
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r' || text[size - 1] == ' '))
        size--;
    return (struct lines){.next = text, .end = size > 0 ? text + size : text}; /* no text may be no pointer */
}

static bool next_line(struct lines *l)
{
    if (l->next == NULL || l->next >= l->end)
        return false;
    const char *end = memchr(l->next, '\n', (size_t)(l->end - l->next));
    l->text = l->next;
    l->length = (size_t)((end != NULL ? end : l->end) - l->text);
    l->next = end != NULL ? end + 1 : l->end;
    l->number++;
    if (l->length > 0 && l->text[l->length - 1] == '\r')
        l->length--;
    return true;
}

/* At least as many as read_merges will read. */
static size_t count_merges(const char *text, size_t size)
{
    size_t count = 0;
    for (struct lines l = lines_of(text, size); count < MAX_MERGES && next_line(&l);)
        count++;
    return count;
}

/* Whether merges look up their result (vocab.json has it) or define it (the next id). */
enum merge_results { LOOK_UP_RESULTS, DEFINE_RESULTS };

/* One line: "left right". */
static status read_merge(struct vocabulary *v, const char *path, const struct lines *l, int32_t rank,
                         enum merge_results results, struct error *e)
{
    struct quoted q;
    const char *space = memchr(l->text, ' ', l->length);
    size_t left_length = space != NULL ? (size_t)(space - l->text) : 0;
    size_t right_length = space != NULL ? l->length - left_length - 1 : 0;
    if (left_length == 0 || right_length == 0 || memchr(space + 1, ' ', right_length) != NULL)
        return fail(e, ERR_FORMAT, "%s:%zu: \"%s\" is not a merge: expected two tokens and one space between them",
                    path, l->number, quote(l->text, l->length, &q));
    char joined[MAX_TOKEN];
    if (left_length + right_length > sizeof joined)
        return fail(e, ERR_FORMAT, "%s:%zu: a token of more than %d bytes", path, l->number, MAX_TOKEN);
    memcpy(joined, l->text, left_length);
    memcpy(joined + left_length, space + 1, right_length);

    int32_t left = vocabulary_find(v, l->text, left_length), right = vocabulary_find(v, space + 1, right_length);
    if (left < 0)
        return fail(e, ERR_FORMAT, "%s:%zu: there is no token \"%s\"", path, l->number,
                    quote(l->text, left_length, &q));
    if (right < 0)
        return fail(e, ERR_FORMAT, "%s:%zu: there is no token \"%s\"", path, l->number,
                    quote(space + 1, right_length, &q));
    struct merge *merge = merge_slot(v, left, right);
    if (merge->rank >= 0)
        return fail(e, ERR_FORMAT, "%s:%zu: \"%s\" was merged before", path, l->number,
                    quote(l->text, l->length, &q));
    if (results == DEFINE_RESULTS && !add_token(v, joined, left_length + right_length, v->size))
        return fail(e, ERR_FORMAT, "%s:%zu: the token \"%s\" was made before", path, l->number,
                    quote(joined, left_length + right_length, &q));
    int32_t result = vocabulary_find(v, joined, left_length + right_length);
    if (result < 0)
        return fail(e, ERR_FORMAT, "%s:%zu: makes \"%s\", which vocab.json does not have", path, l->number,
                    quote(joined, left_length + right_length, &q));
    *merge = (struct merge){.left = left, .right = right, .rank = rank, .result = result};
    return OK;
}

static status read_merges(struct vocabulary *v, const char *path, const char *text, size_t size,
                          enum merge_results results, struct error *e)
{
    struct quoted q;
    struct lines l = lines_of(text, size);
    if (!next_line(&l))
        return fail(e, ERR_FORMAT, "%s: no merges in it", path);
    if (memmem(l.text, l.length, "#version", strlen("#version")) == NULL)
        return fail(e, ERR_FORMAT, "%s:1: \"%s\" instead of a line with \"#version\"", path,
                    quote(l.text, l.length, &q));
    for (int32_t rank = 0; rank < MAX_MERGES && next_line(&l); rank++)
        TRY(read_merge(v, path, &l, rank, results, e));
    return OK;
}

/* One member of vocab.json, out of `count`; seen[id] is set. */
static status read_token(struct vocabulary *v, const char *path, const struct json *token, size_t count, bool *seen,
                         struct error *e)
{
    struct quoted q;
    size_t length = strlen(token->key);
    const char *name = quote(token->key, length, &q);
    if (length == 0 || length > MAX_TOKEN)
        return fail(e, ERR_FORMAT, "%s: token \"%s\" has %zu bytes, expected 1 to %d", path, name, length,
                    MAX_TOKEN);
    if (!token->is_integer)
        return fail(e, ERR_FORMAT, "%s: token \"%s\" has no integer id", path, name);
    if (token->integer < 0 || (uint64_t)token->integer >= count)
        return fail(e, ERR_FORMAT, "%s: token \"%s\" has id %lld, but %zu tokens must have the ids 0 to %zu", path,
                    name, (long long)token->integer, count, count - 1);
    if (seen[token->integer])
        return fail(e, ERR_FORMAT, "%s: token \"%s\" has id %lld, as another token before it", path, name,
                    (long long)token->integer);
    seen[token->integer] = true;
    if (!add_token(v, token->key, length, (int32_t)token->integer))
        return fail(e, ERR_FORMAT, "%s: token \"%s\" appears twice", path, name);
    return OK;
}

/* The tokens of vocab.json, {"spelling": id, ..}, and room for `merges` merges. */
static status read_tokens(struct vocabulary *v, const char *path, const struct json *root, size_t merges,
                          struct error *e)
{
    if (root->kind != JSON_OBJECT || root->count == 0)
        return fail(e, ERR_FORMAT, "%s: expected an object of tokens and their ids", path);
    if (root->count > MAX_TOKENS)
        return fail(e, ERR_FORMAT, "%s: %zu tokens are too many, the limit is %d", path, root->count, MAX_TOKENS);
    size_t names = 1;
    for (const struct json *token = root->child; token != NULL; token = token->next)
        names += strlen(token->key);
    TRY(allocate(v, root->count, merges, names, e));

    bool *seen = calloc(root->count, sizeof *seen);
    if (seen == NULL)
        return fail(e, ERR_MEMORY, "no memory for a vocabulary of %zu tokens", root->count);
    status s = OK;
    for (const struct json *token = root->child; token != NULL && s == OK; token = token->next)
        s = read_token(v, path, token, root->count, seen, e);
    free(seen);
    TRY(s);
    return find_bytes(v, path, e);
}

status vocabulary_open_folder(const char *folder, struct vocabulary *v, struct error *e)
{
    *v = (struct vocabulary){0};
    char vocab[MAX_PATH_LENGTH], merges[MAX_PATH_LENGTH];
    TRY(path_join(vocab, sizeof vocab, folder, "vocab.json", e));
    TRY(path_join(merges, sizeof merges, folder, "merges.txt", e));
    struct file_map map;
    TRY(file_map(merges, &map, e));
    const char *text = (const char *)map.data;
    const struct json *root = NULL;
    status s = OK;
    if (map.size > MAX_TEXT)
        s = fail(e, ERR_FORMAT, "%s: longer than %d MiB: not a list of merges", merges, MAX_TEXT >> 20);
    if (s == OK)
        s = json_read(vocab, &root, e);
    if (s == OK)
        s = read_tokens(v, vocab, root, count_merges(text, map.size), e);
    if (s == OK)
        s = read_merges(v, merges, text, map.size, LOOK_UP_RESULTS, e);
    json_free(root);
    file_unmap(&map);
    if (s != OK)
        vocabulary_close(v);
    return s;
}

/* Decompresses all of `z` into a block that the caller frees. */
static status inflate_all(z_stream *z, const char *path, char **text, size_t *size, struct error *e)
{
    *text = NULL;
    int state = Z_OK;
    for (size_t capacity = 4 << 20; state != Z_STREAM_END; capacity *= 2) {
        if (capacity > MAX_TEXT)
            return fail(e, ERR_FORMAT, "%s: decompresses to more than %d MiB: not a vocabulary", path,
                        MAX_TEXT >> 20);
        char *grown = realloc(*text, capacity);
        if (grown == NULL)
            return fail(e, ERR_MEMORY, "%s: no memory to decompress it", path);
        *text = grown;
        z->next_out = (Bytef *)grown + z->total_out;
        z->avail_out = (uInt)(capacity - z->total_out);
        do
            state = inflate(z, Z_NO_FLUSH);
        while (state == Z_OK && z->avail_out > 0);
        if (state == Z_BUF_ERROR)
            return fail(e, ERR_FORMAT, "%s: the file is cut short, download it again", path);
        if (state != Z_OK && state != Z_STREAM_END)
            return fail(e, ERR_FORMAT, "%s: damaged gzip data (%s), download it again", path,
                        z->msg != NULL ? z->msg : "not deflate");
    }
    if (z->avail_in > 0)
        return fail(e, ERR_FORMAT, "%s: %u bytes after the end of the gzip data", path, z->avail_in);
    *size = z->total_out;
    return OK;
}

/* Decompresses a whole gzip file. The caller frees *text, also after a failure. */
static status read_gzip(const char *path, char **text, size_t *size, struct error *e)
{
    *text = NULL;
    struct file_map map;
    TRY(file_map(path, &map, e));
    z_stream z = {.next_in = (Bytef *)map.data, .avail_in = (uInt)map.size};
    status s;
    if (map.size < 2 || map.data[0] != 0x1f || map.data[1] != 0x8b)
        s = fail(e, ERR_FORMAT, "%s: neither a folder with vocab.json and merges.txt nor a gzip file", path);
    else if (map.size > MAX_TEXT)
        s = fail(e, ERR_FORMAT, "%s: longer than %d MiB: not a vocabulary", path, MAX_TEXT >> 20);
    else if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) /* 16: gzip's header, and its check sum at the end */
        s = fail(e, ERR_MEMORY, "%s: no memory to decompress it", path);
    else
        s = inflate_all(&z, path, text, size, e);
    inflateEnd(&z);
    file_unmap(&map);
    return s;
}

/* The first 512 tokens of OpenAI's vocabulary: the bytes that print, the others, and both again with "</w>". */
static void add_bytes(struct vocabulary *v)
{
    char name[16];
    for (int final = 0; final < 2; final++)
        for (int printing = 1; printing >= 0; printing--)
            for (unsigned byte = 0; byte < 256; byte++)
                if (prints(byte) == printing)
                    add_token(v, name, spell_byte(byte, final, name), v->size);
}

static status define_tokens(struct vocabulary *v, const char *path, const char *text, size_t size, struct error *e)
{
    static const char *const specials[] = {"<|startoftext|>", "<|endoftext|>"};
    size_t merges = count_merges(text, size);
    TRY(allocate(v, 2 * 256 + merges + 2, merges, size + 2 * 256 * 16 + 64, e));
    add_bytes(v);
    TRY(find_bytes(v, path, e));
    TRY(read_merges(v, path, text, size, DEFINE_RESULTS, e));
    for (size_t i = 0; i < 2; i++)
        if (!add_token(v, specials[i], strlen(specials[i]), v->size))
            return fail(e, ERR_FORMAT, "%s: a merge makes %s, which is reserved", path, specials[i]);
    return OK;
}

status vocabulary_open_gzip(const char *path, struct vocabulary *v, struct error *e)
{
    *v = (struct vocabulary){0};
    char *text;
    size_t size = 0;
    status s = read_gzip(path, &text, &size, e);
    if (s == OK)
        s = define_tokens(v, path, text, size, e);
    free(text);
    if (s != OK)
        vocabulary_close(v);
    return s;
}
