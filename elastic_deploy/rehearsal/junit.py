"""A JUnit XML report, as CI systems read it: one test suite, one case a step. Pure; called by `smoke`."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True, slots=True)
class Case:
    """One step: how many seconds it took, and the sentence why it failed, "" where it did not."""

    name: str
    seconds: float
    failure: str = ""
    skipped: bool = False


def report(suite: str, cases: Sequence[Case]) -> str:
    """The document."""
    root = ElementTree.Element(
        "testsuite",
        name=suite,
        tests=str(len(cases)),
        failures=str(sum(1 for case in cases if case.failure)),
        skipped=str(sum(1 for case in cases if case.skipped)),
        errors="0",
        time=f"{sum(case.seconds for case in cases):.3f}",
    )
    for case in cases:
        element = ElementTree.SubElement(root, "testcase", classname=suite, name=case.name, time=f"{case.seconds:.3f}")
        if case.failure:
            ElementTree.SubElement(element, "failure", message=case.failure).text = case.failure
        elif case.skipped:
            ElementTree.SubElement(element, "skipped")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
