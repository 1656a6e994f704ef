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
