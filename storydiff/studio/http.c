#include "storydiff/studio/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct http {
    struct MHD_Daemon *daemon;
    struct guard guard;
    struct reply (*handle)(void *self, const struct request *r);
    void *self;
};

/* One request under way. */
struct exchange {
    struct text body;
    size_t limit;
    bool refused;
};

/* ------------------------------------------------------------------------------------------------------- replies */

struct reply http_json(struct text body)
{
    if (body.failed)
        text_free(&body);
    return body.data == NULL ? http_error(503, "not enough memory")
                             : (struct reply){.status = 200, .type = "application/json", .body = body, .fd = -1};
}

struct reply http_error(int code, const char *text)
{
    struct reply r = {.status = code, .type = "application/json", .fd = -1};
    text_append(&r.body, "{\"error\": ");
    text_append_json_string(&r.body, text);
    text_append(&r.body, "}");
    return r;
}

struct reply http_file(const char *path, const char *type, const char *download)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        if (fd >= 0)
            close(fd);
        return http_error(404, "it is not there (yet)");
    }
    struct reply r = {.status = 200, .type = type, .fd = fd, .keep = true};
    snprintf(r.download, sizeof r.download, "%s", download != NULL ? download : "");
    return r;
}

static void add_headers(struct MHD_Response *response, const struct reply *r)
{
    char line[160];
    MHD_add_response_header(response, "Content-Security-Policy",
                            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(response, "Cache-Control", r->keep ? "private, max-age=86400" : "no-store");
    MHD_add_response_header(response, "Content-Type", r->type);
    if (r->download[0] != '\0') {
        snprintf(line, sizeof line, "attachment; filename=\"%s\"", r->download);
        MHD_add_response_header(response, "Content-Disposition", line);
    }
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct reply r)
{
    struct stat info;
    struct MHD_Response *response = NULL;
    if (r.fd >= 0 && fstat(r.fd, &info) == 0)
        response = MHD_create_response_from_fd64((uint64_t)info.st_size, r.fd); /* which closes it */
    else if (r.constant != NULL)
        response = MHD_create_response_from_buffer(r.constant_size, (void *)r.constant, MHD_RESPMEM_PERSISTENT);
    else
        response = MHD_create_response_from_buffer(r.body.length, r.body.data != NULL ? r.body.data : "",
                                                   MHD_RESPMEM_MUST_COPY);
    text_free(&r.body);
    if (response == NULL)
        return MHD_NO;
    add_headers(response, &r);
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)r.status, response);
    MHD_destroy_response(response);
    return result;
}

/* ------------------------------------------------------------------------------------------------------ requests */

static const char *header(struct MHD_Connection *connection, const char *key)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, key);
}

static const char *query(const struct request *r, const char *key)
{
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, key);
}

/* What is wrong with a request before its body is read, or NULL. */
static const char *judge(const struct http *http, struct MHD_Connection *connection)
{
    if (!guard_host(&http->guard, header(connection, "Host")))
        return "this Host is not the studio's: open it by the address that it printed";
    if (!guard_origin(&http->guard, header(connection, "Origin")) || !guard_site(header(connection, "Sec-Fetch-Site")))
        return "requests from other sites are refused";
    return NULL;
}

static enum MHD_Result begin(const struct http *http, struct MHD_Connection *connection, const char *url,
                             void **state)
{
    const char *wrong = judge(http, connection), *length = header(connection, "Content-Length");
    size_t limit = strcmp(url, "/api/read") == 0 || strcmp(url, "/sdapi/v1/png-info") == 0 ? HTTP_MAX_PICTURE
                                                                                           : HTTP_MAX_BODY;
    if (wrong != NULL)
        return answer(connection, http_error(403, wrong));
    if (length != NULL && strtoull(length, NULL, 10) > limit)
        return answer(connection, http_error(413, "too large"));
    struct exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return MHD_NO;
    x->limit = limit;
    *state = x;
    return MHD_YES;
}

static enum MHD_Result access_handler(void *self, struct MHD_Connection *connection, const char *url,
                                      const char *method, const char *version, const char *data, size_t *size,
                                      void **state)
{
    struct http *http = self;
    struct exchange *x = *state;
    (void)version;
    if (x == NULL)
        return begin(http, connection, url, state);
    if (*size > 0) {
        x->refused = x->refused || *size > x->limit - x->body.length;
        if (!x->refused)
            text_append_bytes(&x->body, data, *size);
        else
            text_free(&x->body);
        *size = 0;
        return MHD_YES;
    }
    if (x->refused)
        return answer(connection, http_error(413, "too large"));
    if (x->body.failed)
        return answer(connection, http_error(503, "not enough memory"));
    const struct request r = {method, url, x->body.data != NULL ? x->body.data : "", x->body.length, query, connection};
    return answer(connection, http->handle(http->self, &r));
}

static void completed(void *self, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *state;
    (void)self;
    (void)connection;
    (void)code;
    if (x != NULL)
        text_free(&x->body);
    free(x);
    *state = NULL;
}

status http_start(struct http **out, const char *address, const struct guard *guard,
                  struct reply (*handle)(void *self, const struct request *r), void *self, struct error *e)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)guard->port)};
    if (inet_pton(AF_INET, address, &place.sin_addr) != 1)
        return fail(e, ERR_ARGUMENT, "%s is not an IPv4 address", address);
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return fail(e, ERR_MEMORY, "not enough memory to listen");
    *http = (struct http){.guard = *guard, .handle = handle, .self = self};
    http->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD,
                                    (uint16_t)guard->port, NULL, NULL, access_handler, http, MHD_OPTION_SOCK_ADDR,
                                    (struct sockaddr *)&place, MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
                                    MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_MAX_CONNECTIONS,
                                    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_SECONDS,
                                    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(32 << 10),
                                    MHD_OPTION_THREAD_STACK_SIZE, (size_t)(1 << 20), MHD_OPTION_END);
    if (http->daemon == NULL) {
        int reason = errno;
        free(http);
        return fail(e, ERR_IO, "cannot listen on %s:%d: %s; is a studio running already? Another port: --port N",
                    address, guard->port, strerror(reason));
    }
    *out = http;
    return OK;
}

void http_stop(struct http *http)
{
    if (http != NULL)
        MHD_stop_daemon(http->daemon);
    free(http);
}
