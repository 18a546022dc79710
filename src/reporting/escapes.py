"""Names as a person gave them, for programs to which some characters are commands."""

import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",  # which the usual fonts lack, as the next two
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
} | {each: f"\\{each}" for each in "&%$#_{}"}


def latex(text: str) -> str:
    """For LaTeX, which reads UTF-8; a line break, which would end a caption, becomes a space."""
    return "".join(_LATEX.get(each, each) for each in " ".join(text.split()) if each.isprintable())


def markdown(text: str) -> str:
    """For Markdown, on one line."""
    return re.sub(r"([\\`*_<|&$~])", r"\\\1", " ".join(text.split()))


def matplotlib(text: str) -> str:
    """For matplotlib, which takes what is between two `$` for a formula, and leaves a leading `_` out of legends."""
    return " " * text.startswith("_") + text.replace("$", r"\$")
