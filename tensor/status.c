#include "tensor/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message is one line, whatever names and texts of strangers are in it: no line breaks, no escape sequences. */
static void make_plain(char *message)
{
    for (; *message != '\0'; message++)
        if ((unsigned char)*message < ' ' || *message == 0x7f)
            *message = ' ';
}

status fail(struct error *e, status code, const char *format, ...)
{
    if (e == NULL || e->code != OK)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    make_plain(e->message);
    e->code = code;
    return code;
}

status fail_context(struct error *e, const char *format, ...)
{
    if (e == NULL || e->code == OK)
        return ERR_ARGUMENT;
    char cause[sizeof e->message];
    memcpy(cause, e->message, sizeof cause);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    if (length < 0 || (size_t)length + 2 >= sizeof e->message)
        return e->code;
    size_t room = sizeof e->message - (size_t)length - 3, wanted = strlen(cause);
    size_t kept = wanted < room ? wanted : room;
    memcpy(e->message + length, ": ", 2);
    memcpy(e->message + length + 2, cause, kept);
    e->message[(size_t)length + 2 + kept] = '\0';
    make_plain(e->message);
    return e->code;
}

void error_clear(struct error *e)
{
    if (e == NULL)
        return;
    e->code = OK;
    e->message[0] = '\0';
}
