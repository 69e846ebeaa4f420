"""Whether a node is as it should be, by what an apply would change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a finding is called here, and where an apply has it.
_FINDING = {"subject": "__id__", "result": "result", "found": "comment", "changes": "changes"}


def audit(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """
    What the states of a dry run come to: ``{"holds": bool, "summary": str, "findings": [...], "warnings": [...],
    "open": {...}}``.

    results
        What each state returned, as state.sls gives it.
    """
    in_order = sorted(results.values(), key=lambda result: result["__run_num__"])
    findings = [
        {name: result[source] for name, source in _FINDING.items()}
        for result in in_order
        if result["result"] is not True and "requisite failed" not in result["comment"]
    ]
    summary = (
        f"{len(findings)} of {len(results)} states are not as they should be"
        if findings
        else "This node is as it should be"
    )
    warnings = [text for result in in_order for text in result.get("warnings", [])]
    left = next((result["open"] for result in in_order if "open" in result), {})
    return {"holds": not findings, "summary": summary, "findings": findings, "warnings": warnings, "open": left}
