/* One error channel for the whole program.
 *
 * A function that can fail returns a `status` and takes a `struct error *` that the caller owns. The message is
 * composed where the facts are known (file, tensor, wanted, found, what to do) and is never printed by a library. A
 * setting that a person can change stands in backquotes, as its key: `height`; who prints the message knows whether
 * that is an option, a line of a file or a field of a page. */
#ifndef TENSOR_STATUS_H
#define TENSOR_STATUS_H

typedef enum status {
    OK = 0,
    ERR_ARGUMENT, /* the caller, or the person at the keyboard, asked for something impossible */
    ERR_IO,       /* the operating system refused: open, read, write, map, sync */
    ERR_FORMAT,   /* a file is not what it claims to be */
    ERR_MEMORY,   /* not enough memory */
    ERR_STOPPED,  /* interrupted on request, state is saved */
} status;

struct error {
    status code;
    char message[1024]; /* one line without control characters; "" while there is no error */
};

/* Records a failure and returns `code`, so that `return fail(...)` reads well. The first failure wins: a later one
 * does not overwrite the cause. `e` may be NULL (the caller wants the code only). Too long a message is cut. */
status fail(struct error *e, status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message of a failure that was recorded deeper down, for a caller that knows more
 * ("storydiff/models/x: unet/config.json: ..."). Returns the recorded code. */
status fail_context(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forgets a recorded failure (a caller that tried one way and goes on to another). */
void error_clear(struct error *e);

/* Hands a failure on to the caller. A macro because a function cannot return for its caller. */
#define TRY(call)                    \
    do {                             \
        status try_status_ = (call); \
        if (try_status_ != OK)       \
            return try_status_;      \
    } while (0)

#endif
