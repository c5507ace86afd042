/* Which Debian package has letters for a script, and in which file: for the message about a missing glyph.
 * Blocks: Unicode 15, Blocks.txt. Files: Debian 12. */
#include "storydiff/page/font.h"

#define NOTO(script) "fonts-noto-core", "/usr/share/fonts/truetype/noto/NotoSans" script "-Regular.ttf"
#define NOTO_CJK "fonts-noto-cjk", "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
#define SYMBOLA "fonts-symbola", "/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf"

static const struct font_hint hints[] = {
    {0x0000, 0x052F, "Latin, Greek or Cyrillic", NOTO("")},
    {0x0530, 0x058F, "Armenian", NOTO("Armenian")},
    {0x0590, 0x05FF, "Hebrew", NOTO("Hebrew")},
    {0x0600, 0x06FF, "Arabic", NOTO("Arabic")},
    {0x0750, 0x077F, "Arabic", NOTO("Arabic")},
    {0x08A0, 0x08FF, "Arabic", NOTO("Arabic")},
    {0x0900, 0x097F, "Devanagari", NOTO("Devanagari")},
    {0x0980, 0x09FF, "Bengali", NOTO("Bengali")},
    {0x0A00, 0x0A7F, "Gurmukhi", NOTO("Gurmukhi")},
    {0x0A80, 0x0AFF, "Gujarati", NOTO("Gujarati")},
    {0x0B00, 0x0B7F, "Oriya", NOTO("Oriya")},
    {0x0B80, 0x0BFF, "Tamil", NOTO("Tamil")},
    {0x0C00, 0x0C7F, "Telugu", NOTO("Telugu")},
    {0x0C80, 0x0CFF, "Kannada", NOTO("Kannada")},
    {0x0D00, 0x0D7F, "Malayalam", NOTO("Malayalam")},
    {0x0D80, 0x0DFF, "Sinhala", NOTO("Sinhala")},
    {0x0E00, 0x0E7F, "Thai", NOTO("Thai")},
    {0x0E80, 0x0EFF, "Lao", NOTO("Lao")},
    {0x0F00, 0x0FFF, "Tibetan", "fonts-noto-core", "/usr/share/fonts/truetype/noto/NotoSerifTibetan-Regular.ttf"},
    {0x1000, 0x109F, "Myanmar", NOTO("Myanmar")},
    {0x10A0, 0x10FF, "Georgian", NOTO("Georgian")},
    {0x1100, 0x11FF, "Korean", NOTO_CJK},
    {0x1200, 0x139F, "Ethiopic", NOTO("Ethiopic")},
    {0x13A0, 0x13FF, "Cherokee", NOTO("Cherokee")},
    {0x1780, 0x17FF, "Khmer", NOTO("Khmer")},
    {0x1800, 0x18AF, "Mongolian", NOTO("Mongolian")},
    {0x1C90, 0x1CBF, "Georgian", NOTO("Georgian")},
    {0x1E00, 0x1FFF, "Latin or Greek", NOTO("")},
    {0x2E80, 0x2FDF, "Chinese", NOTO_CJK},
    {0x2FF0, 0x9FFF, "Chinese, Japanese or Korean", NOTO_CJK},
    {0xA960, 0xA97F, "Korean", NOTO_CJK},
    {0xAC00, 0xD7FF, "Korean", NOTO_CJK},
    {0xF900, 0xFAFF, "Chinese", NOTO_CJK},
    {0xFB00, 0xFB06, "Latin", NOTO("")},
    {0xFB13, 0xFB17, "Armenian", NOTO("Armenian")},
    {0xFB1D, 0xFB4F, "Hebrew", NOTO("Hebrew")},
    {0xFB50, 0xFDFF, "Arabic", NOTO("Arabic")},
    {0xFE30, 0xFE4F, "Chinese, Japanese or Korean", NOTO_CJK},
    {0xFE70, 0xFEFE, "Arabic", NOTO("Arabic")},
    {0xFF00, 0xFFEF, "Chinese, Japanese or Korean", NOTO_CJK},
    {0x1F000, 0x1FAFF, "emoji", SYMBOLA},
    {0x20000, 0x3FFFF, "Chinese", NOTO_CJK},
    {0x0000, 0x10FFFF, "symbols", SYMBOLA}, /* fonts-noto-color-emoji has bitmaps, no outlines */
};

const struct font_hint *font_hint(uint32_t code)
{
    const size_t last = sizeof hints / sizeof hints[0] - 1;
    for (size_t i = 0; i < last; i++)
        if (code >= hints[i].first && code <= hints[i].last)
            return &hints[i];
    return &hints[last];
}
