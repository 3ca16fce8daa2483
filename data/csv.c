/* csv.c -- lists of image files: "path,label" or "path,label,split" a line, quoted as RFC 4180 has
 * it; or the same between tabs, without quotes.
 *
 * The file is read once and its fields are decoded where they stand.  Then it is decided what the
 * labels are: numbers if all of them are, else names; so every row is looked at, whichever split is
 * asked for, and a class has the same number in all splits. */
#include <stdio.h>

#include "data/reader.h"
#include "tensor/mapfile.h"

enum { MOST_FIELDS = 16, MOST_CLASSES = 1 << 20, PATH_ROOM = 4096 };

typedef enum column { PATH, LABEL, SPLIT, NAME, COLUMNS } column;

typedef struct row {
    const char *path, *label, *name;            /* name may be NULL */
    int32_t line, number;                       /* number: of the label, if it is one */
    unsigned split;                             /* a bit, or 0 */
} row;

typedef struct csv {
    tlv_ctx *c;
    const char *path;
    uint8_t *file;
    size_t file_bytes;
    char *at, *end;
    int line;                                   /* of `at` */
    char separator;
    char *field[MOST_FIELDS];                   /* of the record at hand, which begins in */
    int fields, begun;                          /* ... line begun */
    int place[COLUMNS], width;                  /* which field is what, -1: none; fields a row */
    row *row;
    int64_t n, cap;
    unsigned have;                              /* splits */
    int numbers;                                /* all labels are */
} csv;

static tlv_status bad(const csv *r, int line, const char *hint, const char *what, const char *field)
{
    return tlvi_fail(r->c, TLV_ERR_FORMAT, hint, "%s:%d: %s%s%s%s", tlvi_path_str(r->path).s, line,
                     what, field ? " '" : "", field ? tlvi_name_str(field, strlen(field)).s : "",
                     field ? "'" : "");
}

/* ---- records --------------------------------------------------------------------------------- */

/* 1, 2: a line ends here, by so many bytes; 0: not. */
static int line_end(const csv *r, const char *p)
{
    if (p < r->end && *p == '\n') return 1;
    return p < r->end && *p == '\r' && (p + 1 == r->end || p[1] == '\n')
           ? 1 + (p + 1 < r->end) : 0;
}

/* The text in quotes at r->at, put together at *w; "" in it is one quote. */
static tlv_status quoted(csv *r, char **w)
{
    int begun = r->line, closed = 0;
    for (r->at++; r->at < r->end; *(*w)++ = *r->at++) {
        if (*r->at == '\n') r->line++;
        if (*r->at != '"') continue;
        r->at++;
        closed = r->at == r->end || *r->at != '"';
        if (closed) break;
    }
    if (!closed) return bad(r, begun, "end the text with a quote", "a quote is never closed", NULL);
    while (r->at < r->end && *r->at == ' ') r->at++;
    if (r->at == r->end || *r->at == r->separator || line_end(r, r->at)) return TLV_OK;
    return bad(r, r->line, "write a quote in a text twice", "text follows a closing quote", NULL);
}

/* The field at r->at, which moves to what ends it; *stop: the end of the decoded text.  Blanks
 * around a field do not count. */
static char *next_field(csv *r, char **stop)
{
    while (r->at < r->end && *r->at == ' ') r->at++;
    char *field = r->at;
    *stop = field;
    if (r->separator == ',' && r->at < r->end && *r->at == '"')
        return quoted(r, stop) == TLV_OK ? field : NULL;
    for (; r->at < r->end && *r->at != r->separator && !line_end(r, r->at); r->at++)
        if (*r->at != ' ') *stop = r->at + 1;
    return field;
}

/* Takes the next record apart; 0 at the end of the file and after an error. */
static int next_record(csv *r)
{
    int more = r->at < r->end;
    r->fields = 0;
    r->begun = r->line;
    while (more) {
        char *stop, *field = next_field(r, &stop);
        if (field && r->fields == MOST_FIELDS)
            bad(r, r->begun, "write path,label or path,label,split", "too many fields", NULL);
        if (r->c->err) return 0;
        more = r->at < r->end && *r->at == r->separator;
        int end = line_end(r, r->at);
        r->line += end > 0;
        r->at += more ? 1 : end;
        *stop = 0;                      // only now: it may stand where the separator stood
        r->field[r->fields++] = field;
    }
    return r->fields > 0;
}

/* An empty line; those at the end of the file do not count. */
static int is_blank(const csv *r) { return r->fields == 1 && !*r->field[0]; }

/* ---- what the fields are --------------------------------------------------------------------- */

static int same_word(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a >= 'A' && *a <= 'Z' ? *a - 'A' + 'a' : *a) != *b) return 0;
    return *a == *b;
}

/* The column that a header's word names, or COLUMNS. */
static column header_word(const char *word)
{
    static const struct { const char *word; column is; } words[] = {
        { "path", PATH },       { "image", PATH },      { "file", PATH },    { "filename", PATH },
        { "file_name", PATH },  { "filepath", PATH },   { "label", LABEL },  { "class", LABEL },
        { "index", LABEL },     { "category", LABEL },  { "target", LABEL }, { "split", SPLIT },
        { "name", NAME },       { "class_name", NAME }, { "image_path", PATH },
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (same_word(word, words[i].word)) return words[i].is;
    return COLUMNS;
}

enum { NO_NUMBER = -1, NO_CLASS = -2 };

/* An integer as a class: 0 to the most classes there may be, NO_CLASS outside of that. */
static int32_t number(const char *s)
{
    int negative = *s == '-';
    int32_t v = 0;
    if (negative) s++;
    if (!*s) return NO_NUMBER;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return NO_NUMBER;
        if (v < MOST_CLASSES) v = v * 10 + (*s - '0');
    }
    return negative || v >= MOST_CLASSES ? NO_CLASS : v;
}

/* The columns by the first record: *header is 1 if it names them.  Without a header they are path,
 * label and perhaps a split, or, behind a label that is a number, the class's name. */
static tlv_status find_columns(csv *r, int *header)
{
    for (int i = 0; i < COLUMNS; i++) r->place[i] = -1;
    r->width = r->fields;
    for (int i = 0; i < r->fields; i++) {
        column is = header_word(r->field[i]);
        if (is < COLUMNS && r->place[is] < 0) r->place[is] = i;
    }
    *header = r->place[PATH] >= 0 && r->place[LABEL] >= 0;
    if (*header) return TLV_OK;

    TLVI_CHECK(r->c, r->fields == 2 || r->fields == 3, TLV_ERR_FORMAT,
               "write path,label or path,label,split", "%s:%d: %d field%s, want 2 or 3",
               tlvi_path_str(r->path).s, r->begun, r->fields, r->fields == 1 ? "" : "s");
    r->place[PATH] = 0;
    r->place[LABEL] = 1;
    r->place[SPLIT] = r->place[NAME] = -1;
    if (r->fields == 2) return TLV_OK;
    if (tlvi_split_bit(r->field[2])) r->place[SPLIT] = 2;
    else if (number(r->field[1]) != NO_NUMBER) r->place[NAME] = 2;
    else return bad(r, r->begun, "write train, val or test", "this is no split:", r->field[2]);
    return TLV_OK;
}

static const char *cell(const csv *r, column which)
{
    return r->place[which] < 0 ? NULL : r->field[r->place[which]];
}

static row *new_row(csv *r)
{
    if (r->n == r->cap) {
        int64_t cap = r->cap + r->cap / 2 + 64;
        row *grown = tlvi_alloc(r->c, (size_t)cap * sizeof *grown);
        if (!grown) return NULL;
        if (r->n) memcpy(grown, r->row, (size_t)r->n * sizeof *grown);
        tlvi_free(r->c, r->row, (size_t)r->cap * sizeof *grown);
        r->row = grown;
        r->cap = cap;
    }
    return &r->row[r->n++];
}

static tlv_status add_row(csv *r)
{
    TLVI_CHECK(r->c, r->fields == r->width, TLV_ERR_FORMAT, "give every line the same fields",
               "%s:%d: %d field%s, but the lines before have %d", tlvi_path_str(r->path).s,
               r->begun, r->fields, r->fields == 1 ? "" : "s", r->width);
    const char *split = cell(r, SPLIT);
    if (!*cell(r, PATH)) return bad(r, r->begun, "name a file", "the path is empty", NULL);
    if (!*cell(r, LABEL)) return bad(r, r->begun, "give it a label", "the label is empty", NULL);
    if (split && !tlvi_split_bit(split))
        return bad(r, r->begun, "write train, val or test", "this is no split:", split);
    row *w = new_row(r);
    if (!w) return r->c->err;
    *w = (row){ .path = cell(r, PATH), .label = cell(r, LABEL), .name = cell(r, NAME),
                .line = r->begun, .number = number(cell(r, LABEL)),
                .split = split ? tlvi_split_bit(split) : 0 };
    r->have |= w->split;
    r->numbers = r->numbers && w->number != NO_NUMBER;
    return TLV_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

static tlv_status read_rows(csv *r)
{
    int blank = 0, header = 0;
    while (next_record(r)) {
        if (is_blank(r)) {
            if (!blank) blank = r->begun;
            continue;
        }
        if (blank) return bad(r, blank, "remove it", "the line is empty", NULL);
        if (r->width == 0 && find_columns(r, &header) != TLV_OK) return r->c->err;
        if (header) header = 0;
        else if (add_row(r) != TLV_OK) return r->c->err;
    }
    TLVI_CHECK(r->c, r->c->err || r->n > 0, TLV_ERR_FORMAT, "write lines like cats/1.jpg,cat",
               "%s: it names no image", tlvi_path_str(r->path).s);
    return r->c->err;
}

static tlv_status read_list(csv *r, tlv_ctx *c, const char *path)
{
    *r = (csv){ .c = c, .path = path, .line = 1, .separator = ',', .numbers = 1 };
    TLVI_CHECK(c, !tlvi_is_folder(path), TLV_ERR_IO, "name the list, or write folder:DIR",
               "%s: it is a folder", tlvi_path_str(path).s);
    r->file = tlvi_read_file(c, path, &r->file_bytes);
    if (!r->file) return c->err;
    r->at = (char *)r->file;
    r->end = r->at + r->file_bytes - 1;
    TLVI_CHECK(c, !memchr(r->at, 0, (size_t)(r->end - r->at)), TLV_ERR_FORMAT, "save it as UTF-8",
               "%s: it holds zero bytes, so it is no list of paths", tlvi_path_str(path).s);
    if (r->end - r->at >= 3 && memcmp(r->at, "\xef\xbb\xbf", 3) == 0) r->at += 3;
    const char *p = r->at;
    while (p < r->end && *p != '\n' && *p != '\t') p++;
    if (p < r->end && *p == '\t') r->separator = '\t';
    return read_rows(r);
}

static void close_list(csv *r)
{
    if (r->file) tlvi_free(r->c, r->file, r->file_bytes);
    tlvi_free(r->c, r->row, (size_t)r->cap * sizeof *r->row);
}

unsigned tlvi_csv_splits(tlv_ctx *c, const char *path)
{
    csv r;
    read_list(&r, c, path);
    close_list(&r);
    return c->err ? 0 : r.have;
}

/* ---- classes --------------------------------------------------------------------------------- */

/* Labels that are numbers: classes 0 to the largest, named by the third column as far as it is
 * there. */
static tlv_status number_classes(tlv_dataset *d, const csv *r)
{
    int32_t most = 0;
    for (int64_t i = 0; i < r->n; i++) {
        const row *w = &r->row[i];
        if (w->number == NO_CLASS)
            return bad(r, w->line, "number the classes from 0 on", "no number of a class:",
                       w->label);
        if (w->number > most) most = w->number;
    }
    size_t bytes = ((size_t)most + 1) * sizeof(char *);
    const char **name = tlvi_alloc(r->c, bytes);
    if (!name) return r->c->err;
    memset(name, 0, bytes);
    for (int64_t i = 0; i < r->n && !r->c->err; i++) {
        const row *w = &r->row[i];
        if (!w->name || !*w->name) continue;
        if (!name[w->number]) name[w->number] = w->name;
        else if (strcmp(name[w->number], w->name) != 0)
            bad(r, w->line, "give each number one name", "the class has another name above:",
                w->name);
    }
    for (int32_t k = 0; k <= most && !r->c->err; k++) {
        char digits[16];
        snprintf(digits, sizeof digits, "%d", (int)k);
        tlvi_dataset_add_class(d, name[k] ? name[k] : digits);
    }
    tlvi_free(r->c, name, bytes);
    return r->c->err;
}

/* Labels that are names: train's, or those of all rows where no split is called train. */
static tlv_status name_classes(tlv_dataset *d, const csv *r)
{
    tlvi_strings names = { 0 };
    for (int64_t i = 0; i < r->n && !r->c->err; i++)
        if (!(r->have & TLVI_TRAIN) || r->row[i].split == TLVI_TRAIN)
            tlvi_strings_add(r->c, &names, r->row[i].label);
    if (!r->c->err) tlvi_strings_sort(r->c, &names, 1);
    for (int64_t i = 0; i < names.n && !r->c->err; i++)
        tlvi_dataset_add_class(d, tlvi_string(&names, i));
    tlvi_strings_free(r->c, &names);
    return r->c->err;
}

/* ---- the set --------------------------------------------------------------------------------- */

/* path from the list's folder, or from `images` beside the list; cut if it is too long. */
static size_t full_path(char *out, const csv *r, const char *images, const char *path)
{
    const char *slash = strrchr(r->path, '/');
    int absolute = path[0] == '/', folder = slash && !absolute ? (int)(slash + 1 - r->path) : 0;
    int n = snprintf(out, PATH_ROOM, "%.*s%s%s", folder, r->path, absolute ? "" : images, path);
    return n < 0 ? PATH_ROOM : (size_t)n;
}

static tlv_status add_rows(tlv_dataset *d, csv *r, unsigned take)
{
    char path[PATH_ROOM];
    const char *images = "";
    // Lists often lie beside a folder "images" and leave it out: the first row tells.
    if (full_path(path, r, "", r->row[0].path) < PATH_ROOM && !tlvi_file_exists(path)
        && full_path(path, r, "images/", r->row[0].path) < PATH_ROOM && tlvi_file_exists(path))
        images = "images/";
    if (!tlvi_strings_add(r->c, &d->list, r->path)) return r->c->err;
    for (int64_t i = 0; i < r->n; i++) {
        const row *w = &r->row[i];
        if (r->have && !(take & w->split)) continue;
        int64_t k = r->numbers ? w->number : tlvi_strings_find(&d->names, w->label);
        if (k < 0)
            return bad(r, w->line, "correct the label, or give 'train' an example of it",
                       "no line of 'train' has this label:", w->label);
        if (full_path(path, r, images, w->path) >= PATH_ROOM)
            return bad(r, w->line, "use shorter paths", "the path is too long", NULL);
        if (!tlvi_dataset_add_file(d, path, (int)k, w->line)) return r->c->err;
    }
    return TLV_OK;
}

tlv_status tlvi_read_csv(tlv_dataset *d, const char *path, const char *split)
{
    csv r;
    unsigned take = 0;
    d->channels = 3;
    if (read_list(&r, d->c, path) == TLV_OK) take = tlvi_pick_splits(d->c, path, r.have, split);
    if (take && (r.numbers ? number_classes(d, &r) : name_classes(d, &r)) == TLV_OK)
        add_rows(d, &r, take);
    if (d->c->err == TLV_OK)
        snprintf(d->text, sizeof d->text, "list %s%s%s, %lld images, %d class%s" TLVI_UPRIGHT,
                 tlvi_path_str(path).s, r.have ? ", " : "",
                 r.have ? tlvi_split_name(take & r.have) : "", (long long)d->n, d->classes,
                 d->classes == 1 ? "" : "es");
    close_list(&r);
    return d->c->err;
}
