"""The report that CI systems read."""

from xml.etree import ElementTree

from elastic_deploy.rehearsal.junit import Case, report


def test_steps_failures_and_skips_are_counted_and_named() -> None:
    cases = [Case("up", 2.5), Case("request", 0.5, "No <answer> & no word."), Case("down", 0.0, skipped=True)]
    suite = ElementTree.fromstring(report("smoke of mine", cases))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert suite.get("time") == "3.000"
    up, request, down = suite
    assert (up.get("name"), list(up)) == ("up", [])
    failure = request.find("failure")
    assert failure is not None
    assert failure.get("message") == "No <answer> & no word."
    assert down.find("skipped") is not None
