"""Where scenarios run: their folder and ports, what they report to, and the undisturbed run they are held against."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.faults.deployment import Deployment
from bench.faults.material import write_material
from bench.faults.tally import Tally
from bench.report import Report

PICTURES = 300


@dataclass
class Place:
    """`seconds`: how long a fault is repeated at most, if somebody said so."""

    folder: Path
    port: int
    seconds: float | None
    report: Report
    tally: Tally
    made: int = field(default=0)

    def make_deployment(self, name: str, **options: object) -> Deployment:
        """On fresh ports."""
        self.made += 1
        return Deployment(home=self.folder / name, port=self.port + self.made, **options)  # type: ignore[arg-type]

    def limit(self, seconds: float) -> float:
        return min(seconds, self.seconds or seconds)

    @cached_property
    def material(self) -> Path:
        return write_material(self.folder / "material", PICTURES)

    @cached_property
    def expected(self) -> Counter[str]:
        """The rows of an undisturbed run over the material."""
        with self.make_deployment("undisturbed").running() as alone:
            alone.enrol_people()
            if code := alone.ingest(self.material):
                raise RuntimeError(f"ingest ended with {code} though nothing was disturbed")
            self.report.add("undisturbed.seconds", round(alone.wait_settled(), 1), "s after ingest")
            rows = alone.list_rows()
        self.report.add("undisturbed.rows", rows.total(), "rows", bar=f">= {PICTURES}")
        return rows

    def compare_alone(self, name: str, parts: Sequence[Path], found: Counter[str]) -> None:
        """Hold rows against those of an undisturbed run that takes in the same folders, each under its own name."""
        with self.make_deployment(f"{name}-alone").running() as alone:
            alone.enrol_people()
            for part in parts:
                alone.ingest(part, part.name)
            alone.wait_settled()
            differing = self.tally.compare(alone.list_rows(), found)
        self.report.add(f"{name}.rows_differing", differing, f"of {found.total()} rows", bar="== 0")
