"""Scores as labels: manifests with numeric targets, valence and arousal of Aff-Wild2."""

import pytest

from bench.errors import ConfigError, DataError
from bench.tasks import Classification, Regression
from bench.types import Clip
from datasets.catalog.affwild2 import index_valence_arousal
from datasets.registry import make_manifest_source
from datasets.rows import assign_folds, compute_fingerprint
from studies.requests import apply_task, find_dataset, find_source
from tests.datasets.trees import write_mp3

HEAD = "audio,target/valence,target/arousal"


def manifest(root, *rows, head=HEAD, toml=""):
    for number in range(8):
        if not (root / f"c{number}.mp3").exists():
            write_mp3(root / f"c{number}.mp3", 0.2)
    (root / "clips.csv").write_text("\n".join([head, *rows]) + "\n")
    if toml:
        (root / "clips.toml").write_text(toml)
    return root / "clips.csv"


def read(path, task=""):
    source = make_manifest_source(path, [], task)
    return source.info, source.index(path, fold=source.info.folds[0])


def test_target_columns_are_numbers_to_predict(tmp_path):
    rows = [f"c{n}.mp3,{n / 10},{-n / 10}" for n in range(8)]
    info, listing = read(manifest(tmp_path, *rows))
    assert isinstance(info.task, Regression) and info.task.output_names == ("valence", "arousal")
    assert info.task.bounds == ((0.0, 1.0), (-1.0, 1.0)) and info.classes == ()
    assert {clip.key: clip.target for clip in listing.listed}["c3"] == (0.3, -0.3)
    assert all(clip.group == clip.key for clip in listing.listed)
    warned = [issue.where for issue in listing.issues if issue.what == "warning"]
    assert warned == ["target valence", "target arousal"]


def test_ranges_and_the_primary_metric_come_from_the_toml_file(tmp_path):
    toml = 'select = "ccc"\n[targets]\nvalence = [-3, 3]\narousal = [0, 9]\n'
    info, listing = read(manifest(tmp_path, *[f"c{n}.mp3,{n - 3 if n < 6 else 0},{n}" for n in range(8)], toml=toml))
    assert info.task.bounds == ((-3.0, 3.0), (0.0, 9.0)) and info.task.primary.name == "ccc"
    assert not [issue for issue in listing.issues if issue.what == "warning"]


def test_numeric_labels_are_a_question(tmp_path):
    path = manifest(tmp_path, *[f"c{n}.mp3,{n % 3 - 1}" for n in range(8)], head="audio,label")
    with pytest.raises(DataError, match=r"clips.csv: labels are numbers \(-1, 0, 1\): classes or scores\?"):
        read(path)
    info, listing = read(path, "classes")
    assert isinstance(info.task, Classification) and info.name == "own-clips"
    assert listing.listed[0].key == "-1/c0"
    info, listing = read(path, "scores")
    assert info.task.output_names == ("score",) and info.name == "own-clips-scores"
    assert listing.listed[0].target == (-1.0,) and listing.listed[0].key == "c0"
    (tmp_path / "clips.toml").write_text('task = "scores"\n')
    assert read(path)[0].name == "own-clips-scores"


def test_labels_beside_targets_are_a_question(tmp_path):
    path = manifest(tmp_path, *[f"c{n}.mp3,{'ab'[n % 2]},{n}" for n in range(8)], head="audio,label,target/x")
    with pytest.raises(DataError, match="both labels and targets: classes or scores"):
        read(path)
    assert isinstance(read(path, "classes")[0].task, Classification)
    assert read(path, "scores")[0].task.output_names == ("x",)


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1e999", "1,5", "0x10", "１２", "1_000", "--1"])
def test_what_is_no_number_is_refused_with_its_row(tmp_path, text):
    path = manifest(tmp_path, "c0.mp3,0.5", f'c1.mp3,"{text}"', head="audio,target/x")
    with pytest.raises(DataError, match=r"clips.csv:3: column 'target/x' is .*, not a number"):
        read(path)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[targets]\nx = [0, 0.4]\n", r"clips.csv:7: x is 0.5, outside its range of 0 to 0.4"),
        ("[targets]\nx = [3, -3]\n", "the range of 'x' is 3 to -3; state the lowest value first"),
        ("[targets]\ny = [0, 1]\n", "own has no target 'y'|no target 'y'"),
        ('classes = ["a"]\n', "has scores, no classes"),
        ("[targets]\nx = [0, nan]\n", "state the lowest value first"),
    ],
)
def test_a_toml_file_that_does_not_fit_is_refused(tmp_path, toml, message):
    path = manifest(tmp_path, *[f"c{n}.mp3,{n / 10}" for n in range(6)], head="audio,target/x", toml=toml)
    with pytest.raises(DataError, match=message):
        read(path)


def test_numbers_outside_all_usual_ranges_need_a_stated_one(tmp_path):
    path = manifest(tmp_path, *[f"c{n}.mp3,{100 * n}" for n in range(6)], head="audio,target/x")
    with pytest.raises(DataError, match="'x' goes from 0 to 500 and has no range; state it in the TOML file"):
        read(path)


def test_two_targets_of_one_clip_are_refused(tmp_path):
    path = manifest(tmp_path, "c0.mp3,0.1", "c0.mp3,0.2", "c1.mp3,0.3", head="audio,target/x")
    with pytest.raises(DataError, match=r"clips.csv:2 and clips.csv:3 state different targets of clip 'c0'"):
        read(path)


def test_task_scores_needs_numbers(tmp_path):
    path = manifest(tmp_path, "c0.mp3,0.1", "c1.mp3,glad", head="audio,label")
    with pytest.raises(DataError, match=r"clips.csv:3 has the label 'glad', which is not a number"):
        read(path, "scores")
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"--task scores: .* is a folder of classes"):
        make_manifest_source(tmp_path, [], "scores")


def test_folds_of_scores_are_stratified_and_do_not_depend_on_the_order():
    clips = [Clip(f"c{n}", (float(n * n % 97), 0.0), "train", f"c{n}") for n in range(100)]
    folds = assign_folds(clips, "own-x")
    assert folds == assign_folds(clips[::-1], "own-x")
    order = sorted(clips, key=lambda clip: clip.target)
    for start in range(0, 100, 20):  # each fifth of the scores is spread evenly over the folds
        counts = [[folds[clip.group] for clip in order[start : start + 20]].count(fold) for fold in range(5)]
        assert max(counts) - min(counts) <= 3


def test_another_score_is_another_fingerprint(tmp_path):
    info, listing = read(manifest(tmp_path, *[f"c{n}.mp3,{n / 10}" for n in range(6)], head="audio,target/x"))
    splits = {"train": listing.listed}
    first = compute_fingerprint(splits, info)
    info, listing = read(manifest(tmp_path, *[f"c{n}.mp3,{n / 10 + 1e-9}" for n in range(6)], head="audio,target/x"))
    assert compute_fingerprint({"train": listing.listed}, info) != first


def test_the_option_names_the_data_set(tmp_path):
    assert apply_task("affwild2", "va") == "affwild2-va" and apply_task("ekman6", "") == "ekman6"
    path = manifest(tmp_path, *[f"c{n}.mp3,{n}" for n in range(6)], head="audio,label")
    named = apply_task(str(path), "scores")
    assert find_source(named).info.name == "own-clips-scores" and find_dataset(named).info.name == "own-clips-scores"
    with pytest.raises(ConfigError, match="--task: ekman6 has no task 'va'; omit the option"):
        apply_task("ekman6", "va")
    with pytest.raises(ConfigError, match="affwild2 has no task 'av'; did you mean 'va'"):
        apply_task("affwild2", "av")
    with pytest.raises(ConfigError, match="has no task 'va'"):
        apply_task(str(path), "va")


def write_video_annotations(root, lines, video="v1", header="valence,arousal"):
    path = root / "VA_Set" / "Train_Set" / f"{video}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def tree(tmp_path):
    for name in ("v1_Train_1to4", "v1_Train_5to8", "v2_left_Validation_1to2", "v3_Train_1to2"):
        write_mp3(tmp_path / "mp3" / "Anger" / f"{name}.mp3", 0.2)
    write_video_annotations(tmp_path, ["0.2,0.4", "0.4,0.6", "-5,-5", "0.6,-5", "-5,-5", "-5,-5", "-5,0.1", "2,0.1"])
    write_video_annotations(tmp_path, ["-0.5,0.5", "-0.7,0.1"], video="v2_left")
    return tmp_path


def test_valid_frames_of_a_clip_are_averaged_and_the_others_counted(tree):
    listing = index_valence_arousal(tree)
    assert {clip.key: clip.target for clip in listing.listed} == {
        "Anger/v1_Train_1to4": (0.3, 0.5),
        "Anger/v2_left_Validation_1to2": (-0.6, 0.3),
    }
    assert {clip.split for clip in listing.available} == {"train", "test"}
    found = {issue.where: issue for issue in listing.issues if issue.what in ("no target", "invalid frames")}
    assert "none of its 4 frames is valid" in found["Anger/v1_Train_5to8"].why
    assert "no annotation file v3.txt" in found["Anger/v3_Train_1to2"].why
    assert found["affwild2-va"].why.startswith("6 of 10 annotated frames")


def test_frames_beyond_the_end_of_an_annotation_are_reported(tree):
    write_mp3(tree / "mp3" / "Anger" / "v1_Train_20to24.mp3", 0.2)
    whys = {issue.where: issue.why for issue in index_valence_arousal(tree).issues}
    assert "v1.txt has no frame 20 to 24" in whys["Anger/v1_Train_20to24"]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["0.1,0.2"], "arousal,valence", "the first line is 'arousal,valence', not 'valence,arousal'"),
        (["0.1"], "valence,arousal", "v1.txt:2: '0.1' is not valence,arousal"),
        (["a,b"], "valence,arousal", "v1.txt:2: 'a,b' is not valence,arousal"),
    ],
)
def test_a_file_that_is_no_annotation_is_refused(tree, lines, header, message):
    write_video_annotations(tree, lines, header=header)
    with pytest.raises(DataError, match=message):
        index_valence_arousal(tree)


def test_without_annotations_the_error_says_where_they_belong(tmp_path):
    write_mp3(tmp_path / "mp3" / "Anger" / "v1_Train_1to4.mp3", 0.2)
    with pytest.raises(DataError, match="no annotations of valence and arousal; add the owners' VA_Set"):
        index_valence_arousal(tmp_path)


def test_a_link_out_of_the_folder_is_no_annotation(tree, tmp_path_factory):
    outside = write_video_annotations(tmp_path_factory.mktemp("other"), ["0.1,0.1"] * 3, video="v3")
    (tree / "VA_Set" / "Train_Set" / "v3.txt").symlink_to(outside)
    assert "Anger/v3_Train_1to2" not in {clip.key for clip in index_valence_arousal(tree).listed}
