"""A named device is used or an error says why not; otherwise priority decides."""

from __future__ import annotations

import pytest

from msinet_core.device import Availability, Capabilities, DeviceSpec, Probe
from msinet_core.errors import DeviceUnavailableError, PluginError, UsageError
from msinet_core.registry.plugin import LoadedPlugin, Plugin
from msinet_core.registry.registry import Registry

HERE = Probe(Availability.INSTALLED)
GONE = Probe(Availability.NOT_HERE, reason="Its chip is not in this machine.", fix="pip install x")


def device(name: str, probe: Probe = HERE, priority: int = 0, **changes: object) -> DeviceSpec:
    return DeviceSpec(
        name=name,
        summary=f"the {name}",
        framework="none",
        factory="toy.device:Toy",
        probe=lambda: probe,
        api_version=1,
        priority=priority,
        **changes,  # type: ignore[arg-type]
    )


def registry(*plugins: list[DeviceSpec], problem: str = "") -> Registry:
    loaded = [
        LoadedPlugin(Plugin(f"p{number}", f"module{number}", f"dist{number}", "1.0"), specs)
        for number, specs in enumerate(plugins)
    ]
    if problem:
        loaded.append(LoadedPlugin(Plugin("bad", "bad", "bad-dist", "2.0"), problem=problem))
    return Registry(loaded)


def test_a_device_is_found_by_name_and_alias() -> None:
    devices = registry([device("cuda", aliases=("gpu",))])
    assert devices.spec("cuda") is devices.spec("gpu")


def test_an_unknown_device_gets_a_suggestion_the_list_and_the_broken_plugins() -> None:
    devices = registry([device("metal"), device("cpu")], problem="ImportError: no libfoo")
    with pytest.raises(UsageError) as caught:
        devices.spec("metall")
    message = str(caught.value)
    assert "Did you mean 'metal'?" in message
    assert "cpu, metal" in message
    assert "bad-dist 2.0" in message
    assert "no libfoo" in message
    assert "msinet-run plugins list --traceback" in message


def test_a_disabled_plugin_is_named() -> None:
    plugins = [
        LoadedPlugin(Plugin("npu", "npu_device", "npu-device", "1"), disabled=True),
        LoadedPlugin(Plugin("gpu", "gpu_device", "gpu-device", "1"), disabled=True),
    ]
    with pytest.raises(UsageError, match=r"MSINET_DISABLE_PLUGINS disables .*npu_device") as error:
        Registry(plugins).spec("npu-2")
    assert "gpu_device" not in str(error.value)


def test_an_empty_name_is_not_an_automatic_choice() -> None:
    """It may be an unset variable of a shell."""
    with pytest.raises(UsageError) as caught:
        registry([device("cpu")]).select("")
    assert "MSINET_DEVICE" not in str(caught.value)


def test_two_plugins_with_one_name_are_an_error_that_names_both_and_the_fix() -> None:
    devices = registry([device("npu"), device("cpu")], [device("npu")])
    with pytest.raises(PluginError) as caught:
        devices.select("npu")
    message = str(caught.value)
    assert "module0" in message
    assert "module1" in message
    assert "MSINET_DISABLE_PLUGINS=module1" in message
    assert devices.select("cpu").name == "cpu"


def test_an_alias_that_is_another_devices_name_is_a_conflict() -> None:
    devices = registry([device("cuda", aliases=("gpu",))], [device("gpu")])
    assert set(devices.conflicts) == {"gpu"}
    with pytest.raises(PluginError):
        devices.spec("gpu")


def test_an_explicit_device_never_falls_back() -> None:
    devices = registry([device("metal", GONE, 50), device("cpu")])
    with pytest.raises(DeviceUnavailableError) as caught:
        devices.select("metal")
    for words in ("'metal'", GONE.reason, GONE.fix):
        assert words in str(caught.value)
    assert caught.value.exit_code == 3


def test_the_argument_goes_before_the_variable_and_the_variable_before_priority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = registry([device("a", priority=1), device("b", priority=2), device("c", priority=3)])
    assert devices.select().name == "c"
    monkeypatch.setenv("MSINET_DEVICE", "b")
    assert devices.select("a").name == "a"
    assert devices.select().name == "b"
    assert devices.select("auto").name == "c"


def test_automatic_choice_takes_the_highest_priority_that_is_available_and_says_so() -> None:
    messages: list[str] = []
    devices = registry(
        [device("metal", GONE, 50), device("cpu", HERE, 10), device("tpu", GONE, 60)]
    )
    assert devices.select(message=messages.append).name == "cpu"
    assert len(messages) == 1
    assert "'cpu'" in messages[0]


def test_a_negative_priority_is_never_chosen_automatically() -> None:
    devices = registry([device("reference", priority=-1), device("cpu", GONE)])
    with pytest.raises(DeviceUnavailableError) as caught:
        devices.select()
    message = str(caught.value)
    assert f"cpu: {GONE.reason} Run: {GONE.fix}" in message
    assert message.endswith("--device reference")
    assert devices.select("reference").name == "reference"


def test_a_conflict_is_never_chosen_automatically() -> None:
    devices = registry([device("npu", priority=9)], [device("npu", priority=9), device("cpu")])
    said: list[str] = []
    assert devices.select(message=said.append).name == "cpu"
    assert "'npu'" in said[0]
    assert "module1" in said[0]


def test_a_conflict_that_leaves_no_device_is_reported() -> None:
    devices = registry([device("npu", priority=9)], [device("npu"), device("gone", GONE, -1)])
    with pytest.raises(DeviceUnavailableError) as caught:
        devices.select()
    assert "module0" in str(caught.value)
    assert "module1" in str(caught.value)
    assert "gone" not in str(caught.value)


def test_a_device_that_cannot_train_is_refused_for_training_and_names_those_that_can() -> None:
    predicts = Capabilities(training=False)
    devices = registry([device("predicts", priority=9, capabilities=predicts), device("cpu")])
    assert devices.select().name == "predicts"
    assert devices.select(training=True).name == "cpu"
    with pytest.raises(UsageError, match="--device cpu"):
        devices.select("predicts", training=True)
    devices = registry([device("predicts", capabilities=predicts), device("cpu", GONE)])
    with pytest.raises(UsageError, match="msinet-run devices"):
        devices.select("predicts", training=True)


def test_what_only_predicts_is_not_offered_for_training() -> None:
    predicts = Capabilities(training=False)
    devices = registry([device("predicts", priority=-1, capabilities=predicts)])
    with pytest.raises(DeviceUnavailableError, match="--device predicts"):
        devices.select()
    with pytest.raises(DeviceUnavailableError) as caught:
        devices.select(training=True)
    assert "--device" not in str(caught.value)


def test_an_unknown_device_explains_where_devices_come_from() -> None:
    with pytest.raises(UsageError, match=r"msinet\.devices"):
        registry([device("cpu")]).spec("mychip")


def test_the_variable_is_named_if_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_DEVICE", "mychip")
    with pytest.raises(UsageError, match=r"MSINET_DEVICE.*'mychip'"):
        registry([device("cpu")]).select()


@pytest.mark.parametrize(
    "fix",
    [
        "pip install x",
        "sudo apt install x",
        "modprobe mychip",
        "python3.11 -m pip install x",
        "./install",
        "msinet-run doctor",
        'pip install "a-chip>=1"',
    ],
)
def test_a_command_is_introduced_as_one(fix: str) -> None:
    assert Probe(Availability.INSTALLED, fix=fix).fix_sentence == f"Run: {fix}"


@pytest.mark.parametrize(
    "fix",
    [
        "",
        "On a Mac: pip install x",
        "Run: unset X",
        "https://example.org/driver",
        "example.org names the driver",
        "put the card in, and restart.",
    ],
)
def test_a_sentence_is_left_unchanged(fix: str) -> None:
    assert Probe(Availability.INSTALLED, fix=fix).fix_sentence == fix


def test_an_unsupported_precision_is_refused_and_names_the_supported() -> None:
    spec = device("cpu")
    assert spec.check_precision("auto") == "float32"
    with pytest.raises(UsageError, match="--precision float32"):
        spec.check_precision("float16")


def test_a_device_whose_framework_does_not_import_is_unavailable() -> None:
    with pytest.raises(DeviceUnavailableError, match="ModuleNotFoundError"):
        device("toy").open()
