/* The studio's pictures of styles: panels of one size, made small, one below the other, into one PNG.
 *
 *   build/style_sheet SIZE OUT.png PANEL.png ..
 *
 * make style-pictures draws them with the bundled model. */
#include <stdio.h>
#include <stdlib.h>

#include "storydiff/picture/image.h"
#include "storydiff/picture/png.h"

static status add(struct image *sheet, int at, int size, const char *path, struct error *e)
{
    struct image panel, small;
    TRY(image_read(path, &panel, e));
    status s = image_resize(&panel, size, size, &small, e);
    image_free(&panel);
    TRY(s);
    image_paste(sheet, 0, at * size, &small);
    image_free(&small);
    return OK;
}

/* 22 shades a channel: half the bytes, and the eye hardly sees it at this size. */
static void coarsen(struct image *sheet)
{
    for (int i = 0; i < sheet->width * sheet->height * 3; i++)
        sheet->rgb[i] = (uint8_t)((sheet->rgb[i] + 6) / 12 * 12 > 255 ? 255 : (sheet->rgb[i] + 6) / 12 * 12);
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct image sheet = {0};
    int size = argc > 3 ? atoi(argv[1]) : 0;
    if (size < 1 || size > 1024) {
        fputs("style_sheet SIZE OUT.png PANEL.png ..\n", stderr);
        return 2;
    }
    status s = image_new(size, (int64_t)size * (argc - 3), &sheet, &e);
    for (int i = 3; s == OK && i < argc; i++)
        s = add(&sheet, i - 3, size, argv[i], &e);
    if (s == OK)
        coarsen(&sheet);
    if (s == OK)
        s = png_write(argv[2], &sheet, NULL, 0, &e);
    image_free(&sheet);
    if (s != OK)
        fprintf(stderr, "style_sheet: %s\n", e.message);
    return s == OK ? 0 : 2;
}
