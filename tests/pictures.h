/* Pictures in a test's folder, and how far two of one size are apart. Include it after tests/check.h and folder.h. */
#ifndef TESTS_PICTURES_H
#define TESTS_PICTURES_H

#include "storydiff/picture/image.h"

static inline struct image picture(const struct folder *f, const char *name)
{
    struct image image = {0};
    struct error e = {0};
    if (image_read(folder_path(f, name).text, &image, &e) != OK)
        fail_msg("%s", e.message);
    return image;
}

/* count: the values that differ; worst: by how much, of 255. */
struct difference {
    int count, worst;
};

static inline struct difference difference_of(const struct folder *f, const char *one, const char *other)
{
    struct image a = picture(f, one), b = picture(f, other);
    struct difference d = {0, 0};
    assert_int_equal(a.width, b.width);
    assert_int_equal(a.height, b.height);
    for (int i = 0; i < a.width * a.height * 3; i++) {
        int by = abs(a.rgb[i] - b.rgb[i]);
        d.count += by > 0;
        d.worst = by > d.worst ? by : d.worst;
    }
    image_free(&a);
    image_free(&b);
    return d;
}

/* The number of values that differ. */
static inline int difference(const struct folder *f, const char *one, const char *other)
{
    return difference_of(f, one, other).count;
}

#endif
