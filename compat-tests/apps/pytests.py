"""pytests.py - prints "NAME RESULT" for every test in a junit file of regrtest."""
import sys
import xml.etree.ElementTree as ET

for case in sorted(ET.parse(sys.argv[1]).iter("testcase"), key=lambda c: c.get("name")):
    bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    print(case.get("name"), bad[0] if bad else case.get("result"))
