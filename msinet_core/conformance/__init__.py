"""The conformance kit: check a device against the reference through the public contract only.

``msinet-run plugins check DEVICE`` runs it, `runner.run` from Python, and a subclass of
`DeviceConformance` makes each row a pytest test. docs/reference/conformance.md lists the rows.

* `scenarios`: the rows, one module for each group or two.
* `walk`: calls in any order, compared with the oracle; the rows of the group ``calls`` use it.
* `checker` and `runner`: run one row, and all of them.
* `report` and `report_page`: the result as data and JSON, and as an HTML page.
* `suite`: the rows as pytest tests.

``tests/faults`` of the repository has wrong devices that the rows must catch.
"""
