from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core.data.images import FoundImage
from msinet_core.errors import DataError, UsageError
from msinet_core.prediction.outputs import Job, Plan, plan_outputs
from msinet_core.prediction.shards import SHARD, launched_shard


def found(*names: str, root: str = "photos") -> list[FoundImage]:
    return [FoundImage(Path(root) / name, Path(name)) for name in names]


def bases(images, **options):
    plan = plan_outputs(images, Path("maps"), **options)
    assert [job.source for job in plan.jobs] == [image.path for image in images]
    names = [job.map.relative_to("maps") for job in plan.jobs]
    assert {name.suffix for name in names} == {"." + options.get("format", "jpeg")}
    return [name.with_suffix("").as_posix() for name in names], plan.notes


def test_subfolders_are_preserved():
    names, notes = bases(found("a.jpg", "sub/a.jpg", "sub/deep/b.v2.png"))
    assert names == ["a", "sub/a", "sub/deep/b.v2"]
    assert notes == ()


def test_results_are_named_after_the_image():
    (job,) = plan_outputs(found("b.v2.png"), Path("maps"), format="npy", overlay=True).jobs
    assert job.map == Path("maps/b.v2.npy")
    assert job.overlay == Path("maps/b.v2_overlay.jpeg")


def test_images_that_differ_in_suffix_get_it_in_their_names_with_a_note():
    names, (note,) = bases(found("x.jpg", "x.PNG", "y.jpg"))
    assert names == ["x_jpg", "x_png", "y"]
    assert "2 of 3" in note
    assert "photos/x.jpg" in note
    assert "x_jpg.jpeg" in note


def test_one_name_in_two_folders_gets_the_folder_name():
    names, notes = bases([*found("x.jpg", root="left"), *found("x.jpg", root="right")])
    assert names == ["left/x", "right/x"]
    assert len(notes) == 1


def test_one_name_in_two_folders_of_one_name_gets_a_number():
    names, _ = bases([*found("x.jpg", root="a/pics"), *found("x.jpg", root="b/pics")])
    assert names == ["x_2", "x_3"]


def test_names_that_differ_in_case_only_are_one_file_on_a_mac():
    names, _ = bases(found("X.jpg", "x.jpg"))
    assert len({name.lower() for name in names}) == 2


def test_an_overlays_name_is_not_another_images_map():
    names, _ = bases(found("x.jpg", "x_overlay.jpg"), overlay=True)
    assert names == ["x_jpg", "x_overlay_jpg"]


def test_the_contact_sheets_name_is_reserved():
    names, _ = bases(found("overview.jpg"), format="png")
    assert names == ["overview_jpg"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["p", "q", "r/p"]),
            st.sampled_from(["", "s/", "p/"]),
            st.sampled_from(["x", "X", "x_2", "x_jpg", "x_overlay", "é", "e\u0301", "overview"]),
            st.sampled_from([".jpg", ".png", ".JPG", ""]),
        ),
        unique=True,
        min_size=1,
    )
)
def test_no_two_results_ever_share_a_file(parts):
    images = [
        FoundImage(Path(root) / f"{sub}{stem}{kind}", Path(f"{sub}{stem}{kind}"))
        for root, sub, stem, kind in parts
    ]
    plan = plan_outputs(images, Path("maps"), format="png", overlay=True)
    targets = [path.as_posix().casefold() for job in plan.jobs for path in (job.map, job.overlay)]
    assert len({*targets, "maps/overview.png"}) == 2 * len(images) + 1
    again = plan_outputs(images, Path("maps"), format="png", overlay=True)
    assert again == plan


@given(st.integers(0, 30), st.integers(1, 8))
def test_the_shards_of_a_plan_are_the_plan(images, count):
    names = [Path(f"{number}.jpg") for number in range(images)]
    plan = Plan(tuple(Job(name, name, name) for name in names), Path("maps"))
    shards = [plan.shard(index, count) for index in range(count)]
    assert sorted(job.map for shard in shards for job in shard.jobs) == sorted(
        job.map for job in plan.jobs
    )
    sizes = [len(shard.jobs) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert len({shard.overview for shard in shards}) == count


@pytest.mark.parametrize("overlay", [False, True])
def test_existing_results_are_skipped(tmp_path, overlay):
    plan = plan_outputs(found("a.jpg", "b.jpg", "c.jpg"), tmp_path, overlay=overlay)
    for job in plan.jobs[:2]:
        job.map.touch()
    plan.jobs[0].overlay.touch()
    left = [job.source.name for job in plan.without_existing().jobs]
    assert left == (["b.jpg", "c.jpg"] if overlay else ["c.jpg"])


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "0/0", "a/b", "1/2/3"])
def test_invalid_shards_are_refused(text):
    with pytest.raises(ValueError, match="shard"):
        SHARD.parse(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (1, 4)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3"}, (2, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, None),  # in the batch script itself
    ],
)
def test_torchrun_and_srun_shard_the_work(environment, expected):
    assert launched_shard(environment) == expected


def test_invalid_variables_of_a_launcher_are_named():
    with pytest.raises(UsageError, match="WORLD_SIZE"):
        launched_shard({"RANK": "4", "WORLD_SIZE": "4"})


def test_results_of_an_earlier_run_are_skipped_with_a_note(tmp_path):
    images = [
        FoundImage(tmp_path / name, Path(name)) for name in ("a.jpg", "maps/a.jpeg", "maps2/b.jpg")
    ]
    plan = plan_outputs(images, tmp_path / "maps")
    assert [job.source.name for job in plan.jobs] == ["a.jpg", "b.jpg"]
    assert str(tmp_path / "maps") in plan.notes[0]


def test_nothing_but_earlier_results_is_refused(tmp_path):
    images = [FoundImage(tmp_path / "maps" / "a.jpeg", Path("maps/a.jpeg"))]
    with pytest.raises(DataError, match="maps"):
        plan_outputs(images, tmp_path / "maps")


@pytest.mark.parametrize("name", ["a.jpg", "sub/a.jpg"])
def test_results_among_the_images_are_refused(tmp_path, name):
    images = [FoundImage(tmp_path / name, Path(name))]
    with pytest.raises(UsageError, match="folder without images"):
        plan_outputs(images, tmp_path, format="png")


@pytest.mark.parametrize("truth", ["saliency", "fixations", "fixations.mat"])
@pytest.mark.parametrize("out", ["stimuli", "stimuli/maps", "stimuli/val/maps"])
def test_results_among_the_images_of_a_dataset_are_refused(tmp_path, truth, out):
    """The next `data check` would miss their maps."""
    (tmp_path / "stimuli" / "val").mkdir(parents=True)
    plan_outputs(found("a.jpg"), tmp_path / out)
    (tmp_path / truth).mkdir()
    with pytest.raises(UsageError, match="--out"):
        plan_outputs(found("a.jpg"), tmp_path / out)
    plan_outputs(found("a.jpg"), tmp_path / "maps")


def test_results_beside_the_target_of_a_linked_image_are_refused(tmp_path):
    real = tmp_path / "real" / "a.jpeg"
    real.parent.mkdir()
    real.write_bytes(b"image")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "a.jpeg"
    link.symlink_to(real)
    with pytest.raises(UsageError, match="real"):
        plan_outputs([FoundImage(link, Path("a.jpeg"))], real.parent)
