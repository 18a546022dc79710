"""Escape user-given names for LaTeX, Markdown and matplotlib."""

import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",  # missing in the usual fonts, as are the next two
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
} | {each: f"\\{each}" for each in "&%$#_{}"}


def latex(text: str) -> str:
    """Escape for LaTeX with UTF-8 input; a line break, which would end a caption, becomes a space."""
    return "".join(_LATEX.get(each, each) for each in " ".join(text.split()) if each.isprintable())


def markdown(text: str) -> str:
    """Escape for Markdown, on one line."""
    return re.sub(r"([\\`*_<|&$~])", r"\\\1", " ".join(text.split()))


def matplotlib(text: str) -> str:
    """Escape for matplotlib, which reads `$...$` as a formula and omits labels with a leading `_` from legends."""
    return " " * text.startswith("_") + text.replace("$", r"\$")
