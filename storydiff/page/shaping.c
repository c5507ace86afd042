#include "storydiff/page/shaping.h"

#include <stddef.h>

#include "storydiff/page/arabic.h"

/* Unicode 15, Blocks.txt; Thai, Lao, Hebrew are legible without. */
static const struct {
    uint32_t first, last;
    const char *script;
} shaped[] = {
    {0x0700, 0x074F, "Syriac"},      {0x07C0, 0x07FF, "N'Ko"},        {0x0840, 0x085F, "Mandaic"},
    {0x0860, 0x086F, "Syriac"},      {0x0900, 0x097F, "Devanagari"},  {0x0980, 0x09FF, "Bengali"},
    {0x0A00, 0x0A7F, "Gurmukhi"},    {0x0A80, 0x0AFF, "Gujarati"},    {0x0B00, 0x0B7F, "Oriya"},
    {0x0B80, 0x0BFF, "Tamil"},       {0x0C00, 0x0C7F, "Telugu"},      {0x0C80, 0x0CFF, "Kannada"},
    {0x0D00, 0x0D7F, "Malayalam"},   {0x0D80, 0x0DFF, "Sinhala"},     {0x0F00, 0x0FFF, "Tibetan"},
    {0x1000, 0x109F, "Myanmar"},     {0x1780, 0x17FF, "Khmer"},       {0x1800, 0x18AF, "Mongolian"},
    {0x1900, 0x194F, "Limbu"},       {0x1A20, 0x1AAF, "Tai Tham"},    {0x1B00, 0x1B7F, "Balinese"},
    {0x1B80, 0x1BBF, "Sundanese"},   {0xA840, 0xA87F, "Phags-pa"},    {0xA8E0, 0xA8FF, "Devanagari"},
    {0xA980, 0xA9DF, "Javanese"},    {0xAA00, 0xAA5F, "Cham"},        {0xABC0, 0xABFF, "Meetei Mayek"},
    {0x11000, 0x11FFF, "a script of India"}, {0x1E900, 0x1E95F, "Adlam"},
};

const char *shaping_missing(const struct font *font, uint32_t code)
{
    const uint32_t alone = arabic_isolated(code);
    if (alone != 0 && font_glyph(font, code) != 0 && font_glyph(font, alone) == 0)
        return "Arabic";
    for (size_t i = 0; i < sizeof shaped / sizeof *shaped; i++)
        if (code >= shaped[i].first && code <= shaped[i].last)
            return shaped[i].script;
    return NULL;
}
