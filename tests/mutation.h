/* JSON files with one value changed. Include it after tests/check.h. */
#ifndef TESTS_MUTATION_H
#define TESTS_MUTATION_H

#include <ctype.h>

/* The end of the value that begins at `at`: the comma or bracket after it, outside of texts and nested lists. */
static inline const char *end_of_value(const char *at)
{
    bool in_text = false;
    for (int depth = 0; *at != '\0'; at++) {
        if (*at == '"')
            in_text = !in_text;
        if (in_text)
            continue;
        if (depth == 0 && (*at == ',' || *at == '}' || *at == ']'))
            break;
        depth += (*at == '[' || *at == '{') - (*at == ']' || *at == '}');
    }
    return at;
}

/* `json` with another value for a key of the outermost object, or with that key in front; NULL: without the key.
 * The caller frees. */
static inline char *with_value(const char *json, const char *key, const char *value)
{
    char quoted[96];
    size_t size = strlen(json) + strlen(key) + (value ? strlen(value) : 0) + 16;
    char *out = room((int64_t)size, 1);
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(json, quoted);
    const char *end = at != NULL ? end_of_value(at + strlen(quoted)) : NULL;
    if (at == NULL)
        snprintf(out, size, "{%s %s,%s", quoted, value ? value : "null", strchr(json, '{') + 1);
    else if (value != NULL)
        snprintf(out, size, "%.*s%s %s%s", (int)(at - json), json, quoted, value, end);
    else if (*end == ',')
        snprintf(out, size, "%.*s%s", (int)(at - json), json, end + 1);
    else /* the last member: the comma before it goes, too */
        snprintf(out, size, "%.*s%s", (int)((const char *)memrchr(json, ',', (size_t)(at - json)) - json), json, end);
    return out;
}

#endif
