/* Files as they are, between two names each; the examples end with a zero: they are texts. */
    .section .rodata

.macro embed name, file
    .global \name, \name\()_end
\name:
    .incbin "\file"
\name\()_end:
    .byte 0
.endm

    embed studio_html, "storydiff/studio/page/studio.html"
    embed studio_css, "storydiff/studio/page/studio.css"
    embed studio_js, "storydiff/studio/page/studio.js"
    embed studio_icon, "storydiff/studio/page/icon.svg"
    embed studio_styles, "storydiff/studio/page/styles.png"
    embed studio_example_1, "storydiff/examples/demo.story"
    embed studio_example_2, "storydiff/examples/two-friends.story"
    embed studio_example_3, "storydiff/examples/night-walk.story"

    .section .note.GNU-stack, "", %progbits
