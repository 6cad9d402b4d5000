"""Tables of results: in columns for a terminal, or as LaTeX or Markdown for a paper (``--table``)."""

from collections.abc import Sequence

from common import log

TABLE_FORMS = ("text", "latex", "markdown")

_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    | {special: "\\" + special for special in "&%$#_{}"}
)


def print_table(form: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table in one of TABLE_FORMS; the cells of the first column are names, the others numbers."""
    for line in table_lines(form, [header, *rows]):
        log.info(line)


def table_lines(form: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, whose first row is its header."""
    if form == "latex":
        header, *body = (" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in rows)
        columns = "l" + "r" * (len(rows[0]) - 1)
        return [rf"\begin{{tabular}}{{{columns}}}", r"\hline", header, r"\hline", *body, r"\hline", r"\end{tabular}"]
    if form == "markdown":
        header, *body = ("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)
        return [header, "| --- " + "| ---: " * (len(rows[0]) - 1) + "|", *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]).rstrip() for row in rows]
