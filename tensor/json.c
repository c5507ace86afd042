/* JSON (RFC 8259) from a stranger, parsed by recursive descent in time linear in its length.
 *
 *   value = null | true | false | number | string | [ value, .. ] | { string: value, .. }
 *
 * Memory is one block, nodes first and the text of all strings behind them, so freeing is one free(). Both parts have
 * bounds known before parsing: every value but the first follows a '[', '{' or ',' outside a string, and a decoded
 * string with its terminator is never longer than its source with its quotes.
 *
 * The surprise is duplicate keys. RFC 8259 leaves them undefined, so two programs may read one file differently; here
 * they are refused. Comparing all pairs would let a stranger's file of 100,000 keys cost 5e9 comparisons, and a hash
 * can be made to collide: the keys of an object are sorted when it closes. */
#include "tensor/json.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/file.h"
#include "tensor/utf8.h"

enum { MAX_DEPTH = 64, MAX_VALUES = 4 << 20, MAX_FILE_MIB = 64 };

/* A key of an object that is not closed yet. Objects nest, so their keys form a stack. */
struct member {
    const char *key;
    size_t offset; /* of its opening quote */
};

struct parser {
    const char *name;
    const unsigned char *text;
    size_t length, at;
    int depth;
    struct json *nodes; /* the block that becomes the document; nodes[0] is the root */
    size_t node_count, node_capacity;
    char *strings; /* length + 1 bytes behind the nodes */
    size_t string_bytes;
    struct member *members; /* node_capacity of them */
    size_t member_count;
    locale_t c_locale; /* strtod would take a decimal comma in a German terminal */
    struct error *error;
};

/* Columns count characters, as an editor does: the continuation bytes of UTF-8 are not counted. */
__attribute__((format(printf, 3, 4)))
static status fail_at(const struct parser *p, size_t offset, const char *format, ...)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (p->text[i] == '\n') {
            line++;
            column = 1;
        } else if ((p->text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail(p->error, ERR_FORMAT, "%s:%zu:%zu: offset %zu: %s", p->name, line, column, offset, what);
}

static status expected(const struct parser *p, const char *what)
{
    if (p->at == p->length)
        return fail_at(p, p->at, "%s is expected here, but the text ends", what);
    unsigned char found = p->text[p->at];
    if (found > ' ' && found < 0x7f)
        return fail_at(p, p->at, "%s is expected here, found '%c'", what, found);
    return fail_at(p, p->at, "%s is expected here, found byte 0x%02x", what, found);
}

static int peek(const struct parser *p)
{
    return p->at < p->length ? p->text[p->at] : -1;
}

static bool accept(struct parser *p, int c)
{
    if (peek(p) != c)
        return false;
    p->at++;
    return true;
}

static void skip_space(struct parser *p)
{
    while (peek(p) == ' ' || peek(p) == '\n' || peek(p) == '\r' || peek(p) == '\t')
        p->at++;
}

/* Strings */

static status parse_hex4(struct parser *p, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(p);
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A' + 10);
        else
            return expected(p, "a hexadecimal digit of \\u");
        *unit = *unit << 4 | digit;
        p->at++;
    }
    return OK;
}

/* What follows "\u": four digits, or a surrogate pair, eight digits with another "\u" between them. */
static status parse_code_point(struct parser *p, uint32_t *point)
{
    size_t start = p->at;
    TRY(parse_hex4(p, point));
    if (*point < 0xd800 || *point > 0xdfff)
        return OK;
    uint32_t low;
    bool paired = *point < 0xdc00 && accept(p, '\\') && accept(p, 'u');
    if (paired)
        TRY(parse_hex4(p, &low));
    if (!paired || low < 0xdc00 || low > 0xdfff)
        return fail_at(p, start, "this \\u escape is half of a surrogate pair");
    *point = 0x10000 + ((*point - 0xd800) << 10 | (low - 0xdc00));
    return OK;
}

static status parse_escape(struct parser *p, char **out)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    p->at++;
    if (accept(p, 'u')) {
        uint32_t point;
        TRY(parse_code_point(p, &point));
        *out += utf8_write(point, *out);
        return OK;
    }
    int c = peek(p);
    const char *escape = c > 0 ? strchr(escapes, c) : NULL;
    if (escape == NULL)
        return expected(p, "one of \" \\ / b f n r t u after a backslash");
    *(*out)++ = meanings[escape - escapes];
    p->at++;
    return OK;
}

static status parse_string(struct parser *p, const char **string, size_t *length)
{
    size_t opening = p->at++;
    char *begin = p->strings + p->string_bytes, *out = begin;
    while (!accept(p, '"')) {
        int c = peek(p);
        if (c < 0)
            return fail_at(p, opening, "the string that starts here has no end");
        if (c < 0x20)
            return fail_at(p, p->at, "control character 0x%02x in a string: write it as \\u%04x", c, c);
        if (c == '\\') {
            TRY(parse_escape(p, &out));
            continue;
        }
        struct utf8 character = utf8_read((const char *)p->text + p->at, p->length - p->at);
        if (!character.valid)
            return fail_at(p, p->at, "byte 0x%02x starts no UTF-8 character: save the file as UTF-8", c);
        memcpy(out, p->text + p->at, character.length);
        out += character.length;
        p->at += character.length;
    }
    *out = '\0';
    *string = begin;
    *length = (size_t)(out - begin);
    p->string_bytes += *length + 1;
    return OK;
}

/* Numbers */

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static status skip_digits(struct parser *p)
{
    if (!is_digit(peek(p)))
        return expected(p, "a digit");
    while (is_digit(peek(p)))
        p->at++;
    return OK;
}

/* The integer of `count` digits, if it fits int64_t. */
static bool read_integer(const unsigned char *digits, size_t count, bool negative, int64_t *integer)
{
    uint64_t magnitude = 0, limit = (uint64_t)INT64_MAX + negative;
    for (size_t i = 0; i < count; i++) {
        uint64_t digit = (uint64_t)(digits[i] - '0');
        if (magnitude > (limit - digit) / 10)
            return false;
        magnitude = magnitude * 10 + digit;
    }
    if (negative && magnitude != 0)
        *integer = -(int64_t)(magnitude - 1) - 1;
    else
        *integer = (int64_t)magnitude;
    return true;
}

/* strtod rounds correctly but wants a terminator: the token is copied to the free end of the strings, which has room
 * for it, since these bytes of the source are no string. */
static status parse_number(struct parser *p, struct json *node)
{
    size_t start = p->at;
    bool negative = accept(p, '-');
    size_t digits = p->at;
    TRY(skip_digits(p));
    if (p->text[digits] == '0' && p->at - digits > 1)
        return fail_at(p, digits, "a number has no leading zeros");
    size_t digits_end = p->at;
    if (accept(p, '.'))
        TRY(skip_digits(p));
    if (accept(p, 'e') || accept(p, 'E')) {
        if (!accept(p, '+'))
            accept(p, '-');
        TRY(skip_digits(p));
    }
    node->kind = JSON_NUMBER;
    if (p->at == digits_end)
        node->is_integer = read_integer(p->text + digits, digits_end - digits, negative, &node->integer);
    char *token = p->strings + p->string_bytes;
    memcpy(token, p->text + start, p->at - start);
    token[p->at - start] = '\0';
    node->number = strtod_l(token, NULL, p->c_locale);
    if (isinf(node->number))
        return fail_at(p, start, "this number is too large");
    return OK;
}

/* Values */

static status parse_value(struct parser *p, struct json *node);

/* NULL, with the message recorded, if there is none left. The capacity was counted in an earlier pass over the text,
 * which may be a mapped file that changed since: so it is checked, not trusted. */
static struct json *new_node(struct parser *p)
{
    if (p->node_count == p->node_capacity) {
        fail_at(p, p->at, "too many values: a document has at most %d", MAX_VALUES);
        return NULL;
    }
    struct json *node = &p->nodes[p->node_count++];
    *node = (struct json){.kind = JSON_NULL};
    return node;
}

static status parse_key(struct parser *p, struct json *node)
{
    skip_space(p);
    size_t offset = p->at, length;
    if (peek(p) != '"')
        return expected(p, "a key in double quotes");
    TRY(parse_string(p, &node->key, &length));
    if (strlen(node->key) != length)
        return fail_at(p, offset, "a key cannot contain \\u0000");
    p->members[p->member_count++] = (struct member){.key = node->key, .offset = offset};
    skip_space(p);
    return accept(p, ':') ? OK : expected(p, "':' after the key");
}

static int compare_members(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    int order = strcmp(a->key, b->key);
    return order != 0 ? order : (a->offset > b->offset) - (a->offset < b->offset);
}

/* Takes the keys of an object that closes from the stack; the first one to be repeated is reported. */
static status pop_members(struct parser *p, size_t count)
{
    p->member_count -= count;
    struct member *members = p->members + p->member_count;
    if (count < 2)
        return OK;
    qsort(members, count, sizeof members[0], compare_members);
    const struct member *repeated = NULL;
    for (size_t i = 1; i < count; i++)
        if (strcmp(members[i - 1].key, members[i].key) == 0)
            if (repeated == NULL || members[i].offset < repeated->offset)
                repeated = &members[i];
    return repeated == NULL ? OK : fail_at(p, repeated->offset, "this object already has a member with this key");
}

static status parse_container(struct parser *p, struct json *node)
{
    if (p->depth == MAX_DEPTH)
        return fail_at(p, p->at, "nested more than %d levels deep", MAX_DEPTH);
    bool is_object = p->text[p->at++] == '{';
    char close = is_object ? '}' : ']';
    node->kind = is_object ? JSON_OBJECT : JSON_ARRAY;
    skip_space(p);
    if (accept(p, close))
        return OK;
    p->depth++;
    struct json *last = NULL;
    do {
        struct json *child = new_node(p);
        if (child == NULL)
            return ERR_FORMAT;
        if (is_object)
            TRY(parse_key(p, child));
        TRY(parse_value(p, child));
        if (last == NULL)
            node->child = child;
        else
            last->next = child;
        last = child;
        node->count++;
        skip_space(p);
    } while (accept(p, ','));
    p->depth--;
    if (!accept(p, close))
        return expected(p, is_object ? "',' or '}'" : "',' or ']'");
    return is_object ? pop_members(p, node->count) : OK;
}

static status parse_word(struct parser *p, struct json *node, const char *word, enum json_kind kind)
{
    size_t length = strlen(word);
    if (p->length - p->at < length || memcmp(p->text + p->at, word, length) != 0)
        return expected(p, "a value");
    p->at += length;
    node->kind = kind;
    return OK;
}

static status parse_value(struct parser *p, struct json *node)
{
    skip_space(p);
    switch (peek(p)) {
    case '{':
    case '[':
        return parse_container(p, node);
    case '"':
        node->kind = JSON_STRING;
        return parse_string(p, &node->string, &node->string_length);
    case 'n':
        return parse_word(p, node, "null", JSON_NULL);
    case 't':
        return parse_word(p, node, "true", JSON_TRUE);
    case 'f':
        return parse_word(p, node, "false", JSON_FALSE);
    default:
        return peek(p) == '-' || is_digit(peek(p)) ? parse_number(p, node) : expected(p, "a value");
    }
}

/* Documents */

/* How many nodes the text can need; cut at the limit, where new_node will say so. */
static size_t count_values(const char *text, size_t length)
{
    size_t count = 1;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            in_string = !in_string;
        else if (in_string)
            i += text[i] == '\\';
        else
            count += text[i] == '[' || text[i] == '{' || text[i] == ',';
    }
    return count < MAX_VALUES ? count : MAX_VALUES;
}

static status parse_document(struct parser *p)
{
    struct json *root = new_node(p);
    if (root == NULL)
        return ERR_FORMAT;
    TRY(parse_value(p, root));
    skip_space(p);
    return p->at == p->length ? OK : expected(p, "the end of the text");
}

status json_parse(const char *name, const char *text, size_t length, const struct json **root, struct error *e)
{
    *root = NULL;
    struct parser p = {.name = name, .text = (const unsigned char *)text, .length = length, .error = e};
    p.node_capacity = count_values(text, length);
    size_t node_bytes = p.node_capacity * sizeof p.nodes[0];
    if (length < SIZE_MAX - node_bytes)
        p.nodes = malloc(node_bytes + length + 1);
    p.members = malloc(p.node_capacity * sizeof p.members[0]);
    p.c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    status result;
    if (p.nodes == NULL || p.members == NULL || p.c_locale == (locale_t)0) {
        result = fail(e, ERR_MEMORY, "%s: not enough memory to parse %zu bytes of JSON", name, length);
    } else {
        p.strings = (char *)(p.nodes + p.node_capacity);
        result = parse_document(&p);
    }
    if (p.c_locale != (locale_t)0)
        freelocale(p.c_locale);
    free(p.members);
    if (result == OK)
        *root = p.nodes;
    else
        free(p.nodes);
    return result;
}

status json_read(const char *path, const struct json **root, struct error *e)
{
    *root = NULL;
    struct file_map map;
    TRY(file_map(path, &map, e));
    status result;
    if (map.size > (size_t)MAX_FILE_MIB << 20)
        result = fail(e, ERR_FORMAT, "%s: %zu bytes is too large for JSON, the limit is %d MiB", path, map.size,
                      MAX_FILE_MIB);
    else
        result = json_parse(path, (const char *)map.data, map.size, root, e);
    file_unmap(&map);
    return result;
}

void json_free(const struct json *root)
{
    free((void *)root);
}

/* Walking */

const struct json *json_get(const struct json *object, const char *key)
{
    if (object == NULL || object->kind != JSON_OBJECT)
        return NULL;
    const struct json *v = object->child;
    while (v != NULL && strcmp(v->key, key) != 0)
        v = v->next;
    return v;
}

const struct json *json_at(const struct json *array, size_t index)
{
    if (array == NULL || array->kind != JSON_ARRAY)
        return NULL;
    const struct json *v = array->child;
    while (v != NULL && index-- > 0)
        v = v->next;
    return v;
}

int64_t json_int(const struct json *v, int64_t fallback)
{
    return v != NULL && v->is_integer ? v->integer : fallback;
}

double json_double(const struct json *v, double fallback)
{
    return v != NULL && v->kind == JSON_NUMBER ? v->number : fallback;
}

bool json_bool(const struct json *v, bool fallback)
{
    if (v == NULL || (v->kind != JSON_TRUE && v->kind != JSON_FALSE))
        return fallback;
    return v->kind == JSON_TRUE;
}

const char *json_string(const struct json *v, const char *fallback)
{
    return v != NULL && v->kind == JSON_STRING ? v->string : fallback;
}
