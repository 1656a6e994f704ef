from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine

from ckdmed.handlers import SegmentationEvaluation


@pytest.mark.parametrize("found", ["none of them", "some of them"])
def test_equal_scores_still_have_their_pictures(found: str, tmp_path: Path):
    """A student that finds nothing scores 0 everywhere; the pictures of the report are then chosen by name."""
    label = torch.zeros(1, 8, 8)
    label[:, 2:5, 2:5] = 1

    def evaluated(_: Engine, number: int) -> list[dict]:
        hit = found == "some of them" and number % 3 == 0
        return [{"image": label, "label": label, "pred": label if hit else torch.zeros_like(label)}]

    engine = Engine(lambda e, sample: evaluated(e, int(sample[0]["id"])))
    handler = SegmentationEvaluation(str(tmp_path), n_cases=2)
    handler.attach(engine)
    engine.run([[{"id": str(n), "patient": str(n)}] for n in range(19, -1, -1)])
    summary = json.loads((tmp_path / "summary.json").read_text())
    # rows are in the order of their names: 0, 1, 10, 11, 12 ...
    names = [entry["id"] for entry in summary["best"] + summary["worst"]]
    assert names == (["0", "1", "10", "11"] if found == "none of them" else ["0", "12", "1", "10"])
    assert (tmp_path / "best_and_worst.png").is_file()


def test_an_output_that_overflowed_is_no_empty_prediction(tmp_path: Path):
    label = torch.ones(1, 8, 8)
    nothing = torch.full_like(label, torch.nan)
    # as a threshold leaves it
    found = {"image": label, "label": label, "pred": (nothing >= 0.5).float(), "probability": nothing}
    engine = Engine(lambda e, sample: [found])
    SegmentationEvaluation(str(tmp_path)).attach(engine)
    with pytest.raises(ValueError, match="7: the network gave values that are not numbers.*set amp to false"):
        engine.run([[{"id": "7", "patient": "a"}]])
    assert not any(tmp_path.iterdir())


def test_several_regions_are_scored_and_drawn_each_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Of 20 slices the worst regions lie in slices of a middling mean, which are among neither best nor worst."""
    label = torch.zeros(2, 8, 8)
    label[:, 2:6, 2:6] = 1

    def predicted(number: int) -> torch.Tensor:
        # the first region is always found; the second in every other slice, and in the last ones neither is
        found = label.clone()
        found[1] *= number % 2
        return found if number < 12 else torch.zeros_like(label)

    engine = Engine(lambda e, batch: [{"image": label[:1], "label": label, "pred": predicted(int(batch[0]["id"]))}])
    SegmentationEvaluation(str(tmp_path), ("whole", "core"), n_cases=2).attach(engine)
    with caplog.at_level("INFO"):
        engine.run([[{"id": f"{n:02}", "patient": str(n // 2)}] for n in range(20)])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["n_slices"], summary["regions"]) == (20, ["whole", "core"])
    means = {name: part["overall"]["dice"]["slice_mean"] for name, part in summary["per_region"].items()}
    assert means == {"whole": pytest.approx(12 / 20), "core": pytest.approx(6 / 20)}
    assert summary["overall"]["dice"]["slice_mean"] == pytest.approx(9 / 20)
    assert {row["n_slices"] for row in summary["per_patient"]} == {2}
    assert [entry["id"] for entry in summary["best"] + summary["worst"]] == ["01", "03", "12", "13"]
    assert (tmp_path / "best_and_worst.png").is_file()
    lines = [line.split() for line in caplog.text.splitlines()]
    assert "evaluation of 20 slices" in caplog.text
    assert ["whole", "20", "10", "0.6000"] in [line[:4] for line in lines]
    assert ["core", "20", "10", "0.3000"] in [line[:4] for line in lines]
    assert ["mean", "of", "regions", "20", "10", "0.4500"] in [line[:6] for line in lines]
    assert "core: Empty masks: truth only 0, prediction only 14, both 0" in caplog.text
