/* The one place where stb_truetype is compiled. Its assertions are off: they would end the program over a font's
 * defect, and each is followed by code that copes. */
#define STBTT_assert(x) ((void)0)
#define STB_TRUETYPE_IMPLEMENTATION
#include <stb/stb_truetype.h>
