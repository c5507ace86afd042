/* The files of a comic, by kind and number; the name is composed here, never taken from a request. */
#include "storydiff/studio/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storydiff/comic/recipe_read.h"
#include "storydiff/picture/png.h"
#include "tensor/file.h"

enum { LOG_TAIL = 64 << 10 };

static struct reply picture_recipe(const char *path)
{
    char *text = NULL;
    struct error e = {0};
    struct text out = {0};
    if (!file_exists(path))
        return http_error(404, "it is not there (yet)");
    if (png_read_text(path, RECIPE_KEY, &text, &e) != OK)
        return api_failure(&e);
    text_append(&out, "%s", text != NULL ? text : "{}");
    free(text);
    return http_json(out);
}

static struct reply tail(const char *path)
{
    struct file_map map;
    struct reply r = {.status = 200, .type = "text/plain; charset=utf-8", .fd = -1};
    if (file_map(path, &map, NULL) != OK)
        return r;
    size_t begin = map.size > LOG_TAIL ? map.size - LOG_TAIL : 0;
    text_append_bytes(&r.body, (const char *)map.data + begin, map.size - begin);
    file_unmap(&map);
    return r;
}

/* The name is composed here, of a kind and a number. */
struct reply api_comic_file(struct studio *s, const struct request *r, const char *id, const char *kind, int number)
{
    char name[32], path[COMIC_PATH], download[96];
    const char *type = "image/png";
    bool picture = strcmp(kind, "panel") == 0 || strcmp(kind, "page") == 0;
    struct error e = {0};
    if (picture)
        snprintf(name, sizeof name, "%s-%02d.png", kind, number);
    else if (strcmp(kind, "preview") == 0)
        snprintf(name, sizeof name, "preview.png");
    else if (strcmp(kind, "pdf") == 0)
        snprintf(name, sizeof name, "comic.pdf"), type = "application/pdf";
    else if (strcmp(kind, "cbz") == 0)
        snprintf(name, sizeof name, "comic.cbz"), type = "application/vnd.comicbook+zip";
    else if (strcmp(kind, "story") == 0)
        snprintf(name, sizeof name, "comic.story"), type = "text/plain; charset=utf-8";
    else if (strcmp(kind, "log") == 0)
        snprintf(name, sizeof name, "log.txt");
    else
        return http_error(404, "there is nothing of this name");
    if (library_path(&s->library, id, name, path, &e) != OK)
        return api_failure(&e);
    if (strcmp(kind, "log") == 0)
        return tail(path);
    if (picture && r->query(r, "recipe") != NULL)
        return picture_recipe(path);
    snprintf(download, sizeof download, "%s-%s", id, name);
    struct reply reply = http_file(path, type, r->query(r, "download") != NULL ? download : NULL);
    reply.keep = reply.keep && r->query(r, "v") != NULL;
    return reply;
}
