/* common_page.h -- one HTML file that needs no other: headings, paragraphs, a table, pictures
 * inside of it; light or dark as the reader's system is. */
#ifndef TLV_EXAMPLES_COMMON_PAGE_H
#define TLV_EXAMPLES_COMMON_PAGE_H

#include "examples/common.h"

typedef struct cli_page { FILE *f; char path[1024], beside[1032]; int failed; } cli_page;

/* Begins the page beside `path`; the end renames it.  All text is escaped. */
void cli_page_begin(cli_page *p, const char *path, const char *title);
void cli_page_heading(cli_page *p, const char *text);
void cli_page_text(cli_page *p, const char *fmt, ...) CLI_PRINTF(2, 3);
/* Rows of n cells each; the first row is the head. */
void cli_page_table_begin(cli_page *p);
void cli_page_row(cli_page *p, int head, int n, const char *const *cells);
void cli_page_table_end(cli_page *p);
/* The PNG file, as it is, in the page. */
void cli_page_picture(cli_page *p, const char *png, const char *caption);
void cli_page_commands(cli_page *p, int n, const char *const *commands);
int cli_page_end(cli_page *p);              /* CLI_OK, or CLI_FAILED after saying why */

#endif
