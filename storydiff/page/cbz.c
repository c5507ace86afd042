#include "storydiff/page/cbz.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { VERSION_NEEDED = 20, UTF8_NAMES = 1 << 11, FIRST_DAY = (1 << 5) | 1 /* 1 January 1980 */ };

static void put(unsigned char **p, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *(*p)++ = (unsigned char)(value >> (8 * i));
}

void cbz_discard(struct cbz *cbz)
{
    if (cbz->file.aside[0] != '\0')
        file_discard(&cbz->file);
    text_free(&cbz->directory);
    text_free(&cbz->info);
    *cbz = (struct cbz){0};
}

/* Hands a status on; a failed archive is gone. */
static status settled(struct cbz *cbz, status s)
{
    if (s != OK)
        cbz_discard(cbz);
    return s;
}

static status write_out(struct cbz *cbz, const void *data, size_t size, struct error *e)
{
    TRY(file_append(&cbz->file, data, size, e));
    cbz->offset += size;
    return OK;
}

/* What a local header and an entry of the directory have in common. */
static void put_entry(unsigned char **p, uint32_t crc, size_t size, size_t name)
{
    put(p, VERSION_NEEDED, 2);
    put(p, UTF8_NAMES, 2);
    put(p, 0, 2); /* stored */
    put(p, 0, 2); /* midnight */
    put(p, FIRST_DAY, 2);
    put(p, crc, 4);
    put(p, (uint32_t)size, 4);
    put(p, (uint32_t)size, 4);
    put(p, (uint32_t)name, 2);
    put(p, 0, 2); /* no extra field */
}

static status add(struct cbz *cbz, const char *name, const void *data, size_t size, struct error *e)
{
    unsigned char local[30], entry[46], *p = local;
    if (size > UINT32_MAX / 2 || cbz->offset + size > UINT32_MAX - (1u << 20) || cbz->entries == UINT16_MAX)
        return fail(e, ERR_ARGUMENT, "the comic is too large for a CBZ (4 GB): leave cbz out of `format`");
    uint32_t crc = (uint32_t)crc32_z(0, data, size), at = (uint32_t)cbz->offset;
    put(&p, 0x04034b50, 4);
    put_entry(&p, crc, size, strlen(name));
    p = entry;
    put(&p, 0x02014b50, 4);
    put(&p, VERSION_NEEDED | 3 << 8, 2); /* made on Unix */
    put_entry(&p, crc, size, strlen(name));
    put(&p, 0, 2); /* no comment */
    put(&p, 0, 2); /* disk */
    put(&p, 0, 2); /* internal attributes */
    put(&p, 0100644u << 16, 4);
    put(&p, at, 4);
    text_append_bytes(&cbz->directory, (const char *)entry, sizeof entry);
    text_append(&cbz->directory, "%s", name);
    cbz->entries++;
    TRY(write_out(cbz, local, sizeof local, e));
    TRY(write_out(cbz, name, strlen(name), e));
    return write_out(cbz, data, size, e);
}

status cbz_begin(struct cbz *cbz, const char *path, struct error *e)
{
    *cbz = (struct cbz){0};
    return settled(cbz, file_create(path, &cbz->file, e));
}

status cbz_page(struct cbz *cbz, const unsigned char *png, size_t size, int width, int height, struct error *e)
{
    char name[32];
    text_append(&cbz->info, "    <Page Image=\"%d\" ImageSize=\"%zu\" ImageWidth=\"%d\" ImageHeight=\"%d\"%s/>\n",
                cbz->pages, size, width, height, cbz->pages == 0 ? " Type=\"FrontCover\"" : "");
    snprintf(name, sizeof name, "page-%03d.png", ++cbz->pages);
    return settled(cbz, add(cbz, name, png, size, e));
}

static void element(struct text *xml, const char *name, const char *value)
{
    text_append(xml, "  <%s>", name);
    for (const char *p = value; *p != '\0'; p++) {
        const char *escaped = *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : *p == '&' ? "&amp;" : NULL;
        if (escaped != NULL)
            text_append(xml, "%s", escaped);
        else if ((unsigned char)*p >= ' ' || *p == '\n' || *p == '\t')
            text_append_bytes(xml, p, 1);
    }
    text_append(xml, "</%s>\n", name);
}

static status finish(struct cbz *cbz, const char *title, const char *summary, struct error *e)
{
    struct text xml = {0};
    text_append(&xml, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<ComicInfo>\n");
    if (title != NULL)
        element(&xml, "Title", title);
    if (summary != NULL)
        element(&xml, "Summary", summary);
    element(&xml, "Notes", "Drawn by storydiff " STORYDIFF_VERSION);
    text_append(&xml, "  <PageCount>%d</PageCount>\n  <Pages>\n%s  </Pages>\n</ComicInfo>\n", cbz->pages,
                cbz->info.data != NULL ? cbz->info.data : "");
    status s = xml.failed || cbz->info.failed ? fail(e, ERR_MEMORY, "no memory for a CBZ")
                                              : add(cbz, "ComicInfo.xml", xml.data, xml.length, e);
    text_free(&xml);
    TRY(s);
    if (cbz->directory.failed)
        return fail(e, ERR_MEMORY, "no memory for a CBZ");
    unsigned char end[22], *p = end;
    put(&p, 0x06054b50, 4);
    put(&p, 0, 4); /* disks */
    put(&p, (uint32_t)cbz->entries, 2);
    put(&p, (uint32_t)cbz->entries, 2);
    put(&p, (uint32_t)cbz->directory.length, 4);
    put(&p, (uint32_t)cbz->offset, 4);
    put(&p, 0, 2); /* no comment */
    TRY(write_out(cbz, cbz->directory.data, cbz->directory.length, e));
    TRY(write_out(cbz, end, sizeof end, e));
    return file_commit(&cbz->file, e);
}

status cbz_end(struct cbz *cbz, const char *title, const char *summary, struct error *e)
{
    status s = finish(cbz, title, summary, e);
    cbz_discard(cbz);
    return s;
}
