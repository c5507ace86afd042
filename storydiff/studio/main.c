/* storydiff-studio: the comic in the browser, on this machine. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "storydiff/studio/api.h"
#include "tensor/file.h"

enum { MAX_MODEL_FOLDERS = 32, EXIT_MISTAKE = 2 };

extern char **environ;

struct words {
    int port;
    const char *models[MAX_MODEL_FOLDERS];
    int model_count;
    const char *library, *address;
    bool open, remote, help, version;
};

static const char help[] =
    "storydiff-studio: comics with consistent characters, in the browser\n\n"
    "  --port N              where it listens (default: 7860)\n"
    "  --models DIR          a folder of models; may be given several times\n"
    "  --library DIR         where the comics are kept (default: ~/.local/share/storydiff/comics)\n"
    "  --open                open the browser\n"
    "  --allow_remote ADDR   listen on ADDR of this machine (0.0.0.0: all) instead of 127.0.0.1. There is no "
    "password:\n"
    "                        whoever reaches the port can draw on this machine, and see and delete all its comics\n"
    "  --version, --help\n\n"
    "It draws by starting storydiff, which is beside it. Ctrl-C ends both; what was being drawn goes on at the next "
    "start.\n";

static status parse_port(const char *text, int *port, struct error *e)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < 1 || value > 65535)
        return fail(e, ERR_ARGUMENT, "--port %s: it takes a number from 1 to 65535", text);
    *port = (int)value;
    return OK;
}

static status parse(int argc, char **argv, struct words *w, struct error *e)
{
    *w = (struct words){.port = 7860, .address = "127.0.0.1"};
    for (int i = 1; i < argc; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s", argv[i]);
        for (char *p = key + 2; strncmp(key, "--", 2) == 0 && *p != '\0'; p++)
            *p = *p == '-' ? '_' : *p;
        bool takes = strcmp(key, "--port") == 0 || strcmp(key, "--models") == 0 || strcmp(key, "--library") == 0 ||
                     strcmp(key, "--allow_remote") == 0;
        if (takes && i + 1 >= argc)
            return fail(e, ERR_ARGUMENT, "%s needs a value", key);
        if (strcmp(key, "--port") == 0)
            TRY(parse_port(argv[++i], &w->port, e));
        else if (strcmp(key, "--models") == 0 && w->model_count == MAX_MODEL_FOLDERS)
            return fail(e, ERR_ARGUMENT, "--models: more than %d folders", MAX_MODEL_FOLDERS);
        else if (strcmp(key, "--models") == 0)
            w->models[w->model_count++] = argv[++i];
        else if (strcmp(key, "--library") == 0)
            w->library = argv[++i];
        else if (strcmp(key, "--allow_remote") == 0)
            w->address = argv[++i], w->remote = true;
        else if (strcmp(key, "--open") == 0)
            w->open = true;
        else if (strcmp(key, "--help") == 0 || strcmp(key, "-h") == 0)
            w->help = true;
        else if (strcmp(key, "--version") == 0)
            w->version = true;
        else
            return fail(e, ERR_ARGUMENT, "%s is not an option (storydiff-studio --help lists all)", argv[i]);
    }
    return OK;
}

static status default_library(char *out, size_t size, struct error *e)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data != NULL && data[0] != '\0')
        return path_join(out, size, data, "storydiff/comics", e);
    if (home == NULL || home[0] == '\0')
        return fail(e, ERR_ARGUMENT, "there is no HOME: say with --library where the comics are kept");
    return path_join(out, size, home, ".local/share/storydiff/comics", e);
}

/* storydiff, beside this program. */
static status find_program(char *out, size_t size, struct error *e)
{
    char self[4000] = "";
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = length > 0 ? strrchr(self, '/') : NULL;
    if (slash != NULL)
        *slash = '\0';
    TRY(path_join(out, size, self, "storydiff", e));
    return access(out, X_OK) == 0 ? OK
                                  : fail(e, ERR_IO, "%s: the program that draws is not there: make builds it", out);
}

/* Two studios in one library would start each other's comics. The lock lasts as long as this process. */
static status take_library(const struct library *l, struct error *e)
{
    char path[4200];
    TRY(path_join(path, sizeof path, l->path, "studio.lock", e));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return fail(e, ERR_IO, "another studio has the library %s: end it, or choose another --library", l->path);
    return OK;
}

static void open_browser(const char *address)
{
    char *words[] = {"xdg-open", (char *)address, NULL};
    pid_t pid;
    if (posix_spawnp(&pid, words[0], NULL, NULL, words, environ) != 0)
        fprintf(stderr, "note: no browser could be opened (xdg-open is missing)\n");
}

static status run(const struct words *w, struct error *e)
{
    static struct studio studio;
    char library[4096], program[4200], address[80];
    const struct guard guard = {w->port, w->remote};
    struct http *http;
    sigset_t ends;
    if (w->library != NULL)
        TRY(path_join(library, sizeof library, w->library, "", e));
    else
        TRY(default_library(library, sizeof library, e));
    for (size_t length = strlen(library); length > 1 && library[length - 1] == '/'; length--)
        library[length - 1] = '\0';
    TRY(find_program(program, sizeof program, e));
    TRY(library_open(&studio.library, library, e));
    TRY(take_library(&studio.library, e));
    TRY(catalog_open(&studio.catalog, w->models, w->model_count, e));

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* in every thread: this one waits for them */
    signal(SIGPIPE, SIG_IGN);
    TRY(queue_start(&studio.queue, &studio.library, &studio.catalog, program, e));
    status s = http_start(&http, w->address, &guard, api_handle, &studio, e);
    if (s == OK) {
        int got;
        snprintf(address, sizeof address, "http://%s:%d/", w->remote ? w->address : "127.0.0.1", w->port);
        printf("studio at %s, comics in %s\n", address, library);
        if (w->remote)
            printf("anybody who reaches this port can draw here, and see and delete these comics\n");
        fflush(stdout);
        if (w->open)
            open_browser(address);
        sigwait(&ends, &got);
        pthread_sigmask(SIG_UNBLOCK, &ends, NULL); /* a second one ends at once */
        fputs("\nfinishing the step that is being drawn\n", stderr);
    }
    queue_end(studio.queue);
    if (s == OK)
        http_stop(http);
    queue_free(studio.queue);
    catalog_free(&studio.catalog);
    return s;
}

int main(int argc, char **argv)
{
    struct words w;
    struct error e = {0};
    status s = parse(argc, argv, &w, &e);
    if (s == OK && w.help)
        fputs(help, stdout);
    else if (s == OK && w.version)
        puts("storydiff-studio " STORYDIFF_VERSION);
    else if (s == OK)
        s = run(&w, &e);
    if (s != OK)
        fprintf(stderr, "storydiff-studio: %s\n", e.message);
    return s == OK ? EXIT_SUCCESS : EXIT_MISTAKE;
}
