"""Makes a picture of a log, whose lines come when they came: an SVG with CSS, without a script.

    log-to-svg.py COMMAND FILE     lines of tracing-subscriber's log on standard input

COMMAND is shown first, as typed at a prompt. Times are those of the log. Who has asked for less motion, or reads
it where CSS is not animated, sees all lines at once.
"""

import datetime
import html
import re
import sys
import textwrap

COLUMNS = 112
SIZE = 13
ADVANCE = 7.83  # of DejaVu Sans Mono, and about that of its like
HEIGHT = 19
MARGIN = 16
# Before the first line, and after the last one, in seconds.
BEFORE, AFTER = 0.8, 5.0


def parse(line):
    """The time in seconds, the level, what is said, and the fields."""
    when, level, rest = line.strip().split(None, 2)
    said = re.match(r"tower_stall: (.*?)(?= \w[\w.]*=|$)", rest)
    time = datetime.datetime.fromisoformat(when.replace("Z", "+00:00"))
    return time.timestamp(), when[11:23], level, said[1], rest[said.end() :].strip()


def rows(clock, level, said, fields):
    """Lines of the terminal, each a list of (class, text)."""
    head = [("when", clock), ("", " "), (level, f"{level:>5}"), ("", " ")]
    indent = " " * 19
    wrapped = textwrap.wrap(said, COLUMNS - 19, break_on_hyphens=False)
    yield head + [("said", wrapped[0])]
    for part in wrapped[1:]:
        yield [("", indent), ("said", part)]
    fields, fix, advice = fields.partition("fix=")
    for part in textwrap.wrap(fields, COLUMNS - 19, break_on_hyphens=False):
        yield [("", indent), ("field", part)]
    if fix:
        yield [("", indent), ("field", fix), ("INFO", advice)]


def main():
    command, file = sys.argv[1:]
    lines = [parse(line) for line in sys.stdin]
    first = lines[0][0]
    length = lines[-1][0] - first + BEFORE + AFTER

    groups, styles, y = [], [], MARGIN + SIZE
    texts = [(0.0, [[("when", "$ "), ("said", command)]])]
    texts += [(BEFORE + time - first, list(rows(*rest))) for time, *rest in lines]
    for number, (at, lines_of_one) in enumerate(texts):
        spans = []
        for row in lines_of_one:
            parts = "".join(
                f'<tspan class="{kind}">{html.escape(text)}</tspan>' if kind else html.escape(text)
                for kind, text in row
            )
            spans.append(f'<text x="{MARGIN}" y="{y}" xml:space="preserve">{parts}</text>')
            y += HEIGHT
        groups.append(f'<g class="l{number}">\n' + "\n".join(spans) + "\n</g>")
        if number:
            share = 100 * at / length
            styles.append(f".l{number} {{ animation: s{number} {length:.1f}s infinite; }}")
            styles.append(f"@keyframes s{number} {{ 0%, {share:.2f}% {{ opacity: 0; }} {share + 0.6:.2f}%, 100% {{ opacity: 1; }} }}")
    width, height = round(2 * MARGIN + COLUMNS * ADVANCE), y - SIZE + MARGIN
    animation = "\n".join(styles)
    body = "\n".join(groups)
    svg = f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<!-- Made by scripts/screenshots from a real log. -->
<style>
text {{ font: {SIZE}px "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #d6d9df; white-space: pre; }}
.when, .field {{ fill: #8b93a1; }} .WARN {{ fill: #f2c94c; }} .INFO {{ fill: #6fcf97; }} .said {{ fill: #fff; }}
@media (prefers-reduced-motion: no-preference) {{
{animation}
}}
</style>
<rect width="100%" height="100%" rx="6" fill="#16181d"/>
{body}
</svg>
"""
    with open(file, "w", encoding="utf-8") as out:
        out.write(svg)


main()
