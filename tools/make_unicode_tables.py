#!/usr/bin/env python3
"""Writes sdxl/text/unicode_tables.h and sdxl/text/html_entities.h from Python's own data.

    python3 tools/make_unicode_tables.py sdxl

The tokenizer has to see letters, digits, case and canonical equivalence as CLIP's Python tokenizers do. So the tables
are taken from what Python does: unicodedata for categories and decompositions, str.lower for case, html.entities for
names. They are for Unicode 14 (Python 3.11); another version is refused, because it would change ids.
"""

import html.entities
import sys
import unicodedata

VERSION = "14.0.0"
WIDTH = 118
EVERY = range(sys.maxunicode + 1)
LETTER, NUMBER, CONTROL, SPACE, CASED, CASE_IGNORABLE = (1 << bit for bit in range(6))  # enum unicode_flag

# Unicode's White_Space. str.isspace also takes U+001C..U+001F, the pattern's \s does not.
WHITE_SPACE = {c for c in EVERY if chr(c).isspace()} - set(range(0x1C, 0x20))


def flags(c):
    char = chr(c)
    bits = {"L": LETTER, "N": NUMBER, "C": CONTROL}.get(unicodedata.category(char)[0], 0)
    if c in WHITE_SPACE:
        bits |= SPACE
    # Python does not say which characters are cased or case-ignorable, but its final sigma does: it is final after a
    # cased letter, looking through ignorable ones. Only a cased one that is not ignorable counts as CASED here.
    if (char + "Σ").lower().endswith("ς"):
        bits |= CASED
    elif ("A" + char + "Σ").lower().endswith("ς"):
        bits |= CASE_IGNORABLE
    return bits


def runs(value):
    """(first character, value) of every maximal run of equal values."""
    out = []
    for c in EVERY:
        if not out or value(c) != out[-1][1]:
            out.append((c, value(c)))
    return out


def lower_ranges():
    """(first, last, step, delta): c and every step-th after it become c + delta."""
    out = []
    for c in EVERY:
        low = chr(c).lower()
        if low == chr(c) or c == 0x130:  # U+0130 is the one with two characters: in the code
            continue
        assert len(low) == 1
        delta = ord(low) - c
        if out and out[-1][3] == delta:
            first, last, step, _ = out[-1]
            if c - last in (1, 2) and (first == last or c - last == step):
                out[-1] = (first, c, c - last, delta)
                continue
        out.append((c, c, 1, delta))
    return out


def decompositions():
    """(composite, first, second) for every canonical mapping, one step deep; second is 0 for a singleton."""
    out = []
    for c in EVERY:
        mapping = unicodedata.decomposition(chr(c))
        if mapping and not mapping.startswith("<"):
            parts = [int(part, 16) for part in mapping.split()] + [0]
            out.append((c, parts[0], parts[1]))
    return out


def compositions(table):
    """Rows of `table` that compose, ordered by (first, second). Normalising tells which are excluded."""
    rows = [i for i, (c, _, second) in enumerate(table) if second and unicodedata.normalize("NFC", chr(c)) == chr(c)]
    return sorted(rows, key=lambda i: table[i][1:])


def entities():
    """HTML 4's names and those that need no semicolon: (name, character, whether the semicolon may be missing)."""
    names = set(html.entities.name2codepoint) | {"apos"}
    names |= {name for name in html.entities.html5 if not name.endswith(";")}
    rows = []
    for name in sorted(names):
        value = html.entities.html5[name + ";"]
        assert len(value) == 1
        rows.append((name, ord(value), name in html.entities.html5))
    return rows


def array(kind, name, rows):
    """A C array, filled to the line width."""
    lines, line = [], "   "
    for row in rows:
        if len(line) + len(row) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += " " + row + ","
    return "static const %s %s[] = {\n%s\n};\n" % (kind, name, "\n".join(lines + [line]))


def braces(row):
    return "{" + ",".join(map(str, row)) + "}"


def header(path, guard, about, arrays):
    with open(path, "w", encoding="ascii", newline="\n") as out:
        out.write("/* %s\n * Written by tools/make_unicode_tables.py: do not edit. */\n" % about)
        out.write("#ifndef %s\n#define %s\n\n%s\n#endif\n" % (guard, guard, "\n".join(arrays)))


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_unicode_tables.py FOLDER")
    if unicodedata.unidata_version != VERSION:
        sys.exit("this Python has Unicode %s, the tables are for %s" % (unicodedata.unidata_version, VERSION))
    table = decompositions()
    header(sys.argv[1] + "/unicode_tables.h", "SDXL_UNICODE_TABLES_H",
           "Unicode " + VERSION + " for sdxl/text/unicode.c, which says what the columns are.",
           [array("struct run", "flag_runs", map(braces, runs(flags))),
            array("struct run", "class_runs", map(braces, runs(lambda c: unicodedata.combining(chr(c))))),
            array("struct lower_range", "lower_ranges", map(braces, lower_ranges())),
            array("struct decomposition", "decompositions", map(braces, table)),
            array("uint16_t", "compositions", map(str, compositions(table)))])
    header(sys.argv[1] + "/html_entities.h", "SDXL_HTML_ENTITIES_H",
           "Named characters of HTML for sdxl/text/html.c: name, character, whether the semicolon may be missing.",
           [array("struct entity", "entities",
                  ['{"%s",%d,%s}' % (name, c, str(legacy).lower()) for name, c, legacy in entities()])])


if __name__ == "__main__":
    main()
