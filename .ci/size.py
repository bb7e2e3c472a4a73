"""Print the code lines of the core, file by file: lines that are not blank, not a comment, not part of a docstring."""

import ast
import io
import tokenize
from pathlib import Path

CORE = Path(__file__).resolve().parent.parent / "loopcron"
# They configure or call the core from outside; nobody has to read them to know how it works.
NOT_CORE = {"dispatch.py", "__main__.py"} | {file.name for file in CORE.glob("_cli*.py")}
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Return how many lines of *source* hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        # A string that stands alone is a docstring, whether of a module, class, function or attribute.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def main() -> None:
    """Print one line per file and the sum."""
    counts = {file.name: code_lines(file.read_text("utf-8")) for file in CORE.glob("*.py") if file.name not in NOT_CORE}
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        print(f"{count:6} {name}")
    print(f"{sum(counts.values()):6} code lines in the core, {len(counts)} files (aim: 1500 or fewer)")


if __name__ == "__main__":
    main()
