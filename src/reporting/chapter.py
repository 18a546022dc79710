"""Grids of one network and data set that differ in further settings, such as the network's size."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from src.reporting.grid import OF_THE_DATA, labels, setting, title
from src.reporting.section import Section
from src.reporting.tables import told

COMMON = ["data", "model", "epochs", "validation"]


@dataclass(frozen=True, eq=False)
class Chapter:
    """Sections that differ in further settings than optimizer, batch size and lr; often a single one."""

    sections: list[Section]
    files: str = ""  # of data, if another chapter's data have the same name

    @cached_property
    def varying(self) -> list[str]:
        """The further settings in which the sections differ."""
        firsts = pd.DataFrame([section.grid.first.to_dict() for section in self.sections])
        named = [
            key for key in firsts if key in OF_THE_DATA or (key.startswith(("model.", "source.")) and key[-1] != "_")
        ]
        return [key for key in named if firsts[key].astype("string").fillna("").nunique() > 1]

    @property
    def title(self) -> str:
        named = title(self.sections[0].grid.first, self.varying)
        return f"{named}, files {self.files}" if self.files else named

    @property
    def id(self) -> str:
        """The HTML id."""
        return f"chapter-{self.sections[0].number}"

    @property
    def href(self) -> str:
        """The id of what a link to it shows first."""
        return self.id if len(self.sections) > 1 else self.sections[0].id

    @cached_property
    def is_search(self) -> bool:
        """True if its settings are better shown as points than as grids."""
        return len(self.sections) > 1 or self.sections[0].grid.is_sparse

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The ended runs of all sections, in the order in which they began, with labels as optimizers and cells."""
        runs = pd.concat(
            [
                cell.runs.assign(cell_name=cell.name, part=section.id)
                for section in self.sections
                for cell in section.grid.cells.values()
            ],
            ignore_index=True,
        )
        return runs.assign(optimizer=labels(runs)).sort_values("began", kind="stable")

    @property
    def settings(self) -> list[str]:
        """The settings that take several values in its runs."""
        swept = [key for key in ("optimizer", "batch_size", "lr") if self.runs[key].nunique() > 1]
        return [*self.varying, *swept]

    @cached_property
    def ranking(self) -> list[tuple[Section, list[str]]]:
        """The sections, the best first, each with its varying settings, best cell and accuracy."""
        rows = []
        for section in self.sections:
            best = section.grid.best_cell
            first = section.grid.first
            values = ["" if pd.isna(first[key]) else setting(first[key]) for key in self.varying]
            found = [best.name, told(best, "test_accuracy")] if best else ["none: no run finished", ""]
            score = section.grid.score(best) if best else -1.0
            rows.append((score, section, [*values, *found]))
        return [(section, row) for _, section, row in sorted(rows, key=lambda each: -each[0])]


def chapters(sections: list[Section]) -> list[Chapter]:
    """Gather the sections of the same network, data set, epochs and validation images, in order of appearance.

    Data sets of one name are one if their files are.
    """
    found: dict[tuple[object, ...], dict[str, list[Section]]] = {}
    for section in sections:
        by_files = found.setdefault(tuple(section.grid.first[COMMON]), {})
        by_files.setdefault(section.grid.data_sha256 or "", []).append(section)
    return [
        Chapter(each, files[:8] if len(by_files) > 1 else "")
        for by_files in found.values()
        for files, each in by_files.items()
    ]
