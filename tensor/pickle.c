#include "tensor/pickle.h"

#include "tensor/pickle_globals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 256 };

/* The machine: what is left of the program, the stack, where its marks are, and the memo. */
struct machine {
    const char *name;
    const unsigned char *begin, *at, *end;
    struct pickle *p;
    pickle_ref *stack, *memo;
    uint32_t *marks;
    size_t depth, depth_room, mark_count, mark_room, memo_count;
    status failed; /* of grown */
    struct error *e;
};

static status broken(const struct machine *m, const char *what)
{
    return fail(m->e, ERR_FORMAT, "%s: its pickle is damaged at byte %zu: %s", m->name, (size_t)(m->at - m->begin),
                what);
}

/* The array with room for one more, never for more than PICKLE_MAX_NODES; NULL: m->failed says why not. */
static void *grown(struct machine *m, void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return array;
    size_t wanted = *room < 64 ? 128 : 2 * *room;
    void *larger = count < PICKLE_MAX_NODES ? realloc(array, wanted * size) : NULL;
    if (larger == NULL && count >= PICKLE_MAX_NODES)
        m->failed = fail(m->e, ERR_FORMAT, "%s: its pickle has more than %d values", m->name, PICKLE_MAX_NODES);
    else if (larger == NULL)
        m->failed = fail(m->e, ERR_MEMORY, "%s: no memory for a pickle of %zu values", m->name, count);
    else
        *room = wanted;
    return larger;
}

/* -------------------------------------------------------------------------------------------------- nodes, stack */

static status new_node(struct machine *m, struct pickle_node node, pickle_ref *ref)
{
    struct pickle *p = m->p;
    struct pickle_node *nodes = grown(m, p->nodes, p->node_count, &p->node_room, sizeof *nodes);
    if (nodes == NULL)
        return m->failed;
    p->nodes = nodes;
    *ref = (pickle_ref)p->node_count;
    p->nodes[p->node_count++] = node;
    return OK;
}

static status push(struct machine *m, pickle_ref ref)
{
    pickle_ref *stack = grown(m, m->stack, m->depth, &m->depth_room, sizeof *stack);
    if (stack == NULL)
        return m->failed;
    m->stack = stack;
    m->stack[m->depth++] = ref;
    return OK;
}

static status push_node(struct machine *m, struct pickle_node node)
{
    pickle_ref ref = 0;
    TRY(new_node(m, node, &ref));
    return push(m, ref);
}

/* What lies below a mark belongs to somebody else. */
static status pop(struct machine *m, pickle_ref *ref)
{
    size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->depth <= floor)
        return broken(m, "its stack is empty");
    *ref = m->stack[--m->depth];
    return OK;
}

static status new_cell(struct machine *m, pickle_ref value, pickle_ref *ref)
{
    struct pickle *p = m->p;
    struct pickle_cell *cells = grown(m, p->cells, p->cell_count, &p->cell_room, sizeof *cells);
    if (cells == NULL)
        return m->failed;
    p->cells = cells;
    *ref = (pickle_ref)p->cell_count;
    p->cells[p->cell_count++] = (struct pickle_cell){value, 0};
    return OK;
}

static status add_member(struct machine *m, pickle_ref container, pickle_ref value)
{
    struct pickle *p = m->p;
    struct pickle_node *node = &p->nodes[container];
    if (node->kind == PICKLE_OTHER)
        return OK;
    pickle_ref cell = 0;
    TRY(new_cell(m, value, &cell));
    if (node->last != 0)
        p->cells[node->last].next = cell;
    else
        node->first = cell;
    node->last = cell;
    node->count++;
    return OK;
}

/* Takes the top `count` values as the members of a container. */
static status take_members(struct machine *m, pickle_ref container, size_t count)
{
    size_t first = m->depth - count;
    for (size_t i = 0; i < count; i++)
        TRY(add_member(m, container, m->stack[first + i]));
    m->depth = first;
    return OK;
}

static status push_mark(struct machine *m)
{
    uint32_t *marks = grown(m, m->marks, m->mark_count, &m->mark_room, sizeof *marks);
    if (marks == NULL)
        return m->failed;
    m->marks = marks;
    m->marks[m->mark_count++] = (uint32_t)m->depth;
    return OK;
}

/* How many values there are above the last mark, which is taken away. */
static status pop_mark(struct machine *m, size_t *count)
{
    if (m->mark_count == 0)
        return broken(m, "a mark is missing");
    *count = m->depth - m->marks[--m->mark_count];
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- arguments */

static status take(struct machine *m, size_t count, const unsigned char **bytes)
{
    if ((size_t)(m->end - m->at) < count)
        return broken(m, "it ends in the middle");
    *bytes = m->at;
    m->at += count;
    return OK;
}

static status take_number(struct machine *m, int bytes, uint64_t *value)
{
    const unsigned char *p = NULL;
    TRY(take(m, (size_t)bytes, &p));
    *value = 0;
    for (int i = 0; i < bytes; i++)
        *value |= (uint64_t)p[i] << (8 * i);
    return OK;
}

/* Up to the end of a line, which is taken, too. */
static status take_line(struct machine *m, const char **line, size_t *length)
{
    const unsigned char *newline = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (newline == NULL)
        return broken(m, "it ends in the middle of a line");
    *line = (const char *)m->at;
    *length = (size_t)(newline - m->at);
    m->at = newline + 1;
    return OK;
}

static status push_string(struct machine *m, const char *string, size_t length)
{
    return push_node(m, (struct pickle_node){.kind = PICKLE_STRING, .string = string, .integer = (int64_t)length});
}

static status counted_string(struct machine *m, int bytes)
{
    uint64_t length = 0;
    const unsigned char *string = NULL;
    TRY(take_number(m, bytes, &length));
    if (length > (uint64_t)(m->end - m->at))
        return broken(m, "a text is longer than what is left");
    TRY(take(m, (size_t)length, &string));
    return push_string(m, (const char *)string, (size_t)length);
}

static status push_int(struct machine *m, int64_t value)
{
    return push_node(m, (struct pickle_node){.kind = PICKLE_INT, .integer = value});
}

static status push_kind(struct machine *m, enum pickle_kind kind)
{
    return push_node(m, (struct pickle_node){.kind = kind});
}

/* A whole number of so many bytes, two's complement, little endian. */
static status long_number(struct machine *m, uint64_t bytes)
{
    const unsigned char *p = NULL;
    if (bytes > (uint64_t)(m->end - m->at))
        return broken(m, "a number is longer than what is left");
    TRY(take(m, (size_t)bytes, &p));
    if (bytes > 8)
        return push_kind(m, PICKLE_OTHER);
    uint64_t value = bytes > 0 && p[bytes - 1] >= 0x80 ? UINT64_MAX : 0;
    for (size_t i = (size_t)bytes; i-- > 0;)
        value = value << 8 | p[i];
    return push_int(m, (int64_t)value);
}

/* Decimal digits, with a sign, and perhaps an L behind. */
static bool decimal(const char *text, size_t length, int64_t *value)
{
    bool negative = length > 0 && *text == '-';
    *value = 0;
    size_t i = negative;
    for (; i < length && text[i] >= '0' && text[i] <= '9'; i++)
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_sub_overflow(*value, text[i] - '0', value))
            return false; /* counted down: the negative numbers reach further */
    if (!negative && __builtin_sub_overflow(0, *value, value))
        return false;
    return i > (size_t)negative && (i == length || (i + 1 == length && text[i] == 'L'));
}

static status text_number(struct machine *m)
{
    const char *line = NULL;
    size_t length = 0;
    int64_t value = 0;
    TRY(take_line(m, &line, &length));
    if (length == 2 && line[0] == '0' && (line[1] == '0' || line[1] == '1'))
        return push_node(m, (struct pickle_node){.kind = PICKLE_BOOL, .integer = line[1] - '0'});
    return decimal(line, length, &value) ? push_int(m, value) : push_kind(m, PICKLE_OTHER);
}

/* 'text' or "text"; escapes do not occur in the names of tensors. */
static status quoted_string(struct machine *m)
{
    const char *line = NULL;
    size_t length = 0;
    TRY(take_line(m, &line, &length));
    if (length < 2 || line[0] != line[length - 1] || (line[0] != '\'' && line[0] != '"'))
        return broken(m, "a text without quotes");
    return push_string(m, line + 1, length - 2);
}

/* -------------------------------------------------------------------------------------------------- names, calls */

static status push_global(struct machine *m, const char *module, size_t module_length, const char *name,
                          size_t name_length)
{
    char joined[NAME_MAX_BYTES];
    int length = -1;
    if (module_length < sizeof joined && name_length < sizeof joined)
        length = snprintf(joined, sizeof joined, "%.*s.%.*s", (int)module_length, module, (int)name_length, name);
    const struct pickle_global *g =
        length > 0 && (size_t)length < sizeof joined ? pickle_global_find(joined) : NULL;
    if (g != NULL)
        return push_node(m, (struct pickle_node){.kind = PICKLE_GLOBAL, .string = g->name,
                                                 .integer = (int64_t)strlen(g->name)});
    for (int i = 0; i < length && (size_t)i < sizeof joined - 1; i++)
        if ((unsigned char)joined[i] < ' ' || (unsigned char)joined[i] >= 0x7f)
            joined[i] = '?';
    return fail(m->e, ERR_FORMAT, "%s: its pickle refers to %s, which has no place in a checkpoint: it may be meant to "
                "run something. Nothing was run; get the weights as safetensors", m->name,
                length > 0 ? joined : "a name of monstrous length");
}

static status global_from_lines(struct machine *m)
{
    const char *module = NULL, *name = NULL;
    size_t module_length = 0, name_length = 0;
    TRY(take_line(m, &module, &module_length));
    TRY(take_line(m, &name, &name_length));
    return push_global(m, module, module_length, name, name_length);
}

static status global_from_stack(struct machine *m)
{
    pickle_ref name = 0, module = 0;
    TRY(pop(m, &name));
    TRY(pop(m, &module));
    const struct pickle_node *n = &m->p->nodes[name], *k = &m->p->nodes[module];
    if (n->kind != PICKLE_STRING || k->kind != PICKLE_STRING)
        return broken(m, "a name that is no text");
    return push_global(m, k->string, (size_t)k->integer, n->string, (size_t)n->integer);
}

static const struct pickle_global *global_of(const struct machine *m, pickle_ref ref)
{
    const struct pickle_node *node = &m->p->nodes[ref];
    return node->kind == PICKLE_GLOBAL ? pickle_global_find(node->string) : NULL;
}

/* OrderedDict([(key, value), ...]), as the oldest protocols have it. */
static status dict_from_pairs(struct machine *m, pickle_ref dict, pickle_ref arguments)
{
    struct pickle *p = m->p;
    pickle_ref pairs = pickle_member(p, arguments, 0);
    if (pairs == 0 || (p->nodes[pairs].kind != PICKLE_LIST && p->nodes[pairs].kind != PICKLE_TUPLE))
        return OK;
    for (pickle_ref cell = p->nodes[pairs].first; cell != 0; cell = p->cells[cell].next) {
        const struct pickle_node *pair = &p->nodes[p->cells[cell].value];
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->count != 2)
            return broken(m, "a dictionary's member is no pair");
        pickle_ref key = pickle_member(p, p->cells[cell].value, 0), value = pickle_member(p, p->cells[cell].value, 1);
        TRY(add_member(m, dict, key));
        TRY(add_member(m, dict, value));
    }
    return OK;
}

/* callable(arguments): noted, or forgotten, never done. */
static status call(struct machine *m)
{
    pickle_ref arguments = 0, callable = 0, result = 0;
    TRY(pop(m, &arguments));
    TRY(pop(m, &callable));
    const struct pickle_global *g = global_of(m, callable);
    if (g == NULL && m->p->nodes[callable].kind != PICKLE_OTHER)
        return broken(m, "a call of something that is no name");
    if (m->p->nodes[arguments].kind != PICKLE_TUPLE)
        return broken(m, "a call without its arguments");
    if (g == NULL || g->role == MAKES_OTHER)
        return push_kind(m, PICKLE_OTHER);
    TRY(new_node(m, (struct pickle_node){.kind = g->role == MAKES_DICT ? PICKLE_DICT : PICKLE_CALL}, &result));
    if (g->role == MAKES_DICT) {
        TRY(dict_from_pairs(m, result, arguments));
    } else {
        TRY(add_member(m, result, callable));
        TRY(add_member(m, result, arguments));
    }
    return push(m, result);
}

/* A storage is named by a tuple that only the reader of the file understands. */
static status persistent(struct machine *m)
{
    pickle_ref id = 0, ref = 0;
    TRY(pop(m, &id));
    if (m->p->nodes[id].kind != PICKLE_TUPLE)
        return broken(m, "a storage that is not described by a tuple");
    struct pickle_node node = m->p->nodes[id];
    node.kind = PICKLE_PERSISTENT;
    TRY(new_node(m, node, &ref));
    return push(m, ref);
}

/* --------------------------------------------------------------------------------------------- containers, memo */

static status new_container(struct machine *m, enum pickle_kind kind, size_t count)
{
    pickle_ref ref = 0;
    size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->depth - floor < count)
        return broken(m, "its stack is empty");
    TRY(new_node(m, (struct pickle_node){.kind = kind}, &ref));
    TRY(take_members(m, ref, count));
    return push(m, ref);
}

static status marked_container(struct machine *m, enum pickle_kind kind)
{
    size_t count = 0;
    TRY(pop_mark(m, &count));
    if (kind == PICKLE_DICT && count % 2 != 0)
        return broken(m, "a dictionary with a key and no value");
    return new_container(m, kind, count);
}

/* Adds the top `count` values to the container below them. */
static status add_to(struct machine *m, enum pickle_kind kind, size_t count)
{
    size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->depth - floor < count + 1)
        return broken(m, "its stack is empty");
    pickle_ref container = m->stack[m->depth - count - 1];
    enum pickle_kind found = m->p->nodes[container].kind;
    if ((found != kind && found != PICKLE_OTHER) || (kind == PICKLE_DICT && count % 2 != 0))
        return broken(m, "members for something that has none");
    return take_members(m, container, count);
}

static status add_marked(struct machine *m, enum pickle_kind kind)
{
    size_t count = 0;
    TRY(pop_mark(m, &count));
    return add_to(m, kind, count);
}

static status put(struct machine *m, uint64_t index)
{
    size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
    if (m->depth <= floor)
        return broken(m, "its stack is empty");
    if (index >= PICKLE_MAX_NODES)
        return broken(m, "a memo of impossible number");
    if (index >= m->memo_count) {
        size_t count = index + 1 > 2 * m->memo_count + 64 ? (size_t)index + 1 : 2 * m->memo_count + 64;
        pickle_ref *memo = realloc(m->memo, count * sizeof *memo);
        if (memo == NULL)
            return fail(m->e, ERR_MEMORY, "%s: no memory for a pickle's memo", m->name);
        memset(memo + m->memo_count, 0, (count - m->memo_count) * sizeof *memo);
        m->memo = memo;
        m->memo_count = count;
    }
    m->memo[index] = m->stack[m->depth - 1];
    return OK;
}

static status get(struct machine *m, uint64_t index)
{
    if (index >= m->memo_count || m->memo[index] == 0)
        return broken(m, "a memo that was never made");
    return push(m, m->memo[index]);
}

static status text_memo(struct machine *m, status (*act)(struct machine *m, uint64_t index))
{
    const char *line = NULL;
    size_t length = 0;
    int64_t index = 0;
    TRY(take_line(m, &line, &length));
    if (!decimal(line, length, &index) || index < 0)
        return broken(m, "a memo of impossible number");
    return act(m, (uint64_t)index);
}

/* --------------------------------------------------------------------------------------------------- the machine */

static status refuse(const struct machine *m, unsigned char opcode)
{
    static const struct {
        unsigned char opcode;
        const char *name;
    } known[] = {{'P', "PERSID"}, {'i', "INST"}, {'o', "OBJ"}, {0x82, "EXT1"}, {0x83, "EXT2"}, {0x84, "EXT4"},
                 {0x92, "NEWOBJ_EX"}, {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].opcode == opcode)
            return fail(m->e, ERR_FORMAT, "%s: its pickle has the opcode %s, which has no place in a checkpoint. "
                        "Nothing was run; get the weights as safetensors", m->name, known[i].name);
    return fail(m->e, ERR_FORMAT, "%s: its pickle has the opcode 0x%02x, which does not exist", m->name, opcode);
}

/* Runs one opcode; each line is "what it is called in pickletools". */
static status step(struct machine *m, unsigned char opcode)
{
    uint64_t n = 0;
    size_t count = 0;
    pickle_ref ref = 0;
    const unsigned char *skipped = NULL;
    const char *line = NULL;
    switch (opcode) {
    case 0x80: return take(m, 1, &skipped);                       /* PROTO */
    case 0x95: return take(m, 8, &skipped);                       /* FRAME */
    case 'N': return push_kind(m, PICKLE_NONE);                   /* NONE */
    case 0x88: return push_node(m, (struct pickle_node){.kind = PICKLE_BOOL, .integer = 1}); /* NEWTRUE */
    case 0x89: return push_kind(m, PICKLE_BOOL);                  /* NEWFALSE */
    case 'I': return text_number(m);                              /* INT */
    case 'L': return text_number(m);                              /* LONG */
    case 'J': TRY(take_number(m, 4, &n)); return push_int(m, (int32_t)n);    /* BININT */
    case 'K': TRY(take_number(m, 1, &n)); return push_int(m, (int64_t)n);    /* BININT1 */
    case 'M': TRY(take_number(m, 2, &n)); return push_int(m, (int64_t)n);    /* BININT2 */
    case 0x8a: TRY(take_number(m, 1, &n)); return long_number(m, n);         /* LONG1 */
    case 0x8b: TRY(take_number(m, 4, &n)); return long_number(m, n);         /* LONG4 */
    case 'F': TRY(take_line(m, &line, &count)); return push_kind(m, PICKLE_FLOAT); /* FLOAT */
    case 'G': TRY(take(m, 8, &skipped)); return push_kind(m, PICKLE_FLOAT);        /* BINFLOAT */
    case 'S': return quoted_string(m);                            /* STRING */
    case 'V': TRY(take_line(m, &line, &count)); return push_string(m, line, count); /* UNICODE */
    case 'T': case 'X': case 'B': return counted_string(m, 4);    /* BINSTRING BINUNICODE BINBYTES */
    case 'U': case 0x8c: case 'C': return counted_string(m, 1);   /* SHORT_BINSTRING ..UNICODE ..BYTES */
    case 0x8d: case 0x8e: return counted_string(m, 8);            /* BINUNICODE8 BINBYTES8 */
    case ')': return push_kind(m, PICKLE_TUPLE);                  /* EMPTY_TUPLE */
    case ']': return push_kind(m, PICKLE_LIST);                   /* EMPTY_LIST */
    case '}': return push_kind(m, PICKLE_DICT);                   /* EMPTY_DICT */
    case 0x8f: return push_kind(m, PICKLE_OTHER);                 /* EMPTY_SET */
    case 0x85: return new_container(m, PICKLE_TUPLE, 1);          /* TUPLE1 */
    case 0x86: return new_container(m, PICKLE_TUPLE, 2);          /* TUPLE2 */
    case 0x87: return new_container(m, PICKLE_TUPLE, 3);          /* TUPLE3 */
    case 't': return marked_container(m, PICKLE_TUPLE);           /* TUPLE */
    case 'l': return marked_container(m, PICKLE_LIST);            /* LIST */
    case 'd': return marked_container(m, PICKLE_DICT);            /* DICT */
    case 0x91: return marked_container(m, PICKLE_OTHER);          /* FROZENSET */
    case 'a': return add_to(m, PICKLE_LIST, 1);                   /* APPEND */
    case 'e': return add_marked(m, PICKLE_LIST);                  /* APPENDS */
    case 's': return add_to(m, PICKLE_DICT, 2);                   /* SETITEM */
    case 'u': return add_marked(m, PICKLE_DICT);                  /* SETITEMS */
    case 0x90: return add_marked(m, PICKLE_OTHER);                /* ADDITEMS */
    case '(': return push_mark(m);                                /* MARK */
    case '0': return pop(m, &ref);                                /* POP */
    case '1': TRY(pop_mark(m, &count)); m->depth -= count; return OK; /* POP_MARK */
    case '2': TRY(pop(m, &ref)); TRY(push(m, ref)); return push(m, ref); /* DUP */
    case 'c': return global_from_lines(m);                        /* GLOBAL */
    case 0x93: return global_from_stack(m);                       /* STACK_GLOBAL */
    case 'R': case 0x81: return call(m);                          /* REDUCE NEWOBJ */
    case 'b': return pop(m, &ref);                                /* BUILD: an object's state, of no interest */
    case 'Q': return persistent(m);                               /* BINPERSID */
    case 'q': TRY(take_number(m, 1, &n)); return put(m, n);       /* BINPUT */
    case 'r': TRY(take_number(m, 4, &n)); return put(m, n);       /* LONG_BINPUT */
    case 'h': TRY(take_number(m, 1, &n)); return get(m, n);       /* BINGET */
    case 'j': TRY(take_number(m, 4, &n)); return get(m, n);       /* LONG_BINGET */
    case 'p': return text_memo(m, put);                           /* PUT */
    case 'g': return text_memo(m, get);                           /* GET */
    default: return refuse(m, opcode);
    }
}

static status run(struct machine *m, pickle_ref *root)
{
    size_t memoized = 0;
    pickle_ref none = 0; /* node 0 and cell 0 stand for none */
    TRY(new_node(m, (struct pickle_node){.kind = PICKLE_NONE}, &none));
    TRY(new_cell(m, none, &none));
    for (;;) {
        const unsigned char *opcode = NULL;
        TRY(take(m, 1, &opcode));
        if (*opcode == '.') /* STOP */
            return pop(m, root);
        if (*opcode == 0x94) /* MEMOIZE: the next free number */
            TRY(put(m, memoized));
        else
            TRY(step(m, *opcode));
        memoized += *opcode == 0x94 || *opcode == 'q' || *opcode == 'r' || *opcode == 'p';
    }
}

status pickle_parse(const char *name, const unsigned char *bytes, size_t size, struct pickle *p, pickle_ref *root,
                    size_t *used, struct error *e)
{
    *p = (struct pickle){0};
    struct machine m = {.name = name, .begin = bytes, .at = bytes, .end = bytes + size, .p = p, .e = e};
    status s = run(&m, root);
    *used = (size_t)(m.at - bytes);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    return s;
}

void pickle_free(struct pickle *p)
{
    free(p->nodes);
    free(p->cells);
    *p = (struct pickle){0};
}

pickle_ref pickle_member(const struct pickle *p, pickle_ref container, size_t index)
{
    pickle_ref cell = p->nodes[container].first;
    for (; cell != 0 && index > 0; index--)
        cell = p->cells[cell].next;
    return cell != 0 ? p->cells[cell].value : 0;
}

bool pickle_is(const struct pickle *p, pickle_ref value, enum pickle_kind kind, const char *text)
{
    const struct pickle_node *node = &p->nodes[value];
    return node->kind == kind && (size_t)node->integer == strlen(text) &&
           memcmp(node->string, text, (size_t)node->integer) == 0;
}
