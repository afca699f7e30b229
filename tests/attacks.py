"""Attacks on devices, files, plugins, folders and numbers, and the tests that try them.

``python tests/attacks.py`` runs these tests and prints a Markdown table of how many were tried and
how many failed. ``--only TEXT`` takes the attacks whose names contain a text. Other arguments go to
pytest: with ``-n 4`` it takes a quarter of the time, and with ``--collect-only`` nothing is tried.
`docs/measurements.md` has the table, and a test keeps it up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_FAULTS = "tests/unit/test_conformance_faults.py"
_FAULT = f"{_FAULTS}::test_each_fault_fails_the_rows_that_name_it"
_PLUGINS = "tests/unit/test_isolation.py"
_IMPORT = f"{_PLUGINS}::test_a_plugin_that_breaks_when_it_is_loaded_has_a_problem"
_PROBE = f"{_PLUGINS}::test_a_plugin_that_breaks_in_a_probe_keeps_its_devices"
_HERE = "tests/cli/test_current_folder.py"
_PREDICT = "tests/null/test_predict_command.py"
_TRAIN = "tests/null/test_train_command.py"
_IMAGES = "tests/unit/test_data_images.py"
_DOWNLOAD = "tests/unit/test_download.py"
_RESIZE = "tests/unit/test_checkpoint_coordinates.py"

ATTACKS: Mapping[str, tuple[str, ...]] = {
    "wrong device: one fault": (_FAULT,),
    "wrong device: one fault, behind another layout and lazy results": (
        f"{_FAULTS}::test_a_fault_is_caught_behind_lazy_results_and_other_layouts",
    ),
    "wrong device: predicts and evaluates with the weights of compile": (
        f"{_FAULT}[Predictions use the weights of compile]",
        f"{_FAULT}[Evaluation uses the weights of compile]",
    ),
    "wrong device: overwrites the arrays of its caller": (
        f"{_FAULT}[Caller's images overwritten by a step]",
        f"{_FAULT}[Caller's maps overwritten by a step]",
        f"{_FAULT}[Caller's maps overwritten by evaluation]",
        f"{_FAULT}[Given weights overwritten]",
    ),
    "wrong device: models share what is their own": (
        f"{_FAULT}[A second model of a graph has the first one's weights]",
        f"{_FAULT}[Models of a graph share their moments]",
        f"{_FAULT}[Only the model compiled last computes]",
    ),
    "wrong device: keeps what it computed": (
        f"{_FAULT}[Everything computed is kept]",
        f"{_FAULT}[Every model is kept]",
        f"{_FAULT}[The tape of every step is kept]",
        f"{_FAULT}[Evaluated batches are kept]",
        f"{_FAULT}[States are kept]",
        f"{_FAULT}[Results are kept until they are read]",
    ),
    "wrong device: a result read late is a later one": (
        f"{_FAULT}[A loss that is read late is the latest one]",
        f"{_FAULT}[A prediction that is read late uses later weights]",
        f"{_FAULT}[Losses that are read late use later weights]",
    ),
    "wrong device: a small batch after a larger one": (
        f"{_FAULT}[A small batch is polluted by a larger one]",
        f"{_FAULT}[A small batch trains with the rest of a larger one]",
        f"{_FAULT}[A step with a short batch does not train]",
    ),
    "files: a number changed in PyTorch's zip": (
        "tests/unit/test_checkpoint_torch.py::test_changed_values_are_noticed_by_their_crc",
    ),
    "files: names with control characters": (
        "tests/unit/test_checkpoint_guard.py::test_names_in_any_file_are_escaped",
    ),
    "files: temporary files of other programs are kept": (
        "tests/unit/test_files.py::test_only_leftovers_of_our_own_dead_processes_are_removed",
    ),
    "plugin: `os.abort` or `os._exit`, at import or in a probe": (
        f"{_IMPORT}[aborts]",
        f"{_IMPORT}[exits_hard]",
        f"{_PROBE}[aborts]",
        f"{_PROBE}[exits]",
    ),
    "plugin: hangs at import or in a probe": (
        f"{_IMPORT}[hangs]",
        f"{_PROBE}[hangs]",
        f"{_PLUGINS}::test_a_plugin_that_hangs_is_not_waited_for_again",
    ),
    "plugin: holds the interpreter's lock": (
        f"{_IMPORT}[holds_the_lock]",
        f"{_PROBE}[holds_the_lock]",
    ),
    "plugin: wrong types, surrogates": (
        f"{_IMPORT}[wrong_spec]",
        f"{_PROBE}[wrong_type]",
        f"{_PROBE}[surrogate]",
        "tests/unit/test_probe_runner.py"
        "::test_a_probe_that_returns_something_else_makes_its_device_unavailable",
        "tests/unit/test_loader.py::test_each_invalid_field_is_named",
    ),
    "plugin: `__str__` or `__repr__` raises": (
        f"{_IMPORT}[unprintable]",
        f"{_IMPORT}[unprintable_spec]",
    ),
    "plugin: prints to stdout; all of these at once": (
        f"{_PLUGINS}::test_with_all_of_them_at_once_the_list_is_complete_in_time",
    ),
    "current folder: `numpy.py` and others, a command": (
        f"{_HERE}::test_no_command_executes_a_file_in_the_current_folder",
        f"{_PLUGINS}::test_nothing_in_the_current_folder_is_executed",
    ),
    "current folder: Python started in any other way": (
        f"{_HERE}::test_python_is_started_in_one_place",
    ),
    "folder: links in circles": (
        f"{_IMAGES}::test_linked_folders_are_followed_but_not_in_circles",
    ),
    "folder: a link to itself, a FIFO, names of 254 and 255 bytes": (
        f"{_PREDICT}::test_one_odd_entry_of_a_folder_fails_alone",
        "tests/unit/test_files.py::test_a_name_of_the_greatest_length_can_be_written",
    ),
    "folder: a FIFO and `/dev/zero` as images": (
        f"{_IMAGES}::test_pipes_and_devices_are_not_read",
    ),
    "folder: PNG files of 13,000x13,000 and 50,000x50,000 pixels": (
        f"{_IMAGES}::test_a_small_file_of_many_pixels_is_refused_without_decoding_it",
    ),
    "folder: `--shard`, `--skip-existing`, torchrun and SLURM": (
        f"{_PREDICT}::test_shards_write_all_maps_once_and_skip_existing_ones",
        "tests/unit/test_predictor_outputs.py::test_the_shards_of_a_plan_are_the_plan",
        "tests/unit/test_predictor_outputs.py::test_torchrun_and_srun_shard_the_work",
    ),
    "run: its folder disappears": (
        f"{_TRAIN}::test_a_run_folder_that_disappears_is_an_error_that_names_it",
    ),
    "run: Ctrl-C": (f"{_TRAIN}::test_ctrl_c_saves_the_state_and_exits_130",),
    "run: Ctrl-C twice": (
        "tests/unit/test_interrupt.py::test_the_second_signal_raises",
        "tests/unit/test_interrupt.py::test_the_second_signal_ends_a_program_that_is_stuck",
    ),
    "run: memory kept by learning curves": (
        "tests/unit/test_pictures.py::test_a_curve_leaves_no_figure_in_memory",
    ),
    "download: bytes after the announced length, or none": (
        f"{_DOWNLOAD}::test_bytes_after_the_announced_length_are_ignored",
        f"{_DOWNLOAD}::test_an_empty_file_is_an_error_and_keeps_what_came_before",
    ),
    "download: cut, altered, a web page": (
        f"{_DOWNLOAD}::test_a_cut_connection_is_resumed_where_it_broke",
        f"{_DOWNLOAD}::test_after_a_wrong_checksum_nothing_is_kept",
        f"{_DOWNLOAD}::test_a_web_page_is_not_a_file",
    ),
    "numbers: bfloat16 gradients of narrow dilated layers": (
        "tests/devices/test_narrow_bfloat16.py::test_weight_gradients_agree_with_float32",
    ),
    "numbers: weights become NaN behind finite losses": (
        "tests/unit/test_trainer.py::test_weights_that_are_not_finite_are_noticed_within_the_epoch",
    ),
    "numbers: half-pixel weights": (_RESIZE,),
    "numbers: resumed with another batch size": (
        f"{_TRAIN}::test_a_run_continues_with_another_batch_size_and_equal_steps",
    ),
}
"""The attacks by name, with the tests that try them as pytest takes them."""


def table(
    attacks: Mapping[str, tuple[str, ...]], tried: Collection[str], failed: Collection[str]
) -> Iterator[str]:
    """Yield the lines of the table.

    Args:
        attacks: Some of `ATTACKS`.
        tried: Ids of tests that ran, with parameters.
        failed: Ids of those that failed.
    """
    yield "| attack | tried | failed | tests |"
    yield "|---|---|---|---|"
    for name, tests in attacks.items():
        counts = [sum(_belongs(test, tests) for test in ids) for ids in (tried, failed)]
        files = dict.fromkeys(f"`{test.split('::')[0]}`" for test in tests)
        yield f"| {name} | {counts[0]} | {counts[1]} | {', '.join(files)} |"


def _belongs(test: str, tests: Collection[str]) -> bool:
    return any(test == name or test.startswith((f"{name}[", f"{name}::")) for name in tests)


class _Results:
    """Receives from pytest which tests ran and which failed."""

    def __init__(self) -> None:
        self.tried, self.failed = dict[str, None](), dict[str, None]()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            self.tried.update(dict.fromkeys(item.nodeid for item in session.items))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            self.tried[report.nodeid] = None
        if report.failed:
            self.failed[report.nodeid] = None


def main() -> int:
    """Run the tests, print the table, and return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the attacks to try")
    options, arguments = parser.parse_known_args()
    attacks = {name: tests for name, tests in ATTACKS.items() if options.only in name}
    tests = dict.fromkeys(test for tests in attacks.values() for test in tests)
    results = _Results()
    code = pytest.main(["--rootdir", str(ROOT), "-m", "", *arguments, *tests], [results])
    print("\n".join(table(attacks, results.tried, results.failed)))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
