"""Writes docs/api/*.md, a page a public header and an index (make api), from the headers' own comments:

    python3 tests/tools/api_manual.py DIR [LIBRARY]

A comment speaks for the declarations that follow it up to a blank line or one with a comment of its own, as in
docs/ops.md; an op has its formula from ops.def besides.  With LIBRARY, every external tlv_ symbol of it must have an
entry, and every entry that is a function some text: what is missing is printed, and the status is 1."""
import os
import re
import subprocess
import sys

HEADERS = ["tensor/tensor.h", "autograd/autograd.h", "nn/nn.h", "optim/optim.h", "data/data.h", "transfer/transfer.h"]
SECTION = re.compile(r"/\* -{4} (.*?) -{3,} ?\*(/?)")
NAME = re.compile(r"\b(?:tlv_\w+|TLV_[A-Z0-9_]+)\b")


class Entry:
    """One declaration: its names, code, and the comment that is about it."""

    def __init__(self, names, code, text):
        self.names, self.code, self.text, self.anchor = names, code, text, ""

    @property
    def is_function(self):
        return self.names[0].startswith("tlv_") and not re.match(r"typedef|enum|struct|#", self.code)


class Section:
    def __init__(self, title, text):
        self.title, self.text, self.entries, self.anchor = title, text, [], ""


def comment_text(lines):
    """A comment's lines without their decoration; indentation inside it stays."""
    out = []
    for line in lines:
        line = re.sub(r"^\s*/?\*+/? ?", "", line.rstrip()) if not line.startswith(" " * 20) else line.strip()
        out.append(re.sub(r"\s*\*/\s*$", "", line))
    while out and not out[-1].strip():
        out.pop()
    while out and not out[0].strip():
        out.pop(0)
    return out


def split_trailing(code):
    """(declaration, trailing comment or None): `f(x);   /* text */`, the comment over several lines or not."""
    m = re.search(r"[;}]([ \t]*/\*(?:(?!\*/).)*\*/)\s*$", code, re.S)
    if not m or "{" in code[m.start(1):]:
        return code, None
    lines = [re.sub(r"^\s*(/\*|\*)?\s*|\s*\*/\s*$", "", t) for t in m.group(1).split("\n")]
    return code[:m.start(1)].rstrip(), [t for t in lines if t]


def names_of(code):
    """The names that a declaration introduces; the first is its heading."""
    code = re.sub(r"/\*.*?\*/|__attribute__\(\(.*?\)\)\)?", "", code, flags=re.S)
    if code.startswith("#define"):
        return [re.match(r"#define (\w+)", code).group(1)]
    m = re.match(r"typedef[^;{]*\(\*(\w+)\)", code, re.S)
    if m:
        return [m.group(1)]
    body = re.search(r"\{(.*)\}", code, re.S)
    values = re.findall(r"^\s*(TLV_[A-Z0-9_]+)|[,{]\s*(TLV_[A-Z0-9_]+)", "{" + body.group(1), re.M) if body else []
    values = [a or b for a, b in values]
    if code.startswith("typedef"):
        name = re.search(r"(\w+)\s*;\s*$", code).group(1)
        return [name] + (values if code.startswith("typedef enum") else [])
    if code.startswith("enum"):
        return values
    return [re.search(r"\b(tlv_\w+)\s*\(", code).group(1)]


def logical_lines(text):
    """(kind, text) with kind "blank", "comment", "code"; a declaration or comment is one item, with its lines."""
    lines, i = text.split("\n"), 0
    while i < len(lines):
        start, line = i, lines[i]
        if not line.strip():
            yield "blank", ""
        elif line.startswith("/*"):
            while "*/" not in lines[i]:
                i += 1
            yield "comment", "\n".join(lines[start:i + 1])
        elif line.startswith("#define"):
            while lines[i].endswith("\\"):
                i += 1
            yield "code", "\n".join(lines[start:i + 1])
        elif line.startswith("#") or line.startswith("extern") or line == "}" or line.startswith("__attribute__"):
            pass
        else:
            code = ""
            while True:
                code += lines[i] + "\n"
                bare = re.sub(r"/\*.*?(\*/|$)", "", code, flags=re.S) if code.count("/*") == code.count("*/") else None
                if bare is not None and bare.count("{") == bare.count("}") and re.search(r"[;}]\s*$", bare):
                    break
                i += 1
            yield "code", code.rstrip()
        i += 1


def parse(path):
    """(introduction, sections) of a header."""
    text = open(path, encoding="utf-8").read()
    guard = re.search(r"#ifndef (\w+_H)\n", text).group(1)
    intro, sections, pending, shared = None, [Section(None, [])], [], False
    for kind, item in logical_lines(text):
        if kind == "code" and item == "#define " + guard:
            continue
        m = SECTION.match(item) if kind == "comment" else None
        if kind == "comment" and intro is None:
            intro = comment_text(item.split("\n"))
        elif m:
            rest = [] if m.group(2) else item.split("\n")[1:]
            sections.append(Section(m.group(1).strip(), comment_text(rest)))
            pending, shared = [], False
        elif kind == "comment":
            pending, shared = comment_text(item.split("\n")), False
        elif kind == "blank":
            pending, shared = [], False
        else:
            code, own = split_trailing(item)
            words = own if own is not None else pending
            if own is not None and pending and not shared:
                words = pending + own
            sections[-1].entries.append(Entry(names_of(code), code, words))
            shared = True
            if own is not None:
                pending = []
    return intro, [s for s in sections if s.entries]


def formulas():
    """Function name -> (formula, shapes) of its op."""
    row = re.compile(r'^TLV_OP\(\s*(\w+),\s*\w+,\s*\w+,\s*"[^"]*",\s*"[^"]*",\s*"([^"]*)",\s*"([^"]*)"', re.M)
    text = open("autograd/ops.def", encoding="utf-8").read()
    return {"tlv_" + op.lower(): (f, shapes) for op, f, shapes in row.findall(text)}


class Pages:
    def __init__(self):
        self.headers = {h: parse(h) for h in HEADERS}
        self.formulas = formulas()
        self.home = {}                              # name -> "page#anchor"
        for header, (_, sections) in self.headers.items():
            seen = {anchor(header): 1}
            for s in sections:
                s.anchor = unique(anchor(s.title), seen) if s.title else ""
                for e in s.entries:
                    e.anchor = unique(anchor(e.names[0]), seen)
                    for name in e.names:
                        self.home.setdefault(name, "%s#%s" % (page_of(header), e.anchor))

    def prose(self, text, page):
        """Text with its names as links; other characters are safe in Markdown."""
        out, at = "", 0
        for m in NAME.finditer(text):
            out += escape(text[at:m.start()])
            home = self.home.get(m.group(0))
            target = home[len(page):] if home and home.startswith(page + "#") else home
            out += "[`%s`](%s)" % (m.group(0), target) if home else "`%s`" % m.group(0)
            at = m.end()
        return out + escape(text[at:])

    def comment(self, lines, page):
        """Paragraphs; indented lines keep their columns."""
        out, run = [], []

        def flush():
            if run:
                out.append(self.prose(" ".join(run), page))
                run.clear()
        block = []
        for line in lines + [""]:
            if re.match(r"\s{2,}\S", line) and (block or run or not out):
                flush()
                block.append(line)
                continue
            if block:
                out.append("```\n" + "\n".join(block) + "\n```")
                block = []
            if line.strip():
                run.append(line.strip())
            else:
                flush()
        flush()
        return "\n\n".join(out)

    def entry(self, e, page):
        out = ["### " + e.names[0], "```c\n" + e.code + "\n```"]
        op = self.formulas.get(e.names[0])
        if op and op[0] != "the user's":
            out.append("`%s`; shapes: %s." % (op[0], escape(op[1])))
        if e.text:
            out.append(self.comment(e.text, page))
        return "\n\n".join(out)

    def page(self, header):
        intro, sections = self.headers[header]
        page = page_of(header)
        out = ["# " + header, "Made from the header by `make api`: do not edit. [All headers](README.md)."]
        intro = [re.sub(r"^%s -- (.)" % os.path.basename(header), lambda m: m.group(1).upper(), t) for t in intro]
        out.append(self.comment(intro, page))
        out.append("\n".join("- [%s](#%s)" % (escape(s.title), s.anchor) for s in sections if s.title))
        for s in sections:
            if s.title:
                out.append("## " + escape(s.title))
            if s.text:
                out.append(self.comment(s.text, page))
            out += [self.entry(e, page) for e in s.entries]
        return "\n\n".join(out) + "\n"

    def index(self):
        out = ["# The interface", "Every public function, type and constant, made from the headers by `make api`: do "
               "not edit. [The tour](../tour.md) shows how they are used, [ops.md](../ops.md) what the ops compute."]
        for header in HEADERS:
            out.append("## " + header)
            rows = []
            for s in self.headers[header][1]:
                page = page_of(header)
                links = ["[`%s`](%s#%s)" % (e.names[0], page, e.anchor) for e in s.entries]
                where = "%s#%s" % (page, s.anchor) if s.title else page
                rows.append("- [%s](%s): %s" % (escape(s.title or "what comes first"), where, ", ".join(links)))
            out.append("\n".join(rows))
        return "\n\n".join(out) + "\n"

    def without_text(self):
        for header, (_, sections) in self.headers.items():
            for s in sections:
                for e in s.entries:
                    if e.is_function and not e.text and e.names[0] not in self.formulas:
                        yield "%s: %s has no comment" % (header, e.names[0])


def page_of(header):
    return os.path.basename(header)[:-2] + ".md"


def escape(text):
    return re.sub(r"([*_<|\[\]`])", r"\\\1", text)


def anchor(title):
    """As GitHub makes them."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def unique(name, seen):
    """The second heading of a name is name-1, and so on."""
    n = seen.get(name, 0)
    seen[name] = n + 1
    return "%s-%d" % (name, n) if n else name


def symbols(library):
    nm = subprocess.run([os.environ.get("NM", "nm"), "-g", "--defined-only", library], check=True, encoding="ascii",
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return sorted({w[2] for w in map(str.split, nm.splitlines()) if len(w) == 3 and w[2].startswith("tlv_")})


def main():
    pages, folder = Pages(), sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    texts = {page_of(h): pages.page(h) for h in HEADERS}
    texts["README.md"] = pages.index()
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    bad = []
    if len(sys.argv) > 2:
        bad = ["%s is in no public header" % s for s in symbols(sys.argv[2]) if s not in pages.home]
        bad += pages.without_text()
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
