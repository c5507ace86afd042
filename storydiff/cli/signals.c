#include "storydiff/cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tensor/mapped.h"

volatile sig_atomic_t signals_stop;
static int vanished_status; /* of the exit: set once, before the handler is */

static void ask_to_stop(int signal)
{
    static const char line[] = "\nfinishing what can be saved; once more ends at once\n";
    const struct sigaction plain = {.sa_handler = SIG_DFL};
    int before = errno; /* the interrupted call looks at it */
    (void)signal;
    signals_stop = 1;
    sigaction(SIGINT, &plain, NULL); /* either of them, once more */
    sigaction(SIGTERM, &plain, NULL);
    if (write(STDERR_FILENO, line, sizeof line - 1) < 0)
        errno = 0; /* nobody is listening */
    errno = before;
}

/* A model's file was shortened while it was mapped: the part that is gone cannot be read. All before the step under way
 * is saved. */
static void tell_what_vanished(int signal, siginfo_t *info, void *ucontext)
{
    static const char said[] = "\nstorydiff: a file was shortened or removed while it was in use: ",
                      then[] = "\nput it back; what was saved is safe, and --resume goes on\n";
    char path[4096] = "(the system does not say which)";
    (void)ucontext;
    mapped_file_at(info->si_addr, path, sizeof path);
    if (write(STDERR_FILENO, said, sizeof said - 1) < 0 || write(STDERR_FILENO, path, strlen(path)) < 0 ||
        write(STDERR_FILENO, then, sizeof then - 1) < 0)
        _exit(128 + signal);
    _exit(vanished_status);
}

void signals_catch(int mistake)
{
    const struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = SA_RESTART};
    const struct sigaction vanished = {.sa_sigaction = tell_what_vanished, .sa_flags = SA_SIGINFO};
    struct sigaction before;
    vanished_status = mistake;
    if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGBUS, &vanished, NULL);
    signal(SIGXFSZ, SIG_IGN); /* too large a file for `ulimit -f` is an error that can be told */
}

void signals_open_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}
