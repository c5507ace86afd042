#include "storydiff/studio/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the new process; only what is safe after fork in a program with threads. */
static void become(const char *const *words, int log, int events, int keep, pid_t parent)
{
    int nothing = open("/dev/null", O_RDWR);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(130); /* it died before */
    dup2(nothing, STDIN_FILENO);
    dup2(log >= 0 ? log : nothing, STDOUT_FILENO);
    dup2(log >= 0 ? log : nothing, STDERR_FILENO);
    dup2(events, CHILD_EVENTS); /* without close-on-exec; so is the next */
    if (keep >= 0)
        dup2(keep, CHILD_EVENTS + 1);
    execv(words[0], (char *const *)words);
    _exit(127);
}

/* A copy of a descriptor above those that the new process gets; the original is closed. */
static int lifted(int fd)
{
    int high = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 16) : -1;
    if (fd >= 0)
        close(fd);
    return high;
}

status child_start(struct child *c, const char *const *words, const char *log_path, int keep, struct error *e)
{
    int ends[2] = {-1, -1};
    *c = (struct child){.pid = -1};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(e, ERR_IO, "no pipe to storydiff: %s", strerror(errno));
    int events = lifted(ends[1]);
    int log = log_path != NULL ? lifted(open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) : -1;
    int held = keep >= 0 ? fcntl(keep, F_DUPFD_CLOEXEC, 16) : -1;
    pid_t parent = getpid();
    c->pid = events >= 0 ? fork() : -1;
    if (c->pid == 0)
        become(words, log, events, held, parent);
    int reason = errno;
    if (held >= 0)
        close(held);
    if (log >= 0)
        close(log);
    if (events >= 0)
        close(events);
    c->events = c->pid > 0 ? fdopen(ends[0], "r") : NULL;
    if (c->events != NULL)
        return OK;
    close(ends[0]);
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
    }
    return fail(e, ERR_IO, "storydiff cannot be started: %s", strerror(reason));
}

const struct json *child_next(struct child *c)
{
    char *line = NULL;
    size_t room = 0;
    const struct json *event = NULL;
    for (ssize_t length; event == NULL && (length = getline(&line, &room, c->events)) > 0;)
        json_parse("event", line, (size_t)length, &event, NULL);
    free(line);
    return event;
}

int child_wait(struct child *c)
{
    int code = 0;
    fclose(c->events);
    while (waitpid(c->pid, &code, 0) < 0 && errno == EINTR)
        ;
    *c = (struct child){.pid = -1};
    return WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
}
