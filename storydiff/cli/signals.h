/* What may happen to a run from outside: Ctrl-C, a file that vanishes, closed standard streams. */
#ifndef STORYDIFF_SIGNALS_H
#define STORYDIFF_SIGNALS_H

#include <signal.h>

/* Nonzero since somebody asked to stop; a program may ask itself. A signal handler can tell nobody else. */
extern volatile sig_atomic_t signals_stop;

/* The first Ctrl-C finishes the step; a second signal ends the program at once. What was told to ignore Ctrl-C
 * (nohup, a shell's &) goes on ignoring it. A mapped file that was shortened ends the program with its name and exit
 * status `mistake`. */
void signals_catch(int mistake);

/* Whoever starts us without standard streams would have messages land in the first files that we open. */
void signals_open_standard_streams(void);

#endif
